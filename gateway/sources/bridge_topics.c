/* Which topics and partitions there are, and what of them is read here. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "gateway/sources/bridge_parts.h"
#include "mapping/record_id.h"

/* ---- topics ---------------------------------------------------------------------------------- */

void topics_forget(Bridge *bridge) {
    seek_forget_world(bridge);
    arena_deinit(&bridge->world.arena);
    bridge->world = (BridgeWorld){0};
}

void topics_deinit(Bridge *bridge) {
    topics_forget(bridge);
    for (size_t i = 0; i < bridge->generation_count; i++) free(bridge->generations[i].topic);
    free(bridge->generations);
}

static BridgeGeneration *find_generation(const Bridge *bridge, const char *topic) {
    for (size_t i = 0; i < bridge->generation_count; i++)
        if (strcmp(bridge->generations[i].topic, topic) == 0) return &bridge->generations[i];
    return NULL;
}

static uint32_t known_generation(const Bridge *bridge, const char *topic) {
    const BridgeGeneration *found = find_generation(bridge, topic);
    return found ? found->generation : 0;
}

static void keep_generation(Bridge *bridge, const char *topic, uint32_t generation) {
    BridgeGeneration *found = find_generation(bridge, topic);
    if (!found) {
        array_extend(bridge->generations, bridge->generation_count);
        found = &bridge->generations[bridge->generation_count++];
        *found = (BridgeGeneration){.topic = text_copy(topic)};
    }
    found->generation = generation;
}

static int take_topics(Bridge *bridge, SinkFault *ret_fault, Error *error) {
    BridgeWorld *world = &bridge->world;
    ClientTopics found = {0};
    int r = bridge->type->topics(bridge->client, &world->arena, BRIDGE_ASK_LIMIT, &found, ret_fault, error);
    if (r < 0) return r;
    check(found.cluster && found.cluster[0]);
    world->topics = arena_zalloc(&world->arena, (found.count + 1) * sizeof *world->topics);
    for (size_t i = 0; i < found.count; i++) {
        const ClientTopic *topic = &found.items[i];
        BridgeTopic *taken = &world->topics[world->topic_count];
        if (topic->partition_count == 0) {
            *ret_fault = topic->fault;
            (void)error_set(error, -ENOENT, topic->fault == SINK_FAULT_RIGHTS ? "\"%s\" may not be read" : "there is no \"%s\"",
                            topic->name);
            continue;
        }
        *taken = (BridgeTopic){.name = topic->name,
                               .topic_id = topic->topic_id,
                               .partition_count = topic->partition_count,
                               .generation = known_generation(bridge, topic->name)};
        taken->start = arena_alloc(&world->arena, taken->partition_count * sizeof *taken->start);
        taken->earliest = arena_alloc(&world->arena, taken->partition_count * sizeof *taken->earliest);
        taken->end = arena_alloc(&world->arena, taken->partition_count * sizeof *taken->end);
        world->partition_count += topic->partition_count;
        world->topic_count++;
    }
    if (world->topic_count == 0 && error->code == 0) (void)error_set(error, -ENOENT, "there is nothing to read yet");
    world->cluster = found.cluster;
    world->group = arena_copy(&world->arena, span_of(bridge->group));
    return world->topic_count > 0 || bridge->assigned_count == 0 ? 0 : error->code;
}

static int take_offsets(Bridge *bridge, Error *error) {
    BridgeWorld *world = &bridge->world;
    bool ends = !bridge->definition->loop;
    size_t count = (ends ? 3 : 2) * world->partition_count, at = 0;
    if (count == 0) return 0;
    ClientOffset *offsets = calloc(count, sizeof *offsets);
    check(offsets);
    for (size_t i = 0; i < world->topic_count; i++)
        for (size_t k = 0; k < world->topics[i].partition_count; k++) {
            offsets[at++] = (ClientOffset){.topic = world->topics[i].name, .partition = (int32_t)k, .when = CLIENT_EARLIEST};
            offsets[at++] = (ClientOffset){.topic = world->topics[i].name, .partition = (int32_t)k, .when = CLIENT_START};
            if (ends) offsets[at++] = (ClientOffset){.topic = world->topics[i].name, .partition = (int32_t)k, .when = CLIENT_LATEST};
        }
    int r = bridge->type->offsets(bridge->client, offsets, count, BRIDGE_ASK_LIMIT, error);
    at = 0;
    for (size_t i = 0; r == 0 && i < world->topic_count; i++)
        for (size_t k = 0; k < world->topics[i].partition_count; k++) {
            world->topics[i].earliest[k] = offsets[at++].offset;
            world->topics[i].start[k] = offsets[at++].offset;
            world->topics[i].end[k] = ends ? offsets[at++].offset : -1;
        }
    free(offsets);
    return r;
}

