/*
 * A client of NATS JetStream (libnats): a connection that is made again and again by itself,
 * consumers that pull, and the answers of the JetStream API. No type of libnats leaves it.
 *
 * Threads: a client and its consumers belong to one thread, the first that uses them; every
 * function here is called on it, messages are freed on it. No call waits longer than what it was
 * given, whatever the server does, and each ends soon when the patience is over
 * (SINK_PATIENCE_TURN). libnats waits without a limit while it logs in and while it closes: both
 * run on detached threads of their own, which are left behind when they do not end in time. They
 * own what they use, free it when the server lets them go on, and are counted (nats_left_behind).
 * The connection is remade by this module and not by libnats, which would use the secrets of the
 * first connect for ever: here they are read at each one.
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
    NATS_RESULT_RETRY,        /* not connected, no answer in time, no leader: ask again later. -ECANCELED: the patience is over */
    NATS_RESULT_MISSING,      /* there is no such stream or consumer */
    NATS_RESULT_NO_JETSTREAM, /* nobody serves it: it is not enabled there or for the account, or it starts */
    NATS_RESULT_NO_RIGHTS,    /* the login may not; the error names the subject */
    NATS_RESULT_REFUSED,      /* until somebody changes something */
} NatsResult;

/* ---- the connection ---- */

typedef struct NatsClient NatsClient;

typedef struct NatsClientOptions {
    const Connection *connection; /* of type nats; borrowed as long */
    const char *data_directory;   /* what relative paths are relative to; borrowed */
    const char *name;             /* as the server shows it; copied */
    const SinkPatience *patience; /* borrowed; NULL: no end */
    usec_t connect_limit;         /* of one server; 0: 5 s */
    usec_t request_limit;         /* of one request of the JetStream API; 0: 5 s */
    usec_t retry_min, retry_max;  /* how long all servers rest after none took the login, growing; 0: 100 ms, 5 s */
} NatsClientOptions;

/* How the connection is. */
typedef struct NatsClientStatus {
    bool connected;
    uint64_t connects;      /* that succeeded, ever: a change says that it was lost and made again */
    uint64_t failed_rounds; /* in a row, in which no server took the login */
    SinkFault fault;        /* why it is not connected; SINK_SOUND before anything failed */
    Error error;            /* a sentence; nothing secret */
    char server[256];       /* the URL of the server that has it, or was tried last; "" none */
} NatsClientStatus;

NatsClient *nats_client_new(const NatsClientOptions *options); /* connects in the background */
/* Waits until it is connected (at most `wait`; 0: only looks) and keeps the connection going
 * otherwise. Is it connected? */
bool nats_client_poll(NatsClient *client, usec_t wait);
void nats_client_status(NatsClient *client, NatsClientStatus *ret_status);
uint64_t nats_client_connects(const NatsClient *client); /* NatsClientStatus.connects alone */
/* Its consumers are closed before. False: libnats did not let go of the connection within `limit`;
 * a thread was left behind with it. */
bool nats_client_close(NatsClient *client, usec_t limit); /* NULL-safe */
/* How many threads are left behind in all of the process now. */
unsigned nats_left_behind(void);
/* Ends libnats' own threads, at the end of the process, when no client is left. False: some do not
 * end. */
bool nats_end(usec_t limit);

/* Is JetStream there for this login? */
NatsResult nats_client_jetstream(NatsClient *client, Error *error);
NatsResult nats_client_stream(NatsClient *client, const char *stream, NatsStream *ret_stream, Error *error);
/* The sequence of the first message from a time on (ns since 1970; before: all of it), whatever its
 * subject; the next one that will be given when there is none yet. */
NatsResult nats_client_sequence_at(NatsClient *client, const char *stream, int64_t time_nsec, uint64_t *ret_sequence, Error *error);
/* How many messages of a subject (NULL: of all) the stream has from a sequence on. */
NatsResult nats_client_count(NatsClient *client, const char *stream, const char *subject, uint64_t first, uint64_t *ret_count,
                             Error *error);
#define NATS_TIME_SIZE 40
/* RFC 3339 with nine digits, as the server writes times in UTC. */
void nats_put_time(int64_t nsec, char ret_text[static NATS_TIME_SIZE]);
#define NATS_ACCOUNT_SIZE 256
/* Of the login. NATS_RESULT_MISSING: the server does not say it. */
NatsResult nats_client_account(NatsClient *client, char ret_account[static NATS_ACCOUNT_SIZE], Error *error);
/*
 * Would the server take what a bridge sends? Asks with requests that it cannot carry out, so
 * nothing changes. `durable`: NULL, or the name of the consumer. NATS_RESULT_NO_RIGHTS names the
 * first subject that the login may not publish to.
 */
NatsResult nats_client_rights(NatsClient *client, const char *stream, const char *durable, Error *error);

/* ---- consumers ---- */

typedef enum NatsStart { NATS_START_ALL, NATS_START_NEW, NATS_START_SEQUENCE, NATS_START_TIME } NatsStart;

typedef struct NatsConsumer NatsConsumer;

typedef struct NatsConsumerOptions {
    const char *stream;
    /* The name of a durable consumer with acks; it is made when it is not there, and stays. NULL:
     * one for this client alone, without acks, in order and without gaps: when a delivery was lost
     * it is made again behind the last message that was given. */
    const char *durable;
    const char *subject; /* NULL: all of the stream */
    NatsStart start;     /* of a consumer that is made; what a durable one has read stays read */
    uint64_t sequence;   /* NATS_START_SEQUENCE: the first, >= 1 */
    int64_t time_nsec;   /* NATS_START_TIME: since 1970 */
    uint32_t batch;      /* messages on their way at once, >= 1 */
    uint64_t bytes_max;  /* of one request; a larger message comes alone; 0: no limit */
    usec_t ack_wait;     /* a message that is neither acked nor worked on so long is delivered again; durable only */
    usec_t expires;      /* of a request: the server ends it then; 0: 30 s */
    usec_t heartbeat;    /* what it sends while it has nothing; 0: 5 s. At most half of `expires` */
} NatsConsumerOptions;

/* Makes a durable consumer, or binds to it: what differs from the options is updated, but not where
 * it starts. Within the request limit, twice. */
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
    NATS_NEXT_QUIET,   /* none came within `wait`, or the patience is over */
    NATS_NEXT_DOWN,    /* the same, and there is no connection: see its status */
    NATS_NEXT_GONE,    /* the consumer or its stream is not there any more: open it anew */
    NATS_NEXT_REFUSED, /* the server does not take the requests; the error says why. It is asked again by the next call */
} NatsNext;

/* The next message; owned by the caller. Requests are sent as needed, so that at most `batch`
 * messages are on their way. */
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
/* Sends "-NAK": it is delivered again, at once. */
bool nats_client_give_back(NatsClient *client, const char *reply);
