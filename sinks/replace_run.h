/*
 * STRATEGY_REPLACE: the rows of a run are collected in a side table, and when all of the run is
 * there they replace the rows of the table, in one transaction (PositionsDriver.swap). Pure.
 *
 * A run has a number from 1. A later run has a higher one, whoever began it, and wins: what an
 * earlier one collected is dropped. The positions of a run are those of the group "GROUP#RUN". They
 * are set in the transaction that brings rows to the side table.
 *
 * The table of positions has up to two marks for each table that is replaced: rows whose cluster and group are empty, of generation 0 and
 * partition 0. Their next_offset is the number of a run, and their topic_id its group, "GROUP#RUN".
 *   topic "run":  the last run that was claimed
 *   topic "done": the last run whose rows replaced those of the table
 * A run is open while the mark "run" names it and "done" does not. The side table is there exactly as long. Any other run is over: its positions
 * count for nothing, and its rows are left out.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config/definition.h"
#include "sinks/positions.h"

#define REPLACE_SIDE_SUFFIX "__replace" /* behind the name of the table */
#define REPLACE_MARK_RUN "run"
#define REPLACE_MARK_DONE "done"
/* The remark on a side table begins with this. A table without it belongs to somebody else. */
#define REPLACE_REMARK "Sluice: rows of a run"

typedef enum RunState {
    RUN_OPEN = 1,   /* rows of it are collected, or will be */
    RUN_DONE,       /* its rows have replaced those of the table */
    RUN_SUPERSEDED, /* a later run was claimed */
} RunState;

/* The group of a run; free(). */
char *run_group(const char *group, uint64_t run);
/* The number of such a group; 0: it is of no run. */
uint64_t run_of_group(const char *group);

/* Are both of one group, and is the first one the earlier run? */
bool run_is_earlier(const char *run_group, const char *than_run_group);

/* What the marks say; all-zero: there are none. */
typedef struct RunMarks {
    uint64_t run, done; /* 0: none */
    char *run_group;    /* owned; NULL: none */
    char *done_group;
} RunMarks;
/* Takes a row of the table of positions whose cluster and group are empty. Copies the text. */
void run_marks_add(RunMarks *marks, const char *topic, int64_t next_offset, const char *topic_id);
void run_marks_deinit(RunMarks *marks);
/* Is it the open run? */
bool run_marks_open(const RunMarks *marks, const char *run_group);
/* Of two runs with one number, that of the greater group is the later one. *ret_is_new: no mark
 * names it, so that it begins with its claim. */
RunState run_marks_state(const RunMarks *marks, const char *run_group, bool *ret_is_new);

/* The number of the last run that they name; 0: none. */
uint64_t run_marks_last(const RunMarks *marks);
/* Positions of others than the open run are `over`, and not found. */
void run_marks_evaluate(const RunMarks *marks, ImportPosition *positions, size_t count);

/* The side table as a target: columns, key and options are those of `target`, whose memory it
 * shares. Its rows are merged when there is a key, else appended. side_target_deinit(). */
void side_target_init(SinkTarget *side, const SinkTarget *target);
void side_target_deinit(SinkTarget *side);
