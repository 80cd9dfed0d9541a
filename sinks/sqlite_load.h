/*
 * SQLite: writes the rows of a file to its table, within an open transaction. Each row is inserted
 * with a prepared statement, so a row that the table refuses is known, and only that row is undone.
 * If a failed row could leave changes behind (SqliteHabits), rows are collected in batches, and
 * each batch is inserted within a savepoint. If a row fails, the batch is undone, and the rows
 * before it are inserted again.
 *
 * Before the first row is refused, the table is compared with the sink again. A row that the table
 * accepts without storing it (RAISE(IGNORE), ON CONFLICT IGNORE) is swallowed; see refused_rows.h.
 * If the definition of the table contains neither, the import is rolled back. RAISE(ROLLBACK) ends
 * the transaction: the row is recorded, and the import must begin again without it.
 */
#pragma once

#include "base/arena.h"
#include "base/buffer.h"
#include "base/thread.h"
#include "sinks/refused_rows.h"
#include "sinks/sqlite_session.h"
#include "sinks/sqlite_table.h"

typedef struct sqlite3_stmt sqlite3_stmt;

/* The counts that are reset when a batch is undone. */
typedef struct SqliteTally {
    uint64_t stored;       /* rows of the current file */
    uint64_t rows_through; /* rows that were not refused */
    uint64_t unclear;      /* rows that were refused for a reason that may lie in the table */
    uint64_t existing;     /* rows that changed nothing: ImportJob.existing_rows */
} SqliteTally;

typedef struct SqliteBatch {
    struct SqliteBatchRow {
        uint64_t row;
        const SinkCell *cells;
    } * rows; /* NULL: none yet */
    size_t count;
    uint64_t done_before; /* rows_done */
    Arena memory;         /* holds the cells of the rows */
} SqliteBatch;

typedef struct SqliteLoad {
    ThreadOwner owner;
    sqlite3 *database;
    ImportJob *job;
    const SinkTarget *target; /* the table that the rows go to: the job's, or its side table */
    sqlite3_stmt *insert;
    sqlite3_stmt *present; /* finds a row with this key that is not older; NULL: not needed */
    /* For a sink with rows that delete; NULL otherwise. `erase` deletes the row of a key. `still`
     * finds out whether the row still exists; NULL: not needed. `note` records the key for the
     * rest of the import; NULL: no column tells which row is newer. */
    sqlite3_stmt *erase, *still, *note;
    /* For a target that keeps rows; NULL otherwise. `existing` finds a row with this key that was
     * there before the import. `note_new` records the key for the rest of the import. */
    sqlite3_stmt *existing, *note_new;
    SqliteHabits habits;
    Buffer clears;   /* SQL, of a merge of a sink that infers: the columns that it does not have are NULL in a row that it replaces */
    SinkCell *cells; /* of the current row */
    Buffer blob;     /* decoded bytes of one cell at a time lie behind one another: bound cells must stay until the row is in */
    Buffer record;   /* a refused row as text */
    SinkRejects rejects;
    uint64_t rows_done;
    SqliteTally tally;
    SqliteBatch batch;
    bool has_binary;         /* the sink has columns that are bound as blobs */
    bool told_to_stop;       /* job->progress asked to stop; the caller sets the error */
    bool keeps_present_rows; /* with DO NOTHING or an older row, the table can accept a row without a change */
    bool is_examined;        /* the table was compared with the sink, and fits */
    char unclear_words[400]; /* the reason of the first unclear row */
    /* Rows that rolled the transaction back, in the order of their numbers. The array is kept when
     * the import begins again. */
    struct SqliteOutcast {
        uint64_t row;
        char *reason;
    } * outcasts;
    size_t outcast_count, outcast_capacity;
    bool must_restart; /* out, with SINK_RETRY: another row was added to `outcasts` */
} SqliteLoad;

/* Begins a load. `load` is all-zero, or was reset by sqlite_load_restart. If this function or
 * one of the next two does not return SINK_DONE, the caller must roll the transaction back. */
SinkResult sqlite_load_begin(SqliteLoad *load, const SqliteSession *session, ImportJob *job, const SinkTarget *target, Error *error);
SinkResult sqlite_load_file(SqliteLoad *load, ImportFile *file, Error *error);
/* Ends the load. Call it after the last file. */
SinkResult sqlite_load_end(SqliteLoad *load, Error *error);
/* Resets everything except `outcasts`, for another transaction. */
void sqlite_load_restart(SqliteLoad *load);
void sqlite_load_deinit(SqliteLoad *load);
