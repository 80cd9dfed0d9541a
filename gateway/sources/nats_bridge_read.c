#include "gateway/sources/nats_bridge_parts.h"

#include <errno.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "gateway/sources/nats_token.h"
#include "mapping/headers.h"

#define LOOK_IDLE USEC_SECOND         /* how often a quiet stream is looked at */
#define LOOK_SOON (200 * USEC_MS)     /* and one that should have more */
#define LOOK_BUSY (2 * USEC_SECOND)   /* and one that gives messages */
#define LOOK_GAP (50 * USEC_MS)       /* not so soon again because of a gap in its sequences */
#define LOOK_BEYOND (500 * USEC_MS)   /* and one that has less than was read */
#define BEYOND_LOOKS 3                /* in a row: a leader that is new may not know the last messages for a moment */
#define COUNT_AGAIN (2 * USEC_SECOND) /* and how often its messages are counted */
#define TRY_AGAIN (500 * USEC_MS)     /* how long a server has to refuse a request for messages again */
#define BYTES_MAX ((uint64_t)4 << 20) /* of messages on their way, a request; there are two */

void nats_bridge_close_consumer(BridgeClient *bridge) {
    nats_consumer_close(steal(bridge->consumer));
    bridge->was_first = false;
}

static ClientEventKind made_anew(BridgeClient *bridge, ClientEvent *ret_event) {
    (void)error_set(&ret_event->error, -ESTALE, "Connection \"%s\": the stream \"%s\" was created again.", bridge->connection,
                    bridge->stream);
    return nats_bridge_end(bridge, SINK_FAULT_TOPIC, ret_event);
}

static ClientEventKind out_of_range(BridgeClient *bridge, ClientEvent *ret_event) {
    nats_bridge_close_consumer(bridge);
    bridge->out = true;
    ret_event->index = NATS_PART;
    ret_event->offset = bridge->next;
    return CLIENT_OUT_OF_RANGE;
}

ClientEventKind nats_bridge_look(BridgeClient *bridge, ClientEvent *ret_event) {
    NatsStream found;
    Error error = {0};
    NatsResult result = nats_client_stream(bridge->client, bridge->stream, &found, &error);
    bridge->looked_at = nats_bridge_now();
    bridge->look_at = bridge->looked_at + LOOK_IDLE;
    if (result != NATS_RESULT_DONE) return nats_bridge_tell(bridge, result, &error, ret_event);
    if (bridge->is_known && found.created_nsec != bridge->known.created_nsec) return made_anew(bridge, ret_event);
    bridge->known = found;
    bridge->is_known = true;
    return CLIENT_NOTHING;
}

/* Did the stream lose what is to be read next? When nothing is on its way. */
static bool is_cut(const BridgeClient *bridge) {
    return !bridge->acks && bridge->next > 0 && bridge->known.first_sequence > (uint64_t)bridge->next;
}

/* Has it less than was read? */
static bool is_beyond(BridgeClient *bridge) {
    bool beyond = !bridge->acks && bridge->next > 0 && bridge->known.last_sequence + 1 < (uint64_t)bridge->next;
    bridge->beyond = beyond ? bridge->beyond + 1 : 0;
    if (beyond) bridge->retry_at = bridge->look_at = bridge->looked_at + LOOK_BEYOND;
    return bridge->beyond >= BEYOND_LOOKS;
}

/* ---- reading ---- */

