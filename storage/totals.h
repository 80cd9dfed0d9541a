/*
 * What the writer knows of each sink: row numbers, statistics, and what waits. A pure fold over the
 * directories of the commit groups and over ledger changes; stored with the commit number it is
 * true for, in transactions that are due anyway, and replayed from there at start. So statistics
 * never drift from rows. Writer thread.
 */
#pragma once

#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "storage/commit_log.h"
#include "storage/environment.h"
#include "storage/ledger.h"

/* Rows that passed a point, since the sink exists (statistics/clear sets a base, it does not touch
 * these). */
typedef struct Tally {
    uint64_t rows;
    uint64_t bytes;
    usec_t first_time, last_time; /* receive time of the first and last; 0: none yet */
} Tally;

typedef struct SinkTotals {
    uint32_t sink;
    uint64_t next_row;                    /* number that the next row gets; the first row is 1 */
    uint64_t staged_row;                  /* the first row that is not staged yet: rows [staged_row, next_row) are only in the log */
    uint64_t first_commit;                /* oldest commit group that holds one of those; 0: none waits */
    usec_t oldest_commit_time;            /* its commit time (wall); 0: none */
    Tally received;                       /* committed to the log */
    Tally staged;                         /* left the log into slices */
    Tally imported;                       /* left the slices into the table */
    uint64_t rejected_rows;               /* refused by the destination */
    uint64_t rejected_events;             /* refused by the mapping, quarantined */
    uint64_t dropped_rows;                /* discarded, deleted or damaged; received = local + staging + target + rejected + dropped
                                             + overtaken + returned */
    uint64_t cleared_rows, cleared_bytes; /* imported base of statistics/clear */
    uint64_t skipped_events;              /* that the source took while the sink was disabled; stands in no group, so the last ones before a
                                             crash may be missing */
    uint64_t overtaken_rows;              /* of a bridge: left out since somebody else imported their records */
    uint64_t returned_rows;               /* of a bridge: left out since their records are read again */
    uint64_t empty_events;                /* that gave no row, since the array that the sink explodes was empty; as skipped_events */
} SinkTotals;

/* Of a sink that has no rows yet: the next row is number 1. */
void totals_init(SinkTotals *totals, uint32_t sink);
/* Folds one group's share in. -EBADMSG when its numbers do not go on where the last ended (a hole).
 * Without rows nothing changes. */
int totals_add(SinkTotals *totals, uint64_t commit, usec_t commit_time, const GroupEntry *entry, Error *error);

/* Rows that wait turned out to be unreadable: quarantined or returned. */
void totals_lose(SinkTotals *totals, RangeState state, uint64_t rows);
/* So many of those are at the destination after all. */
void totals_regain(SinkTotals *totals, uint64_t quarantined, uint64_t returned);

/*
 * What every stored total is true for. `running` is the running time: how long gateways have worked
 * on this data directory, all starts together. It stands still while none runs or the machine
 * sleeps, and no clock that jumps moves it. Every age that something is removed by is a difference
 * of two running times.
 */
typedef struct TotalsAsOf {
    uint64_t commit; /* the last one that every stored total includes; 0: nothing was stored yet */
    usec_t commit_time;
    usec_t running; /* a length; 0: nothing was stored yet, or by a program that did not count it */
} TotalsAsOf;

int totals_store(Txn *txn, const SinkTotals *totals, Error *error);
int totals_store_as_of(Txn *txn, const TotalsAsOf *as_of, Error *error);
int totals_load_as_of(Txn *txn, TotalsAsOf *ret_as_of, Error *error);
/* < 0 ends the walk. */
typedef int (*TotalsVisit)(void *context, const SinkTotals *totals, Error *error);
/* By ascending sink; -EBADMSG: a damaged record is named. */
int totals_load(Txn *txn, TotalsVisit visit, void *context, Error *error);
/* 0, TOTALS_NOT_FOUND, or -EBADMSG: damaged. */
enum { TOTALS_NOT_FOUND = 1 };
int totals_find(Txn *txn, uint32_t sink, SinkTotals *ret_totals, Error *error);
int totals_last_sink(Txn *txn, uint32_t *ret_sink, Error *error); /* the greatest number that has totals; 0: none */
/* Calls `found` for each damaged record, with what is wrong. */
typedef void (*TotalsDamaged)(void *context, uint32_t sink, const char *why);
int totals_find_damaged(Txn *txn, TotalsDamaged found, void *context, Error *error);
int totals_remove(Txn *txn, uint32_t sink, Error *error); /* 0 also when there is none */
