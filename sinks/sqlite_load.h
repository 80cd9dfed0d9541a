/*
 * SQLite: the rows of a file into its table, within an open transaction. Rows go in one by one
 * through a prepared statement, so a row that the table refuses is known, and undoes only itself.
 * Where it could leave something behind (SqliteHabits), rows are kept until a batch of them is
 * full, and go in within a savepoint: a row that fails undoes its batch so far, and what came
 * before it goes in once more.
 *
 * Before the first row is refused, the table is compared with the sink again. A row that the table
 * took without storing it (RAISE(IGNORE), ON CONFLICT IGNORE) is swallowed: see rejects.h; where
 * the table's definition shows neither, the import is rolled back. RAISE(ROLLBACK) ends the
 * transaction: the row is noted, and the import must begin again without it.
 */
#pragma once

#include "base/arena.h"
#include "base/buffer.h"
#include "base/thread.h"
#include "sinks/refused_rows.h"
#include "sinks/sqlite_session.h"
#include "sinks/sqlite_table.h"

typedef struct sqlite3_stmt sqlite3_stmt;

/* What a batch that is undone takes back. */
typedef struct SqliteTally {
    uint64_t stored;       /* of the file at hand */
    uint64_t rows_through; /* not refused */
    uint64_t unclear;      /* refused for what may be the table's fault */
} SqliteTally;

typedef struct SqliteBatch {
    struct SqliteBatchRow {
        uint64_t row;
        const SinkCell *cells;
    } * rows; /* NULL: none yet */
    size_t count;
    uint64_t done_before; /* rows_done */
    Arena memory;         /* of their cells */
} SqliteBatch;

typedef struct SqliteLoad {
    ThreadOwner owner;
    sqlite3 *database;
    ImportJob *job;
    const SinkTarget *target; /* the table that the rows go to: the job's, or its side table */
    sqlite3_stmt *insert;
    sqlite3_stmt *present; /* is there a row with this key that is not older? NULL: nobody asks */
    /* Of a sink with rows that delete, else NULL: deletes the row of a key; is it still there?
     * (NULL: nobody asks); keeps the key for the rest of the import (NULL: no column tells which
     * row is newer) */
    sqlite3_stmt *erase, *still, *note;
    SqliteHabits habits;
    Buffer clears;   /* SQL, of a merge of a sink that infers: the columns that it does not have are NULL in a row that it replaces */
    SinkCell *cells; /* of the row at hand */
    Buffer blob;     /* decoded bytes of one cell at a time lie behind one another: bound cells must stay until the row is in */
    Buffer record;   /* a refused row as text */
    SinkRejects rejects;
    uint64_t rows_done;
    SqliteTally tally;
    SqliteBatch batch;
    bool has_binary;         /* the sink has columns that are bound as blobs */
    bool told_to_stop;       /* by progress; the caller says so in the error */
    bool keeps_present_rows; /* DO NOTHING, or an older row: it may be taken without a change */
    bool is_examined;        /* the table is not to blame */
    char unclear_words[400]; /* of the first unclear row */
    /* Rows that rolled the transaction back, by number; the array outlives it. */
    struct SqliteOutcast {
        uint64_t row;
        char *reason;
    } * outcasts;
    size_t outcast_count, outcast_capacity;
    bool must_restart; /* out, with SINK_RETRY: there is one more of them */
} SqliteLoad;

/* All of these: not SINK_DONE: the transaction must be rolled back. `load` is all-zero, or what
 * sqlite_load_restart left. */
SinkResult sqlite_load_begin(SqliteLoad *load, const SqliteSession *session, ImportJob *job, const SinkTarget *target, Error *error);
SinkResult sqlite_load_file(SqliteLoad *load, ImportFile *file, Error *error);
/* After the last file. */
SinkResult sqlite_load_end(SqliteLoad *load, Error *error);
/* Forgets everything but the outcasts, for another transaction. */
void sqlite_load_restart(SqliteLoad *load);
void sqlite_load_deinit(SqliteLoad *load);