static ClientEventKind open_consumer(BridgeClient *bridge, ClientEvent *ret_event) {
    NatsConsumerOptions options = {.stream = bridge->stream,
                                   .durable = bridge->durable,
                                   .subject = bridge->subject,
                                   .batch = bridge->batch,
                                   .bytes_max = BYTES_MAX,
                                   .ack_wait = bridge->ack_wait};
    if (bridge->next >= 0) {
        options.start = NATS_START_SEQUENCE;
        options.sequence = bridge->next > 0 ? (uint64_t)bridge->next : 1;
    } else {
        switch (bridge->start.kind) {
        case BRIDGE_START_EARLIEST: options.start = NATS_START_ALL; break;
        case BRIDGE_START_LATEST: options.start = NATS_START_NEW; break;
        case BRIDGE_START_TIME:
            options.start = NATS_START_TIME;
            options.time_nsec = bridge->start.time * 1000;
            break;
        case BRIDGE_START_SEQUENCE:
            options.start = NATS_START_SEQUENCE;
            options.sequence = bridge->start.sequence;
            break;
        }
    }
    Error error = {0};
    NatsResult result = nats_consumer_open(bridge->client, &options, &bridge->consumer, &error);
    if (result == NATS_RESULT_DONE) return CLIENT_NOTHING;
    return nats_bridge_tell(bridge, result, &error, ret_event);
}

static ClientEventKind give_end(BridgeClient *bridge, int64_t offset, ClientEvent *ret_event) {
    if (bridge->end_given == offset) return CLIENT_NOTHING;
    bridge->end_given = offset;
    if (!bridge->acks) bridge->next = offset;
    bridge->said[0] = '\0';
    ret_event->index = NATS_PART;
    ret_event->offset = offset;
    return CLIENT_END;
}

/* While messages come: what the stream has, and what is acked. Its failures are left to the next
 * look. */
static ClientEventKind look_aside(BridgeClient *bridge, ClientEvent *ret_event) {
    NatsStream found;
    NatsConsumerInfo info;
    bridge->looked_at = nats_bridge_now();
    bridge->remade = nats_consumer_counts(bridge->consumer).remade;
    if (nats_client_stream(bridge->client, bridge->stream, &found, NULL) != NATS_RESULT_DONE) return CLIENT_NOTHING;
    if (bridge->is_known && found.created_nsec != bridge->known.created_nsec) return made_anew(bridge, ret_event);
    bridge->known = found;
    bridge->is_known = true;
    if (bridge->acks && nats_consumer_info(bridge->consumer, &info, NULL) == NATS_RESULT_DONE)
        bridge->acked = (int64_t)info.acked_stream_sequence;
    return CLIENT_NOTHING;
}

static void take_headers(BridgeClient *bridge, ClientRecord *record) {
    const NatsMessage *message = bridge->message;
    for (size_t i = 0; i < message->header_count; i++) {
        EventHeader header = {.name = span_of(message->headers[i].name), .value = span_of(message->headers[i].value)};
        if (header_is_secret(header.name)) continue;
        array_reserve(bridge->headers, record->header_count, bridge->header_capacity);
        bridge->headers[record->header_count++] = header;
    }
    record->headers = bridge->headers;
}

static void make_token(BridgeClient *bridge, ClientRecord *record) {
    const NatsDelivery *delivery = &bridge->message->delivery;
    bool first = delivery->delivered == 1;
    bool follows = bridge->was_first && delivery->consumer_sequence == bridge->consumer_sequence + 1 &&
                   delivery->stream_sequence > bridge->sequence;
    SeenMessage seen = {.sequence = delivery->stream_sequence, .time_nsec = delivery->time_nsec};
    if (first) seen.order = bridge->order += follows ? 1 : 2;
    bridge->was_first = first;
    bridge->consumer_sequence = delivery->consumer_sequence;
    bridge->sequence = delivery->stream_sequence;
    buffer_clear(&bridge->token);
    nats_token_put(&seen, bridge->message->reply, &bridge->token);
    record->token = buffer_span(&bridge->token);
}

static ClientEventKind give_record(BridgeClient *bridge, ClientEvent *ret_event) {
    const NatsMessage *message = bridge->message;
    const NatsDelivery *delivery = &message->delivery;
    ClientRecord *record = &ret_event->record;
    *record = (ClientRecord){.offset = (int64_t)delivery->stream_sequence,
                             .timestamp = delivery->time_nsec / 1000,
                             .value = message->data.data ? message->data : SPAN(""),
                             .subject = span_of(message->subject)};
    take_headers(bridge, record);
    if (bridge->acks)
        make_token(bridge, record);
    else
        bridge->next = record->offset + 1;
    bridge->end_given = -1;
    bridge->said[0] = '\0';
    if (bridge->known.last_sequence < delivery->stream_sequence) bridge->known.last_sequence = delivery->stream_sequence;
    ret_event->index = NATS_PART;
    ret_event->offset = record->offset;
    return CLIENT_RECORD;
}