bool topics_find(Bridge *bridge) {
    Error error = {0}, missing = {0};
    SinkFault fault = SINK_FAULT_OTHER;
    topics_forget(bridge);
    int r = take_topics(bridge, &fault, &missing);
    if (r < 0) error = missing;
    if (r == 0) r = take_offsets(bridge, &error);
    /* A run without the rows of a topic would take them away from the table. */
    if (r == 0 && !bridge->has_group && (bridge->world.partition_count == 0 || bridge->replaces)) {
        error = missing;
        r = error.code;
    }
    if (r < 0) {
        topics_forget(bridge);
        bridge->again = 0;
        if (r == -ECANCELED) return false; /* a message comes, see bridge_expedite */
        bridge_trouble(bridge, &error);
        bridge->again = bridge_now(bridge) + BRIDGE_AGAIN;
        return false;
    }
    bridge->failures = 0;
    if (missing.code == 0) {
        bridge_works(bridge);
    } else { /* the others are read */
        bridge_trouble(bridge, &missing);
        bridge->world.missing = arena_copy(&bridge->world.arena, span_of(missing.text));
        bridge->world.missing_at = bridge->trouble_at;
    }
    bridge->again = 0;
    return true;
}

/* ---- what is assigned ------------------------------------------------------------------------ */

static void assigned_clear(Bridge *bridge) {
    for (size_t i = 0; i < bridge->assigned_count; i++) free(bridge->assigned[i].topic);
    free(steal(bridge->assigned));
    bridge->assigned_count = 0;
}

void assigned_set(Bridge *bridge, const ClientPartition *partitions, size_t count, uint64_t generation) {
    assigned_clear(bridge);
    bridge->assigned = calloc(count + 1, sizeof *bridge->assigned);
    check(bridge->assigned);
    for (size_t i = 0; i < count; i++)
        bridge->assigned[i] = (BridgeAssigned){.topic = text_copy(partitions[i].topic), .partition = partitions[i].partition};
    bridge->assigned_count = count;
    bridge->assignment = generation;
    bridge->offered = true;
}

static void assign_all(Bridge *bridge) {
    const BridgeWorld *world = &bridge->world;
    size_t at = 0;
    assigned_clear(bridge);
    bridge->assigned = calloc(world->partition_count + 1, sizeof *bridge->assigned);
    check(bridge->assigned);
    for (size_t i = 0; i < world->topic_count; i++)
        for (size_t k = 0; k < world->topics[i].partition_count; k++)
            bridge->assigned[at++] = (BridgeAssigned){.topic = text_copy(world->topics[i].name), .partition = (int32_t)k};
    bridge->assigned_count = at;
    bridge->assignment = 0;
}

static bool find_topic(const BridgeWorld *world, const char *name, size_t *ret_topic) {
    for (size_t i = 0; i < world->topic_count; i++)
        if (strcmp(world->topics[i].name, name) == 0) {
            *ret_topic = i;
            return true;
        }
    return false;
}

/* ---- parts ----------------------------------------------------------------------------------- */

static void parts_free(Bridge *bridge) {
    for (size_t i = 0; i < bridge->part_count; i++) free(bridge->parts[i].reason);
    free(steal(bridge->parts));
    free(steal(bridge->micro));
    free(steal(bridge->nexts));
    free(steal(bridge->sets));
    free(steal(bridge->slots));
    bridge->part_count = 0;
}

