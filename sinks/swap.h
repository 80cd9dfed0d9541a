/* What the swaps of all drivers share. Pure. */
#pragma once

#include "sinks/driver.h"

/* Asserts that the job is in order, and clears what comes out of it. */
void swap_begin(SwapJob *job);
/* The positions of its limits, to be read; free(). */
ImportPosition *swap_positions(const SwapJob *job);
/* After they were read. */
bool swap_is_complete(const SwapJob *job, const ImportPosition *positions);
/* 0: the run is open. Sets later_run. */
SwapOutcome swap_outcome_of_marks(SwapJob *job, const RunMarks *marks);
/*
 * The side table had `collected` rows, of which `inserted` were put into the table, which has
 * `there` now: else triggers or rules of it have kept old rows or made others, and it is
 * SINK_REFUSED. Sets rows and swallowed_rows; or the outcome SWAP_EMPTY, when the table would have
 * no row and allow_empty is not set: then all is rolled back.
 */
SinkResult swap_check_counts(SwapJob *job, uint64_t collected, uint64_t inserted, uint64_t there, Error *error);