/* Before a message is given: is it of the stream that is known, and did that lose something before
 * it? */
static ClientEventKind evaluate_message(BridgeClient *bridge, ClientEvent *ret_event) {
    uint64_t sequence = bridge->message->delivery.stream_sequence, next = bridge->next > 0 ? (uint64_t)bridge->next : 1;
    usec_t since = nats_bridge_now() - bridge->looked_at;
    bool remade = bridge->remade != nats_consumer_counts(bridge->consumer).remade, gap = !bridge->acks && sequence > next;
    bool looks = remade || (gap && nats_bridge_now() - bridge->gap_at >= LOOK_GAP) || since >= (bridge->acks ? LOOK_IDLE : LOOK_BUSY);
    if (!looks) return CLIENT_NOTHING;
    if (gap) bridge->gap_at = nats_bridge_now();
    ClientEventKind kind = look_aside(bridge, ret_event);
    return kind == CLIENT_NOTHING && gap && is_cut(bridge) ? out_of_range(bridge, ret_event) : kind;
}

static ClientEventKind take_message(BridgeClient *bridge, ClientEvent *ret_event) {
    bool known = !bridge->acks && (int64_t)bridge->message->delivery.stream_sequence < bridge->next;
    ClientEventKind kind = known ? CLIENT_NOTHING : evaluate_message(bridge, ret_event);
    if (!known && kind == CLIENT_NOTHING) return give_record(bridge, ret_event);
    nats_message_free(steal(bridge->message));
    return kind;
}

/* Without a durable. Messages of other subjects may be all that is there, or what was deleted: the
 * stream is asked. */
static ClientEventKind look_for_more(BridgeClient *bridge, ClientEvent *ret_event) {
    uint64_t next = bridge->next > 0 ? (uint64_t)bridge->next : 1, end = bridge->known.last_sequence + 1, count = 0;
    /* What was sent before the answer is here by now, and may be gone from the stream. */
    if (nats_consumer_next(bridge->consumer, 0, &bridge->message, NULL) == NATS_NEXT_MESSAGE) return take_message(bridge, ret_event);
    if (is_cut(bridge) || is_beyond(bridge)) return out_of_range(bridge, ret_event);
    if (bridge->beyond > 0) return CLIENT_NOTHING;
    if (end <= next) return give_end(bridge, bridge->next, ret_event);
    if (nats_bridge_now() < bridge->count_at) return CLIENT_NOTHING;
    bridge->count_at = nats_bridge_now() + COUNT_AGAIN;
    NatsResult result = nats_client_count(bridge->client, bridge->stream, bridge->subject, next, &count, NULL);
    /* `end` was asked for before: what came since then is counted as well. */
    if (nats_consumer_next(bridge->consumer, 0, &bridge->message, NULL) == NATS_NEXT_MESSAGE) return take_message(bridge, ret_event);
    return result == NATS_RESULT_DONE && count == 0 ? give_end(bridge, (int64_t)end, ret_event) : CLIENT_NOTHING;
}

/* Nothing came: is there nothing? */
static ClientEventKind look_for_end(BridgeClient *bridge, ClientEvent *ret_event) {
    ClientEventKind kind = nats_bridge_look(bridge, ret_event);
    if (kind != CLIENT_NOTHING || bridge->stopped || bridge->retry_at > nats_bridge_now()) return kind;
    if (!bridge->acks) {
        if (bridge->end_given < 0) bridge->look_at = bridge->looked_at + LOOK_SOON;
        return look_for_more(bridge, ret_event);
    }
    NatsConsumerInfo info;
    if (nats_consumer_info(bridge->consumer, &info, NULL) != NATS_RESULT_DONE) return CLIENT_NOTHING; /* the next request says why */
    bridge->acked = (int64_t)info.acked_stream_sequence;
    bool all_acked = info.pending == 0 && info.ack_pending == 0;
    return all_acked ? give_end(bridge, (int64_t)bridge->known.last_sequence + 1, ret_event) : CLIENT_NOTHING;
}

