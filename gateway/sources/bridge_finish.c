/* `loop: false`: a source that reads up to the ends that its partitions had when it began, has all
 * of it imported, and is finished. */
#include <stdlib.h>

#include "base/log.h"
#include "gateway/sources/bridge_parts.h"

#define POSITIONS_AGAIN (300 * USEC_MS) /* they are asked for again */

void finish_forget(Bridge *bridge) {
    bridge->finished = false;
    for (size_t i = 0; i < bridge->sink_count; i++) bridge->sinks[i].imported = bridge->sinks[i].closing = false;
}

/* Was all of it read, and taken by each sink? */
static bool all_through(Bridge *bridge) {
    bool all = true;
    if (bridge_acks(bridge)) return acks_are_through(bridge);
    for (size_t i = 0; i < bridge->part_count && bridge->client; i++) {
        BridgePart *part = &bridge->parts[i];
        bool through = part->read >= part->limit;
        if (through && !(part->holds & HOLD_THROUGH)) part_hold(bridge, i, HOLD_THROUGH);
        if (!through && (part->holds & HOLD_THROUGH)) part_release(bridge, i, HOLD_THROUGH); /* a sink was joined */
        if (!bridge->client) return false;
        all = all && through && part->made >= part->limit;
        for (size_t k = 0; k < bridge->sink_count; k++)
            all = all && (*bridge_next(bridge, i, k) >= part->limit || replace_is_over(bridge, k));
    }
    return all && bridge->client;
}

static void post_close(Bridge *bridge, size_t sink) {
    Close *close = calloc(1, sizeof *close);
    check(close);
    close->sink = bridge->sinks[sink].sink->number;
    close->reason = CLOSE_FLUSH;
    close->wait_imported = true;
    close->request.context = bridge; /* its answer counts */
    bridge->sinks[sink].closing = true;
    bridge_post_writer(bridge, &close->request, MESSAGE_CLOSE, NULL);
}

/* Do the destinations say so as well? What was returned is read again, although its import has
 * ended. */
static bool positions_are_there(const Bridge *bridge) {
    if (bridge_acks(bridge)) return true;
    for (size_t i = 0; i < bridge->part_count; i++)
        for (size_t k = 0; k < bridge->sink_count; k++)
            if (bridge->parts[i].slots[k].position < bridge->parts[i].limit && !replace_is_over(bridge, k)) return false;
    return true;
}

/* What is there behind the ends: it came later, or its transaction was open. */
static void note_rest(Bridge *bridge) {
    size_t count = 0;
    for (size_t i = 0; i < bridge->part_count && !bridge_acks(bridge); i++) {
        int64_t first, end;
        if (bridge->phase != BRIDGE_READING) break; /* nothing was assigned: another gateway, or a start before, has ended the run */
        bridge->type->bounds(bridge->client, i, &first, &end);
        count += end > bridge->parts[i].limit;
    }
    buffer_clear(&bridge->rest);
    if (count == 0) return;
    buffer_printf(&bridge->rest, "The broker has more records of %zu partitions: they came later, or were in an open transaction.", count);
}

static void forget_imports(Bridge *bridge) {
    for (size_t i = 0; i < bridge->sink_count; i++) bridge->sinks[i].imported = false;
}

static void finish(Bridge *bridge) {
    note_rest(bridge);
    log_info("source %s: all records that existed at its start are imported", bridge->id);
    bridge->finished = true;
    bridge->status_at = 0;
    bridge_close_client(bridge);
}

void finish_step(Bridge *bridge, usec_t now) {
    if (bridge->anew) return;
    if (bridge->phase >= BRIDGE_BEGINS && replace_are_over(bridge) && bridge->in_flight == 0 && !bridge->templates_out) {
        finish(bridge);
        return;
    }
    if (bridge->definition->loop || bridge->phase != BRIDGE_READING || now < bridge->finish_again) return;
    if (!all_through(bridge) || !flow_is_empty(bridge) || bridge->resync) {
        forget_imports(bridge);
        return;
    }
    bool imported = true;
    for (size_t i = 0; i < bridge->sink_count; i++) {
        const BridgeSink *sink = &bridge->sinks[i];
        if (replace_is_over(bridge, i)) continue;
        imported = imported && sink->imported;
        if (!sink->imported && !sink->closing) post_close(bridge, i);
    }
    if (!imported) return;
    if (!positions_are_there(bridge)) {
        bridge->finish_again = now + POSITIONS_AGAIN;
        bridge->look_now = true;
        bridge->progress_due = 0;
        replace_look(bridge, now);
        return;
    }
    if (replace_step(bridge, now)) finish(bridge);
}

void finish_close_back(Bridge *bridge, Close *take_close) {
    for (size_t i = 0; take_close->request.context && i < bridge->sink_count; i++) {
        BridgeSink *sink = &bridge->sinks[i];
        if (sink->sink->number != take_close->sink || !sink->closing) continue;
        sink->closing = false;
        sink->imported = take_close->request.result == 0;
        if (!sink->imported) bridge->finish_again = bridge_now(bridge) + BRIDGE_AGAIN; /* it is paused, or its destination takes nothing */
    }
    free(take_close);
}
