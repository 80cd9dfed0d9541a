/*
 * Runs. A run is the rows that the records [first, next) of one partition became in one sink; it
 * has only whole records. The runs of a partition follow each other. So runs without rows cover
 * gaps, tombstones and events that were refused. A log entry, a slice and a file of a bridge's sink
 * have a list of runs, in the order of their rows, and end only where a run ends. Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/cursor.h"

typedef struct OffsetRun {
    uint32_t sink;
    uint32_t partition;  /* number of the partition (partitions.h) */
    int64_t first, next; /* offsets: 0 <= first < next */
    uint64_t rows;       /* rows in this sink; may be 0 */
} OffsetRun;

/* All-zero is empty. */
typedef struct OffsetRuns {
    OffsetRun *items; /* owned */
    size_t count, capacity;
} OffsetRuns;

void offset_runs_deinit(OffsetRuns *runs);
void offset_runs_add(OffsetRuns *runs, const OffsetRun *run);

/* Are the values of the run possible? */
bool offset_run_holds(const OffsetRun *run);
/* Do all runs belong to this sink, are their values possible, and do they have this number of rows
 * together? */
bool offset_runs_have(const OffsetRun *runs, size_t count, uint32_t sink, uint64_t rows);
bool offset_runs_equal(const OffsetRun *a, const OffsetRun *b, size_t count);
/* Returns the number of runs after which to divide, so that the first part has at least `rows` rows
 * with as few runs as possible. It is all runs if they have fewer rows. `ret_rows`: the rows of the
 * first part. */
size_t offset_runs_cut(const OffsetRun *runs, size_t count, uint64_t rows, uint64_t *ret_rows);

/* Writes the runs as in the record of a slice: u32 count, then 28 bytes each, without their
 * sink. */
void offset_runs_put(Buffer *out, const OffsetRun *runs, size_t count);
/* Reads the runs of a slice of `sink` that has this number of rows. They are added to `ret_runs`;
 * if it is NULL, they are only counted. Returns false if they are not possible. */
bool offset_runs_get(Cursor *fields, uint32_t sink, uint64_t rows, OffsetRuns *ret_runs, uint32_t *ret_count);
