#include "gateway/delivery/writer/commit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/metrics.h"
#include "gateway/delivery/writer/group_plan.h"
#include "gateway/delivery/writer/log_state.h"
#include "gateway/delivery/writer/sink_ends.h"
#include "gateway/delivery/writer/sink_log.h"
#include "gateway/delivery/writer/sinks.h"
#include "gateway/delivery/writer/space.h"
#include "gateway/delivery/writer/step_clock.h"
#include "gateway/delivery/writer/stored.h"
#include "gateway/delivery/writer/transaction.h"
#include "storage/partitions.h"

/* Row text of one sink, a link of its segment's chain until the group is written. */
typedef struct Piece {
    Span rows;
    size_t next; /* 1 + index; 0: the last */
} Piece;

/* A link of its segment's chain of runs. */
typedef struct PendingRun {
    OffsetRun run;
    size_t next; /* 1 + index; 0: the last */
} PendingRun;

typedef struct Segment {
    GroupSegment group;
    size_t first, last;         /* 1 + index of pieces */
    size_t first_run, last_run; /* 1 + index of runs; 0: it is not of a bridge */
} Segment;

typedef struct WrittenEntry {
    uint64_t commit;
    usec_t commit_time;
    GroupEntry entry;
    size_t first_run, run_count; /* among those of the transaction */
} WrittenEntry;

typedef struct WrittenGroup {
    uint64_t commit;
    uint64_t bytes;
} WrittenGroup;

/* The transaction in the making: groups that are written into it, and the group that is being
 * gathered. */
typedef struct GroupBuilder GroupBuilder;
struct GroupBuilder {
    uint64_t transaction; /* a new number for each */
    uint64_t stamp;       /* of the group being gathered: a new number for each */
    uint64_t append;      /* with runs, that is looked at: a new number for each */
    Segment *segments;
    size_t segment_count, segment_capacity;
    Piece *pieces;
    size_t piece_count, piece_capacity;
    PendingRun *pending_runs;
    size_t pending_run_count, pending_run_capacity;
    uint64_t bytes;

    /* scratch of a flush */
    GroupSegment *sorted;
    size_t sorted_capacity;
    Span *spans;
    size_t span_capacity;

    uint64_t next_commit;
    usec_t commit_time; /* of the last group */
    OffsetRuns runs;    /* of what is written, in the order of `written` */
    WrittenEntry *written;
    size_t written_count, written_capacity;
    WrittenGroup *groups;
    size_t group_count, group_capacity;
    SinkState **rejecting; /* sinks with new_rejected_events */
    size_t rejecting_count, rejecting_capacity;
};

GroupBuilder *group_builder_new(void) {
    GroupBuilder *builder = calloc(1, sizeof *builder);
    check(builder);
    return builder;
}

void group_builder_free(GroupBuilder *builder) {
    if (!builder) return;
    free(builder->segments);
    free(builder->pieces);
    free(builder->pending_runs);
    offset_runs_deinit(&builder->runs);
    free(builder->sorted);
    free(builder->spans);
    free(builder->written);
    free(builder->groups);
    free(builder->rejecting);
    free(builder);
}

/* ---- gathering and writing groups ------------------------------------------------------------ */

static void begin_group(GroupBuilder *builder) {
    builder->stamp++;
    builder->segment_count = 0;
    builder->piece_count = 0;
    builder->pending_run_count = 0;
    builder->bytes = 0;
}

static int by_sink(const void *a, const void *b) {
    const GroupEntry *left = &((const Segment *)a)->group.entry, *right = &((const Segment *)b)->group.entry;
    return left->sink < right->sink ? -1 : left->sink > right->sink;
}

