/* Functions that all drivers use to swap a side table into its table (PositionsDriver.swap). They
 * do no I/O. */
#pragma once

#include "sinks/driver.h"

/* Asserts that the job is valid, and clears its results. */
void swap_begin(SwapJob *job);
/* Returns the positions that belong to the limits of the job, before they are read; free(). */
ImportPosition *swap_positions(const SwapJob *job);
/* Has each position reached its limit? Call it after the positions were read. */
bool swap_is_complete(const SwapJob *job, const ImportPosition *positions);
/* Returns the outcome that the marks decide, or 0 if the run is open. Sets job->later_run if a
 * later run was claimed. */
SwapOutcome swap_outcome_of_marks(SwapJob *job, const RunMarks *marks);
/*
 * Compares the numbers of rows before a swap commits. `collected` is the number of rows of the side
 * table, `inserted` the number of them that were inserted into the table, and `there` the number of
 * rows that the table has now. Returns SINK_REFUSED if `there` differs from `inserted`: a trigger
 * or rule of the table has kept old rows or added rows. Otherwise returns SINK_DONE and sets
 * job->rows and job->swallowed_rows. If the table would be empty and job->allow_empty is not set,
 * the outcome is SWAP_EMPTY, and the caller rolls the transaction back.
 */
SinkResult swap_check_counts(SwapJob *job, uint64_t collected, uint64_t inserted, uint64_t there, Error *error);
