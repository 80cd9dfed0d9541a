/* The token of a record of a durable consumer (ClientRecord.token): which message it is, and where
 * its ack goes. Valid as long as its bytes. */
#pragma once

#include <string.h>

#include "base/buffer.h"
#include "gateway/sources/seen_intervals.h"

static inline void nats_token_put(const SeenMessage *message, const char *reply, Buffer *out) {
    buffer_append(out, message, sizeof *message);
    buffer_append(out, reply, strlen(reply) + 1);
}

static inline SeenMessage nats_token_message(Span token) {
    SeenMessage message;
    check(token.size > sizeof message);
    memcpy(&message, token.data, sizeof message);
    return message;
}

static inline const char *nats_token_reply(Span token) {
    check(token.size > sizeof(SeenMessage) && token.data[token.size - 1] == '\0');
    return token.data + sizeof(SeenMessage);
}