/* Behind those of the groups before. */
static void flatten_runs(GroupBuilder *builder) {
    OffsetRuns *runs = &builder->runs;
    size_t begin = runs->count;
    for (size_t i = 0; i < builder->segment_count; i++)
        for (size_t run = builder->segments[i].first_run; run; run = builder->pending_runs[run - 1].next)
            offset_runs_add(runs, &builder->pending_runs[run - 1].run);
    check(runs->count - begin == builder->pending_run_count);
    for (size_t i = 0; i < builder->segment_count; i++) {
        if (builder->sorted[i].run_count == 0) continue;
        builder->sorted[i].runs = runs->items + begin;
        begin += builder->sorted[i].run_count;
    }
}

static void flatten(GroupBuilder *builder) {
    while (builder->sorted_capacity < builder->segment_count)
        array_reserve(builder->sorted, builder->sorted_capacity, builder->sorted_capacity);
    while (builder->span_capacity < builder->piece_count) array_reserve(builder->spans, builder->span_capacity, builder->span_capacity);
    size_t at = 0;
    for (size_t i = 0; i < builder->segment_count; i++) {
        Segment *segment = &builder->segments[i];
        builder->sorted[i] = segment->group;
        builder->sorted[i].pieces = builder->spans + at;
        size_t begin = at;
        for (size_t piece = segment->first; piece; piece = builder->pieces[piece - 1].next)
            builder->spans[at++] = builder->pieces[piece - 1].rows;
        builder->sorted[i].piece_count = at - begin;
    }
    if (builder->pending_run_count > 0) flatten_runs(builder);
}

static int flush_group(Writer *writer, Txn *txn, Error *error) {
    GroupBuilder *builder = writer->builder;
    if (builder->segment_count == 0) return 0;
    qsort(builder->segments, builder->segment_count, sizeof *builder->segments, by_sink);
    flatten(builder);

    uint64_t commit = builder->next_commit++;
    check(commit > writer->log->last_commit); /* a group is committed once */
    builder->commit_time = writer->now->wall > builder->commit_time ? writer->now->wall : builder->commit_time + 1;
    int r = commit_log_append(txn, commit, builder->commit_time, builder->sorted, builder->segment_count, error);
    for (size_t i = 0; i < builder->segment_count && r == 0; i++)
        if (builder->sorted[i].run_count > 0) r = partition_ends_set(txn, builder->sorted[i].runs, builder->sorted[i].run_count, error);
    if (r < 0) return r;

    for (size_t i = 0; i < builder->segment_count; i++) {
        const GroupSegment *segment = &builder->sorted[i];
        array_reserve(builder->written, builder->written_count, builder->written_capacity);
        builder->written[builder->written_count++] = (WrittenEntry){
            .commit = commit,
            .commit_time = builder->commit_time,
            .entry = segment->entry,
            .first_run = segment->run_count > 0 ? (size_t)(segment->runs - builder->runs.items) : 0,
            .run_count = segment->run_count};
    }
    array_reserve(builder->groups, builder->group_count, builder->group_capacity);
    builder->groups[builder->group_count++] = (WrittenGroup){.commit = commit,
                                                             .bytes = builder->bytes + builder->segment_count * sizeof(GroupEntry)};
    begin_group(builder);
    return 0;
}

static void add_runs(GroupBuilder *builder, Segment *segment, const Append *append, const AppendRun *runs, size_t count) {
    for (size_t i = 0; i < count; i++) {
        array_reserve(builder->pending_runs, builder->pending_run_count, builder->pending_run_capacity);
        builder->pending_runs[builder->pending_run_count++] = (PendingRun){
            .run = {.sink = segment->group.entry.sink,
                    .partition = append->partitions[runs[i].partition].number,
                    .first = runs[i].first,
                    .next = runs[i].next,
                    .rows = runs[i].rows}};
        size_t link = builder->pending_run_count;
        if (segment->last_run) builder->pending_runs[segment->last_run - 1].next = link;
        if (!segment->first_run) segment->first_run = link;
        segment->last_run = link;
    }
    segment->group.run_count += count;
    builder->bytes += count * sizeof(OffsetRun);
}

