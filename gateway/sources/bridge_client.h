/*
 * A broker, as a bridge sees it: what gateway/sources/kafka_bridge.c and nats_bridge.c make of the
 * clients of sinks/, and what tests make of nothing. The bridge (bridge.h) decides what is read; a
 * client only brings it.
 *
 * Threads: all functions are called on the bridge's thread. Those with a limit may wait that long;
 * all others return at once.
 *
 * A client of a broker that keeps what is not acknowledged (a durable consumer of JetStream)
 * `acks`: it has one partition, its records have tokens, and it reads by itself: nothing is
 * assigned or claimed, the offsets may go back and have holes, and its END says that all is
 * acknowledged. `seek` says where a consumer begins that has to be made anew, in the place of what
 * the definition says.
 *
 * JetStream has no group: without a durable there is partition 0 of the stream, which is assigned
 * as without a group in Kafka.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/span.h"
#include "mapping/plan.h"
#include "sinks/driver.h"

typedef struct BridgeClient BridgeClient;

typedef struct ClientPartition {
    const char *topic; /* or stream; borrowed by the call, or valid until the next call */
    int32_t partition;
    int64_t offset; /* where reading begins */
} ClientPartition;

typedef struct ClientRecord {
    int64_t offset;
    usec_t timestamp;           /* wall; CLIENT_NO_TIME: none */
    Span key, value;            /* data NULL: null */
    const EventHeader *headers; /* without those of header_is_secret */
    size_t header_count;
    Span subject; /* of JetStream */
    Span token;   /* for `ack`; of a client that acks */
} ClientRecord;
#define CLIENT_NO_TIME INT64_MIN

typedef enum ClientEventKind {
    CLIENT_NOTHING,      /* the time is over */
    CLIENT_RECORD,       /* index, record: valid until the next call on the client */
    CLIENT_END,          /* index, offset: all before this offset was handed out, or will never be; no more is there now */
    CLIENT_ASSIGNED,     /* partitions, generation: answer with `assign`, within a minute, also when empty */
    CLIENT_REVOKED,      /* all partitions are taken away; nothing of them is handed out any more */
    CLIENT_OUT_OF_RANGE, /* index, offset: it is not there (any more, or yet). Not read until `seek` */
    /* index, id, error, offset (-1: not of a record): it is not read until something changes at the
     * broker, or until `seek` behind the offset. Another event of it says that it is read again. */
    CLIENT_PARTITION_TROUBLE,
    CLIENT_PASSING_TROUBLE, /* fault, error: the client tries again by itself; for people to see. id, if it is of a topic as a whole */
    CLIENT_END_OF_CLIENT,   /* fault, error: of no use any more; close it, and open another one later */
} ClientEventKind;

#define CLIENT_NO_INDEX SIZE_MAX

typedef struct ClientEvent {
    ClientEventKind kind;
    size_t index; /* among the partitions that were assigned last */
    int64_t offset;
    ClientRecord record;
    const ClientPartition *partitions; /* their offsets say nothing */
    size_t partition_count;
    uint64_t generation; /* of the assignment that is offered */
    const char *id;      /* "topicMissing", "noRights", "recordUnreadable", …: see the client */
    SinkFault fault;
    Error error;
} ClientEvent;

/* A topic that the source reads. */
typedef struct ClientTopic {
    const char *name;
    size_t partition_count; /* 0: fault */
    SinkFault fault;        /* SINK_FAULT_TOPIC: it is not there; SINK_FAULT_RIGHTS; SINK_FAULT_OTHER: not now */
    const char *topic_id;   /* NULL: not known. Another one says that the topic was made anew. JetStream: the stream's created time */
} ClientTopic;

typedef struct ClientTopics {
    ClientTopic *items; /* in the caller's arena, by name */
    size_t count;
    const char *cluster; /* id, in the arena; never empty */
} ClientTopics;

typedef enum ClientWhen { CLIENT_EARLIEST, CLIENT_LATEST, CLIENT_AT_TIME, CLIENT_START } ClientWhen; /* START: see ClientOffset.start */

typedef struct ClientOffset {
    const char *topic;
    int32_t partition;
    ClientWhen when;
    int64_t time;             /* CLIENT_AT_TIME: ms since 1970 */
    const BridgeStart *start; /* CLIENT_START; NULL: the source's own */
    int64_t offset;           /* out: of the first record from then on; of a time behind the last record: the end */
    bool failed;              /* out */
} ClientOffset;

typedef struct BridgeClientType {
    const char *name; /* "kafka", "nats" */
    bool acks;
    /* Waits for no broker. `patience` is over when the bridge shall end: calls that wait give up
     * then, with -ECANCELED. < 0: a setting or a file is wrong; *ret_fault. The patience is
     * borrowed until close. */
    int (*open)(const Source *source, const Connection *connection, const char *data_directory, uint32_t project,
                const SinkPatience *patience, BridgeClient **ret_client, SinkFault *ret_fault, Error *error);
    /* Leaves the group. false: it takes longer than `limit` and goes on by itself. NULL-safe. */
    bool (*close)(BridgeClient *take_client, usec_t limit);
    ClientEventKind (*poll)(BridgeClient *client, usec_t wait, ClientEvent *ret_event);

    /* What is there. 0; or < 0 with the fault: the broker did not say it. */
    int (*topics)(BridgeClient *client, Arena *arena, usec_t limit, ClientTopics *ret_topics, SinkFault *ret_fault, Error *error);
    /* A partition is asked for at one time only in a call, beside its ends. 0: all are known; < 0:
     * the first failure is in the error. */
    int (*offsets)(BridgeClient *client, ClientOffset *offsets, size_t count, usec_t limit, Error *error);

    /* NULL: of a client that acks. 0; CLIENT_ASSIGN_STALE: it was revoked in between, or another
     * one follows; < 0. `generation` as offered; 0: without a group. */
    int (*assign)(BridgeClient *client, uint64_t generation, const ClientPartition *partitions, size_t count, Error *error);
    int (*seek)(BridgeClient *client, size_t index, int64_t offset, Error *error); /* of a paused partition too, which stays paused */
    int (*pause)(BridgeClient *client, size_t index, Error *error);
    int (*resume)(BridgeClient *client, size_t index, Error *error);
    /* As of the last fetch; -1: not known. */
    void (*bounds)(const BridgeClient *client, size_t index, int64_t *ret_first, int64_t *ret_end);
    /* For lag tools only: waits for nothing. */
    void (*commit)(BridgeClient *client, const ClientPartition *offsets, size_t count);
    /* The records are committed here. NULL: of a client that does not ack. false: not connected;
     * they come again. */
    bool (*ack)(BridgeClient *client, const Span *tokens, size_t count);
    /* They are still worked on: the broker shall wait. NULL: of a client that does not ack. */
    void (*working)(BridgeClient *client, const Span *tokens, size_t count);
    /* They are not worked on any more: the broker shall hand them out again, soon. May be NULL. */
    void (*give_back)(BridgeClient *client, const Span *tokens, size_t count);
    /* All up to this offset is acknowledged at the broker, as it said lately; -1: not known. NULL:
     * of a client that does not ack. */
    int64_t (*acked)(const BridgeClient *client);
} BridgeClientType;
enum { CLIENT_ASSIGN_STALE = 1 };

extern const BridgeClientType bridge_client_kafka, bridge_client_nats, bridge_client_nats_durable;
/* Which one a source has: by its kind and its definition. NULL: it reads no broker. */
const BridgeClientType *bridge_client_of(const Source *source);