void parts_drop(Bridge *bridge) {
    parts_free(bridge);
    assigned_clear(bridge);
    bridge->epoch++;
    bridge->back_pressure = false;
}

/* Answers to earlier questions are about other partitions or sinks. */
static void begin_epoch(Bridge *bridge) {
    bridge->epoch++;
    for (size_t i = 0; i < bridge->part_count; i++) bridge->parts[i].range_out = 0;
    for (size_t i = 0; i < bridge->sink_count; i++) {
        bridge->sinks[i].claiming = false;
        origin_forget(&bridge->sinks[i]);
    }
}

/* Room for all partitions and sinks, where nothing is known. */
static void make_slots(Bridge *bridge) {
    size_t sinks = bridge->sink_count, count = bridge->part_count * sinks;
    bridge->nexts = calloc(count + 1, sizeof *bridge->nexts);
    bridge->sets = calloc(count + 1, sizeof *bridge->sets);
    bridge->slots = calloc(count + 1, sizeof *bridge->slots);
    check(bridge->nexts && bridge->sets && bridge->slots);
    for (size_t i = 0; i < count; i++) {
        bridge->nexts[i] = bridge_acks(bridge) ? 0 : -1; /* every record is for every sink */
        bridge->slots[i] = BRIDGE_SLOT_NEW;
    }
    for (size_t i = 0; i < bridge->part_count; i++) {
        bridge->micro[i].next = bridge->nexts + i * sinks;
        bridge->micro[i].sets_end = bridge->sets + i * sinks;
        bridge->parts[i].slots = bridge->slots + i * sinks;
    }
}

static void set_key(Bridge *bridge, size_t part) {
    const BridgePart *of = &bridge->parts[part];
    const BridgeTopic *topic = &bridge->world.topics[of->topic];
    union {
        const char *in;
        char *out; /* a Partition owns its texts, and this one borrows them */
    } cluster = {bridge->world.cluster}, name = {topic->name}, id = {topic->topic_id ? topic->topic_id : ""};
    MicroPartition *micro = &bridge->micro[part];
    micro->key = (Partition){.cluster = cluster.out,
                             .group = bridge->world.group,
                             .topic = name.out,
                             .topic_id = id.out,
                             .generation = topic->generation,
                             .partition = of->partition};
    record_id_space(span_of(bridge->world.cluster), span_of(topic->name), topic->generation, of->partition, &micro->space);
}

void parts_set_up(Bridge *bridge) {
    parts_free(bridge);
    if (!bridge->has_group) assign_all(bridge);
    bridge->offered = false;
    bridge->parts = calloc(bridge->assigned_count + 1, sizeof *bridge->parts);
    bridge->micro = calloc(bridge->assigned_count + 1, sizeof *bridge->micro);
    check(bridge->parts && bridge->micro);
    for (size_t i = 0; i < bridge->assigned_count; i++) {
        const BridgeAssigned *assigned = &bridge->assigned[i];
        size_t topic, at = bridge->part_count;
        /* What was made since the topics were looked at comes with the next assignment, which the
         * broker makes when it notices. */
        if (!find_topic(&bridge->world, assigned->topic, &topic)) continue;
        if ((size_t)assigned->partition >= bridge->world.topics[topic].partition_count) continue;
        bridge->parts[at] = (BridgePart){.topic = topic,
                                         .partition = assigned->partition,
                                         .read = -1,
                                         .made = -1,
                                         .limit = bridge->world.topics[topic].end[assigned->partition],
                                         .pending = -1,
                                         .refused = -1,
                                         .committed = -1};
        bridge->micro[at].skip = -1;
        bridge->part_count++;
        set_key(bridge, at);
    }
    make_slots(bridge);
    begin_epoch(bridge);
    replace_begin(bridge);
    for (size_t i = 0; i < bridge->sink_count; i++) {
        BridgeSink *sink = &bridge->sinks[i];
        sink->began = false;
        sink->again = 0;
        claims_look(bridge, i, LOOK_POSITION);
    }
    sinks_evaluate_shared(bridge);
}

