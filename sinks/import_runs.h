/*
 * The runs of an import's files, for all drivers: decides which runs are taken, and makes the
 * readers leave out the rows of the others. Pure except for the readers. The thread of the loader.
 */
#pragma once

#include "sinks/driver.h"

#define IMPORT_STARTS_MAX 5 /* maximum number of times that an import begins, if a position changes each time */

/* Is it an import with runs? Call it before the positions are read. */
bool import_has_runs(const ImportJob *job);
/* Checks after the positions were read that all exist. SINK_REFUSED: positionsMissing. */
SinkResult import_runs_begin(const ImportJob *job, Error *error);
/* Decides about the runs of file `index`, and sets left_out. In order of the files. */
void import_runs_decide(const ImportJob *job, size_t index);
/* The file `index`, which was decided last, was imported before: its runs do not count for the
 * positions. */
void import_runs_take_back(const ImportJob *job, size_t index);
/* Makes the reader return only rows of runs that are taken. */
void import_runs_leave_out(const ImportFile *file);
/* Resets what a failed import has set in the files. */
void import_runs_forget(ImportJob *job);
/* Returns the positions that change, in their order. *ret_changed (free()) has their indexes. */
size_t positions_changed(const ImportPosition *positions, size_t count, size_t **ret_changed);

/* Decides about the runs after the positions of the job were read. The positions that a run needs
 * must exist, otherwise SINK_REFUSED: positionsMissing. */
SinkResult positions_job_decide(const PositionsJob *job, Error *error);
/* Returns the positions of a claim, to be read; free(). Checks that they are of one cluster and
 * group. */
ImportPosition *claim_positions(const ClaimJob *job);
/* Checks that a seek is in key order, and of one cluster and group. */
void seek_assert(const SeekJob *job);
/* Does each position have the value that the job demands (`before`: its positions before they were
 * read)? */
SinkResult seek_check(const SeekJob *job, const ImportPosition *before, Error *error);
