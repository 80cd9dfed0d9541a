/* What people see of a bridge. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "gateway/sources/bridge_parts.h"

#define STATUS_EVERY USEC_SECOND

static const char *copy(BridgeStatus *status, const char *text) {
    return text ? arena_copy(&status->arena, span_of(text)) : NULL;
}

static const char *copy_buffer(BridgeStatus *status, const Buffer *text) {
    return arena_copy(&status->arena, (Span){.data = text->data, .size = text->size});
}

/* The least of the sinks' positions; -1: one is not known. */
static int64_t min_position(const Bridge *bridge, size_t part) {
    int64_t least = -1;
    for (size_t i = 0; i < bridge->sink_count; i++) {
        int64_t position = bridge->parts[part].slots[i].position;
        if (position < 0) return -1;
        if (least < 0 || position < least) least = position;
    }
    return least;
}

static void put_part(const Bridge *bridge, size_t at, BridgeStatus *status) {
    const BridgePart *part = &bridge->parts[at];
    const BridgeTopic *topic = &bridge->world.topics[part->topic];
    BridgePartitionStatus *to = &status->partitions[at];
    *to = (BridgePartitionStatus){
        .topic = copy(status, topic->name),
        .generation = topic->generation,
        .partition = part->partition,
        .read = part->read,
        .first = -1,
        .end = -1,
        .lag = -1,
        .lag_seconds = -1,
        .stopped = part->stopped,
        .stopped_at = part->stopped_at,
        .reason = copy(status, part->reason),
        .lost = part->lost,
        .sinks = arena_alloc(&status->arena, (bridge->sink_count + 1) * sizeof *to->sinks),
    };
    if ((part->holds & HOLD_RANGE) && part->range_told) {
        to->stopped = "positionGap";
        to->stopped_at = part->read;
        to->reason = "The broker has removed records before they were read; the records read before them are imported first.";
    } else if (part_is_pending(part)) {
        to->stopped = "schemaPending";
        to->stopped_at = part->pending;
    }
    if (bridge->phase == BRIDGE_READING) bridge->type->bounds(bridge->client, at, &to->first, &to->end);
    int64_t position = min_position(bridge, at);
    if (to->end >= 0 && position >= 0) to->lag = to->end > position ? to->end - position : 0;
    if (to->end >= 0 && part->read >= to->end)
        to->lag_seconds = 0;
    else if (to->end >= 0 && part->record_time > 0)
        to->lag_seconds = (double)(status->at - part->record_time) / (double)USEC_SECOND;
    for (size_t i = 0; i < bridge->sink_count; i++)
        to->sinks[i] = (BridgeSinkPosition){.next = *bridge_next(bridge, at, i), .position = part->slots[i].position};
}

static const char *say(BridgeStatus *status, const char *format, ...) {
    _cleanup_free_ char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    check(vasprintf(&text, format, arguments) >= 0);
    va_end(arguments);
    return copy(status, text);
}

/* What is to be said of a sink that is not stopped; NULL: nothing. */
static const char *note_of(const BridgeSink *sink, BridgeStatus *status) {
    if (sink->error || sink->made_table == 0) return copy(status, sink->error);
    char at[25];
    clock_format_utc(sink->made_table, at);
    return say(status, "Its table was missing and was created again at %s: its earlier rows are read again only after a seek.", at);
}

static void put_sink(const Bridge *bridge, size_t at, BridgeStatus *status) {
    const BridgeSink *sink = &bridge->sinks[at];
    status->sinks[at] = (BridgeSinkStatus){
        .sink = sink->sink->number,
        .name = copy(status, sink->sink->sink_id),
        .delays = bridge->delaying == (int)at,
        .stopped = sink->stopped,
        .reason = sink->stopped ? sink->reason : note_of(sink, status),
    };
}

/* What became of the run of a sink; all-zero: it has none. */
static const char *note_of_run(const BridgeRun *run, BridgeStatus *status) {
    char at[25];
    switch (run->state) {
    case BRIDGE_RUN_EMPTY:
        if (run->swallowed == 0) return "The run has no row, so the table keeps its rows: \"allowEmpty\" is not set.";
        return say(status,
                   "A trigger or rule of the table has stored none of the %llu rows of the run, so the table keeps its rows: "
                   "\"allowEmpty\" is not set.",
                   (unsigned long long)run->swallowed);
    case BRIDGE_RUN_SUPERSEDED:
        clock_format_utc(run->later, at);
        return say(status, "The run of %s has replaced the table: this run ended without effect.", at);
    case BRIDGE_RUN_OPEN: return run->error ? say(status, "The rows of the run cannot replace those of the table: %s", run->error) : NULL;
    case BRIDGE_RUN_NONE:
    case BRIDGE_RUN_REPLACED: break;
    }
    return NULL;
}