void topic_raise(Bridge *bridge, size_t topic, uint32_t generation) {
    check(generation > bridge->world.topics[topic].generation);
    bridge->world.topics[topic].generation = generation;
    keep_generation(bridge, bridge->world.topics[topic].name, generation);
    for (size_t i = 0; i < bridge->part_count; i++) {
        if (bridge->parts[i].topic != topic) continue;
        set_key(bridge, i);
        for (size_t k = 0; k < bridge->sink_count; k++) {
            *bridge_next(bridge, i, k) = bridge_acks(bridge) ? 0 : -1;
            bridge->parts[i].slots[k] = BRIDGE_SLOT_NEW;
        }
        part_rejoin(bridge, i);
    }
    begin_epoch(bridge);
    for (size_t i = 0; i < bridge->sink_count; i++) claims_look(bridge, i, LOOK_POSITION);
}

void parts_assign(Bridge *bridge) {
    ClientPartition *partitions = calloc(bridge->part_count + 1, sizeof *partitions);
    check(partitions);
    for (size_t i = 0; i < bridge->part_count; i++) {
        BridgePart *part = &bridge->parts[i];
        const BridgeTopic *topic = &bridge->world.topics[part->topic];
        int64_t least = bridge_min(bridge->micro[i].next, bridge->sink_count);
        part->read = part->made = least >= 0 ? least : topic->earliest[part->partition];
        /* One that joins the others and is not claimed yet, since its destination does not answer:
         * it begins where these go on now. */
        for (size_t k = 0; k < bridge->sink_count && least >= 0; k++)
            if (*bridge_next(bridge, i, k) < 0 && origin_joins(&bridge->sinks[k])) part->slots[k].left = least;
        partitions[i] = (ClientPartition){.topic = topic->name, .partition = part->partition, .offset = part->read};
    }
    Error error = {0};
    int r = bridge_acks(bridge) ? 0 : bridge->type->assign(bridge->client, bridge->assignment, partitions, bridge->part_count, &error);
    free(partitions);
    if (r < 0) {
        bridge_client_failed(bridge, &error);
        return;
    }
    if (r == CLIENT_ASSIGN_STALE) { /* a revoke, or another assignment, comes */
        bridge->phase = BRIDGE_OPEN;
        return;
    }
    bridge->phase = BRIDGE_READING;
    for (size_t i = 0; i < bridge->part_count && bridge->client; i++) {
        unsigned holds = bridge->parts[i].holds;
        bridge->parts[i].holds = 0;
        if (bridge->back_pressure) holds |= HOLD_PRESSURE;
        if (bridge_min(bridge->micro[i].next, bridge->sink_count) < 0) holds |= HOLD_NO_SINK;
        if (holds) part_hold(bridge, i, holds);
    }
}

/* ---- sinks ----------------------------------------------------------------------------------- */

static bool same_place(const Sink *a, const Sink *b) {
    return sink_target_same_place(&a->target, &b->target);
}

/* `moved`: one whose rows went elsewhere. */
static const BridgeSink *find_sink(const BridgeSink *sinks, size_t count, const Sink *wanted, bool moved, size_t *ret_at) {
    for (size_t i = 0; i < count; i++)
        if (sinks[i].sink->number == wanted->number && same_place(sinks[i].sink, wanted) != moved) {
            *ret_at = i;
            return &sinks[i];
        }
    return NULL;
}

static void sinks_free(BridgeSink *sinks, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free(sinks[i].label);
        free(sinks[i].error);
        origin_forget(&sinks[i]);
    }
    free(sinks);
}

static bool is_local(const Bridge *bridge, const Sink *sink) {
    const Connection *connection = connections_find(bridge->options.connections, sink->target.connection);
    const SinkDriver *driver = connection ? sink_driver_of(connection->type) : NULL;
    return driver && driver->is_local;
}

