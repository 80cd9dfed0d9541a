/*
 * The runs of an import's files, the same for every driver: decides which go in, and has the
 * readers leave out the rows of the others. Pure but for the readers. The calling thread is the
 * loader's.
 */
#pragma once

#include "sinks/driver.h"

#define IMPORT_STARTS_MAX 5 /* how often an import begins, when a position changes under it each time */

/* Before the positions are read. Is it an import with runs? */
bool import_has_runs(const ImportJob *job);
/* After they were read: all must be there. SINK_REFUSED: positionsMissing. */
SinkResult import_runs_begin(const ImportJob *job, Error *error);
/* Decides about the runs of file `index`, and sets left_out. In order of the files. */
void import_runs_decide(const ImportJob *job, size_t index);
/* File `index`, the last one that was decided, was imported before: its runs do not count for the
 * positions. */
void import_runs_take_back(const ImportJob *job, size_t index);
/* The reader gives the rows that go in. */
void import_runs_leave_out(const ImportFile *file);
/* Of an import that failed: what it set in the files. */
void import_runs_forget(ImportJob *job);
/* Positions that change, in their order; *ret_changed (free()) are their indexes. */
size_t positions_changed(const ImportPosition *positions, size_t count, size_t **ret_changed);

/* After the positions of the job were read: those that a run needs must be there, SINK_REFUSED:
 * positionsMissing. Decides about the runs. */
SinkResult positions_job_decide(const PositionsJob *job, Error *error);
/* The positions of a claim, to be read; free(). Asserts that it is of one cluster and group. */
ImportPosition *claim_positions(const ClaimJob *job);
/* Asserts that a seek is in order and of one cluster and group. */
void seek_assert(const SeekJob *job);
/* Is each position as the job (`before`: its positions before they were read) demands? */
SinkResult seek_check(const SeekJob *job, const ImportPosition *before, Error *error);
