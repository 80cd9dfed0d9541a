/*
 * The totals of each sink: row numbers, statistics, and waiting rows. They are computed only from
 * the directories of the commit groups and from changes of the ledger. They are stored, together
 * with the number of the commit up to which they count, in transactions that are needed anyway. A
 * start adds the later commits. So statistics always agree with the rows. Writer thread.
 */
#pragma once

#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "storage/commit_log.h"
#include "storage/environment.h"
#include "storage/ledger.h"

/* Rows that passed a point since the sink exists. statistics/clear sets a base and does not change
 * these numbers. */
typedef struct Tally {
    uint64_t rows;
    uint64_t bytes;
    usec_t first_time, last_time; /* receive time of the first and last; 0: none yet */
} Tally;

typedef struct SinkTotals {
    uint32_t sink;
    uint64_t next_row;                    /* number of the next row; the first row is 1 */
    uint64_t staged_row;                  /* the first row that is not staged yet: rows [staged_row, next_row) are only in the log */
    uint64_t first_commit;                /* oldest commit group with one of those rows; 0: none */
    usec_t oldest_commit_time;            /* its commit time (wall); 0: none */
    Tally received;                       /* committed to the log */
    Tally staged;                         /* left the log into slices */
    Tally imported;                       /* left the slices into the table */
    uint64_t rejected_rows;               /* refused by the destination */
    uint64_t rejected_events;             /* refused by the mapping, quarantined */
    uint64_t dropped_rows;                /* discarded, deleted or damaged; received = local + staging + target + rejected + dropped
                                             + overtaken + returned */
    uint64_t cleared_rows, cleared_bytes; /* rows and bytes that were imported at statistics/clear */
    /* events that the source took while the sink was disabled. They are in no group, so the last
     * ones before a crash may be missing */
    uint64_t skipped_events;
    uint64_t overtaken_rows; /* rows of a bridge that were left out because another import has stored their records */
    uint64_t returned_rows;  /* rows of a bridge that were left out because their records are read again */
    /* events that gave no row because the array that the sink explodes was empty; stored like
     * skipped_events */
    uint64_t empty_events;
} SinkTotals;

/* Initializes the totals of a sink without rows: the next row has the number 1. */
void totals_init(SinkTotals *totals, uint32_t sink);
/* Adds the part of one group. -EBADMSG if its numbers do not follow the last ones (a gap). Without
 * rows nothing changes. */
int totals_add(SinkTotals *totals, uint64_t commit, usec_t commit_time, const GroupEntry *entry, Error *error);

/* Counts waiting rows that cannot be read: quarantined or returned. */
void totals_lose(SinkTotals *totals, RangeState state, uint64_t rows);
/* Counts quarantined and returned rows that are at the destination after all. */
void totals_regain(SinkTotals *totals, uint64_t quarantined, uint64_t returned);

/*
 * The commit up to which all stored totals count. `running` is the running time: the time that
 * gateways have worked on this data directory, over all starts. It does not advance while no
 * gateway runs or the machine sleeps, and a clock that jumps does not change it. All retention uses
 * the difference of two running times.
 */
typedef struct TotalsAsOf {
    uint64_t commit; /* the last commit that all stored totals include; 0: nothing was stored yet */
    usec_t commit_time;
    usec_t running; /* a duration; 0: nothing was stored yet, or by a program that did not record it */
} TotalsAsOf;

int totals_store(Txn *txn, const SinkTotals *totals, Error *error);
int totals_store_as_of(Txn *txn, const TotalsAsOf *as_of, Error *error);
int totals_load_as_of(Txn *txn, TotalsAsOf *ret_as_of, Error *error);
/* A result < 0 ends the walk. */
typedef int (*TotalsVisit)(void *context, const SinkTotals *totals, Error *error);
/* Visits by ascending sink. -EBADMSG: a record is damaged; the text names it. */
int totals_load(Txn *txn, TotalsVisit visit, void *context, Error *error);
/* Returns 0, TOTALS_NOT_FOUND, or -EBADMSG if the record is damaged. */
enum { TOTALS_NOT_FOUND = 1 };
int totals_find(Txn *txn, uint32_t sink, SinkTotals *ret_totals, Error *error);
int totals_last_sink(Txn *txn, uint32_t *ret_sink, Error *error); /* the highest sink number with totals; 0: none */
/* Calls `found` for each damaged record. `why` says what is wrong. */
typedef void (*TotalsDamaged)(void *context, uint32_t sink, const char *why);
int totals_find_damaged(Txn *txn, TotalsDamaged found, void *context, Error *error);
int totals_remove(Txn *txn, uint32_t sink, Error *error); /* also 0 if there are none */
