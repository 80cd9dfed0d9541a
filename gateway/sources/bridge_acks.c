/*
 * A broker that keeps what is not acknowledged: a durable consumer of JetStream. There are no
 * positions, runs or claims. What is committed is acked, and what is not comes again, so that
 * nothing is lost; nothing is doubled, since the sequences of the messages that are committed are
 * stored with their rows, in one transaction (seen_intervals.h). One Append is in flight at most: a
 * mark says what all Appends before it have stored.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "config/source_nats.h"
#include "gateway/sources/bridge_parts.h"
#include "gateway/sources/nats_token.h"

#define WORKING_EVERY (10 * USEC_SECOND) /* the broker waits for an ack for 30 s and more */

/* ---- the mark -------------------------------------------------------------------------------- */

static Span stream_id(const Bridge *bridge) {
    return span_of(bridge->world.topics[0].topic_id);
}

static Span subject_of(const Bridge *bridge) {
    const NatsSource *nats = source_nats(bridge->source->source);
    return span_of(nats && nats->subject ? nats->subject : "");
}

/* The mark of the present generation of the stream. false: it is of an earlier one, and that of the
 * next generation is asked for. */
static bool take_mark(Bridge *bridge, Span mark) {
    BridgeAcks *acks = &bridge->acks;
    const BridgeTopic *topic = &bridge->world.topics[0];
    Error error = {0};
    seen_intervals_clear(&acks->committed);
    if (mark.size == 0) return true;
    int r = seen_intervals_get(&acks->committed, mark, stream_id(bridge), subject_of(bridge), &error);
    if (r == SEEN_INTERVALS_OF_ANOTHER_STREAM) {
        topic_raise(bridge, 0, topic->generation + 1);
        return false;
    }
    if (r == SEEN_INTERVALS_OF_ANOTHER_SUBJECT)
        log_warning("source %s: another subject is read: messages that come again are stored again", bridge->id);
    if (r < 0) {
        log_failure(LOG_ERROR, "messages of a stream that come again may be stored again", &error);
        seen_intervals_clear(&acks->committed);
    }
    return true;
}

void acks_begin(Bridge *bridge, Span mark) {
    BridgeAcks *acks = &bridge->acks;
    Error error = {0};
    acks->ended_at = -1;
    if (!take_mark(bridge, mark)) return;
    int64_t first, end;
    bridge->type->bounds(bridge->client, 0, &first, &end);
    if (end >= 0) seen_intervals_cut(&acks->committed, (uint64_t)(end > 0 ? end - 1 : 0));
    acks->ready = true;
    if (acks->committed.count == 0) return;
    int r = bridge->type->seek(bridge->client, 0, (int64_t)acks->committed.items[0].last + 1, &error);
    if (r < 0) bridge_client_failed(bridge, &error);
}

void acks_end(Bridge *bridge) {
    bridge->acks.ready = false;
    seen_intervals_clear(&bridge->acks.held);
}

void acks_deinit(Bridge *bridge) {
    BridgeAcks *acks = &bridge->acks;
    seen_intervals_deinit(&acks->committed);
    seen_intervals_deinit(&acks->posted);
    seen_intervals_deinit(&acks->held);
    buffer_deinit(&acks->tokens);
    free(acks->spans);
    *acks = (BridgeAcks){0};
}

/* ---- records --------------------------------------------------------------------------------- */

bool acks_wants(Bridge *bridge, const ClientRecord *record) {
    BridgeAcks *acks = &bridge->acks;
    SeenMessage message = nats_token_message(record->token);
    int64_t limit = bridge->parts[0].limit;
    if (limit >= 0 && record->offset >= limit) return false; /* it stays at the broker */
    if (seen_intervals_has(&acks->committed, &message)) {
        (void)bridge->type->ack(bridge->client, &record->token, 1);
        return false;
    }
    /* It is on its way already. */
    if (seen_intervals_has(&acks->posted, &message) || seen_intervals_has(&acks->held, &message)) return false;
    seen_intervals_add(&acks->held, &message);
    return true;
}

static void give_back(Bridge *bridge, const Span *tokens, size_t count) {
    if (bridge->client && bridge->type->give_back) bridge->type->give_back(bridge->client, tokens, count);
}

static void give_back_all(Bridge *bridge, MicroBatch *batch) {
    const Span *tokens;
    size_t count = micro_batch_tokens(batch, &tokens);
    give_back(bridge, tokens, count);
}

void acks_give_back(Bridge *bridge) {
    if (bridge->gathered) give_back_all(bridge, bridge->gathered);
    if (bridge->has_sealed) give_back_all(bridge, bridge->sealed);
}

