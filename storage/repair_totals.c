/* Damaged statistics, counted anew from the ranges and the log. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "storage/commit_log.h"
#include "storage/ledger_private.h"
#include "storage/repair_private.h"

typedef struct BadTotals {
    uint32_t sink;
    char why[200];
} BadTotals;

typedef struct TotalsFault {
    BadTotals *items;
    size_t count, capacity;
} TotalsFault;

static void note_bad(void *context, uint32_t sink, const char *why) {
    TotalsFault *bad = context;
    array_reserve(bad->items, bad->count, bad->capacity);
    BadTotals *item = &bad->items[bad->count++];
    item->sink = sink;
    (void)snprintf(item->why, sizeof item->why, "%s", why);
}

static int count_range(void *context, const RangeRecord *range, Error *error) {
    SinkTotals *totals = context;
    totals->staged_row = range->first_row + range->rows;
    if (range->state != RANGE_DISCARDED) totals->staged.rows += range->rows;
    if (range->state == RANGE_IMPORTED) totals->imported.rows += range->rows;
    switch (range->state) {
    case RANGE_STAGED:
    case RANGE_IMPORTED: break;
    case RANGE_OVERTAKEN: totals->overtaken_rows += range->rows; break;
    case RANGE_RETURNED: totals->returned_rows += range->rows; break;
    case RANGE_EXPIRED:
    case RANGE_QUARANTINED:
    case RANGE_DELETED:
    case RANGE_DISCARDED: totals->dropped_rows += range->rows; break;
    }
    return 0;
}

/* The number that the next row gets: rows that are not staged are all in the log. */
static int read_log(Txn *txn, uint64_t as_of, SinkTotals *totals, Error *error) {
    CommitLogReader *reader;
    GroupView group;
    int r = commit_log_reader_new(txn, 1, &reader, error);
    if (r < 0) return r;
    while ((r = commit_log_read(reader, &group, error)) >= 0 && r != COMMIT_LOG_READ_END) {
        for (size_t i = 0; r != COMMIT_LOG_READ_DAMAGED && group.commit <= as_of && i < group.count; i++) {
            const GroupEntry *entry = &group.entries[i];
            uint64_t end = entry->first_row + entry->rows;
            if (entry->sink != totals->sink || end <= totals->next_row) continue;
            totals->next_row = end;
            totals->received.bytes += entry->bytes;
            totals->received.last_time = entry->last_time;
        }
    }
    commit_log_reader_free(reader);
    return r < 0 ? r : 0;
}

static int count_anew(Txn *txn, uint32_t sink, uint64_t as_of, Error *error) {
    SinkTotals totals;
    totals_init(&totals, sink);
    int r = ledger_visit_ranges(txn, sink, count_range, &totals, error);
    totals.next_row = totals.staged_row;
    if (r == 0) r = read_log(txn, as_of, &totals, error);
    totals.received.rows = totals.next_row - 1;
    totals.rejected_events = 1;                                                 /* unknown; there may be some to look after */
    if (r == 0 && totals.next_row == 1) return totals_remove(txn, sink, error); /* of no sink: its key is damaged */
    return r == 0 ? totals_store(txn, &totals, error) : r;
}

int repair_missing_totals(Txn *txn, uint32_t sink, RepairFound found, void *context, Error *error) {
    SinkTotals totals;
    TotalsAsOf as_of;
    uint64_t end;
    int r = totals_find(txn, sink, &totals, error);
    if (r != TOTALS_NOT_FOUND) return r == -EBADMSG ? 0 : r;
    r = ledger_end_row(txn, sink, &end, error);
    if (r < 0 || end == 1) return r == -EBADMSG ? 0 : r;
    r = totals_load_as_of(txn, &as_of, error);
    if (r == 0) r = count_anew(txn, sink, as_of.commit ? as_of.commit : UINT64_MAX, error);
    if (r == 0)
        found(context, sink, "the statistics of a sink are missing", "its rows were counted again; bytes and rejects are not known");
    return r;
}

static int newest_pack(void *context, const PackRecord *pack, Error *error) {
    usec_t *newest = context;
    if (pack->last_done > *newest) *newest = pack->last_done;
    return 0;
}

int repair_totals(Txn *txn, RepairFound found, void *context, Error *error) {
    check(txn_may_write(txn));
    TotalsFault bad = {0};
    TotalsAsOf as_of = {0};
    Error why = {0};
    int r = totals_load_as_of(txn, &as_of, &why);
    if (r == -EBADMSG) {
        as_of = (TotalsAsOf){0};
        r = ledger_visit_packs(txn, newest_pack, &as_of.running, error);
        if (r == 0) r = totals_store_as_of(txn, &as_of, error);
        if (r == 0) found(context, 0, why.text, "the log is read again, and the running time is that of the newest staging file");
    } else if (r < 0) {
        return error_set(error, r, "%s", why.text);
    }
    if (r == 0) r = totals_find_damaged(txn, note_bad, &bad, error);
    for (size_t i = 0; i < bad.count && r == 0; i++) {
        /* Unknown: each group in the log is included. */
        r = count_anew(txn, bad.items[i].sink, as_of.commit ? as_of.commit : UINT64_MAX, error);
        if (r == 0) found(context, bad.items[i].sink, bad.items[i].why, "its rows were counted again; bytes and rejects are not known");
    }
    free(bad.items);
    return r;
}
