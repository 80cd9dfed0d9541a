#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "base/error.h"
#include "gateway/sources/micro_parts.h"

#define CUT_BODY_BYTES ((size_t)64 * 1024) /* of a reject, where the whole of it would be too much */

/* What micro_batch_make is doing. */
typedef struct Maker {
    MicroBatch *batch;
    const SnapshotSource *source;
    const Plan *plan;
    size_t sink_count;
    unsigned needs;
    bool has_templates;
    RowBatch rows;
    RowPart part;
    MicroCounts counts;
    /* of the partition at hand */
    const MicroPartition *partition;
    int64_t all_from; /* records from this offset on are for all sinks; INT64_MAX: none is */
    bool wanted[SINKS_A_SOURCE_MAX];
    const char *reason; /* of a stop */
} Maker;

static const char *keep_reason(Maker *maker, const char *text) {
    return arena_copy(&maker->batch->reasons, span_of(text));
}

/* ---- which sinks ----------------------------------------------------------------------------- */

static void look_at_sinks(Maker *maker) {
    maker->all_from = maker->batch->options.acks ? 0 : -1;
    for (size_t i = 0; i < maker->sink_count && !maker->batch->options.acks; i++) {
        int64_t next = maker->partition->next[i];
        if (next < 0) next = INT64_MAX;
        if (next > maker->all_from) maker->all_from = next;
    }
}

/* Not all are. */
static bool find_wanted(Maker *maker, int64_t offset) {
    bool any = false;
    for (size_t i = 0; i < maker->sink_count; i++) {
        int64_t next = maker->partition->next[i];
        maker->wanted[i] = next >= 0 && next <= offset;
        any = any || maker->wanted[i];
    }
    return any;
}

/* ---- one record ------------------------------------------------------------------------------ */

static Span content_type_of(RecordKind kind, bool is_read) {
    switch (kind) {
    case RECORD_JSON: return SPAN("application/json");
    case RECORD_TEXT: return SPAN("text/plain");
    case RECORD_BYTES: return SPAN("application/octet-stream");
    case RECORD_AVRO:
    case RECORD_JSON_SCHEMA: return is_read ? SPAN("application/json") : SPAN("application/octet-stream");
    }
    unreachable();
}

/* The event at hand is not stored: a sink refuses it. */
static MicroStop stop_at_poison(Maker *maker, const Sink *sink, const MapFailure *failure) {
    char text[sizeof failure->message + 100];
    (void)snprintf(text, sizeof text, "Sink \"%.64s\": %s", sink->sink_id, failure->message);
    maker->reason = keep_reason(maker, text);
    row_batch_leave(&maker->part);
    return MICRO_POISON;
}

/* There is no room for its rows or rejects in the part. A record for which there never would be any
 * fails instead. */
static MicroStop stop_for_room(Maker *maker, Event *event, const bool *wanted, Span type) {
    const MapFailure *failure;
    if (maker->part.bytes > 0) {
        maker->reason = keep_reason(maker, "The micro-batch has too many rows; the rest of it is read again.");
        return MICRO_LATER;
    }
    (void)row_batch_fail(&maker->rows, &maker->part, wanted,
                         SPAN("All rows of the record together are larger than the limit (option limits.request-rows)."));
    const Sink *sink = row_batch_refuser(&maker->rows, &maker->part, &failure);
    if (sink) return stop_at_poison(maker, sink, failure);
    if (event->body.size > CUT_BODY_BYTES) event->body.size = CUT_BODY_BYTES;
    check(row_batch_keep(&maker->rows, &maker->part, event, type));
    maker->counts.poisoned++;
    return MICRO_GOES_ON;
}

/* The event was mapped, or has failed; `raw`: the value as it came. */
static MicroStop keep_event(Maker *maker, const MicroRecord *record, Event *event, const bool *wanted, size_t failed, bool is_read,
                            Span raw) {
    if (failed == 0 && row_batch_keep(&maker->rows, &maker->part, event, (Span){0})) return MICRO_GOES_ON;
    if (!event->meta) micro_meta(maker->batch, record, maker->partition, event); /* a reject says where it came from */
    RecordKind kind = maker->batch->options.reader->kind;
    Span type = content_type_of(kind, is_read);
    const MapFailure *failure;
    const Sink *sink = failed ? row_batch_refuser(&maker->rows, &maker->part, &failure) : NULL;
    if (sink) return stop_at_poison(maker, sink, failure);
    if (!is_read || kind == RECORD_BYTES) event->body = raw;
    if (failed == 0 || !row_batch_keep(&maker->rows, &maker->part, event, type)) return stop_for_room(maker, event, wanted, type);
    maker->counts.poisoned++;
    return MICRO_GOES_ON;
}

