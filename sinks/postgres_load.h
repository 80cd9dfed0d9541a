/*
 * PostgreSQL: the rows of a file into its table, within an open transaction. The rows flow as COPY, in attempts: a savepoint, a range
 * of rows, and with a primary key the step from a temporary table into the target. When the server refuses an attempt because of a row,
 * only the attempt is undone, and the range shrinks until the row stands alone and is refused by itself:
 *   - the line in the server's error is a hint where the row is (cells may hold newlines; an error of the second step has no line);
 *   - without a hint, or when the hint was wrong, the range is halved.
 * Rows before the bad one are loaded once more, so a bad row costs a few round trips and the rows of one small range.
 */
#pragma once

#include "base/buffer.h"
#include "sinks/postgres_session.h"
#include "sinks/rejects.h"

typedef struct PostgresLoad {
    PostgresSession *session;
    const ImportJob *job;
    SinkRejects rejects;
    Buffer copy;       /* the statements that start an attempt, up to COPY … FROM STDIN */
    Buffer insert;     /* from the temporary table into the target; empty: COPY goes to the target itself */
    Buffer duplicates; /* the same, and says which rows were there; empty: none can be (no key, or they are merged) */
} PostgresLoad;

/* In an open transaction: makes the temporary table when the job's table has a key. */
SinkResult postgres_load_begin(PostgresLoad *load, PostgresSession *session, const ImportJob *job, Error *error);
/* Not SINK_DONE: the transaction must be rolled back. */
SinkResult postgres_load_file(PostgresLoad *load, const ImportFile *file, Error *error);
void postgres_load_deinit(PostgresLoad *load);
