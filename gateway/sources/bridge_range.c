/*
 * Offsets that the broker does not have: below its earliest one, since it has removed records that
 * were not read; or above its end, since a topic was made anew or lost its end. Reading never goes
 * on by itself where it would leave something out without a word.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "gateway/delivery/positions_job.h"
#include "gateway/flow/partition_key.h"
#include "gateway/sources/bridge_parts.h"

void range_out(Bridge *bridge, size_t part) {
    bridge->parts[part].range_at = 0;
    flow_forget(bridge, part);
    part_hold(bridge, part, HOLD_RANGE);
}

static int ask(Bridge *bridge, const BridgePart *part, int64_t *ret_earliest, int64_t *ret_end, Error *error) {
    const char *topic = bridge->world.topics[part->topic].name;
    ClientOffset offsets[2] = {{.topic = topic, .partition = part->partition, .when = CLIENT_EARLIEST},
                               {.topic = topic, .partition = part->partition, .when = CLIENT_LATEST}};
    int r = bridge->type->offsets(bridge->client, offsets, 2, BRIDGE_ASK_LIMIT, error);
    *ret_earliest = offsets[0].offset;
    *ret_end = offsets[1].offset;
    return r;
}

/* Is it another topic than the one that was found? Partitions of a topic never become fewer. */
static bool is_another(const BridgeTopic *topic, const ClientTopic *found) {
    if (topic->topic_id && found->topic_id) return strcmp(topic->topic_id, found->topic_id) != 0;
    return found->partition_count < topic->partition_count;
}

static bool is_anew(Bridge *bridge, const BridgeTopic *topic) {
    Arena arena = {0};
    ClientTopics found = {0};
    SinkFault fault;
    Error error = {0};
    bool anew = false;
    if (topic->topic_id && bridge->type->topics(bridge->client, &arena, BRIDGE_ASK_LIMIT, &found, &fault, &error) == 0)
        for (size_t i = 0; i < found.count; i++)
            anew = anew || (strcmp(found.items[i].name, topic->name) == 0 && found.items[i].topic_id && is_another(topic, &found.items[i]));
    arena_deinit(&arena);
    return anew;
}

static const ClientTopic *find_topic(const ClientTopics *topics, const char *name) {
    for (size_t i = 0; i < topics->count; i++)
        if (strcmp(topics->items[i].name, name) == 0) return &topics->items[i];
    return NULL;
}

static int check_topics(const Bridge *bridge, const ClientTopics *found, const char **ret_topic, Error *error) {
    for (size_t i = 0; i < bridge->world.topic_count; i++) {
        const BridgeTopic *topic = &bridge->world.topics[i];
        const ClientTopic *now = find_topic(found, topic->name);
        if (!now || now->partition_count == 0)
            return error_set(error, -ENOENT, now && now->fault == SINK_FAULT_RIGHTS ? "\"%s\" may not be read" : "there is no \"%s\"",
                             topic->name);
        if (!is_another(topic, now)) continue;
        *ret_topic = topic->name;
        return RANGE_ANEW;
    }
    return 0;
}

/* Of topics without an id: an end that went back says the same, unless more was written since. */
static int check_ends(Bridge *bridge, const char **ret_topic, Error *error) {
    size_t count = 0;
    ClientOffset *offsets = calloc(bridge->part_count + 1, sizeof *offsets);
    check(offsets);
    for (size_t i = 0; i < bridge->part_count; i++) {
        const BridgeTopic *topic = &bridge->world.topics[bridge->parts[i].topic];
        if (!topic->topic_id)
            offsets[count++] = (ClientOffset){.topic = topic->name, .partition = bridge->parts[i].partition, .when = CLIENT_LATEST};
    }
    int r = count > 0 ? bridge->type->offsets(bridge->client, offsets, count, BRIDGE_ASK_LIMIT, error) : 0;
    for (size_t i = 0, at = 0; i < bridge->part_count && r == 0; i++) {
        const BridgeTopic *topic = &bridge->world.topics[bridge->parts[i].topic];
        if (topic->topic_id || offsets[at++].offset >= bridge->parts[i].limit) continue;
        *ret_topic = topic->name;
        r = RANGE_ANEW;
    }
    free(offsets);
    return r;
}

int range_check(Bridge *bridge, const char **ret_topic, Error *error) {
    Arena arena = {0};
    ClientTopics found = {0};
    SinkFault fault;
    int r = bridge->type->topics(bridge->client, &arena, BRIDGE_ASK_LIMIT, &found, &fault, error);
    if (r == 0) r = check_topics(bridge, &found, ret_topic, error);
    arena_deinit(&arena);
    return r == 0 ? check_ends(bridge, ret_topic, error) : r;
}