static MicroStop fail_event(Maker *maker, const MicroRecord *record, const bool *wanted, const char *sentence) {
    Event event;
    micro_event(maker->batch, record, maker->partition, 0, &event);
    size_t failed = row_batch_fail(&maker->rows, &maker->part, wanted, span_of(sentence));
    return keep_event(maker, record, &event, wanted, failed, false, micro_value(maker->batch, record));
}

static MicroStop fail_large(Maker *maker, const MicroRecord *record, const bool *wanted) {
    char text[200];
    (void)snprintf(text, sizeof text, "The record has %llu bytes; the limit is %zu (option limits.event).",
                   (unsigned long long)record->large_bytes, maker->batch->options.event_bytes);
    return fail_event(maker, record, wanted, text);
}

static MicroStop map_event(Maker *maker, const MicroRecord *record, Event *event, const bool *wanted, Span raw) {
    size_t failed = wanted ? row_batch_map_some(&maker->rows, &maker->part, event, wanted)
                           : row_batch_map(&maker->rows, &maker->part, event);
    return keep_event(maker, record, event, wanted, failed, true, raw);
}

static MicroStop take_value(Maker *maker, const MicroRecord *record, const bool *wanted) {
    MicroBatch *batch = maker->batch;
    Span raw = micro_value(batch, record);
    Event event;
    if (maker->has_templates && record->evaluated) {
        event = record->evaluated->event;
        return map_event(maker, record, &event, wanted, raw);
    }
    Error why;
    Span body;
    BodyKind kind;
    switch (micro_read(batch, record, maker->partition, &body, &kind, &why)) {
    case RECORD_READ: break;
    case RECORD_POISON: return fail_event(maker, record, wanted, why.text);
    case RECORD_LATER: maker->reason = keep_reason(maker, why.text); return MICRO_LATER;
    case RECORD_UNKNOWN_ID: unreachable();
    }
    if (maker->has_templates) {
        maker->reason = keep_reason(maker, "The templates of the record are not evaluated yet.");
        return MICRO_LATER;
    }
    micro_event(batch, record, maker->partition, maker->needs, &event);
    event.body = body;
    event.kind = kind;
    return map_event(maker, record, &event, wanted, raw);
}

static MicroStop take_record(Maker *maker, const MicroRecord *record) {
    const bool *wanted = NULL; /* all */
    if (record->offset < maker->all_from) {
        if (!find_wanted(maker, record->offset)) return MICRO_GOES_ON;
        wanted = maker->wanted;
    }
    MicroStop stop = MICRO_GOES_ON;
    maker->part.record = record->offset;
    if (record->offset == maker->partition->skip)
        maker->counts.skipped++;
    else if (record->large_bytes > 0)
        stop = fail_large(maker, record, wanted);
    else if (!record->has_value && !maker->batch->options.tombstones_are_events)
        maker->counts.tombstones++;
    else
        stop = take_value(maker, record, wanted);
    if (stop != MICRO_GOES_ON) return stop;
    maker->counts.records++;
    maker->counts.bytes += micro_record_bytes(maker->batch, record);
    return MICRO_GOES_ON;
}

/* ---- one partition --------------------------------------------------------------------------- */

static MicroResult take_partition(Maker *maker, size_t partition, const MicroPartition *from) {
    MicroBatch *batch = maker->batch;
    const MicroList *list = &batch->lists[partition];
    const bool acks = batch->options.acks;
    MicroResult result = {.partition = partition};
    int64_t behind = -1; /* the last record, or the one with the highest offset */
    maker->partition = from;
    look_at_sinks(maker);
    if (!acks) row_batch_runs_begin(&maker->rows, &maker->part, from->next, from->sets_end);
    for (size_t at = list->first; at && result.stop == MICRO_GOES_ON; at = batch->records[at - 1].next) {
        MicroRecord *record = &batch->records[at - 1];
        if (!acks && record->offset < behind) continue; /* it was there before */
        result.stop = take_record(maker, record);
        record->is_made = result.stop == MICRO_GOES_ON;
        if (!record->is_made)
            result.offset = record->offset;
        else if (record->offset >= behind)
            behind = record->offset + 1;
    }
    if (result.stop == MICRO_GOES_ON)
        result.offset = behind > list->end ? behind : list->end;
    else
        result.reason = maker->reason;
    if (!acks) row_batch_runs_end(&maker->rows, &maker->part, &from->key, result.offset);
    return result;
}

