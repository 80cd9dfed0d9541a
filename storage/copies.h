/*
 * The files in staging/orphans/ and staging/expired/. The gateway does not read them, but they may
 * be the only copy of rows. The ledger records since when each file is there, in running time
 * (totals.h), and how many rows it has. A file without such a record gets one when it is first
 * seen. So a change of the clock, or a time without a running gateway, does not make a copy older.
 * The writer's thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "storage/environment.h"

typedef struct CopiesKept {
    usec_t orphans, expired; /* how long each kind is kept, in running time; 0: for ever */
} CopiesKept;

typedef enum CopyChange {
    COPY_NEW,  /* it exists and is not recorded yet */
    COPY_OVER, /* its retention is over */
    COPY_GONE, /* it is recorded and does not exist any more */
} CopyChange;

typedef struct Copy {
    char *path; /* owned: "staging/orphans/…" */
    uint64_t rows;
    CopyChange change;
} Copy;

typedef struct Copies {
    Copy *items; /* owned */
    size_t count, capacity;
    bool more; /* there are more new files than were looked at */
} Copies;

/* Records a copy that was just made, in the transaction that made it a copy. */
int copies_note(Txn *txn, const char *path, usec_t running, uint64_t rows, Error *error);
/* Returns what has to change. Reads the directories of at most 200 new orphans. */
int copies_review(Files *files, Txn *txn, usec_t running, const CopiesKept *kept, Copies *ret_copies, Error *error);
int copies_record(Txn *txn, const Copies *copies, usec_t running, Error *error);
/* Removes the files whose retention is over. Call it after the transaction of copies_record. Each
 * file is logged, and its rows are counted (sluice_copies_removed_rows_total). */
void copies_remove(Files *files, const Copies *copies);
void copies_deinit(Copies *copies);
