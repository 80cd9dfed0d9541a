/* Ranges of row numbers with their states: always from 1 without hole or overlap, equal neighbours
 * merged. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "storage/ledger_private.h"
#include "storage/record.h"

#define VERSION 1
#define VERSION_LEFT_OUT 2 /* of ranges that are overtaken or returned */

int ledger_decode_range(Span key, Span value, RangeRecord *ret_range, Error *error) {
    RangeRecord range = {0};
    int result = ledger_parse_row_key(key, &range.sink, &range.first_row, error);
    if (result < 0) return result;
    char what[80];
    (void)snprintf(what, sizeof what, "the range of sink %" PRIu32 " from row %" PRIu64, range.sink, range.first_row);
    Cursor fields;
    result = record_open(value, LEDGER_RANGE, VERSION_LEFT_OUT, what, &fields, error);
    if (result < 0) return result;
    range.rows = cursor_u64(&fields);
    uint8_t state = cursor_u8(&fields);
    result = record_read_whole(&fields, what, error);
    if (result < 0) return result;
    uint8_t last = record_version(value) >= VERSION_LEFT_OUT ? RANGE_RETURNED : RANGE_DISCARDED;
    if (state > last || range.sink == 0 || range.first_row == 0 || range.rows == 0 || range.rows > UINT64_MAX - range.first_row)
        return error_set(error, -EBADMSG, "the record of %s has a value that is not possible", what);
    range.state = (RangeState)state;
    *ret_range = range;
    return 0;
}

static int put(Txn *txn, const RangeRecord *range, Error *error) {
    check(range->sink && range->first_row > 0 && range->rows > 0 && range->rows <= UINT64_MAX - range->first_row);
    check(range->state <= RANGE_RETURNED);
    _cleanup_(buffer_deinit) Buffer record = {0};
    record_begin(&record, LEDGER_RANGE, range_is_left_out(range->state) ? VERSION_LEFT_OUT : VERSION);
    buffer_put_u64(&record, range->rows);
    buffer_put_u8(&record, (unsigned char)range->state);
    record_seal(&record);
    LedgerKey key = ledger_row_key(LEDGER_RANGE, range->sink, range->first_row);
    return db_put(txn, DB_FILES, ledger_key_span(&key), buffer_span(&record), error);
}

static int drop(Txn *txn, const RangeRecord *range, Error *error) {
    LedgerKey key = ledger_row_key(LEDGER_RANGE, range->sink, range->first_row);
    return db_remove(txn, DB_FILES, ledger_key_span(&key), error);
}

/* The range that begins at `row` or is the last to begin before it. */
static int find_floor(Txn *txn, uint32_t sink, uint64_t row, RangeRecord *ret_range, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    Span key, value;
    int result = db_cursor(txn, DB_FILES, &cursor, error);
    if (result == 0) result = ledger_seek_floor(cursor, LEDGER_RANGE, sink, row, &key, &value, error);
    if (result == 0) result = ledger_decode_range(key, value, ret_range, error);
    return result;
}

int ranges_find(Txn *txn, uint32_t sink, uint64_t row, RangeRecord *ret_range, Error *error) {
    RangeRecord range;
    int result = find_floor(txn, sink, row, &range, error);
    if (result != 0) return result;
    check(range.sink == sink && range.first_row <= row);
    if (row - range.first_row >= range.rows) return DB_NOT_FOUND;
    *ret_range = range;
    return 0;
}

int ledger_end_row(Txn *txn, uint32_t sink, uint64_t *ret_row, Error *error) {
    RangeRecord last;
    int result = find_floor(txn, sink, UINT64_MAX, &last, error);
    if (result < 0) return result;
    *ret_row = result == DB_NOT_FOUND ? 1 : last.first_row + last.rows;
    return 0;
}