/* An entry holds one mapping version, and is one sink's: of a bridge, or not. What a slice may have
 * of runs it may have, too. */
static bool fits_entry(const Segment *segment, const AppendSink *from, const AppendPiece *piece) {
    return segment->group.entry.mapping_version == from->mapping_version && (segment->group.run_count > 0) == (piece->run_count > 0) &&
           segment->group.run_count + piece->run_count <= LOG_RUN_RUNS_MAX;
}

static int add_piece(Writer *writer, Txn *txn, SinkState *sink, const Append *append, const AppendSink *from, const AppendPiece *piece,
                     const AppendRun *runs, Error *error) {
    GroupBuilder *builder = writer->builder;
    check(piece->bytes <= COMMIT_LOG_GROUP_BYTES_MAX && (piece->rows > 0 || piece->run_count > 0));
    check(piece->run_count <= LOG_RUN_RUNS_MAX);
    bool other_entry = sink->plan->group == builder->stamp && !fits_entry(&builder->segments[sink->plan->segment], from, piece);
    if (other_entry || builder->bytes + piece->bytes + piece->run_count * sizeof(OffsetRun) > COMMIT_LOG_GROUP_BYTES_MAX) {
        int r = flush_group(writer, txn, error);
        if (r < 0) return r;
    }
    if (sink->plan->transaction != builder->transaction) {
        sink->plan->transaction = builder->transaction;
        sink->plan->next_row = sink->totals.next_row;
    }
    array_reserve(builder->pieces, builder->piece_count, builder->piece_capacity);
    builder->pieces[builder->piece_count++] = (Piece){
        .rows = {.data = piece->bytes > 0 ? from->rows.data + piece->offset : NULL, .size = piece->bytes}};
    size_t link = builder->piece_count;

    if (sink->plan->group != builder->stamp) {
        sink->plan->group = builder->stamp;
        sink->plan->segment = builder->segment_count;
        array_reserve(builder->segments, builder->segment_count, builder->segment_capacity);
        builder->segments[builder->segment_count++] = (Segment){
            .group.entry = {.sink = sink->totals.sink,
                            .mapping_version = from->mapping_version,
                            .first_row = sink->plan->next_row,
                            .first_time = from->first_time,
                            .last_time = from->last_time},
            .first = link,
            .last = link,
        };
    } else {
        Segment *segment = &builder->segments[sink->plan->segment];
        builder->pieces[segment->last - 1].next = link;
        segment->last = link;
    }
    GroupEntry *entry = &builder->segments[sink->plan->segment].group.entry;
    if (piece->rows > 0 && entry->rows > 0)
        uuid_range_add(&entry->ids, &piece->ids);
    else if (piece->rows > 0)
        entry->ids = piece->ids;
    entry->rows += piece->rows;
    entry->bytes += piece->bytes;
    if (from->first_time < entry->first_time) entry->first_time = from->first_time;
    if (from->last_time > entry->last_time) entry->last_time = from->last_time;
    sink->plan->next_row += piece->rows;
    builder->bytes += piece->bytes;
    if (piece->run_count > 0) add_runs(builder, &builder->segments[sink->plan->segment], append, runs, piece->run_count);
    return 0;
}

static int add_reject(Writer *writer, Txn *txn, const AppendReject *from, Error *error) {
    GroupBuilder *builder = writer->builder;
    Reject reject = {.sink = from->sink,
                     .at = from->at,
                     .running = writer->now->running,
                     .id = from->event,
                     .mapping_version = from->mapping_version,
                     .column = from->column,
                     .reason = from->reason,
                     .content_type = from->content_type,
                     .data = from->body,
                     .place = from->place,
                     .dropped = from->dropped,
                     .event_bytes = from->event_bytes};
    int r = rejects_add(txn, &reject, error);
    if (r < 0) return r;
    SinkState *sink = writer_sink_added(writer, from->sink);
    if (sink->plan->rejected_events++ == 0) {
        array_reserve(builder->rejecting, builder->rejecting_count, builder->rejecting_capacity);
        builder->rejecting[builder->rejecting_count++] = sink;
        writer_mark_dirty(writer, sink);
    }
    return 0;
}

