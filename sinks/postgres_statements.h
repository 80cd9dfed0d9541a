/*
 * The SQL of an import's rows, made once an import. Directly: COPY into the table. Else, with a
 * primary key or row-level security (which COPY does not take): COPY into a temporary table, then
 * one statement from there, in the order of the primary key if there is one: two sessions with the
 * same keys then wait for each other and do not deadlock.
 */
#pragma once

#include <stdbool.h>

#include "base/buffer.h"
#include "config/definition.h"

typedef struct PostgresStatements {
    Buffer temporary_table; /* makes it, to be dropped at COMMIT; empty: directly, and the others but `start` are empty, too */
    Buffer start;           /* empties the temporary table, SAVEPOINT sluice_attempt, COPY … FROM STDIN */
    Buffer insert;          /* from the temporary table into the target */
    /* The same, and names what was not inserted: place, has an earlier row its key, had the table
     * its key. Empty: no duplicates can be. */
    Buffer duplicates;
    Buffer erase;      /* of a merge with deletions: before `insert`, the rows that are deleted; else empty */
    Buffer count_keys; /* of a merge: different keys in the temporary table that are not deleted */
    /* Of those, the ones that the target does not have; with a column that tells, also those of
     * which it has an older row. And the keys to be deleted that it still has. */
    Buffer count_unsettled;
    /* Of a merge into a target that keeps rows, else empty. `set_aside`, before the others: removes
     * those rows from the temporary table whose keys the target had before the import. `note_new`,
     * behind them: the keys of the others, which are not among those in later attempts. */
    Buffer set_aside, note_new;
    /*
     * The search for bad rows on the server (postgres_find.h). `find_start`: SAVEPOINT
     * sluice_attempt, temporary tables, COPY … FROM STDIN. `find` returns the bad rows of what was
     * copied: place from 1, SQLSTATE, message, detail, column. Both are empty for a target that
     * keeps rows; `find` is empty if a name cannot be quoted in it.
     */
    Buffer find_start, find;
} PostgresStatements;

/* `clears`: SQL behind the columns that a merge sets (postgres_columns.h); empty: nothing. */
void postgres_statements_init(PostgresStatements *statements, const SinkTarget *target, bool is_direct, Buffer *clears);
void postgres_statements_deinit(PostgresStatements *statements);