int ranges_append(Txn *txn, uint32_t sink, uint64_t first_row, uint64_t rows, RangeState state, Error *error) {
    check(txn_may_write(txn));
    RangeRecord last;
    int result = find_floor(txn, sink, UINT64_MAX, &last, error);
    if (result < 0) return result;
    uint64_t end = result == DB_NOT_FOUND ? 1 : last.first_row + last.rows;
    if (first_row != end || rows == 0 || rows > UINT64_MAX - first_row)
        return error_set(error, -EBADMSG, "%" PRIu64 " rows from %" PRIu64 " of sink %" PRIu32 " do not go on at row %" PRIu64, rows,
                         first_row, sink, end);
    if (result == 0 && last.state == state) {
        last.rows += rows;
        check(last.first_row + last.rows == first_row + rows);
        return put(txn, &last, error);
    }
    return put(txn, &(RangeRecord){.sink = sink, .first_row = first_row, .rows = rows, .state = state}, error);
}

int ranges_change(Txn *txn, uint32_t sink, uint64_t first_row, uint64_t rows, RangeState from, RangeState to, Error *error) {
    check(txn_may_write(txn));
    check(from != to && rows > 0);
    RangeRecord old, before, after;
    int result = ranges_find(txn, sink, first_row, &old, error);
    if (result < 0) return result;
    if (result == DB_NOT_FOUND || old.state != from || rows > old.rows - (first_row - old.first_row))
        return error_set(error, -EBADMSG, "%" PRIu64 " rows from %" PRIu64 " of sink %" PRIu32 " are not all %s", rows, first_row, sink,
                         range_state_name(from));

    RangeRecord changed = {.sink = sink, .first_row = first_row, .rows = rows, .state = to};
    uint64_t end = first_row + rows, old_end = old.first_row + old.rows;
    if (first_row > old.first_row) {
        RangeRecord left = old;
        left.rows = first_row - old.first_row;
        check(left.rows < old.rows);
        result = put(txn, &left, error);
    } else if (first_row > 1) {
        result = ranges_find(txn, sink, first_row - 1, &before, error);
        if (result == DB_NOT_FOUND)
            return error_set(error, -EBADMSG, "row %" PRIu64 " of sink %" PRIu32 " is in no range", first_row - 1, sink);
        if (result == 0 && before.state == to) {
            result = drop(txn, &old, error);
            changed.first_row = before.first_row;
            changed.rows += before.rows;
        }
    }
    if (result < 0) return result;

    if (end < old_end) {
        result = put(txn, &(RangeRecord){.sink = sink, .first_row = end, .rows = old_end - end, .state = from}, error);
    } else {
        result = ranges_find(txn, sink, end, &after, error);
        if (result == 0 && after.state == to) {
            result = drop(txn, &after, error);
            changed.rows += after.rows;
        }
    }
    if (result < 0) return result;
    /* What was before it, it, and what comes after it still follow each other. */
    check(changed.first_row <= first_row && changed.first_row + changed.rows >= end && changed.state == to);
    return put(txn, &changed, error);
}

int ranges_put_merged(Txn *txn, const RangeRecord *range, Error *error) {
    check(txn_may_write(txn));
    RangeRecord merged = *range, before, after;
    int result = put(txn, range, error);
    if (result == 0 && range->first_row > 1) {
        result = ranges_find(txn, range->sink, range->first_row - 1, &before, error);
        if (result == 0 && before.state == range->state) {
            result = drop(txn, range, error);
            merged.first_row = before.first_row;
            merged.rows += before.rows;
        }
    }
    if (result < 0) return result;
    result = ranges_find(txn, range->sink, range->first_row + range->rows, &after, error);
    if (result == 0 && after.state == range->state) {
        result = drop(txn, &after, error);
        merged.rows += after.rows;
    }
    return result < 0 ? result : put(txn, &merged, error);
}

int ledger_forget_ranges(Txn *txn, uint32_t sink, Error *error) {
    check(txn_may_write(txn));
    for (;;) {
        RangeRecord range;
        int result = find_floor(txn, sink, UINT64_MAX, &range, error);
        if (result == 0) result = drop(txn, &range, error);
        if (result != 0) return result < 0 ? result : 0;
    }
}
