/*
 * What lies in staging/orphans/ and staging/expired/: nobody reads it, but it may be the only copy
 * of rows. The ledger notes since when each file lies there, in running time (totals.h), and how
 * many rows it holds; a file that nobody noted is noted when it is first seen. So no clock and no
 * time without a gateway makes a copy old. The writer's thread.
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
    usec_t orphans, expired; /* how long each is kept, of running time; 0: for ever */
} CopiesKept;

typedef enum CopyChange {
    COPY_NEW,  /* is there, and not noted yet */
    COPY_OVER, /* its time is over */
    COPY_GONE, /* noted, and not there any more */
} CopyChange;

typedef struct Copy {
    char *path; /* owned: "staging/orphans/…" */
    uint64_t rows;
    CopyChange change;
} Copy;

typedef struct Copies {
    Copy *items; /* owned */
    size_t count, capacity;
    bool more; /* not all that is new was looked at */
} Copies;

/* Notes a copy that was just made. In the transaction that made it one. */
int copies_note(Txn *txn, const char *path, usec_t running, uint64_t rows, Error *error);
/* What has to change. Reads the directories of new orphans, 200 of them at most. */
int copies_review(Files *files, Txn *txn, usec_t running, const CopiesKept *kept, Copies *ret_copies, Error *error);
int copies_record(Txn *txn, const Copies *copies, usec_t running, Error *error);
/* After that transaction: unlinks those whose time is over. Each is logged, their rows are counted
 * (sluice_copies_removed_rows_total). */
void copies_remove(Files *files, const Copies *copies);
void copies_deinit(Copies *copies);
