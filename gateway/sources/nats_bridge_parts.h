/* The inside of a client of a source of type nats, shared by the files nats_bridge*.c. All on its
 * thread. */
#pragma once

#include "base/buffer.h"
#include "config/source_bridge.h"
#include "gateway/sources/nats_bridge.h"
#include "sinks/nats.h"

#define NATS_PART 0 /* the one index */

struct BridgeClient {
    NatsClient *client;
    const SinkPatience *patience; /* of the bridge */
    SinkPatience limits;          /* and the end of the present call */
    usec_t call_end;

    /* the definition; the texts are owned */
    char *stream, *subject, *durable, *cluster, *connection;
    char name[160]; /* of the client, as the server shows it */
    BridgeStart start;
    uint32_t batch;
    usec_t ack_wait;
    bool acks;

    /* the stream */
    NatsStream known;
    bool is_known;
    usec_t looked_at, look_at; /* boot: last, and when it is quiet next */
    usec_t gap_at;             /* boot: when it was looked at because of a gap */
    uint64_t connects;         /* as of the last look */
    unsigned beyond;           /* looks in a row that found less than was read */

    /* what is read */
    bool assigned, paused, out;
    int64_t next;      /* offset; of a client that acks: where a consumer that is made begins, -1: as the definition says */
    int64_t end_given; /* the last END; -1: none since the last record or seek */
    usec_t count_at;   /* boot: not before */
    NatsConsumer *consumer;
    uint64_t remade; /* as of the last look */
    usec_t retry_at; /* boot: it is opened, or asked again */
    int64_t acked;

    /* the record that was handed out */
    NatsMessage *message;
    EventHeader *headers;
    size_t header_capacity;
    Buffer token;
    /* of the message before, for SeenMessage.order */
    bool was_first;
    uint64_t order, consumer_sequence, sequence;

    /* what was said */
    char said[sizeof(((Error *)NULL)->text)];
    usec_t said_at;
    bool stopped; /* PARTITION_TROUBLE: it ends when that is over */
    bool is_over;
};

static inline usec_t nats_bridge_now(void) {
    return clock_system()->boot(clock_system());
}

/* ---- nats_bridge.c ---- */
void nats_bridge_rest(const BridgeClient *bridge, usec_t wait);
/* The present call ends then at the latest. */
void nats_bridge_begin(BridgeClient *bridge, usec_t limit);
bool nats_bridge_call_is_over(void *bridge);

/* ---- nats_bridge_trouble.c: the event that a failure is, or CLIENT_NOTHING: it was said ---- */
SinkFault nats_bridge_fault(BridgeClient *bridge, NatsResult result);
ClientEventKind nats_bridge_pass(BridgeClient *bridge, SinkFault fault, const Error *error, ClientEvent *ret_event);
ClientEventKind nats_bridge_tell(BridgeClient *bridge, NatsResult result, const Error *error, ClientEvent *ret_event);
ClientEventKind nats_bridge_not_connected(BridgeClient *bridge, ClientEvent *ret_event);
/* It is of no use any more; the error is set. */
ClientEventKind nats_bridge_end(BridgeClient *bridge, SinkFault fault, ClientEvent *ret_event);

/* ---- nats_bridge_read.c ---- */
/* Asks what the stream has. CLIENT_NOTHING: it is there, as before, or it cannot be asked until
 * retry_at. */
ClientEventKind nats_bridge_look(BridgeClient *bridge, ClientEvent *ret_event);
ClientEventKind nats_bridge_begin_reading(BridgeClient *bridge, ClientEvent *ret_event); /* makes the consumer */
ClientEventKind nats_bridge_read(BridgeClient *bridge, usec_t wait, ClientEvent *ret_event);
/* Is what stopped it over? Then the client ends, so that all begins anew. */
ClientEventKind nats_bridge_try_again(BridgeClient *bridge, ClientEvent *ret_event);
void nats_bridge_close_consumer(BridgeClient *bridge);

/* ---- nats_bridge_topics.c: as in BridgeClientType ---- */
int nats_bridge_topics(BridgeClient *bridge, Arena *arena, usec_t limit, ClientTopics *ret_topics, SinkFault *ret_fault, Error *error);
int nats_bridge_offsets(BridgeClient *bridge, ClientOffset *offsets, size_t count, usec_t limit, Error *error);
/* Of an offset that may be before the first message, or behind the end: the next one that is
 * not. */
uint64_t nats_bridge_within(const NatsStream *stream, uint64_t sequence);