/* ---- the batch ------------------------------------------------------------------------------- */

static void undo(Maker *maker) {
    MicroBatch *batch = maker->batch;
    maker->part.elsewhere = 0;
    row_batch_undo(&maker->rows, &maker->part);
    row_batch_drop(&maker->rows);
    for (size_t i = 0; i < batch->record_count; i++) batch->records[i].is_made = false;
}

static MicroMade make_nothing(Maker *maker) {
    maker->batch->refused = maker->part.bytes > maker->part.elsewhere ? maker->part.bytes : maker->part.elsewhere;
    undo(maker);
    return MICRO_NO_ROOM;
}

static MicroMade wait_for_columns(Maker *maker) {
    undo(maker);
    return MICRO_WAITS;
}

/* Partitions are as the Append leaves them. */
static void move_partitions(Maker *maker, MicroPartition *partitions) {
    const MicroBatch *batch = maker->batch;
    for (size_t i = 0; i < batch->listed_count; i++) {
        MicroPartition *partition = &partitions[batch->listed[i]];
        for (size_t k = 0; k < maker->sink_count; k++) {
            if (partition->next[k] < 0 || partition->next[k] >= batch->results[i].offset) continue;
            partition->next[k] = batch->results[i].offset;
            partition->sets_end[k] = false;
        }
    }
}

/* Partitions are not in the order in which their records came, so the first row is not the
 * oldest. */
static void set_times(Maker *maker, Append *append) {
    MicroBatch *batch = maker->batch;
    usec_t first = USEC_NEVER, last = 0;
    for (size_t i = 0; i < batch->record_count; i++) {
        const MicroRecord *record = &batch->records[i];
        if (!record->is_made) continue;
        if (record->received < first) first = record->received;
        if (record->received > last) last = record->received;
    }
    if (first == USEC_NEVER) first = last = batch->options.clock->wall(batch->options.clock);
    for (size_t i = 0; i < append->sink_count; i++) {
        append->sinks[i].first_time = first;
        append->sinks[i].last_time = last;
    }
}

/* NULL: the writer has nothing to do. */
static Append *seal(Maker *maker) {
    RowMaker *rows = maker->batch->options.maker;
    Append *append = row_batch_seal(&maker->rows);
    if (!append_is_empty(append)) {
        set_times(maker, append);
        return append;
    }
    append->result = APPEND_DONE;
    row_maker_settle(rows, append);
    row_maker_recycle(rows, append);
    return NULL;
}

MicroMade micro_batch_make(MicroBatch *batch, Snapshot *snapshot, SnapshotSource *source, MicroPartition *partitions, Append **ret_append,
                           const MicroResult **ret_results, size_t *ret_result_count, MicroCounts *ret_counts) {
    Maker maker = {.batch = batch, .source = source, .plan = source->plan, .rows.maker = batch->options.maker};
    check(!batch->was_made);
    maker.sink_count = plan_sink_count(maker.plan);
    maker.needs = plan_needs(maker.plan);
    maker.has_templates = plan_template_count(maker.plan) > 0;
    micro_drop_stale(batch, maker.plan);
    row_batch_begin(&maker.rows, snapshot, source, (UsageClaim){0}, &maker.part);
    maker.part.elsewhere = batch->refused; /* while there is no room for it, nothing is mapped again */
    if (batch->refused > 0 && !row_batch_admit(&maker.rows, &maker.part)) return make_nothing(&maker);
    maker.part.elsewhere = 0;
    for (size_t i = 0; i < batch->listed_count; i++) {
        array_reserve(batch->results, i, batch->result_room);
        batch->results[i] = take_partition(&maker, batch->listed[i], &partitions[batch->listed[i]]);
    }
    if (batch->is_patient && maker.part.discovered > 0) return wait_for_columns(&maker);
    if (batch->options.acks && batch->listed_count > 0) row_batch_name(&maker.rows, &partitions[batch->listed[0]].key);
    if (!row_batch_admit(&maker.rows, &maker.part)) return make_nothing(&maker);
    row_batch_end(&maker.rows, &maker.part);
    if (!batch->options.acks) move_partitions(&maker, partitions);
    batch->was_made = true;
    *ret_append = seal(&maker);
    *ret_results = batch->results;
    *ret_result_count = batch->listed_count;
    *ret_counts = maker.counts;
    return MICRO_MADE;
}
