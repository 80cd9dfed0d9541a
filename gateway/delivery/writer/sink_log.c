#include "gateway/delivery/writer/sink_log.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/error.h"

/* A log run is staged as one slice, so it ends when it is this large: what a slice may reach (the
 * most of the upload size). */
#define RUN_BYTES_MAX (50u << 20)

static void drop_idle(SinkLog *log) {
    run_list_clear(&log->idle);
    log->idle_from = 0;
}

static void add_idle(SinkLog *log, uint64_t commit, const OffsetRun *runs, size_t run_count, usec_t since) {
    check(run_count > 0);
    for (size_t i = 0; i < run_count; i++) run_list_add(&log->idle, &runs[i]);
    if (log->idle_from > 0) return;
    log->idle_from = commit;
    log->idle_since = since;
}

static void add_rows(SinkLog *log, uint64_t commit, usec_t commit_time, const GroupEntry *entry, size_t run_count, usec_t since) {
    LogRun *run = log->count ? &log->runs[log->count - 1] : NULL;
    /* Runs without rows before these rows go with them; they come between, so they are counted
     * here. */
    size_t idle = run_count > 0 ? log->idle.runs.count : 0;
    bool joins = run && !run->staging && run->mapping_version == entry->mapping_version && run->first_row + run->rows == entry->first_row &&
                 run->bytes + entry->bytes <= RUN_BYTES_MAX && (run->run_count > 0) == (run_count > 0) &&
                 run->run_count + idle + run_count <= LOG_RUN_RUNS_MAX;
    if (!joins) {
        array_reserve(log->runs, log->count, log->capacity);
        run = &log->runs[log->count++];
        *run = (LogRun){.mapping_version = entry->mapping_version,
                        .first_row = entry->first_row,
                        .from_commit = commit,
                        .runs_from = idle > 0 ? log->idle_from : commit,
                        .commit_time = commit_time,
                        .since = since,
                        .first_time = entry->first_time};
    }
    run->run_count += idle + run_count;
    if (idle > 0) drop_idle(log);
    run->rows += entry->rows;
    run->bytes += entry->bytes;
    run->to_commit = commit;
    run->last_time = entry->last_time;
    log->rows += entry->rows;
    log->bytes += entry->bytes;
}

void sink_log_add(SinkLog *log, uint64_t commit, usec_t commit_time, const GroupEntry *entry, const OffsetRun *runs, size_t run_count,
                  usec_t since) {
    if (entry->rows > 0) {
        add_rows(log, commit, commit_time, entry, run_count, since);
        return;
    }
    LogRun *last = log->count ? &log->runs[log->count - 1] : NULL;
    bool joins = last && !last->staging && last->run_count > 0 && log->idle_from == 0 && last->run_count + run_count <= LOG_RUN_RUNS_MAX;
    if (joins) {
        last->run_count += run_count;
        last->to_commit = commit;
    } else {
        add_idle(log, commit, runs, run_count, since);
    }
}

void sink_log_drop(SinkLog *log, uint64_t rows, uint64_t bytes) {
    check(log->count > 0);
    LogRun *run = &log->runs[0];
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
    drop_idle(log);
    sink_log_drop_ahead(log);
}

void sink_log_send_idle(SinkLog *log) {
    check(log->ahead.count == 0 && log->idle.runs.count > 0);
    for (size_t i = 0; i < log->idle.runs.count; i++) offset_runs_add(&log->ahead, &log->idle.runs.items[i]);
    log->ahead_from = log->idle_from;
    drop_idle(log);
}

void sink_log_drop_ahead(SinkLog *log) {
    log->ahead.count = 0;
    log->ahead_from = 0;
}

void sink_log_forget(SinkLog *log, uint32_t partition) {
    run_list_remove(&log->idle, partition);
    if (log->idle.runs.count == 0) log->idle_from = 0;
    size_t kept = 0;
    for (size_t i = 0; i < log->ahead.count; i++)
        if (log->ahead.items[i].partition != partition) log->ahead.items[kept++] = log->ahead.items[i];
    log->ahead.count = kept;
    if (kept == 0) log->ahead_from = 0;
}

uint64_t sink_log_oldest(const SinkLog *log) {
    if (log->ahead_from > 0) return log->ahead_from;
    return log->count ? log->runs[0].runs_from : log->idle_from;
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
    const LogRun *last = &log->runs[log->count - 1];
    return last->first_row + last->rows;
}

void sink_log_check(const SinkLog *log, bool has_hole) {
    uint64_t rows = 0, bytes = 0;
    for (size_t i = 0; i < log->count; i++) {
        const LogRun *run = &log->runs[i];
        check(run->rows > 0 && run->runs_from <= run->from_commit && run->from_commit <= run->to_commit);
        check(i == 0 || has_hole || run->first_row == run[-1].first_row + run[-1].rows);
        check(i == 0 || run->from_commit >= run[-1].from_commit);
        check(i == 0 || !run->staging || run[-1].staging); /* a Stage takes runs from the front */
        rows += run->rows;
        bytes += run->bytes;
    }
    check(rows == log->rows && bytes == log->bytes);
    check((log->idle_from > 0) == (log->idle.runs.count > 0));
    check((log->ahead_from > 0) == (log->ahead.count > 0));
}

void sink_log_deinit(SinkLog *log) {
    free(log->runs);
    run_list_deinit(&log->idle);
    offset_runs_deinit(&log->ahead);
    *log = (SinkLog){0};
}
