#include "storage/totals.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "storage/environment_private.h"
#include "storage/record.h"

/* Keys of the database `statistics`: 'T' and the sink number (big-endian), and 'A' alone. */
#define KEY_TOTALS 'T'
#define KEY_AS_OF 'A'
#define VERSION 4       /* 3: without empty_events; 2: and without overtaken_rows and returned_rows; 1: and without skipped_events */
#define AS_OF_VERSION 2 /* 1: without the running time */

void totals_init(SinkTotals *totals, uint32_t sink) {
    *totals = (SinkTotals){.sink = sink, .next_row = 1, .staged_row = 1};
}

int totals_add(SinkTotals *totals, uint64_t commit, usec_t commit_time, const GroupEntry *entry, Error *error) {
    check(entry->sink == totals->sink && commit > 0);
    check(totals->staged_row > 0 && totals->staged_row <= totals->next_row);
    if (entry->first_row != totals->next_row || entry->rows > UINT64_MAX - entry->first_row)
        return error_set(error, -EBADMSG,
                         "commit %" PRIu64 " holds %" PRIu64 " rows from number %" PRIu64 " of sink %" PRIu32
                         ", but its next row is %" PRIu64,
                         commit, entry->rows, entry->first_row, entry->sink, totals->next_row);
    if (entry->rows == 0) return 0; /* only runs, which cover what became no rows */
    totals->next_row += entry->rows;
    if (totals->first_commit == 0) {
        totals->first_commit = commit;
        totals->oldest_commit_time = commit_time;
    }
    Tally *received = &totals->received;
    if (received->rows == 0) received->first_time = entry->first_time;
    received->last_time = entry->last_time;
    received->rows += entry->rows;
    received->bytes += entry->bytes;
    return 0;
}

void totals_lose(SinkTotals *totals, RangeState state, uint64_t rows) {
    check(state == RANGE_QUARANTINED || state == RANGE_RETURNED);
    *(state == RANGE_RETURNED ? &totals->returned_rows : &totals->dropped_rows) += rows;
}

/* Totals that were counted anew after damage may have counted fewer. */
static void take_back(uint64_t *total, uint64_t rows) {
    *total -= rows < *total ? rows : *total;
}

void totals_regain(SinkTotals *totals, uint64_t quarantined, uint64_t returned) {
    take_back(&totals->dropped_rows, quarantined);
    take_back(&totals->returned_rows, returned);
}

static void put_time(Buffer *out, usec_t time) {
    buffer_put_u64(out, (uint64_t)time);
}

static void put_tally(Buffer *out, const Tally *tally) {
    buffer_put_u64(out, tally->rows);
    buffer_put_u64(out, tally->bytes);
    put_time(out, tally->first_time);
    put_time(out, tally->last_time);
}

static Tally get_tally(Cursor *fields) {
    Tally tally;
    tally.rows = cursor_u64(fields);
    tally.bytes = cursor_u64(fields);
    tally.first_time = (usec_t)cursor_u64(fields);
    tally.last_time = (usec_t)cursor_u64(fields);
    return tally;
}

static Span totals_key(uint32_t sink, char out[static 5]) {
    out[0] = KEY_TOTALS;
    store_be32(out + 1, sink);
    return (Span){.data = out, .size = 5};
}

/* What was given or passed stays so. What cannot be read says nothing. */
static bool goes_on(Txn *txn, const SinkTotals *totals) {
    SinkTotals before;
    if (totals_find(txn, totals->sink, &before, NULL) != 0) return true;
    return before.next_row <= totals->next_row && before.staged_row <= totals->staged_row;
}

int totals_store(Txn *txn, const SinkTotals *totals, Error *error) {
    check(txn_may_write(txn));
    _cleanup_(buffer_deinit) Buffer record = {0};
    char key[5];
    check(totals->sink && totals->staged_row > 0 && totals->staged_row <= totals->next_row);
    check(goes_on(txn, totals));
    record_begin(&record, KEY_TOTALS, VERSION);
    buffer_put_u32(&record, totals->sink);
    buffer_put_u64(&record, totals->next_row);
    buffer_put_u64(&record, totals->staged_row);
    buffer_put_u64(&record, totals->first_commit);
    put_time(&record, totals->oldest_commit_time);
    put_tally(&record, &totals->received);
    put_tally(&record, &totals->staged);
    put_tally(&record, &totals->imported);
    buffer_put_u64(&record, totals->rejected_rows);
    buffer_put_u64(&record, totals->rejected_events);
    buffer_put_u64(&record, totals->dropped_rows);
    buffer_put_u64(&record, totals->cleared_rows);
    buffer_put_u64(&record, totals->cleared_bytes);
    buffer_put_u64(&record, totals->skipped_events);
    buffer_put_u64(&record, totals->overtaken_rows);
    buffer_put_u64(&record, totals->returned_rows);
    buffer_put_u64(&record, totals->empty_events);
    record_seal(&record);
    return db_put(txn, DB_STATISTICS, totals_key(totals->sink, key), buffer_span(&record), error);
}

