/* Names, subjects and states of JetStream, as far as they can be evaluated without a server. Pure;
 * any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

#define NATS_SERVERS_MAX 32

/* Walks the URLs of a connection's "servers"; spaces around them are left out. */
typedef struct NatsServers {
    const char *rest; /* in: the text; NULL: at the end */
    Span url;         /* out */
} NatsServers;
bool nats_servers_next(NatsServers *servers);

/* What the reply subject of a message from a consumer says about it. */
typedef struct NatsDelivery {
    Span stream;
    Span consumer;
    uint64_t delivered;         /* how often this message was delivered, this time included: 1 and more */
    uint64_t stream_sequence;   /* 1 and more */
    uint64_t consumer_sequence; /* 1 and more: of deliveries, so that one without others before it follows the last by 1 */
    int64_t time_nsec;          /* since 1970: when the stream took it */
    uint64_t pending;           /* messages of the consumer's subjects behind it */
} NatsDelivery;

/* "$JS.ACK..." of 9 tokens, or of 11 and more: with a domain and a hash of the account. The spans
 * point into `reply`. */
bool nats_subject_parse(Span reply, NatsDelivery *ret_delivery);
bool nats_subject_is_ack(Span reply); /* does it begin as one? */

/* A stream, as its information says. A sequence is given once, so first > last when it is empty. */
typedef struct NatsStream {
    int64_t created_nsec;    /* since 1970: a stream of the same name that was made anew has another one */
    uint64_t first_sequence; /* of the oldest message that is there, or would be the next */
    uint64_t last_sequence;  /* of the newest that ever was */
    uint64_t messages;
    bool keeps_messages; /* its retention is by limits: what is acked stays */
} NatsStream;

typedef enum NatsStreamChange {
    NATS_STREAM_GOES_ON,
    NATS_STREAM_CUT,  /* messages from `next` on are gone: a purge, its limits, or somebody deleted them */
    NATS_STREAM_ANEW, /* it was made anew, or restored to an older state: its sequences mean something else */
} NatsStreamChange;

/* `next`: the sequence behind the last message that was read; 0: nothing was read. */
NatsStreamChange nats_stream_change(const NatsStream *before, const NatsStream *now, uint64_t next);
