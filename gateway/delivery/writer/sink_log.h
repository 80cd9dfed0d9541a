/*
 * The rows of one sink that lie only in the log, as log runs. Of a bridge's sink, also the runs
 * without rows (storage/offset_run.h) behind them. No disk, no clock: it mirrors what the log and
 * the ledger say.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "gateway/delivery/run_list.h"
#include "storage/commit_log.h"

/* A log run has no more offset runs: those of a slice are one text in its pack. */
#define LOG_RUN_RUNS_MAX 65000

/* Rows of a sink that lie only in the log: of one mapping version, without a gap in their
 * numbers. */
typedef struct LogRun {
    uint32_t mapping_version;
    bool staging; /* in a Stage that is not back */
    uint64_t first_row, rows, bytes;
    uint64_t from_commit, to_commit;
    uint64_t runs_from; /* commit that its offset runs begin in: before from_commit when those without rows come first */
    size_t run_count;   /* its offset runs, at most; 0: it is not of a bridge */
    usec_t commit_time; /* wall, of from_commit */
    usec_t since;       /* boot: when the oldest of them came */
    usec_t first_time, last_time;
} LogRun;

typedef struct SinkLog {
    LogRun *runs; /* oldest first */
    size_t count, capacity;
    uint64_t rows, bytes; /* of all log runs */
    /* Runs without rows that are in no log run: they go with the next rows, or are imported
     * alone. */
    RunList idle;
    uint64_t idle_from; /* commit that they begin in; 0: there are none */
    usec_t idle_since;  /* boot: when the oldest of them came */
    /* Of those, what is imported alone, before all rows. */
    OffsetRuns ahead;
    uint64_t ahead_from;
} SinkLog;

/* Rows that the log holds become waiting ones: the youngest. `since`: boot time. `runs`: of the
 * entry; there may be rows, runs or both. */
void sink_log_add(SinkLog *log, uint64_t commit, usec_t commit_time, const GroupEntry *entry, const OffsetRun *runs, size_t run_count,
                  usec_t since);
/* The oldest rows have left it: not more than the first run has. */
void sink_log_drop(SinkLog *log, uint64_t rows, uint64_t bytes);
void sink_log_clear(SinkLog *log);
/* The runs without rows are imported alone from now on; then they have gone. */
void sink_log_send_idle(SinkLog *log);
void sink_log_drop_ahead(SinkLog *log);
/* Those of the partition that no rows follow are of a chain that was forgotten: they need not be
 * decided about. */
void sink_log_forget(SinkLog *log, uint32_t partition);
/* The oldest commit that any of it is in; 0: there is nothing. */
uint64_t sink_log_oldest(const SinkLog *log);
/* No run is in a Stage any more. */
void sink_log_let_go(SinkLog *log);
bool sink_log_has_version(const SinkLog *log, uint32_t mapping_version);
/* The number behind the last row; `empty`: what that is when there are none. */
uint64_t sink_log_end(const SinkLog *log, uint64_t empty);
/* Asserts that the runs add up to the sums, and that their numbers have no gap (`has_hole`: but for
 * the hole of a sink that is stopped). */
void sink_log_check(const SinkLog *log, bool has_hole);
void sink_log_deinit(SinkLog *log);