static int decode(Span key, Span value, SinkTotals *ret_totals, Error *error) {
    if (key.size != 5) return error_set(error, -EBADMSG, "statistics hold a key of %zu bytes", key.size);
    uint32_t sink = load_be32(key.data + 1);
    char what[64];
    (void)snprintf(what, sizeof what, "the statistics of sink %" PRIu32, sink);
    Cursor fields;
    int result = record_open(value, KEY_TOTALS, VERSION, what, &fields, error);
    if (result < 0) return result;
    bool has_skipped = record_version(value) > 1, has_left_out = record_version(value) > 2, has_empty = record_version(value) > 3;
    SinkTotals totals;
    totals.sink = cursor_u32(&fields);
    totals.next_row = cursor_u64(&fields);
    totals.staged_row = cursor_u64(&fields);
    totals.first_commit = cursor_u64(&fields);
    totals.oldest_commit_time = (usec_t)cursor_u64(&fields);
    totals.received = get_tally(&fields);
    totals.staged = get_tally(&fields);
    totals.imported = get_tally(&fields);
    totals.rejected_rows = cursor_u64(&fields);
    totals.rejected_events = cursor_u64(&fields);
    totals.dropped_rows = cursor_u64(&fields);
    totals.cleared_rows = cursor_u64(&fields);
    totals.cleared_bytes = cursor_u64(&fields);
    totals.skipped_events = has_skipped ? cursor_u64(&fields) : 0;
    totals.overtaken_rows = has_left_out ? cursor_u64(&fields) : 0;
    totals.returned_rows = has_left_out ? cursor_u64(&fields) : 0;
    totals.empty_events = has_empty ? cursor_u64(&fields) : 0;
    result = record_read_whole(&fields, what, error);
    if (result < 0) return result;
    if (totals.staged_row == 0 || totals.staged_row > totals.next_row)
        return error_set(error, -EBADMSG, "the record of %s has a value that is not possible", what);
    if (totals.sink != sink) return error_set(error, -EBADMSG, "%s are those of sink %" PRIu32, what, totals.sink);
    *ret_totals = totals;
    return 0;
}

int totals_load(Txn *txn, TotalsVisit visit, void *context, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    int result = db_cursor(txn, DB_STATISTICS, &cursor, error);
    if (result < 0) return result;
    char prefix = KEY_TOTALS;
    Span key = {.data = &prefix, .size = 1}, value;
    result = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    while (result == 0 && key.data[0] == KEY_TOTALS) {
        SinkTotals totals;
        result = decode(key, value, &totals, error);
        if (result == 0) result = visit(context, &totals, error);
        if (result < 0) return result;
        result = db_move(cursor, MDB_NEXT, &key, &value, error);
    }
    return result < 0 ? result : 0;
}

int totals_find(Txn *txn, uint32_t sink, SinkTotals *ret_totals, Error *error) {
    char bytes[5];
    Span key = totals_key(sink, bytes), value;
    int result = db_get(txn, DB_STATISTICS, key, &value, error);
    if (result != 0) return result == DB_NOT_FOUND ? TOTALS_NOT_FOUND : result;
    return decode(key, value, ret_totals, error);
}

int totals_last_sink(Txn *txn, uint32_t *ret_sink, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    Span key = {0}, value;
    *ret_sink = 0;
    int result = db_cursor(txn, DB_STATISTICS, &cursor, error);
    if (result == 0) result = db_move(cursor, MDB_LAST, &key, &value, error);
    if (result == 0 && key.size == 5 && key.data[0] == KEY_TOTALS) *ret_sink = load_be32(key.data + 1);
    return result < 0 ? result : 0;
}

int totals_find_damaged(Txn *txn, TotalsDamaged found, void *context, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    char prefix = KEY_TOTALS;
    Span key = {.data = &prefix, .size = 1}, value;
    int result = db_cursor(txn, DB_STATISTICS, &cursor, error);
    if (result == 0) result = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    while (result == 0 && key.data[0] == KEY_TOTALS) {
        SinkTotals totals;
        Error why = {0};
        if (key.size == 5 && decode(key, value, &totals, &why) < 0) found(context, load_be32(key.data + 1), why.text);
        result = db_move(cursor, MDB_NEXT, &key, &value, error);
    }
    return result < 0 ? result : 0;
}

int totals_remove(Txn *txn, uint32_t sink, Error *error) {
    check(txn_may_write(txn));
    char key[5];
    int result = db_remove(txn, DB_STATISTICS, totals_key(sink, key), error);
    return result < 0 ? result : 0;
}

static const char as_of_key = KEY_AS_OF;

int totals_store_as_of(Txn *txn, const TotalsAsOf *as_of, Error *error) {
    check(txn_may_write(txn));
    _cleanup_(buffer_deinit) Buffer record = {0};
    TotalsAsOf before;
    bool known = totals_load_as_of(txn, &before, NULL) == 0;
    check(as_of->running >= 0 && (!known || (before.commit <= as_of->commit && before.running <= as_of->running)));
    record_begin(&record, KEY_AS_OF, AS_OF_VERSION);
    buffer_put_u64(&record, as_of->commit);
    put_time(&record, as_of->commit_time);
    put_time(&record, as_of->running);
    record_seal(&record);
    return db_put(txn, DB_STATISTICS, (Span){.data = &as_of_key, .size = 1}, buffer_span(&record), error);
}

int totals_load_as_of(Txn *txn, TotalsAsOf *ret_as_of, Error *error) {
    static const char what[] = "the commit that the statistics are true for";
    Span value;
    TotalsAsOf as_of = {0};
    int result = db_get(txn, DB_STATISTICS, (Span){.data = &as_of_key, .size = 1}, &value, error);
    if (result < 0) return result;
    if (result == 0) {
        Cursor fields;
        result = record_open(value, KEY_AS_OF, AS_OF_VERSION, what, &fields, error);
        if (result < 0) return result;
        as_of.commit = cursor_u64(&fields);
        as_of.commit_time = (usec_t)cursor_u64(&fields);
        if (record_version(value) >= 2) as_of.running = (usec_t)cursor_u64(&fields);
        result = record_read_whole(&fields, what, error);
        if (result < 0) return result;
        if (as_of.running < 0) return error_set(error, -EBADMSG, "the record of %s has a value that is not possible", what);
    }
    *ret_as_of = as_of;
    return 0;
}
