#include "sinks/rejects.h"

#include <errno.h>
#include <stdlib.h>

#include "base/array.h"

SinkResult sink_rejects_add(SinkRejects *rejects, const ImportJob *job, const ImportFile *file, uint64_t row, const char *reason, Span csv,
                            Error *error) {
    if (rejects->count >= job->bad_rows_most) {
        (void)error_set(error, -E2BIG, "The destination refuses more than %u rows of one import, the last one (row %llu) because: %s",
                        job->bad_rows_most, (unsigned long long)row, reason);
        return SINK_REFUSED;
    }
    if (rejects->arena.used_bytes + csv.size > REJECTS_BYTES_MOST) {
        (void)error_set(error, -E2BIG,
                        "The destination refuses %zu rows of one import with more than %zu MB, the last one (row %llu) because: %s",
                        rejects->count + 1, REJECTS_BYTES_MOST >> 20, (unsigned long long)row, reason);
        return SINK_REFUSED;
    }
    array_reserve(rejects->items, rejects->count, rejects->capacity);
    char *words = arena_copy(&rejects->arena, span_of(reason));
    for (char *c = words; *c; c++) {
        if (*c == '\n' || *c == '\r') *c = ' ';
    }
    rejects->items[rejects->count++] = (SinkReject){
        .row = row, .file = &file->id, .reason = words, .csv = {.data = arena_copy(&rejects->arena, csv), .size = csv.size}};
    return SINK_DONE;
}

SinkResult sink_rejects_store(const SinkRejects *rejects, ImportJob *job, Error *error) {
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
