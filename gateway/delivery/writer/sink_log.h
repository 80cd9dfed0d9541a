/* The rows of one sink that lie only in the log, as runs. No disk, no clock: it mirrors what the log and the ledger say. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "storage/commit_log.h"

/* Rows of a sink that lie only in the log: of one mapping version, without a gap in their numbers. */
typedef struct Run {
    uint32_t mapping_version;
    bool staging; /* in a Stage that is not back */
    uint64_t first_row, rows, bytes;
    uint64_t from_commit, to_commit;
    usec_t commit_time; /* wall, of from_commit */
    usec_t since;       /* boot: when the oldest of them came */
    usec_t first_time, last_time;
} Run;

typedef struct SinkLog {
    Run *runs; /* oldest first */
    size_t count, capacity;
    uint64_t rows, bytes; /* of all runs */
} SinkLog;

/* Rows that the log holds become waiting ones: the youngest. `since`: boot time. */
void sink_log_add(SinkLog *log, uint64_t commit, usec_t commit_time, const GroupEntry *entry, usec_t since);
/* The oldest rows have left it: not more than the first run has. */
void sink_log_drop(SinkLog *log, uint64_t rows, uint64_t bytes);
void sink_log_clear(SinkLog *log);
/* No run is in a Stage any more. */
void sink_log_let_go(SinkLog *log);
bool sink_log_has_version(const SinkLog *log, uint32_t mapping_version);
/* The number behind the last row; `empty`: what that is when there are none. */
uint64_t sink_log_end(const SinkLog *log, uint64_t empty);
/* Asserts that the runs add up to the sums, and that their numbers have no gap (`has_hole`: but for the hole of a sink that is stopped). */
void sink_log_check(const SinkLog *log, bool has_hole);
void sink_log_deinit(SinkLog *log);
