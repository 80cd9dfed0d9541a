/*
 * A client of NATS JetStream (libnats): a connection that reconnects automatically, pull consumers,
 * and requests to the JetStream API. No type of libnats appears in this header.
 *
 * Threads: a client and its consumers belong to the first thread that uses them. All functions are
 * called on this thread, and messages are freed on it. No call waits longer than its limit. Each
 * call returns soon after the patience is over (SINK_PATIENCE_TURN). libnats waits without a limit
 * while it logs in and while it closes. Both run on detached threads, which are left behind if they
 * do not end in time. Such a thread owns what it uses, frees it when libnats returns, and is
 * counted (nats_left_behind). This module reconnects by itself, because libnats would always use
 * the secrets of the first connect. Here they are read for each connect.
 */
#pragma once

#include "base/clock.h"
#include "base/error.h"
#include "base/span.h"
#include "config/connection.h"
#include "sinks/driver.h"
#include "sinks/nats_subject.h"

typedef enum NatsResult {
    NATS_RESULT_DONE,
    NATS_RESULT_RETRY,        /* not connected, no answer in time, or no leader: try again later. -ECANCELED: the patience is over */
    NATS_RESULT_MISSING,      /* the stream or consumer does not exist */
    NATS_RESULT_NO_JETSTREAM, /* JetStream is not enabled at the server or for the account, or it is starting */
    NATS_RESULT_NO_RIGHTS,    /* the login lacks a permission; the error names the subject */
    NATS_RESULT_REFUSED,      /* refused until something is changed */
} NatsResult;

/* ---- the connection ---- */

typedef struct NatsClient NatsClient;

typedef struct NatsClientOptions {
    const Connection *connection; /* of type nats; borrowed for the life of the client */
    const char *data_directory;   /* base of relative paths; borrowed */
    const char *name;             /* name that the server shows; copied */
    const SinkPatience *patience; /* borrowed; NULL: no end */
    usec_t connect_limit;         /* of one server; 0: 5 s */
    usec_t request_limit;         /* of one request of the JetStream API; 0: 5 s */
    usec_t retry_min, retry_max;  /* growing pause after no server accepted the login; 0: 100 ms, 5 s */
} NatsClientOptions;

/* The state of the connection. */
typedef struct NatsClientStatus {
    bool connected;
    uint64_t connects;      /* number of successful connects; if it grows, the connection was lost and made again */
    uint64_t failed_rounds; /* number of successive rounds in which no server accepted the login */
    SinkFault fault;        /* why it is not connected; SINK_SOUND before anything failed */
    Error error;            /* a sentence; nothing secret */
    char server[256];       /* URL of the connected server, or of the last one tried; "": none */
} NatsClientStatus;

NatsClient *nats_client_new(const NatsClientOptions *options); /* connects in the background */
/* Waits until the client is connected, for at most `wait` (0: does not wait), and reconnects if
 * necessary. Returns whether it is connected. */
bool nats_client_poll(NatsClient *client, usec_t wait);
void nats_client_status(NatsClient *client, NatsClientStatus *ret_status);
uint64_t nats_client_connects(const NatsClient *client); /* NatsClientStatus.connects alone */
/* Closes and frees the client. The caller closes its consumers before. Returns false if libnats did
 * not close the connection within `limit`: a thread was left behind with it. */
bool nats_client_close(NatsClient *client, usec_t limit); /* NULL-safe */
/* Returns the number of threads of the process that are left behind now. */
unsigned nats_left_behind(void);
/* Ends the threads of libnats at the end of the process, when no client exists. Returns false if
 * some do not end within `limit`. */
bool nats_end(usec_t limit);

/* Is JetStream available for this login? */
NatsResult nats_client_jetstream(NatsClient *client, Error *error);
NatsResult nats_client_stream(NatsClient *client, const char *stream, NatsStream *ret_stream, Error *error);
/* Finds the sequence of the first message at or after a time (ns since 1970), of any subject. If
 * there is no such message, the result is the next sequence that the stream will assign. */
NatsResult nats_client_sequence_at(NatsClient *client, const char *stream, int64_t time_nsec, uint64_t *ret_sequence, Error *error);
/* Counts the messages of a subject (NULL: of all) from the sequence `first` on. */
NatsResult nats_client_count(NatsClient *client, const char *stream, const char *subject, uint64_t first, uint64_t *ret_count,
                             Error *error);
#define NATS_TIME_SIZE 40
/* Writes a time (ns since 1970) in UTC as RFC 3339 with nine digits, like the server. */
void nats_put_time(int64_t nsec, char ret_text[static NATS_TIME_SIZE]);
#define NATS_ACCOUNT_SIZE 256
/* Gets the account of the login. NATS_RESULT_MISSING: the server does not tell it. */
NatsResult nats_client_account(NatsClient *client, char ret_account[static NATS_ACCOUNT_SIZE], Error *error);
/*
 * Tests whether the login may send the requests of a bridge. It sends requests that the server
 * cannot carry out, so nothing changes. `durable` is NULL or the name of the consumer. With
 * NATS_RESULT_NO_RIGHTS the error names the first subject to which the login may not publish.
 */
