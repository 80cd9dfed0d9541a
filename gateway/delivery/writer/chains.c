#include "gateway/delivery/writer/chains.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/log.h"
#include "gateway/delivery/writer/imports.h"
#include "gateway/delivery/writer/open_file.h"
#include "gateway/delivery/writer/sink_ends.h"
#include "gateway/delivery/writer/sink_log.h"
#include "gateway/delivery/writer/sinks.h"
#include "gateway/delivery/writer/transaction.h"
#include "gateway/delivery/writer/versions.h"
#include "gateway/delivery/writer/waiting.h"
#include "gateway/delivery/writer/watch.h"
#include "gateway/flow/partition_key.h"
#include "storage/partitions.h"

/* ---- what is forgotten ----------------------------------------------------------------------- */

static void forget(SinkState *sink, const SinkEnd *end, const char *why) {
    uint32_t partition = end->partition;
    log_info("sink %s reads partition number %" PRIu32 " again from its position, it had offsets %" PRId64 " to %" PRId64 ": %s",
             sink->label ? sink->label : "?", partition, end->from, end->end, why);
    sink_ends_forget(sink->ends, partition);
    sink_log_forget(sink->log, partition);
}

static uint32_t number_of(const Writer *writer, const PartitionKey *key) {
    const Partition wanted = partition_wanted(key);
    const Partition *known = partitions_find(writer->partitions, &wanted);
    return known ? known->number : 0;
}

/* NULL: there is none. */
static const SinkEnd *chain_of(const Writer *writer, const SinkState *sink, const PartitionKey *key) {
    const SinkEnd *end = sink_ends_find(sink->ends, number_of(writer, key));
    return end && end->end >= 0 ? end : NULL;
}

/* It began after the job was given out, from a position that is newer than what the job says. */
static bool is_newer(const SinkState *sink, const SinkEnd *chain) {
    return chain && chain->begun > sink->imports->begun;
}

/* Is it of the chain, or has records of it? Runs of older chains wait before it; one that is joined
 * of both lies around its beginning. */
static bool has(const SinkEnd *chain, const ImportRun *run) {
    if (run->next <= chain->from || run->first >= chain->end) return false;
    if (run->first_row >= chain->first_row) return true;
    return run->rows > 0 && run->first_row + run->rows >= chain->first_row && run->first < chain->from;
}

void chains_note_runs(Writer *writer, SinkState *sink, const LoadJob *job, const ImportRun *runs, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (runs[i].outcome != RUN_RETURNED) continue;
        const SinkEnd *chain = chain_of(writer, sink, &job->positions[runs[i].position].key);
        if (chain && !is_newer(sink, chain) && has(chain, &runs[i])) forget(sink, chain, "its position does not follow");
    }
}

static void note_position(SinkState *sink, const ImportPosition *position, const SinkEnd *chain) {
    Watched *watched = watch_find(sink->watch, &position->key);
    if (watched) {
        watched->position = position->found ? position->next : -1;
        watched->missing = watched->missing && !position->found;
        watched->known = true;
        watched->read = sink->imports->begun;
    }
    if (!position->found || !chain) return;
    if (!sink_ends_reach(sink->ends, chain->partition, position->next)) forget(sink, chain, "its position is elsewhere");
}

void chains_note_positions(Writer *writer, SinkState *sink, const LoadJob *job) {
    if (job->position_count == 0 || !versions_go_to(sink->versions, writer->connections, &job->target)) return;
    for (size_t i = 0; i < job->position_count; i++) {
        const SinkEnd *chain = chain_of(writer, sink, &job->positions[i].key);
        if (!is_newer(sink, chain)) note_position(sink, &job->positions[i], chain);
    }
}

static void note_missing(SinkState *sink, const LoadJob *job, const ImportRun *runs, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const ImportPosition *position = &job->positions[runs[i].position];
        Watched *watched = position->found ? NULL : watch_find(sink->watch, &position->key);
        if (!watched) continue;
        watched->position = -1;
        watched->missing = watched->known = true;
    }
}

void chains_note_missing(Writer *writer, SinkState *sink, const LoadJob *job) {
    if (job->request.error.code != -ENODATA || !versions_go_to(sink->versions, writer->connections, &job->target)) return;
    note_missing(sink, job, job->runs, job->run_count);
    for (size_t i = 0; i < job->file_count; i++) note_missing(sink, job, job->files[i].runs, job->files[i].run_count);
}

void chains_note_loss(SinkState *sink) {
    for (size_t i = 0; i < sink->ends->count; i++) {
        const SinkEnd *end = &sink->ends->items[i];
        if (end->from < end->end) forget(sink, end, "its waiting rows are damaged");
    }
}

void chains_forget_all(SinkState *sink) {
    for (size_t i = 0; i < sink->ends->count; i++)
        if (sink->ends->items[i].end >= 0) forget(sink, &sink->ends->items[i], "its waiting rows go to another table");
}

void chains_leave(SinkState *sink) {
    for (size_t i = 0; i < sink->ends->count; i++)
        if (sink->ends->items[i].end >= 0) sink_log_forget(sink->log, sink->ends->items[i].partition);
    sink_ends_leave(sink->ends);
}