void sinks_set_up(Bridge *bridge) {
    const Plan *plan = bridge->source->plan;
    BridgeSink *old = bridge->sinks;
    size_t old_count = bridge->sink_count;
    int64_t *nexts = steal(bridge->nexts);
    bool *sets = steal(bridge->sets);
    BridgeSlot *slots = steal(bridge->slots);
    bridge->sink_count = plan_sink_count(plan);
    bridge->sinks = calloc(bridge->sink_count, sizeof *bridge->sinks);
    check(bridge->sinks);
    begin_epoch(bridge);
    bridge->delaying = -1;
    make_slots(bridge);
    _cleanup_free_ char *key = source_positions_key(bridge->source->source, bridge->options.project);
    for (size_t i = 0; i < bridge->sink_count; i++) {
        const Sink *sink = plan_sink(plan, i);
        size_t at;
        const BridgeSink *known = find_sink(old, old_count, sink, false, &at);
        const bool moved = !known && find_sink(old, old_count, sink, true, &at);
        BridgeSink *made = &bridge->sinks[i];
        if (known) {
            *made = *known;
            made->error = text_copy(known->error);
            made->origin = NULL;
        }
        made->sink = sink;
        made->origin_counts = sink_origin_counts(&sink->origin, key);
        made->is_new = known ? known->is_new : bridge->phase == BRIDGE_READING;
        made->moved = moved || (known && known->moved);
        made->is_local = is_local(bridge, sink);
        made->claiming = made->closing = made->imported = false;
        made->posted_bytes = made->asked_bytes = 0;
        check(asprintf(&made->label, "%s/%s", bridge->id, sink->sink_id) >= 0);
        for (size_t k = 0; known && k < bridge->part_count; k++) {
            bridge->nexts[k * bridge->sink_count + i] = nexts[k * old_count + at];
            bridge->sets[k * bridge->sink_count + i] = sets[k * old_count + at];
            bridge->slots[k * bridge->sink_count + i] = slots[k * old_count + at];
        }
        for (size_t k = 0; moved && k < bridge->part_count; k++)
            bridge->parts[k].slots[i].left = part_left(&bridge->parts[k], nexts[k * old_count + at], &slots[k * old_count + at]);
        /* Behind all that was made into rows: until the new one is claimed, the others are read
         * for. */
        bool comes = made->is_new && !known && !moved && (!made->origin_counts || sink->origin.former_count == 0);
        for (size_t k = 0; comes && k < bridge->part_count; k++) bridge->parts[k].slots[i].left = bridge->parts[k].made;
        /* Of one whose answer was on its way, and of a new one. */
        if (bridge->part_count > 0 && (!known || known->claiming || known->look != LOOK_NONE)) claims_look(bridge, i, LOOK_POSITION);
    }
    sinks_free(old, old_count);
    free(nexts);
    free(sets);
    free(slots);
    sinks_evaluate_shared(bridge);
    for (size_t i = 0; i < bridge->part_count && bridge->client; i++) part_rejoin(bridge, i);
}

void sinks_drop(Bridge *bridge) {
    check(bridge->part_count == 0);
    sinks_free(steal(bridge->sinks), bridge->sink_count);
    bridge->sink_count = 0;
    bridge->delaying = -1;
}

void sinks_evaluate_shared(Bridge *bridge) {
    bool shared = bridge->has_group && bridge->part_count > 0 && bridge->part_count < bridge->world.partition_count;
    for (size_t i = 0; i < bridge->sink_count; i++) {
        BridgeSink *sink = &bridge->sinks[i];
        bool stops = sink->is_local && shared;
        if (stops == (sink->stopped != NULL && strcmp(sink->stopped, "groupShared") == 0)) continue;
        if (!stops) {
            sink->stopped = sink->reason = NULL;
            claims_look(bridge, i, LOOK_POSITION);
            continue;
        }
        sink->stopped = "groupShared";
        sink->reason = "Its destination is only on this machine, but other nodes read a part of the topics.";
        sink->look = LOOK_NONE;
        sink->began = true;
        log_warning("sink %s stops: other nodes read a part of the topics, but its destination is only on this machine", sink->label);
        for (size_t k = 0; k < bridge->part_count; k++) *bridge_next(bridge, k, i) = -1;
    }
}
