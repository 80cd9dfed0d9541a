/*
 * Where a sink begins to read whose table has no position of the group yet: where it says itself,
 * or behind the rows of the table that it went to before, or where the other sinks of the source
 * are. This node knows it of the partitions that it reads at that moment; of all others, and after
 * a start, the destinations do. They are asked one after another, so that a sink has one question
 * on its way at most.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "gateway/delivery/load_job.h"
#include "gateway/delivery/positions_job.h"
#include "gateway/sources/bridge_parts.h"

struct BridgeOrigin {
    size_t former;    /* index of the former place that is asked, or next */
    size_t other;     /* the same, of the plan's sinks, twice */
    int64_t *old;     /* by partition of the world: in the last former table that has positions; -1: none */
    int64_t *present; /* the same: the furthest of the other sinks */
    bool any_old, any_present;
    int64_t *start; /* the same: what the sink's own startFrom is; NULL: it has none */
    char *error;    /* owned: of another sink, that was not asked with success; NULL: none failed */
    SinkResult failure;
};

void origin_forget(BridgeSink *sink) {
    if (!sink->origin) return;
    free(sink->origin->old);
    free(sink->origin->present);
    free(sink->origin->start);
    free(sink->origin->error);
    free(steal(sink->origin));
}

static size_t index_of(const BridgeWorld *world, size_t topic, int32_t partition) {
    size_t before = 0;
    for (size_t i = 0; i < topic; i++) before += world->topics[i].partition_count;
    return before + (size_t)partition;
}

static const BridgePart *find_part(const Bridge *bridge, size_t topic, int32_t partition) {
    for (size_t i = 0; i < bridge->part_count; i++)
        if (bridge->parts[i].topic == topic && bridge->parts[i].partition == partition) return &bridge->parts[i];
    return NULL;
}

/* What its definition says of that, under the key that the source has now. */
static const SinkOrigin *origin_of(const BridgeSink *sink) {
    static const SinkOrigin none;
    return sink->origin_counts ? &sink->sink->origin : &none;
}

bool origin_joins(const BridgeSink *sink) {
    return origin_of(sink)->joins && origin_of(sink)->former_count == 0;
}

/* ---- what is known here ---------------------------------------------------------------------- */

/* Of one that has come, or whose rows went elsewhere, while the others were read for: where it was
 * left, or where these were then. */
static int64_t known_here(const Bridge *bridge, size_t sink, const BridgePart *part) {
    const BridgeSink *of = &bridge->sinks[sink];
    if (!part) return -1;
    if ((of->moved || of->is_new || origin_joins(of)) && part->slots[sink].left >= 0) return part->slots[sink].left;
    return of->is_new && origin_of(of)->former_count == 0 ? part->read : -1;
}

static bool has_others(const Bridge *bridge) {
    return bridge->sink_count > 1;
}

bool origin_is_to_be_asked(const Bridge *bridge, size_t sink) {
    const BridgeSink *of = &bridge->sinks[sink];
    const SinkOrigin *origin = origin_of(of);
    if (of->origin || bridge->replaces) return false; /* a run begins at the first record */
    if (of->sink->start.given) return true;
    if (origin->former_count == 0 && !(origin->joins && has_others(bridge))) return false;
    for (size_t i = 0; i < bridge->world.topic_count; i++)
        for (size_t k = 0; k < bridge->world.topics[i].partition_count; k++)
            if (known_here(bridge, sink, find_part(bridge, i, (int32_t)k)) < 0) return true;
    return false;
}

/* ---- the questions --------------------------------------------------------------------------- */

/* What the sink says itself, asked of the broker. */
static bool ask_start(Bridge *bridge, size_t sink) {
    const BridgeWorld *world = &bridge->world;
    BridgeSink *of = &bridge->sinks[sink];
    Error error = {0};
    ClientOffset *offsets = calloc(world->partition_count + 1, sizeof *offsets);
    int64_t *start = malloc((world->partition_count + 1) * sizeof *start);
    check(offsets && start);
    size_t count = 0;
    for (size_t i = 0; i < world->topic_count; i++)
        for (size_t k = 0; k < world->topics[i].partition_count; k++)
            offsets[count++] = (ClientOffset){
                .topic = world->topics[i].name, .partition = (int32_t)k, .when = CLIENT_START, .start = &of->sink->start.at};
    int r = bridge->type->offsets(bridge->client, offsets, count, BRIDGE_ASK_LIMIT, &error);
    for (size_t i = 0; i < count; i++) start[i] = offsets[i].offset;
    free(offsets);
    of->origin->start = start;
    if (r == 0) return true;
    check(asprintf(&of->origin->error, "the broker does not answer where \"startFrom\" is: %s", error.text) > 0);
    of->origin->failure = SINK_RETRY;
    return false;
}

bool origin_ask(Bridge *bridge, size_t sink) {
    BridgeSink *of = &bridge->sinks[sink];
    size_t count = bridge->world.partition_count;
    check(!of->origin);
    of->origin = calloc(1, sizeof *of->origin);
    check(of->origin);
    of->origin->old = malloc((count + 1) * sizeof *of->origin->old);
    of->origin->present = malloc((count + 1) * sizeof *of->origin->present);
    check(of->origin->old && of->origin->present);
    for (size_t i = 0; i < count; i++) of->origin->old[i] = of->origin->present[i] = -1;
    return !of->sink->start.given || ask_start(bridge, sink);
}

