/*
 * Finds out whether a data directory is older than its destination: an earlier copy of it was put
 * back, or two gateways use copies of one directory. Then rows that wait in it may be at the
 * destination under ids of files that the directory does not know, and an import would store them
 * twice. Asked with the first import of a sink after a start. Pure.
 *
 * The ledger at the destination has the files that this instance imported for the sink, except
 * those whose ids were deleted as settled; the last one is always there. The directory is older
 *
 * - if a file there contains rows that wait here in another file or in no file yet;
 * - or if a file there has rows that had no number yet at the start, and some of the rows that
 *   waited at the start are not there: they may be in a file that is settled. Files of a backup
 *   do not count here, because their ids stay.
 *
 * Files that are older than the oldest row that waits prove nothing: a sink with the same name may
 * have been deleted.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/uuid.h"

/* Rows [first_row, end) that waited at the start. */
typedef struct HistoryRows {
    Uuid file;     /* nil: they are in no file yet */
    bool stays;    /* the id of the file stays in the ledger if it was imported */
    bool is_there; /* out: the ledger has the file */
    uint64_t first_row, end;
} HistoryRows;

/* A file that waits now. */
typedef struct HistoryFile {
    Uuid id;
    uint64_t end; /* behind its last row */
} HistoryFile;

typedef struct LedgerHistory {
    HistoryRows *rows; /* owned */
    size_t count, capacity;
    HistoryFile *files; /* owned */
    size_t file_count, file_capacity;
    uint64_t start_row; /* the next row at the start */
    usec_t oldest;      /* wall: of the rows that wait; 0: unknown */
    bool doubles;       /* a file there has rows that wait here */
    bool is_behind;     /* a file there has rows that had no number at the start */
    Uuid unknown;       /* the first of these files, with its rows */
    uint64_t unknown_first, unknown_rows;
} LedgerHistory;

LedgerHistory *ledger_history_new(uint64_t start_row);
void ledger_history_free(LedgerHistory *history); /* NULL-safe */
/* Rows from start_row on are left out. `stays`: the id does not leave the ledger. `file` NULL: they are in no file yet. `since`: wall time of
 * the oldest of them. */
void ledger_history_add(LedgerHistory *history, const Uuid *file, bool stays, uint64_t first_row, uint64_t rows, usec_t since);
/* Before each import, for all files that wait then: rows that waited in no file at the start are in
 * one of them now, and an earlier try of this process may have committed it. */
void ledger_history_forget_files(LedgerHistory *history);
void ledger_history_know(LedgerHistory *history, const Uuid *file, uint64_t end);

/* For drivers. Before the first of these calls in each try; for each file that the ledger has of
 * the instance, the sink and the table, in any order; at the end. -EUCLEAN: the directory is older;
 * the text says why. */
void ledger_history_begin(LedgerHistory *history);
void ledger_history_note(LedgerHistory *history, const Uuid *file, uint64_t first_row, uint64_t rows);
int ledger_history_judge(const LedgerHistory *history, Error *error);
