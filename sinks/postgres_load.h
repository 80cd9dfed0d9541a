/*
 * PostgreSQL: the rows of a file into its table, within an open transaction that holds a lock on the table. The rows flow as COPY, in attempts: a
 * savepoint, a range of rows, and with a primary key or row-level security the step from a temporary table into the target. When
 * the server refuses an attempt because of a row, only the attempt is undone, and the range shrinks until the row stands alone
 * and is refused by itself:
 *   - the line in the server's error is a hint where the row is (cells may hold newlines; an error of the second step has no line);
 *   - without a hint, or when the hint was wrong, the range is halved;
 *   - the bad rows of a small range are found by the server, in one statement (postgres_find.h).
 * Rows before the bad one are loaded once more, so a bad row costs a few round trips and the rows of one small range.
 *
 * Rows with a cell that does not fit the type of its column are left out before, by the table's
 * rules (postgres_types.h): they cost nothing of all that. A table whose types take each value has
 * no rules, and its rows are not looked at.
 *
 * Before the first row is refused by the server, it must be clear that the table is not to blame: the same
 * statement goes through without rows, and the table still fits the sink. Some failures stay
 * unclear (PostgresBlame): when no row of two or more goes through, it is the table.
 *
 * A count that is too small rolls the import back, but for a table whose catalog shows who swallows
 * rows: a row trigger before the insert, or a rule. Those rows are searched for in the same way and
 * named, or counted when they are many: see rejects.h.
 */
#pragma once

#include "base/thread.h"
#include "sinks/checked_rows.h"
#include "sinks/postgres_find.h"
#include "sinks/postgres_session.h"
#include "sinks/postgres_statements.h"
#include "sinks/postgres_types.h"
#include "sinks/refused_rows.h"
#include "sinks/skipped_rows.h"

typedef struct PostgresLoad {
    PostgresSession *session;
    ImportJob *job;
    const SinkTarget *target; /* the table that the rows go to: the job's, or its side table */
    bool is_direct;           /* COPY goes to the target itself */
    PostgresStatements statements;
    const PostgresRules *rules;
    const ImportFile *file; /* at hand */
    SinkRows *reader;       /* of its rows: `skipped`, over its own or `checked` */
    CheckedRows checked;
    SkippedRows skipped; /* without what is found */
    PostgresFind found;  /* bad rows, until the attempt without them succeeds */
    bool may_find;       /* of the file: the server may be asked for its bad rows */
    SinkRejects rejects;
    ThreadOwner owner;
    bool has_savepoint; /* of the attempt at hand: it is neither kept nor undone yet */
    bool is_examined;   /* the table is not to blame */
    enum { POSTGRES_SWALLOWS_UNKNOWN, POSTGRES_SWALLOWS_NOT, POSTGRES_SWALLOWS } swallows;
    uint64_t rows_through;     /* not refused one by one */
    uint64_t existing_rows;    /* changed nothing: ImportJob */
    uint64_t unclear;          /* refused for what may be the table's fault; the first failure of them: */
    SinkResult unclear_result; /* what it means for the import */
    Error unclear_error;
} PostgresLoad;

/* Makes the temporary table when one is needed. `has_row_security`: COPY cannot write the table.
 * `rules` are borrowed until the deinit. */
SinkResult postgres_load_begin(PostgresLoad *load, PostgresSession *session, ImportJob *job, const SinkTarget *target,
                               const PostgresRules *rules, bool has_row_security, Error *error);
/* Not SINK_DONE: the transaction must be rolled back; so for all of these. */
SinkResult postgres_load_file(PostgresLoad *load, const ImportFile *file, Error *error);
/* After the last file. */
SinkResult postgres_load_end(PostgresLoad *load, Error *error);
void postgres_load_deinit(PostgresLoad *load);
