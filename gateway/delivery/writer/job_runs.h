/* The runs of a job, and the positions that they are of, as a driver takes them. */
#pragma once

#include "gateway/flow/messages.h"

enum { JOB_RUNS_UNKNOWN = 1 };
/* Adds runs and positions to the job, if its files have runs. JOB_RUNS_UNKNOWN: a slice has runs of
 * a partition of which nothing is known any more: it cannot be imported. */
int job_runs_read(Txn *txn, const Partitions *known, LoadJob *job, LoadFile **ret_file, SliceRecord *ret_slice, Error *error);

typedef struct JobPositions {
    const OffsetRun *runs; /* without rows; those of a partition that is not known are left out */
    size_t run_count;
    uint64_t next_row;             /* of the row that would follow */
    const struct Watched *watched; /* to be read as well */
    size_t watched_count;
} JobPositions;
/* Makes a job of MESSAGE_POSITIONS of them. */
void job_runs_put(const Partitions *known, LoadJob *job, const JobPositions *wanted);