NatsResult nats_client_rights(NatsClient *client, const char *stream, const char *durable, Error *error);

/* ---- consumers ---- */

typedef enum NatsStart { NATS_START_ALL, NATS_START_NEW, NATS_START_SEQUENCE, NATS_START_TIME } NatsStart;

typedef struct NatsConsumer NatsConsumer;

typedef struct NatsConsumerOptions {
    const char *stream;
    /* The name of a durable consumer with acks, which is created if it does not exist, and is kept.
     * NULL: a consumer for this client only, without acks, in order and without gaps. If a delivery
     * is lost, it is created again after the last message that was returned. */
    const char *durable;
    const char *subject; /* NULL: all of the stream */
    NatsStart start;     /* of a consumer that is made; what a durable one has read stays read */
    uint64_t sequence;   /* NATS_START_SEQUENCE: the first, >= 1 */
    int64_t time_nsec;   /* NATS_START_TIME: since 1970 */
    uint32_t batch;      /* maximum number of messages in flight, >= 1 */
    uint64_t bytes_max;  /* of one request; a larger message comes alone; 0: no limit */
    usec_t ack_wait;     /* a message without "+ACK" or "+WPI" for this time is delivered again; durable only */
    usec_t expires;      /* of a request: the server ends it then; 0: 30 s */
    usec_t heartbeat;    /* what it sends while it has nothing; 0: 5 s. At most half of `expires` */
} NatsConsumerOptions;

/* Creates a consumer, or binds to a durable one. Settings of a durable consumer that differ from
 * the options are updated, except its start. Takes at most twice the request limit. */
NatsResult nats_consumer_open(NatsClient *client, const NatsConsumerOptions *options, NatsConsumer **ret_consumer, Error *error);
void nats_consumer_close(NatsConsumer *consumer); /* a durable one stays at the server; NULL-safe */

typedef struct NatsHeader {
    const char *name;
    const char *value;
} NatsHeader;

/* Everything is owned by the message. A header without a value: libnats before 3.11 takes the next
 * line for its value, or loses it. */
typedef struct NatsMessage {
    const char *subject;
    Span data;
    const NatsHeader *headers; /* by name; those of one name stand together, in their order */
    size_t header_count;
    NatsDelivery delivery;
    const char *reply; /* for nats_client_ack: copy it when the message is freed before */
} NatsMessage;
void nats_message_free(NatsMessage *message); /* NULL-safe */

typedef enum NatsNext {
    NATS_NEXT_MESSAGE,
    NATS_NEXT_QUIET,   /* no message arrived within `wait`, or the patience is over */
    NATS_NEXT_DOWN,    /* no message arrived, and there is no connection: see nats_client_status */
    NATS_NEXT_GONE,    /* the consumer or its stream no longer exists: open it again */
    NATS_NEXT_REFUSED, /* the server refuses the requests; the error gives the reason. The next call tries again */
} NatsNext;

/* Gets the next message, which the caller owns; nats_message_free(). Sends requests as needed, so
 * that at most `batch` messages are in flight. */
NatsNext nats_consumer_next(NatsConsumer *consumer, usec_t wait, NatsMessage **ret_message, Error *error);

typedef struct NatsConsumerInfo {
    uint64_t pending;     /* messages that it has not delivered yet: its lag */
    uint64_t ack_pending; /* delivered and not acked */
    uint64_t redelivered;
    uint64_t delivered_stream_sequence, delivered_consumer_sequence; /* of the last delivery; 0: none */
    uint64_t acked_stream_sequence;                                  /* all up to it are acked */
} NatsConsumerInfo;
NatsResult nats_consumer_info(NatsConsumer *consumer, NatsConsumerInfo *ret_info, Error *error);

/* What happened to a consumer's requests. */
typedef struct NatsConsumerCounts {
    uint64_t requests;
    uint64_t missed_heartbeats; /* requests that were sent anew since the server was silent */
    uint64_t remade;            /* times that a consumer without a durable was made again */
    uint64_t ignored;           /* messages that are none of a consumer */
} NatsConsumerCounts;
NatsConsumerCounts nats_consumer_counts(const NatsConsumer *consumer);

/* Sends "+ACK", or "+WPI" (still at work). False: not connected; the message will be delivered
 * again. A hint only: a server that is killed forgets acks of the last moments. */
bool nats_client_ack(NatsClient *client, const char *reply);
bool nats_client_working(NatsClient *client, const char *reply);
/* Sends "-NAK": the message is delivered again at once. */
bool nats_client_give_back(NatsClient *client, const char *reply);