/* Do all runs go on where their partitions end? If they do, the ends are as they leave them. */
static bool place_runs(Writer *writer, const Append *append) {
    GroupBuilder *builder = writer->builder;
    bool placed = true;
    builder->append++;
    for (size_t i = 0; i < append->sink_count; i++) {
        SinkState *sink = append->sinks[i].run_count > 0 ? writer_sink_added(writer, append->sinks[i].sink) : NULL;
        for (size_t k = 0; k < append->sinks[i].run_count; k++) {
            AppendRun *run = &append->sinks[i].runs[k];
            check(run->partition < append->partition_count);
            uint32_t partition = append->partitions[run->partition].number;
            run->end = sink_ends_planned(sink->ends, builder->transaction, partition);
            bool follows = sink_ends_try(sink->ends, builder->transaction, builder->append, partition, run->first, run->next,
                                         run->sets_end);
            placed = placed && follows;
        }
    }
    for (size_t i = 0; i < append->sink_count && placed; i++)
        for (size_t k = 0; k < append->sinks[i].run_count; k++)
            sink_ends_plan(writer_sink(writer, append->sinks[i].sink)->ends, builder->transaction,
                           append->partitions[append->sinks[i].runs[k].partition].number);
    return placed;
}

enum { RUNS_MISPLACED = 1 };

static int add_partitions(Writer *writer, Txn *txn, Append *append, Error *error) {
    for (size_t i = 0; i < append->partition_count; i++) {
        Partition *partition = &append->partitions[i];
        const Partition *known = partitions_find(writer->partitions, partition);
        int r = known ? 0 : partitions_add(txn, writer->partitions, partition, &partition->number, error);
        if (r < 0) return r;
        if (known) partition->number = known->number;
    }
    return place_runs(writer, append) ? 0 : RUNS_MISPLACED;
}

static int add_append(Writer *writer, Txn *txn, Append *append, Error *error) {
    append->result = APPEND_DONE;
    if (append->partition_count > 0) {
        int r = add_partitions(writer, txn, append, error);
        if (r == RUNS_MISPLACED) append->result = APPEND_MISPLACED;
        if (r != 0) return r < 0 ? r : 0;
    }
    for (size_t i = 0; i < append->sink_count; i++) {
        const AppendSink *from = &append->sinks[i];
        SinkState *sink = writer_sink_added(writer, from->sink);
        size_t run = 0;
        for (size_t k = 0; k < from->piece_count; k++) {
            check(from->pieces[k].run_count <= from->run_count - run);
            const AppendRun *runs = from->pieces[k].run_count > 0 ? from->runs + run : NULL;
            int r = add_piece(writer, txn, sink, append, from, &from->pieces[k], runs, error);
            if (r < 0) return r;
            run += from->pieces[k].run_count;
        }
        check(run == from->run_count);
    }
    for (size_t i = 0; i < append->reject_count; i++) {
        int r = add_reject(writer, txn, &append->rejects[i], error);
        if (r < 0) return r;
    }
    if (append->mark.size == 0) return 0;
    check(append->partition_count > 0);
    return partition_mark_set(txn, append->partitions[0].number, append->mark, error);
}

/* ---- one transaction ------------------------------------------------------------------------- */

static void begin_plan(Writer *writer) {
    GroupBuilder *builder = writer->builder;
    builder->transaction++;
    begin_group(builder);
    builder->next_commit = writer->log->last_commit + 1;
    builder->commit_time = writer->log->last_commit_time;
    builder->written_count = 0;
    builder->runs.count = 0;
    builder->group_count = 0;
    builder->rejecting_count = 0;
}