/* After known_put, which has sinks of its own. */
static void put_runs(const Bridge *bridge, BridgeStatus *status) {
    for (size_t i = 0; i < status->sink_count; i++) {
        BridgeSinkStatus *sink = &status->sinks[i];
        const BridgeRun *run = replace_run(bridge, sink->sink);
        if (!run) continue;
        const char *reason = note_of_run(run, status);
        sink->run = run->state;
        sink->rows = run->rows;
        sink->replaced = run->replaced;
        if (reason && !sink->stopped) sink->reason = reason;
        if (run->later > status->later_run) status->later_run = run->later;
    }
}

/* The first sink whose run ended otherwise than it should, or cannot end. */
static void evaluate_runs(const Bridge *bridge, BridgeStatus *status) {
    for (size_t i = 0; i < status->sink_count; i++) {
        const BridgeSinkStatus *sink = &status->sinks[i];
        const BridgeRun *run = replace_run(bridge, sink->sink);
        if (!run || !note_of_run(run, status)) continue;
        if (run->state == BRIDGE_RUN_OPEN) status->state = BRIDGE_WAITING;
        status->reason = say(status, "Sink \"%s\": %s", sink->name, sink->reason);
        return;
    }
}

/* A sink whose destination does not say where it begins. */
static bool is_asked_for(const BridgeSink *sink) {
    if (sink->stopped) return false;
    return sink->error ? sink->claiming || sink->look == LOOK_POSITION : sink->claiming && sink->was_waited_for;
}

static bool reads_nothing(const Bridge *bridge) {
    for (size_t i = 0; i < bridge->part_count; i++)
        if (!(bridge->parts[i].holds & HOLD_NO_SINK)) return false;
    return bridge->part_count > 0;
}

static void evaluate_sinks(const Bridge *bridge, BridgeStatus *status) {
    for (size_t i = 0; i < bridge->sink_count; i++) {
        const BridgeSink *sink = &bridge->sinks[i];
        if (!is_asked_for(sink)) continue;
        if (reads_nothing(bridge)) status->state = BRIDGE_STARTING;
        status->reason = say(status, "Sink \"%s\": %s", sink->sink->sink_id,
                             sink->error ? sink->error : "its destination does not answer with its positions.");
        return;
    }
}

static void evaluate_pending(const Bridge *bridge, BridgeStatus *status) {
    for (size_t i = 0; i < bridge->part_count; i++) {
        const BridgePart *part = &bridge->parts[i];
        if (!part_is_pending(part)) continue;
        status->state = BRIDGE_WAITING;
        status->reason = say(status, "schemaPending at offset %lld of partition %d of %s: %s", (long long)part->pending, part->partition,
                             bridge->world.topics[part->topic].name, part->reason ? part->reason : "a value cannot be read at present.");
        return;
    }
}

static void evaluate_reading(const Bridge *bridge, BridgeStatus *status) {
    size_t stopped = 0;
    status->state = bridge->phase == BRIDGE_READING ? BRIDGE_RUNNING : BRIDGE_STARTING;
    if (bridge->anew) {
        status->reason = say(status, "\"%s\" was created again since the run began: another run begins.", bridge->anew);
        return;
    }
    if (bridge->phase == BRIDGE_OPEN && bridge->has_group && !bridge->offered && !bridge->trouble)
        status->reason = "It waits for the group to assign partitions to it.";
    if (bridge->phase >= BRIDGE_BEGINS) evaluate_sinks(bridge, status);
    if (bridge->phase == BRIDGE_READING && bridge->room.size > 0 && bridge->full_since > 0) {
        status->state = BRIDGE_WAITING;
        status->reason = copy_buffer(status, &bridge->room);
    }
    if (bridge->left_for_destination) {
        status->state = BRIDGE_WAITING;
        status->reason = "A destination has accepted nothing for a long time: the partitions are left to other nodes until it does.";
    }
    if (bridge->phase == BRIDGE_READING) evaluate_pending(bridge, status);
    for (size_t i = 0; i < bridge->part_count; i++) {
        const BridgePartitionStatus *part = &status->partitions[i];
        if (!part->stopped || part_is_pending(&bridge->parts[i])) continue;
        status->state = BRIDGE_STOPPED;
        status->stopped = part->stopped;
        status->reason = part->reason;
        return;
    }
    for (size_t i = 0; i < bridge->sink_count; i++) {
        const BridgeSink *sink = &bridge->sinks[i];
        stopped += sink->stopped != NULL;
        if (sink->made_table != 0 && !sink->stopped && !sink->error && !status->reason)
            status->reason = say(status, "Sink \"%s\": %s", sink->sink->sink_id, status->sinks[i].reason);
    }
    if (stopped == 0 || stopped < bridge->sink_count) return;
    status->state = BRIDGE_STOPPED;
    status->stopped = bridge->sinks[0].stopped;
    status->reason = bridge->sinks[0].reason;
}

