#include "sinks/refused_rows.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/array.h"

const char sink_reason_swallowed[] = "not stored by a trigger of the table";

static void append(SinkRejects *rejects, const ImportFile *file, uint64_t row, const char *reason, Span csv) {
    array_reserve(rejects->items, rejects->count, rejects->capacity);
    rejects->items[rejects->count++] = (SinkReject){
        .row = row, .file = &file->id, .reason = reason, .csv = {.data = arena_copy(&rejects->arena, csv), .size = csv.size}};
}

SinkResult sink_rejects_add(SinkRejects *rejects, const ImportJob *job, const ImportFile *file, uint64_t row, const char *reason, Span csv,
                            Error *error) {
    check(reason && rejects->refused <= rejects->count && rejects->file_first <= rejects->count);
    if (rejects->refused >= job->bad_rows_max) {
        (void)error_set(error, -E2BIG, "The destination refused more than %u rows of one import; the last one (row %llu) because: %s",
                        job->bad_rows_max, (unsigned long long)row, reason);
        return SINK_REFUSED;
    }
    if (rejects->refused_bytes + csv.size > REJECTS_BYTES_MAX) {
        (void)error_set(error, -E2BIG,
                        "The destination refuses %" PRIu64 " rows of one import with more than %zu MB; the last one (row %llu) because: %s",
                        rejects->refused + 1, REJECTS_BYTES_MAX >> 20, (unsigned long long)row, reason);
        return SINK_REFUSED;
    }
    char *words = arena_copy(&rejects->arena, span_of(reason));
    for (char *c = words; *c; c++) {
        if (*c == '\n' || *c == '\r') *c = ' ';
    }
    append(rejects, file, row, words, csv);
    rejects->refused++;
    rejects->refused_bytes += csv.size;
    return SINK_DONE;
}

void sink_rejects_begin_file(SinkRejects *rejects) {
    check(rejects->refused <= rejects->count);
    rejects->file_first = rejects->count;
    rejects->swallowed = rejects->swallowed_named = 0;
}

bool sink_rejects_may_name(const SinkRejects *rejects, const ImportJob *job, uint64_t rows) {
    return rejects->swallowed == rejects->swallowed_named && rows <= SWALLOWED_NAMED_MAX &&
           rejects->swallowed_named + rows <= SWALLOWED_NAMED_MAX && rejects->count - rejects->refused + rows <= job->bad_rows_max;
}

void sink_rejects_add_swallowed(SinkRejects *rejects, const ImportJob *job, const ImportFile *file, uint64_t row, Span csv) {
    if (sink_rejects_may_name(rejects, job, 1) && rejects->swallowed_bytes + csv.size <= SWALLOWED_BYTES_MAX) {
        append(rejects, file, row, sink_reason_swallowed, csv);
        rejects->swallowed_named++;
        rejects->swallowed_bytes += csv.size;
    }
    rejects->swallowed++;
    check(rejects->swallowed_named <= rejects->swallowed && rejects->swallowed_named <= SWALLOWED_NAMED_MAX);
}

void sink_rejects_count_swallowed(SinkRejects *rejects, uint64_t rows) {
    rejects->swallowed += rows;
}

static int by_row(const void *a, const void *b) {
    uint64_t left = ((const SinkReject *)a)->row, right = ((const SinkReject *)b)->row;
    return left < right ? -1 : left > right;
}

/* Rows that a driver refuses by itself come before those that the destination refuses. */
static void sort(SinkReject *items, size_t count) {
    for (size_t i = 1; i < count; i++) {
        if (items[i - 1].row <= items[i].row) continue;
        qsort(items, count, sizeof *items, by_row);
        return;
    }
}

void sink_rejects_end_file(SinkRejects *rejects, ImportJob *job, uint64_t stored) {
    sort(rejects->items + rejects->file_first, rejects->count - rejects->file_first);
    check(rejects->file_first <= rejects->count && rejects->swallowed_named <= rejects->count - rejects->file_first);
    job->swallowed_rows += rejects->swallowed;
    if (rejects->swallowed_named == 0 || (stored > 0 && rejects->swallowed == rejects->swallowed_named)) return;
    size_t kept = rejects->file_first;
    for (size_t i = rejects->file_first; i < rejects->count; i++) {
        if (rejects->items[i].reason != sink_reason_swallowed) rejects->items[kept++] = rejects->items[i];
    }
    check(rejects->count - kept == rejects->swallowed_named);
    rejects->count = kept;
}

SinkRejectsMark sink_rejects_mark(const SinkRejects *rejects) {
    return (SinkRejectsMark){.count = rejects->count,
                             .refused = rejects->refused,
                             .swallowed = rejects->swallowed,
                             .swallowed_named = rejects->swallowed_named,
                             .refused_bytes = rejects->refused_bytes,
                             .swallowed_bytes = rejects->swallowed_bytes};
}

void sink_rejects_return(SinkRejects *rejects, const SinkRejectsMark *mark) {
    check(mark->count >= rejects->file_first && mark->count <= rejects->count);
    check(mark->refused <= rejects->refused && mark->swallowed <= rejects->swallowed);
    rejects->count = mark->count;
    rejects->refused = mark->refused;
    rejects->swallowed = mark->swallowed;
    rejects->swallowed_named = mark->swallowed_named;
    rejects->refused_bytes = mark->refused_bytes;
    rejects->swallowed_bytes = mark->swallowed_bytes;
}

SinkResult sink_rejects_store(const SinkRejects *rejects, ImportJob *job, Error *error) {
    check(rejects->refused <= rejects->count && rejects->refused <= job->bad_rows_max);
    check(rejects->count - rejects->refused <= job->bad_rows_max);
    if (rejects->count > 0 || job->store_none) {
        Error why = {0};
        if (job->store_rejects(job->context, rejects->items, rejects->count, &why) != 0) {
            (void)error_set(error, why.code < 0 ? why.code : -EIO, "The refused rows could not be stored: %s", why.text);
            return SINK_RETRY;
        }
    }
    job->rejected_rows = rejects->count;
    return SINK_DONE;
}

void sink_rejects_deinit(SinkRejects *rejects) {
    arena_deinit(&rejects->arena);
    free(rejects->items);
    *rejects = (SinkRejects){0};
}