static ClientEventKind consumer_gone(BridgeClient *bridge, ClientEvent *ret_event) {
    nats_bridge_close_consumer(bridge);
    ClientEventKind kind = nats_bridge_look(bridge, ret_event);
    if (kind != CLIENT_NOTHING || bridge->stopped || !bridge->acks) return kind;
    /* It is made again behind what was acked, wherever the definition would have it begin. */
    if (bridge->acked > 0 && bridge->next <= bridge->acked) bridge->next = bridge->acked + 1;
    Error error = {0};
    (void)error_set(&error, -ENOENT, "Connection \"%s\": the consumer \"%s\" of stream \"%s\" was deleted. It is created again.",
                    bridge->connection, bridge->durable, bridge->stream);
    return nats_bridge_pass(bridge, SINK_FAULT_TOPIC, &error, ret_event);
}

ClientEventKind nats_bridge_read(BridgeClient *bridge, usec_t wait, ClientEvent *ret_event) {
    Error error = {0};
    switch (nats_consumer_next(bridge->consumer, wait, &bridge->message, &error)) {
    case NATS_NEXT_MESSAGE: return take_message(bridge, ret_event);
    case NATS_NEXT_QUIET: return nats_bridge_now() >= bridge->look_at ? look_for_end(bridge, ret_event) : CLIENT_NOTHING;
    case NATS_NEXT_DOWN: return nats_bridge_not_connected(bridge, ret_event);
    case NATS_NEXT_GONE: return consumer_gone(bridge, ret_event);
    case NATS_NEXT_REFUSED:
        return nats_bridge_tell(bridge, error.code == -EPERM ? NATS_RESULT_NO_RIGHTS : NATS_RESULT_REFUSED, &error, ret_event);
    }
    unreachable();
}

/* A consumer where reading goes on, if the stream still has that. */
ClientEventKind nats_bridge_begin_reading(BridgeClient *bridge, ClientEvent *ret_event) {
    ClientEventKind kind = nats_bridge_look(bridge, ret_event);
    if (kind != CLIENT_NOTHING || bridge->retry_at > nats_bridge_now()) return kind;
    if (is_cut(bridge) || is_beyond(bridge)) return out_of_range(bridge, ret_event);
    if (bridge->beyond > 0) return CLIENT_NOTHING;
    kind = open_consumer(bridge, ret_event);
    bridge->look_at = 0;
    bridge->remade = 0;
    return kind;
}

/* Is the trouble over? Then all begins anew, with a client that knows nothing of it. */
ClientEventKind nats_bridge_try_again(BridgeClient *bridge, ClientEvent *ret_event) {
    Error error = {0};
    NatsMessage *message = NULL;
    ClientEventKind kind = bridge->consumer ? nats_bridge_look(bridge, ret_event) : nats_bridge_begin_reading(bridge, ret_event);
    if (kind != CLIENT_NOTHING || !bridge->consumer || bridge->retry_at > nats_bridge_now()) return kind;
    NatsNext next = nats_consumer_next(bridge->consumer, TRY_AGAIN, &message, &error);
    nats_message_free(message);
    if (next == NATS_NEXT_REFUSED)
        return nats_bridge_tell(bridge, error.code == -EPERM ? NATS_RESULT_NO_RIGHTS : NATS_RESULT_REFUSED, &error, ret_event);
    if (next == NATS_NEXT_GONE) return consumer_gone(bridge, ret_event);
    if (next == NATS_NEXT_DOWN) return CLIENT_NOTHING;
    (void)error_set(&ret_event->error, -EAGAIN, "Connection \"%s\": the stream \"%s\" can be read again.", bridge->connection,
                    bridge->stream);
    return nats_bridge_end(bridge, SINK_FAULT_OTHER, ret_event);
}
