#include "gateway/sources/nats_bridge_parts.h"

#include <errno.h>
#include <string.h>

static NatsResult ask_stream(BridgeClient *bridge, usec_t limit, NatsStream *ret_stream, Error *error) {
    nats_bridge_begin(bridge, limit);
    for (;;) {
        NatsResult result = nats_client_stream(bridge->client, bridge->stream, ret_stream, error);
        if (result != NATS_RESULT_RETRY || nats_bridge_call_is_over(bridge)) return result;
        nats_bridge_rest(bridge, SINK_PATIENCE_TURN);
    }
}

int nats_bridge_topics(BridgeClient *bridge, Arena *arena, usec_t limit, ClientTopics *ret_topics, SinkFault *ret_fault, Error *error) {
    NatsStream stream;
    NatsResult result = ask_stream(bridge, limit, &stream, error);
    SinkFault fault = nats_bridge_fault(bridge, result);
    if (result != NATS_RESULT_DONE && result != NATS_RESULT_MISSING && result != NATS_RESULT_NO_RIGHTS) {
        *ret_fault = fault;
        return error && error->code < 0 ? error->code : -EIO;
    }
    ClientTopic *topic = arena_alloc(arena, sizeof *topic);
    *topic = (ClientTopic){.name = arena_copy(arena, span_of(bridge->stream)), .fault = fault};
    if (result == NATS_RESULT_DONE) {
        char id[NATS_TIME_SIZE];
        nats_put_time(stream.created_nsec, id);
        topic->partition_count = 1;
        topic->topic_id = arena_copy(arena, span_of(id));
        bridge->known = stream;
        bridge->is_known = true;
    }
    *ret_topics = (ClientTopics){.items = topic, .count = 1, .cluster = arena_copy(arena, span_of(bridge->cluster))};
    return 0;
}

uint64_t nats_bridge_within(const NatsStream *stream, uint64_t sequence) {
    uint64_t first = stream->first_sequence > 0 ? stream->first_sequence : 1, end = stream->last_sequence + 1;
    return sequence < first ? first : sequence > end ? end : sequence;
}

static int64_t nsec_of(int64_t time, int64_t unit) {
    return time < 0 ? 0 : time < INT64_MAX / unit ? time * unit : INT64_MAX;
}

static NatsResult find_offset(BridgeClient *bridge, const NatsStream *stream, ClientOffset *offset, Error *error) {
    ClientWhen when = offset->when;
    int64_t nsec = nsec_of(offset->time, 1000000);
    uint64_t sequence = 0;
    if (when == CLIENT_START && bridge->acks) when = CLIENT_EARLIEST; /* its consumer knows: to ask would need another right */
    if (when == CLIENT_START) {
        const BridgeStart *start = offset->start ? offset->start : &bridge->start;
        when = start->kind == BRIDGE_START_EARLIEST ? CLIENT_EARLIEST : start->kind == BRIDGE_START_TIME ? CLIENT_AT_TIME : CLIENT_LATEST;
        nsec = nsec_of(start->time, 1000);
        if (start->kind == BRIDGE_START_SEQUENCE) {
            offset->offset = (int64_t)nats_bridge_within(stream, start->sequence);
            return NATS_RESULT_DONE;
        }
    }
    if (when == CLIENT_AT_TIME) {
        NatsResult result = nats_client_sequence_at(bridge->client, bridge->stream, nsec, &sequence, error);
        if (result != NATS_RESULT_DONE) return result;
    }
    if (when == CLIENT_LATEST) sequence = UINT64_MAX;
    offset->offset = (int64_t)nats_bridge_within(stream, sequence);
    return NATS_RESULT_DONE;
}

int nats_bridge_offsets(BridgeClient *bridge, ClientOffset *offsets, size_t count, usec_t limit, Error *error) {
    NatsStream stream = {0};
    Error first = {0};
    NatsResult asked = count > 0 ? ask_stream(bridge, limit, &stream, &first) : NATS_RESULT_DONE;
    for (size_t i = 0; i < count; i++) {
        Error own = {0};
        bool is_ours = strcmp(offsets[i].topic, bridge->stream) == 0 && offsets[i].partition == 0;
        if (!is_ours)
            (void)error_set(&own, -ENOENT, "Connection \"%s\": \"%.100s\" has no partition %d.", bridge->connection, offsets[i].topic,
                            (int)offsets[i].partition);
        offsets[i].failed = !is_ours || asked != NATS_RESULT_DONE || find_offset(bridge, &stream, &offsets[i], &own) != NATS_RESULT_DONE;
        if (offsets[i].failed && first.code == 0) first = own;
    }
    if (first.code == 0) return 0;
    return error_set(error, first.code, "%s", first.text);
}
