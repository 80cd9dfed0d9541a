/*
 * STRATEGY_REPLACE: the rows of a run are collected in a side table. When the run is complete, they
 * replace the rows of the table in one transaction (PositionsDriver.swap). This module does no I/O.
 *
 * Runs are numbered from 1. A later run has a higher number, whichever gateway began it. It
 * supersedes earlier runs, whose collected rows are dropped. The positions of a run are stored for
 * the group "GROUP#RUN". They are set in the transaction that writes rows to the side table.
 *
 * The table of positions has up to two marks for each table that is replaced. A mark is a row with
 * an empty cluster and group, generation 0 and partition 0. Its next_offset is the number of a run,
 * and its topic_id is the group of the run, "GROUP#RUN".
 *   topic "run":  the last run that was claimed
 *   topic "done": the last run whose rows replaced those of the table
 * A run is open while the mark "run" names it and the mark "done" does not. The side table exists
 * exactly while a run is open. Any other run is over: its positions are ignored, and its rows are
 * left out.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config/definition.h"
#include "sinks/positions.h"

#define REPLACE_SIDE_SUFFIX "__replace" /* appended to the name of the table */
#define REPLACE_MARK_RUN "run"
#define REPLACE_MARK_DONE "done"
/* The remark on a side table begins with this text. A table without it was not made by Sluice. */
#define REPLACE_REMARK "Sluice: rows of a run"

typedef enum RunState {
    RUN_OPEN = 1,   /* its rows are being collected, or will be */
    RUN_DONE,       /* its rows have replaced those of the table */
    RUN_SUPERSEDED, /* a later run was claimed */
} RunState;

/* Returns the group of a run, "GROUP#RUN"; free(). */
char *run_group(const char *group, uint64_t run);
/* Returns the number of the run to which a group belongs; 0: it is not the group of a run. */
uint64_t run_of_group(const char *group);

/* Do both runs belong to the same group, and is the first one the earlier run? */
bool run_is_earlier(const char *run_group, const char *than_run_group);

/* The marks of a table. All-zero means that there are no marks. */
typedef struct RunMarks {
    uint64_t run, done; /* 0: none */
    char *run_group;    /* owned; NULL: none */
    char *done_group;
} RunMarks;
/* Adds a row of the table of positions whose cluster and group are empty. Copies the text. A row
 * that is not a valid mark is ignored. */
void run_marks_add(RunMarks *marks, const char *topic, int64_t next_offset, const char *topic_id);
void run_marks_deinit(RunMarks *marks);
/* Is this the group of the open run? */
bool run_marks_open(const RunMarks *marks, const char *run_group);
/* Returns the state of a run. Of two runs with the same number, the one with the greater group is
 * the later one. *ret_is_new is set if no mark names the run: it begins when it is claimed. */
RunState run_marks_state(const RunMarks *marks, const char *run_group, bool *ret_is_new);

/* Returns the number of the last run that the marks name; 0: none. */
uint64_t run_marks_last(const RunMarks *marks);
/* Sets `over` and clears `found` for each position that does not belong to the open run. */
void run_marks_evaluate(const RunMarks *marks, ImportPosition *positions, size_t count);

/* Makes a target for the side table. Its columns, key and options are those of `target`, whose
 * memory it borrows. Its rows are merged if there is a key, and appended otherwise. The caller
 * calls side_target_deinit(). */
void side_target_init(SinkTarget *side, const SinkTarget *target);
void side_target_deinit(SinkTarget *side);
