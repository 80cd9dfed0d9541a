#include "gateway/delivery/writer/sink_log.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/error.h"

/* A run is staged as one slice, so it ends when it is this large: what a slice may reach (the most of the upload size). */
#define RUN_BYTES_MOST (50u << 20)

void sink_log_add(SinkLog *log, uint64_t commit, usec_t commit_time, const GroupEntry *entry, usec_t since) {
    Run *run = log->count ? &log->runs[log->count - 1] : NULL;
    bool joins = run && !run->staging && run->mapping_version == entry->mapping_version && run->first_row + run->rows == entry->first_row &&
                 run->bytes + entry->bytes <= RUN_BYTES_MOST;
    if (!joins) {
        array_reserve(log->runs, log->count, log->capacity);
        run = &log->runs[log->count++];
        *run = (Run){.mapping_version = entry->mapping_version,
                     .first_row = entry->first_row,
                     .from_commit = commit,
                     .commit_time = commit_time,
                     .since = since,
                     .first_time = entry->first_time};
    }
    run->rows += entry->rows;
    run->bytes += entry->bytes;
    run->to_commit = commit;
    run->last_time = entry->last_time;
    log->rows += entry->rows;
    log->bytes += entry->bytes;
}

void sink_log_drop(SinkLog *log, uint64_t rows, uint64_t bytes) {
    check(log->count > 0);
    Run *run = &log->runs[0];
    check(rows <= run->rows && run->rows <= log->rows && run->bytes <= log->bytes);
    if (bytes > run->bytes) bytes = run->bytes;
    run->first_row += rows;
    run->rows -= rows;
    run->bytes -= bytes;
    log->rows -= rows;
    log->bytes -= bytes;
    if (run->rows > 0) return;
    log->bytes -= run->bytes;
    log->count--;
    memmove(&log->runs[0], &log->runs[1], log->count * sizeof *log->runs);
}

void sink_log_clear(SinkLog *log) {
    log->count = 0;
    log->rows = log->bytes = 0;
}

void sink_log_let_go(SinkLog *log) {
    for (size_t i = 0; i < log->count; i++) log->runs[i].staging = false;
}

bool sink_log_has_version(const SinkLog *log, uint32_t mapping_version) {
    for (size_t i = 0; i < log->count; i++)
        if (log->runs[i].mapping_version == mapping_version) return true;
    return false;
}

uint64_t sink_log_end(const SinkLog *log, uint64_t empty) {
    if (log->count == 0) return empty;
    const Run *last = &log->runs[log->count - 1];
    return last->first_row + last->rows;
}

void sink_log_check(const SinkLog *log, bool has_hole) {
    uint64_t rows = 0, bytes = 0;
    for (size_t i = 0; i < log->count; i++) {
        const Run *run = &log->runs[i];
        check(run->rows > 0 && run->from_commit <= run->to_commit);
        check(i == 0 || has_hole || run->first_row == run[-1].first_row + run[-1].rows);
        check(i == 0 || run->from_commit >= run[-1].from_commit);
        check(i == 0 || !run->staging || run[-1].staging); /* a Stage takes runs from the front */
        rows += run->rows;
        bytes += run->bytes;
    }
    check(rows == log->rows && bytes == log->bytes);
}

void sink_log_deinit(SinkLog *log) {
    free(log->runs);
    *log = (SinkLog){0};
}
