/*
 * Runs: what the records [first, next) of one partition became in one sink, whole records only. The
 * runs of a partition follow each other, so those without rows cover what became none: gaps,
 * tombstones, events that were refused. A log entry, a slice and a file of a bridge's sink have a
 * list of them, in the order of their rows, and end only where a run ends. Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/cursor.h"

typedef struct OffsetRun {
    uint32_t sink;
    uint32_t partition;  /* its number (partitions.h) */
    int64_t first, next; /* offsets: 0 <= first < next */
    uint64_t rows;       /* of this sink: none, or any number */
} OffsetRun;

/* All-zero is empty. */
typedef struct OffsetRuns {
    OffsetRun *items; /* owned */
    size_t count, capacity;
} OffsetRuns;

void offset_runs_deinit(OffsetRuns *runs);
void offset_runs_add(OffsetRuns *runs, const OffsetRun *run);

/* Can it be? */
bool offset_run_holds(const OffsetRun *run);
/* Are all of this sink, can they be, and have they so many rows together? */
bool offset_runs_have(const OffsetRun *runs, size_t count, uint32_t sink, uint64_t rows);
bool offset_runs_equal(const OffsetRun *a, const OffsetRun *b, size_t count);
/* Where to cut so that the first part has at least `rows` rows: the number of its runs, as few as
 * can be, but all when there are not so many rows. `ret_rows`: the rows that it has. */
size_t offset_runs_cut(const OffsetRun *runs, size_t count, uint64_t rows, uint64_t *ret_rows);

/* As they stand in the record of a slice: u32 count, then 28 bytes each, without their sink. */
void offset_runs_put(Buffer *out, const OffsetRun *runs, size_t count);
/* Reads those of a slice of `sink` with so many rows. `ret_runs`: they are added to it; NULL: only
 * counted. false: they cannot be. */
bool offset_runs_get(Cursor *fields, uint32_t sink, uint64_t rows, OffsetRuns *ret_runs, uint32_t *ret_count);