static void beyond_end(Bridge *bridge, size_t part, int64_t at, int64_t end) {
    const BridgeTopic *topic = &bridge->world.topics[bridge->parts[part].topic];
    Error error = {0};
    if (is_anew(bridge, topic)) {
        (void)error_set(&error, -ESTALE, "\"%s\" was created again", topic->name);
        bridge_client_failed(bridge, &error); /* a claim finds that it has another id */
        return;
    }
    if (bridge->replaces) { /* a run has no positions that somebody could set */
        replace_anew(bridge, topic->name);
        return;
    }
    (void)error_set(&error, -ERANGE,
                    "the next offset is %" PRId64 ", and the partition ends at %" PRId64
                    ": the topic was created again or has lost records; set the position with seek",
                    at, end);
    part_stop(bridge, part, "positionBeyondEnd", at, error.text);
    part_release(bridge, part, HOLD_RANGE); /* after the stop, which goes on holding it: a client that fails to resume it drops it */
}

static void tell_lost(Bridge *bridge, size_t part, int64_t at, int64_t earliest) {
    BridgePart *of = &bridge->parts[part];
    if (of->range_told) return;
    uint64_t lost = (uint64_t)(earliest - at);
    of->range_told = true;
    of->lost += lost;
    bridge->lost += lost;
    bridge->status_at = 0;
    log_error("source %s: partition %d of \"%s\": the broker has removed %" PRIu64 " records, from offset %" PRId64
              " on, before they were read",
              bridge->id, of->partition, bridge->world.topics[of->topic].name, lost, at);
}

/* The sink's position is set behind the gap, if it is still where it was read. */
static void post_seek(Bridge *bridge, size_t part, size_t sink, int64_t earliest) {
    const BridgeSink *of = &bridge->sinks[sink];
    ImportPosition position = {
        .key = partition_key_of(&bridge->micro[part].key),
        .found = true,
        .read = bridge->parts[part].slots[sink].position,
        .next = earliest,
    };
    SeekContext *context = calloc(1, sizeof *context);
    check(context);
    *context = (SeekContext){
        .epoch = bridge->epoch, .sink = sink, .number = of->sink->number, .of_range = true, .part = part, .offset = earliest};
    bridge->parts[part].range_out++;
    bridge_post_job(bridge,
                    seek_job_new(&of->sink->target, of->label, of->sink->number, &position, 1, false, true, bridge->mailbox, context));
}

/* Sinks behind the gap: what waits of them is imported first, since it goes up to it. */
static void below_earliest(Bridge *bridge, size_t part, int64_t earliest) {
    BridgePart *of = &bridge->parts[part];
    bool waits = false;
    for (size_t i = 0; i < bridge->sink_count; i++) {
        int64_t next = *bridge_next(bridge, part, i);
        if (next < 0 || next >= earliest) continue;
        if (of->slots[i].position == next) {
            post_seek(bridge, part, i, earliest);
        } else {
            claims_look(bridge, i, LOOK_POSITION);
            waits = true;
        }
    }
    if (waits) bridge_close_files(bridge);
}

static void look(Bridge *bridge, size_t part, usec_t now) {
    BridgePart *of = &bridge->parts[part];
    Error error = {0};
    int64_t earliest, end, least = bridge_min(bridge->micro[part].next, bridge->sink_count);
    of->range_at = now + BRIDGE_AGAIN;
    if (least < 0) return; /* it joins later */
    int r = ask(bridge, of, &earliest, &end, &error);
    if (r < 0) {
        if (r != -ECANCELED) bridge_trouble(bridge, &error);
    } else if (least > end) {
        beyond_end(bridge, part, least, end);
    } else if (least < earliest) {
        tell_lost(bridge, part, least, earliest);
        below_earliest(bridge, part, earliest);
    } else {
        of->range_told = false;
        uint64_t epoch = bridge->epoch;
        part_read_from(bridge, part, least);
        if (epoch == bridge->epoch) part_release(bridge, part, HOLD_RANGE);
    }
}

void range_step(Bridge *bridge, usec_t now) {
    for (size_t i = 0; i < bridge->part_count && bridge->phase == BRIDGE_READING; i++) {
        const BridgePart *part = &bridge->parts[i];
        if ((part->holds & HOLD_RANGE) && part->range_out == 0 && now >= part->range_at) look(bridge, i, now);
    }
}

void range_seek_back(Bridge *bridge, const SeekContext *context, const LoadJob *job) {
    BridgePart *part = &bridge->parts[context->part];
    check(part->range_out > 0);
    part->range_out--;
    if (job->request.result == SINK_DONE) {
        part->slots[context->sink].position = context->offset;
        bridge_set_aim(bridge, context->part, context->sink, (BridgeAim){.next = context->offset, .sets_end = true});
        part->range_at = 0;
        part_rejoin(bridge, context->part); /* other sinks may be read for already */
    } else {                                /* somebody else has moved it, or its destination does not answer */
        claims_look(bridge, context->sink, LOOK_POSITION);
    }
}
