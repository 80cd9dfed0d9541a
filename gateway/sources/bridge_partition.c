/*
 * One partition of a bridge: it is held, read from elsewhere, stopped, and goes on.
 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "gateway/sources/bridge_parts.h"

static void apply_holds(Bridge *bridge, size_t part, unsigned before) {
    Error error = {0};
    unsigned holds = bridge->parts[part].holds;
    if (bridge->phase != BRIDGE_READING || (holds != 0) == (before != 0)) return;
    int r = holds ? bridge->type->pause(bridge->client, part, &error) : bridge->type->resume(bridge->client, part, &error);
    if (r < 0) bridge_client_failed(bridge, &error);
}

void part_hold(Bridge *bridge, size_t part, unsigned hold) {
    unsigned before = bridge->parts[part].holds;
    bridge->parts[part].holds |= hold;
    apply_holds(bridge, part, before);
}

void part_release(Bridge *bridge, size_t part, unsigned hold) {
    unsigned before = bridge->parts[part].holds;
    bridge->parts[part].holds &= ~hold;
    apply_holds(bridge, part, before);
}

void part_read_from(Bridge *bridge, size_t part, int64_t offset) {
    Error error = {0};
    uint64_t epoch = bridge->epoch;
    bridge->parts[part].read = bridge->parts[part].made = offset;
    flow_forget(bridge, part);
    if (epoch != bridge->epoch || bridge->phase != BRIDGE_READING || bridge_acks(bridge)) return; /* what is not acked comes again */
    int r = bridge->type->seek(bridge->client, part, offset, &error);
    if (r < 0) bridge_client_failed(bridge, &error);
}

void part_rejoin(Bridge *bridge, size_t part) {
    if (part >= bridge->part_count || bridge->phase != BRIDGE_READING)
        return; /* it is assigned later, or the client has failed meanwhile */
    if (bridge_acks(bridge)) return;
    BridgePart *of = &bridge->parts[part];
    uint64_t epoch = bridge->epoch;
    int64_t least = bridge_min(bridge->micro[part].next, bridge->sink_count);
    if (least < 0) {
        of->read = of->made; /* what is forgotten was not read, for a sink that begins where the source is */
        flow_forget(bridge, part);
        if (epoch == bridge->epoch) part_hold(bridge, part, HOLD_NO_SINK);
        return;
    }
    bool is_there = of->made <= least && least <= of->read && !(of->holds & (HOLD_NO_SINK | HOLD_RANGE));
    if (!is_there) part_read_from(bridge, part, least);
    if (epoch == bridge->epoch) part_release(bridge, part, HOLD_NO_SINK | HOLD_RANGE);
}

static void set_stopped(Bridge *bridge, size_t part, const char *id, int64_t offset, const char *reason) {
    BridgePart *of = &bridge->parts[part];
    of->stopped = id ? id : "partitionTrouble";
    of->stopped_at = offset;
    free(of->reason);
    of->reason = text_copy(reason);
    bridge->status_at = 0;
}

void part_note(Bridge *bridge, size_t part, const char *id, const char *reason) {
    const BridgePart *of = &bridge->parts[part];
    if (of->holds & HOLD_STOPPED) return;
    if (!of->stopped)
        log_warning("source %s: partition %d of \"%s\" is not read at present: %s", bridge->id, of->partition,
                    bridge->world.topics[of->topic].name, reason);
    set_stopped(bridge, part, id, of->read, reason);
}

void part_forget_note(Bridge *bridge, size_t part) {
    BridgePart *of = &bridge->parts[part];
    if (!of->stopped || (of->holds & HOLD_STOPPED)) return;
    of->stopped = NULL;
    free(steal(of->reason));
    bridge->status_at = 0;
}

void part_stop(Bridge *bridge, size_t part, const char *id, int64_t offset, const char *reason) {
    const BridgePart *of = &bridge->parts[part];
    set_stopped(bridge, part, id, offset, reason);
    log_warning("source %s: partition %d of \"%s\" stops at offset %lld (%s): %s", bridge->id, of->partition,
                bridge->world.topics[of->topic].name, (long long)offset, of->stopped, reason);
    part_hold(bridge, part, HOLD_STOPPED);
}

void part_go_on(Bridge *bridge, size_t part) {
    if (part >= bridge->part_count) return;
    BridgePart *of = &bridge->parts[part];
    if (!of->stopped) return;
    uint64_t epoch = bridge->epoch;
    int64_t least = bridge_min(bridge->micro[part].next, bridge->sink_count);
    of->stopped = NULL;
    free(steal(of->reason));
    bridge->status_at = 0;
    if (least >= 0 && bridge->phase == BRIDGE_READING) part_read_from(bridge, part, least);
    if (epoch == bridge->epoch) part_release(bridge, part, HOLD_STOPPED);
}

bool part_is_pending(const BridgePart *part) {
    return !part->stopped && part->pending >= 0 && part->made == part->pending; /* else it is read elsewhere by now */
}

int64_t part_left(const BridgePart *part, int64_t next, const BridgeSlot *slot) {
    if (next < 0) return slot->left;
    return part->refused >= 0 && part->refused < next ? part->refused : next;
}

void part_leave(Bridge *bridge, size_t part, size_t sink) {
    BridgeSlot *slot = &bridge->parts[part].slots[sink];
    int64_t *next = bridge_next(bridge, part, sink);
    slot->left = part_left(&bridge->parts[part], *next, slot);
    *next = -1;
}