static void evaluate(const Bridge *bridge, BridgeStatus *status) {
    switch (bridge->want) {
    case WANT_PAUSED: status->state = BRIDGE_PAUSED; return;
    case WANT_IDLE: status->state = BRIDGE_IDLE; return;
    case WANT_DISABLED:
        status->state = BRIDGE_IDLE;
        status->reason = "The source is disabled.";
        return;
    case WANT_END:
        status->state = BRIDGE_PAUSED;
        status->reason = "It ends.";
        return;
    case WANT_READ:
        if (!bridge->finished) {
            evaluate_reading(bridge, status);
            return;
        }
        status->state = BRIDGE_FINISHED;
        if (bridge->rest.size > 0) status->reason = copy_buffer(status, &bridge->rest);
        return;
    }
}

static BridgeStatus *make(const Bridge *bridge) {
    BridgeStatus *status = bridge_status_new();
    status->at = bridge->options.clock->wall(bridge->options.clock);
    if (bridge->source) status->run = bridge->source->source->run;
    status->error = copy(status, bridge->trouble ? bridge->trouble : bridge->world.missing);
    status->error_at = bridge->trouble ? bridge->trouble_at : bridge->world.missing_at;
    status->cluster = copy(status, bridge->world.cluster);
    status->group = copy(status, bridge->group);
    status->records = bridge->counts.records;
    status->bytes = bridge->counts.bytes;
    status->poisoned = bridge->counts.poisoned;
    status->skipped = bridge->counts.skipped;
    status->tombstones = bridge->counts.tombstones;
    status->lost = bridge->lost;
    status->rebalances = bridge->rebalances;
    status->sink_count = bridge->sink_count;
    status->sinks = arena_alloc(&status->arena, (bridge->sink_count + 1) * sizeof *status->sinks);
    for (size_t i = 0; i < bridge->sink_count; i++) put_sink(bridge, i, status);
    status->partition_count = bridge->part_count;
    status->partitions = arena_alloc(&status->arena, (bridge->part_count + 1) * sizeof *status->partitions);
    for (size_t i = 0; i < bridge->part_count; i++) put_part(bridge, i, status);
    known_put(bridge, status);
    put_runs(bridge, status);
    evaluate(bridge, status);
    if (bridge->want == WANT_READ && bridge->replaces && !bridge->anew) evaluate_runs(bridge, status);
    return status;
}

/* What lag tools read: no offset is above a position, since nobody else looks at it. */
static void commit(Bridge *bridge) {
    if (!bridge->has_group || bridge->phase != BRIDGE_READING) return;
    ClientPartition *offsets = calloc(bridge->part_count + 1, sizeof *offsets);
    size_t count = 0;
    check(offsets);
    for (size_t i = 0; i < bridge->part_count; i++) {
        BridgePart *part = &bridge->parts[i];
        int64_t position = min_position(bridge, i);
        if (position < 0 || position == part->committed) continue;
        part->committed = position;
        offsets[count++] = (ClientPartition){
            .topic = bridge->world.topics[part->topic].name, .partition = part->partition, .offset = position};
    }
    if (count > 0) bridge->type->commit(bridge->client, offsets, count);
    free(offsets);
}

void status_step(Bridge *bridge, usec_t now) {
    if (now < bridge->status_at) return;
    bridge->status_at = now + STATUS_EVERY;
    bridge_board_put(bridge->options.board, make(bridge));
    commit(bridge);
}