static int write_appends(Writer *writer, Txn *txn, Append **appends, size_t count, bool *ret_stored, Error *error) {
    int r = 0;
    for (size_t i = 0; i < count && r == 0; i++) r = add_append(writer, txn, appends[i], error);
    if (r == 0) r = flush_group(writer, txn, error);
    if (r < 0) return r;
    /* A quarantined event stands in no directory: its count must go with it. As before this
     * transaction's groups, which are replayed. */
    *ret_stored = writer->builder->rejecting_count > 0 || writer_totals_are_due(writer);
    return *ret_stored ? writer_store_totals(writer, txn, error) : 0;
}

static void apply(Writer *writer) {
    GroupBuilder *builder = writer->builder;
    for (size_t i = 0; i < builder->rejecting_count; i++) {
        builder->rejecting[i]->totals.rejected_events += builder->rejecting[i]->plan->rejected_events;
        builder->rejecting[i]->plan->rejected_events = 0;
    }
    for (size_t i = 0; i < builder->written_count; i++) {
        const WrittenEntry *written = &builder->written[i];
        SinkState *sink = writer_sink(writer, written->entry.sink);
        Error error = {0};
        const OffsetRun *runs = written->run_count > 0 ? builder->runs.items + written->first_run : NULL;
        uint64_t row = written->entry.first_row;
        check(sink && written->entry.first_row == sink->totals.next_row && (written->entry.rows > 0 || runs));
        int r = totals_add(&sink->totals, written->commit, written->commit_time, &written->entry, &error);
        check(r == 0); /* the numbers were given from these totals */
        for (size_t k = 0; k < written->run_count; k++) {
            if (sink_ends_add(sink->ends, &runs[k], row, written->commit)) sink_log_forget(sink->log, runs[k].partition);
            row += runs[k].rows;
        }
        sink_log_add(sink->log, written->commit, written->commit_time, &written->entry, runs, written->run_count, writer->now->boot);
        writer_mark_dirty(writer, sink);
        writer_schedule(writer, sink);
    }
    for (size_t i = 0; i < builder->group_count; i++) {
        log_state_grew(writer->log, builder->groups[i].commit, builder->groups[i].bytes);
        metrics_add(METRIC_COMMITTED_BYTES, builder->groups[i].bytes);
    }
    check(builder->next_commit - 1 == writer->log->last_commit + builder->group_count);
    writer->log->last_commit = builder->next_commit - 1;
    writer->log->last_commit_time = builder->commit_time;
    metrics_add(METRIC_COMMITS, builder->group_count);
}

static void count_skips(Writer *writer, const Append *append) {
    for (size_t i = 0; i < append->skip_count; i++) {
        SinkState *sink = writer_sink_added(writer, append->skips[i].sink);
        sink->totals.skipped_events += append->skips[i].events;
        sink->totals.empty_events += append->skips[i].empty;
        writer_mark_dirty(writer, sink);
    }
}

static void forget_plan(Writer *writer, size_t partitions) {
    GroupBuilder *builder = writer->builder;
    partitions_undo(writer->partitions, partitions);
    for (size_t i = 0; i < builder->rejecting_count; i++) builder->rejecting[i]->plan->rejected_events = 0;
}

static uint64_t append_bytes(const Append *append) {
    uint64_t bytes = append->mark.size;
    for (size_t i = 0; i < append->sink_count; i++) bytes += append->sinks[i].rows.size;
    for (size_t i = 0; i < append->reject_count; i++) bytes += append->rejects[i].body.size;
    return bytes;
}