int chains_store(Txn *txn, SinkState *sink, Error *error) {
    SinkEnds *ends = sink->ends;
    int r = 0;
    if (ends->unsaved == 0) return 0;
    for (size_t i = 0; i < ends->count && r == 0; i++)
        if (ends->items[i].unsaved) r = partition_end_forget(txn, sink->totals.sink, ends->items[i].partition, ends->items[i].left, error);
    if (r == 0) sink_ends_saved(ends);
    return r;
}

void chains_save(Writer *writer, SinkState *sink) {
    Txn *txn;
    Error error = {0};
    if (sink->ends->unsaved == 0 || !writer_record_begin(writer, &txn)) return;
    int r = chains_store(txn, sink, &error);
    (void)writer_record_end(writer, txn, r, "cannot forget how far a partition was read", &error);
}

/* ---- what a start finds ---------------------------------------------------------------------- */

struct ChainSearch {
    SinkEnds *sinks; /* by number */
    size_t capacity;
};

ChainSearch *chain_search_new(void) {
    ChainSearch *search = calloc(1, sizeof *search);
    check(search);
    return search;
}

void chain_search_free(ChainSearch *search) {
    if (!search) return;
    for (size_t i = 0; i < search->capacity; i++) sink_ends_deinit(&search->sinks[i]);
    free(search->sinks);
    free(search);
}

static SinkEnds *ends_of(ChainSearch *search, uint32_t sink) {
    while (sink >= search->capacity) {
        size_t before = search->capacity;
        array_reserve(search->sinks, search->capacity, search->capacity);
        for (size_t i = before; i < search->capacity; i++) search->sinks[i] = (SinkEnds){0};
    }
    return &search->sinks[sink];
}

void chain_search_run(ChainSearch *search, uint32_t sink, const OffsetRun *run, uint64_t first_row) {
    SinkEnds *ends = ends_of(search, sink);
    const SinkEnd *end = sink_ends_find(ends, run->partition);
    /* Of those without rows, what was staged with the rows before is in the log as well. */
    if (run->rows == 0 && end && run->first >= end->from && run->next <= end->end) return;
    (void)sink_ends_add(ends, run, first_row, 0);
}

typedef struct FileSearch {
    ChainSearch *search;
    Txn *txn;
    const Uuid *file;
    OffsetRuns runs;
    bool any;
} FileSearch;

static int search_slice(void *context, const SliceRecord *slice, Error *error) {
    FileSearch *file = context;
    if (slice->run_count == 0 || !uuid_equal(&slice->file, file->file)) return 0;
    file->any = true;
    file->runs.count = 0;
    int r = ledger_read_runs(file->txn, slice->sink, slice->first_row, &file->runs, error);
    if (r != 0) return r < 0 ? r : error_set(error, -EBADMSG, "the runs of a slice are not in the ledger");
    uint64_t row = slice->first_row;
    for (size_t i = 0; i < file->runs.count; i++) {
        chain_search_run(file->search, slice->sink, &file->runs.items[i], row);
        row += file->runs.items[i].rows;
    }
    return 0;
}

static int search_file(ChainSearch *search, Txn *txn, uint32_t sink, const Uuid *id, uint64_t first_row, uint64_t rows, bool *ret_any,
                       Error *error) {
    FileSearch file = {.search = search, .txn = txn, .file = id};
    int r = ledger_visit_slices(txn, sink, first_row, rows, search_slice, &file, error);
    offset_runs_deinit(&file.runs);
    *ret_any = file.any;
    return r;
}

int chain_search_files(ChainSearch *search, Txn *txn, SinkState *sink, Error *error) {
    uint32_t number = sink->totals.sink;
    const FileRecord *open = &sink->open->file;
    int r = 0;
    for (size_t i = 0; i < sink->waiting->count && r == 0; i++) {
        WaitingFile *file = &sink->waiting->items[i];
        r = search_file(search, txn, number, &file->id, file->first_row, file->rows, &file->bridge, error);
    }
    if (r < 0 || !sink->open->exists) return r;
    return search_file(search, txn, number, &open->id, open->first_row, open->rows, &sink->open->runs, error);
}

static void end_sink(SinkEnds *found, SinkState *sink) {
    for (size_t i = 0; i < sink->ends->count; i++) {
        const SinkEnd *stored = &sink->ends->items[i];
        const SinkEnd *chain = sink_ends_find(found, stored->partition);
        if (stored->end < 0 || !chain) continue;
        if (chain->end == stored->end) {
            sink_ends_begin_at(sink->ends, stored->partition, chain->from, chain->first_row);
        } else {
            forget(sink, stored, "its waiting rows do not reach its end");
        }
    }
}

void chain_search_end(ChainSearch *search, Writer *writer) {
    for (size_t i = 0; i < writer->sinks->capacity; i++) {
        SinkState *sink = writer->sinks->items[i];
        if (sink && sink_ends_any(sink->ends)) end_sink(ends_of(search, (uint32_t)i), sink);
    }
}