static void hold_all(Bridge *bridge, MicroBatch *batch) {
    const Span *tokens;
    size_t count = micro_batch_tokens(batch, &tokens);
    for (size_t i = 0; i < count; i++) {
        SeenMessage message = nats_token_message(tokens[i]);
        seen_intervals_add(&bridge->acks.held, &message);
    }
}

void acks_forgot(Bridge *bridge) {
    seen_intervals_clear(&bridge->acks.held);
    if (bridge->gathered) hold_all(bridge, bridge->gathered);
    if (bridge->has_sealed) hold_all(bridge, bridge->sealed);
}

/* ---- Appends --------------------------------------------------------------------------------- */

static void keep_tokens(BridgeAcks *acks, const Span *tokens, size_t count) {
    buffer_clear(&acks->tokens);
    for (size_t i = 0; i < count; i++) buffer_append_span(&acks->tokens, tokens[i]);
    free(acks->spans);
    acks->spans = calloc(count + 1, sizeof *acks->spans);
    check(acks->spans);
    const char *at = acks->tokens.data;
    for (size_t i = 0; i < count; i++, at += tokens[i - 1].size) acks->spans[i] = (Span){at, tokens[i].size};
    acks->span_count = count;
}

bool acks_made(Bridge *bridge, Append *append) {
    BridgeAcks *acks = &bridge->acks;
    const Span *tokens;
    size_t count = micro_batch_left_tokens(bridge->sealed, &tokens);
    give_back(bridge, tokens, count);
    count = micro_batch_tokens(bridge->sealed, &tokens);
    if (!append) { /* nothing came of them */
        (void)bridge->type->ack(bridge->client, tokens, count);
        return true;
    }
    check(acks->span_count == 0);
    seen_intervals_copy(&acks->posted, &acks->committed);
    for (size_t i = 0; i < count; i++) {
        SeenMessage message = nats_token_message(tokens[i]);
        seen_intervals_add(&acks->posted, &message);
    }
    int64_t floor = bridge->type->acked(bridge->client);
    if (floor > 0) seen_intervals_join(&acks->posted, (uint64_t)floor);
    if (seen_intervals_is_full(&acks->posted)) { /* far more messages are on their way than the broker should allow */
        seen_intervals_clear(&acks->posted);
        give_back(bridge, tokens, count);
        return false;
    }
    Buffer mark = {0};
    seen_intervals_put(&acks->posted, stream_id(bridge), subject_of(bridge), &mark);
    append->mark = (Span){arena_copy(&append->arena, buffer_span(&mark)), mark.size};
    buffer_deinit(&mark);
    keep_tokens(acks, tokens, count);
    return true;
}

void acks_append_back(Bridge *bridge, bool done) {
    BridgeAcks *acks = &bridge->acks;
    if (done && acks->ready) {
        SeenIntervals before = acks->committed;
        acks->committed = acks->posted;
        acks->posted = before;
    }
    if (done && bridge->client) (void)bridge->type->ack(bridge->client, acks->spans, acks->span_count);
    if (!done) give_back(bridge, acks->spans, acks->span_count);
    seen_intervals_clear(&acks->posted);
    acks->span_count = 0;
}

/* ---- time ------------------------------------------------------------------------------------ */

static void tell_working(Bridge *bridge, MicroBatch *batch) {
    const Span *tokens;
    size_t count = micro_batch_tokens(batch, &tokens);
    bridge->type->working(bridge->client, tokens, count);
}

void acks_step(Bridge *bridge, usec_t now) {
    BridgeAcks *acks = &bridge->acks;
    if (bridge->phase != BRIDGE_READING) return;
    int64_t floor = bridge->type->acked(bridge->client);
    if (floor > 0) seen_intervals_join(&acks->committed, (uint64_t)floor);
    for (size_t i = 0; i < bridge->sink_count; i++) {
        int64_t position = floor + 1 > acks->ended_at ? floor + 1 : acks->ended_at;
        bridge->parts[0].slots[i].position = position > 0 ? position : -1;
    }
    if (now - acks->working_at < WORKING_EVERY) return;
    acks->working_at = now;
    tell_working(bridge, bridge->gathered);
    if (bridge->has_sealed) tell_working(bridge, bridge->sealed);
    bridge->type->working(bridge->client, acks->spans, acks->span_count);
}

bool acks_are_through(const Bridge *bridge) {
    int64_t limit = bridge->parts[0].limit, floor = bridge->type->acked(bridge->client);
    return bridge->acks.span_count == 0 && (bridge->acks.ended_at >= limit || floor + 1 >= limit);
}