/* It is known of all partitions where the writer has left the former table. */
static bool all_left(const Bridge *bridge, size_t sink) {
    for (size_t i = 0; i < bridge->part_count; i++)
        if (bridge->parts[i].slots[sink].behind < 0) return false;
    return bridge->part_count == bridge->world.partition_count;
}

/* The next place that has to be asked; NULL: that was all of them. */
static const SinkTarget *next_place(const Bridge *bridge, size_t sink) {
    const SinkOrigin *definition = origin_of(&bridge->sinks[sink]);
    BridgeOrigin *origin = bridge->sinks[sink].origin;
    if (origin->start) return NULL;
    for (; origin->former < definition->former_count; origin->former++) {
        const SinkTarget *former = &definition->former[origin->former];
        if (origin->any_old) continue;
        if (connections_find(bridge->options.connections, former->connection)) return former;
        log_warning("sink %s: connection \"%s\", where its rows were imported before, does not exist any more", bridge->sinks[sink].label,
                    former->connection);
    }
    bool is_known = definition->former_count > 0 && (origin->any_old || all_left(bridge, sink));
    /* Those that say by themselves where they begin tell less of where the source is: they are
     * asked when no other one has told it. */
    for (; !is_known && origin->other < 2 * bridge->sink_count; origin->other++) {
        size_t at = origin->other % bridge->sink_count;
        bool last = origin->other >= bridge->sink_count;
        const Sink *other = bridge->sinks[at].sink;
        if (at != sink && other->start.given == last && !(last && origin->any_present)) return &other->target;
    }
    return NULL;
}

LoadJob *origin_job(Bridge *bridge, size_t sink, void *context) {
    const SinkTarget *place = next_place(bridge, sink);
    const BridgeSink *of = &bridge->sinks[sink];
    if (!place) return NULL;
    LoadJob *job = list_job_new(place, of->label, of->sink->number, bridge->world.group, bridge->mailbox, context);
    job->request.message.kind = MESSAGE_ORIGIN;
    return job;
}

static bool take_listed(const BridgeWorld *world, const LoadJob *job, int64_t *positions) {
    bool any = false;
    for (size_t i = 0; i < job->listed_count; i++) {
        const ListedPosition *listed = &job->listed[i];
        if (strcmp(listed->key.cluster, world->cluster) != 0) continue;
        for (size_t k = 0; k < world->topic_count; k++) {
            const BridgeTopic *topic = &world->topics[k];
            if (strcmp(topic->name, listed->key.topic) != 0 || topic->generation != listed->key.generation) continue;
            if (listed->key.partition < 0 || (size_t)listed->key.partition >= topic->partition_count) continue;
            int64_t *position = &positions[index_of(world, k, listed->key.partition)];
            if (listed->next > *position) *position = listed->next;
            any = true;
        }
    }
    return any;
}

bool origin_back(Bridge *bridge, size_t sink, const LoadJob *job) {
    BridgeSink *of = &bridge->sinks[sink];
    BridgeOrigin *origin = of->origin;
    bool former = origin->former < origin_of(of)->former_count;
    if (job->request.result == SINK_DONE) {
        if (former)
            origin->any_old = take_listed(&bridge->world, job, origin->old) || origin->any_old;
        else
            origin->any_present = take_listed(&bridge->world, job, origin->present) || origin->any_present;
    } else if (!former || !all_left(bridge, sink)) {
        free(origin->error);
        check(asprintf(&origin->error, "where it begins is not known, because connection \"%s\" does not answer: %s", job->connection,
                       job->request.error.text) > 0);
        origin->failure = (SinkResult)job->request.result;
        if (former) return false;
    }
    if (former)
        origin->former++;
    else
        origin->other++;
    return next_place(bridge, sink) || origin->any_old || origin->any_present || !origin->error;
}

const char *origin_error(const BridgeSink *sink, SinkResult *ret_result) {
    *ret_result = sink->origin->failure;
    return sink->origin->error;
}

/* ---- the answer ------------------------------------------------------------------------------ */

/* Behind the former table's rows: those that are there, and those that wait here to go there. -1:
 * not known. */
static int64_t behind_former(const BridgeOrigin *origin, const BridgeSlot *slot, size_t index) {
    int64_t old = origin ? origin->old[index] : -1;
    int64_t left = slot ? slot->behind : -1;
    if (old < 0) return left;
    if (slot && slot->chain.end >= 0 && slot->chain.from <= old && old <= slot->chain.end) return slot->chain.end;
    return left > old ? left : old;
}

int64_t origin_start(const Bridge *bridge, size_t sink, size_t topic, int32_t partition) {
    const BridgeSink *of = &bridge->sinks[sink];
    const BridgeTopic *in = &bridge->world.topics[topic];
    const BridgeOrigin *origin = of->origin;
    const BridgePart *part = find_part(bridge, topic, partition);
    size_t index = index_of(&bridge->world, topic, partition);
    if (origin && origin->start) return origin->start[index];
    int64_t start = known_here(bridge, sink, part);
    if (start < 0 && origin_of(of)->former_count > 0) start = behind_former(origin, part ? &part->slots[sink] : NULL, index);
    if (start < 0 && origin) start = origin->present[index];
    if (start >= 0) return start;
    /* The sinks that are there already begin with it at its first record. */
    return origin && (origin->any_old || origin->any_present) ? in->earliest[partition] : in->start[partition];
}
