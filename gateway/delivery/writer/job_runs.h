/* The runs of a job, and the positions that they are of, as a driver takes them. */
#pragma once

#include "gateway/flow/messages.h"

enum { JOB_RUNS_UNKNOWN = 1 };
/* Adds runs and positions to the job, if its files have runs. JOB_RUNS_UNKNOWN: a slice has runs of a partition of which nothing is known any more: it
 * cannot be imported. */
int job_runs_read(Txn *txn, const Partitions *known, LoadJob *job, LoadFile **ret_file, SliceRecord *ret_slice, Error *error);
/* Makes a job of MESSAGE_POSITIONS of them. What is of a partition that is not known is left out. */
void job_runs_put(const Partitions *known, LoadJob *job, const OffsetRun *runs, size_t count);