/* 0 committed, -ENOSPC nothing is changed, other: broken. */
static int try_commit(Writer *writer, Append **appends, size_t count) {
    Error error = {0};
    Txn *txn;
    bool stored = false;
    /* What records the way of accepted rows must not meet a full disk: it would break the
     * writer. */
    uint64_t bytes = writer_record_reserve(writer);
    for (size_t i = 0; i < count; i++) bytes += append_bytes(appends[i]);
    if (failpoint_hit("writer.before-group")) return -ENOSPC;
    if (environment_reserve(writer->options.environment, bytes) == -ENOSPC) return -ENOSPC;
    if (!writer_record_begin(writer, &txn)) return -EIO;
    begin_plan(writer);
    size_t partitions = writer->partitions->count;
    int r = write_appends(writer, txn, appends, count, &stored, &error);
    if (r == 0) r = failpoint_error("writer.before-commit", &error);
    if (r < 0) {
        txn_abort(txn);
        forget_plan(writer, partitions);
        if (r != -ENOSPC) writer_break(writer, "cannot write a commit group", &error);
        return r;
    }
    r = writer_end_txn(writer, txn, &error);
    if (r < 0) {
        forget_plan(writer, partitions);
        /* A full disk: nothing was committed for sure. Else what it holds now is not known. */
        if (r != -ENOSPC) writer_break(writer, "cannot commit", &error);
        return r;
    }
    if (stored) writer_totals_stored(writer);
    (void)failpoint_hit("writer.after-commit");
    apply(writer);
    for (size_t i = 0; i < count; i++)
        if (appends[i]->result == APPEND_DONE) count_skips(writer, appends[i]);
    return 0;
}

static void answer(Append *append, AppendResult result) {
    append->result = result;
    mailbox_post(append->reply, &append->message);
}

static void answer_all(Append *const *appends, size_t count, AppendResult result) {
    for (size_t i = 0; i < count; i++) answer(appends[i], result);
}

/* Quarantined events may not fill the disk: at the cap their requests are refused, and only
 * theirs. */
static size_t refuse_rejects(Writer *writer, Append **appends, size_t count) {
    uint64_t wanted = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < appends[i]->reject_count; k++)
            wanted += appends[i]->rejects[k].body.size + appends[i]->rejects[k].reason.size + appends[i]->rejects[k].place.size;
    bool any = false;
    for (size_t i = 0; i < count; i++) any = any || appends[i]->reject_count > 0;
    if (!any) return count;

    Error error = {0};
    Txn *txn;
    if (txn_begin_read(writer->options.environment, &txn, &error) < 0) {
        writer_break(writer, "cannot read", &error);
        return count;
    }
    uint64_t used = rejects_bytes(txn);
    txn_abort(txn);
    if (used + wanted <= writer->options.rejects_bytes) return count;
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (appends[i]->reject_count > 0) {
            answer(appends[i], APPEND_REJECTS_FULL);
        } else {
            appends[kept++] = appends[i];
        }
    }
    return kept;
}

void writer_commit(Writer *writer, Append **appends, size_t count) {
    if (!writer->broken) count = refuse_rejects(writer, appends, count);
    int r = -EIO;
    while (count > 0 && !writer->broken) {
        r = try_commit(writer, appends, count);
        if (r != -ENOSPC) break;
        /* The map or the disk is full. The largest request goes first; if that is not enough, all
         * of them. */
        atomic_store(&writer->options.usage->intake_stopped, true);
        writer_check_space_soon(writer);
        size_t largest = 0;
        for (size_t i = 1; i < count; i++)
            if (append_bytes(appends[i]) > append_bytes(appends[largest])) largest = i;
        bool all = append_bytes(appends[largest]) < (1u << 20);
        log_warning("the log is full: %s refused", all ? "all waiting rows are" : "a large request is");
        if (all) {
            answer_all(appends, count, APPEND_FULL);
            return;
        }
        answer(appends[largest], APPEND_FULL);
        memmove(appends + largest, appends + largest + 1, (count - largest - 1) * sizeof *appends);
        count--;
    }
    for (size_t i = 0; i < count; i++) answer(appends[i], r == 0 ? appends[i]->result : APPEND_FAILED);
}
