/* Where the rows of an event are: slices by the ids of their events, and the state of a row. */
#include <errno.h>

#include "storage/ledger_private.h"

/* An id has the receive time of its event, but a millisecond is rounded down, and ids of a loop go
 * on when its clock goes back a little. */
#define TIME_SLACK USEC_SECOND

static bool is_of_sink(Span key, uint32_t sink) {
    LedgerKey first = ledger_row_key(LEDGER_SLICE, sink, 0);
    return span_starts_with(key, (Span){.data = first.bytes, .size = 5});
}

/* The slice that begins at the row or behind it. Returns 0 or DB_NOT_FOUND. */
static int seek_slice(MDB_cursor *cursor, uint32_t sink, uint64_t row, SliceRecord *ret_slice, Error *error) {
    LedgerKey from = ledger_row_key(LEDGER_SLICE, sink, row);
    Span key = ledger_key_span(&from), value;
    int result = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    if (result != 0) return result;
    return is_of_sink(key, sink) ? ledger_decode_slice(key, value, ret_slice, error) : DB_NOT_FOUND;
}

/* The first row of the first slice with rows that were received at `from` or later. Receive times
 * ascend with the rows, but for the time that a request takes. */
static int first_row_since(MDB_cursor *cursor, uint32_t sink, usec_t from, uint64_t *ret_row, Error *error) {
    SliceRecord slice;
    Span key, value;
    int result = seek_slice(cursor, sink, 0, &slice, error);
    if (result != 0) return result;
    uint64_t low = slice.first_row;
    result = ledger_seek_floor(cursor, LEDGER_SLICE, sink, UINT64_MAX, &key, &value, error);
    if (result == 0) result = ledger_decode_slice(key, value, &slice, error);
    if (result != 0) return result;
    uint64_t high = slice.first_row + slice.rows;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        result = ledger_seek_floor(cursor, LEDGER_SLICE, sink, middle, &key, &value, error);
        if (result == 0) result = ledger_decode_slice(key, value, &slice, error);
        if (result != 0) return result;
        if (slice.first_row < low) /* no slice begins between them */
            low = middle + 1;
        else if (slice.last_time < from)
            low = slice.first_row + slice.rows > middle ? slice.first_row + slice.rows : middle + 1;
        else
            high = slice.first_row;
    }
    *ret_row = low;
    return 0;
}

static bool may_have(const SliceRecord *slice, const Uuid *event) {
    uint64_t ms;
    if (uuid_range_is_known(&slice->ids)) return uuid_range_may_have(&slice->ids, event);
    if (!uuid_time(event, &ms) || ms > INT64_MAX / USEC_MS - USEC_SECOND) return true;
    usec_t time = (usec_t)ms * USEC_MS;
    return slice->first_time - TIME_SLACK <= time && time <= slice->last_time + TIME_SLACK;
}

int ledger_visit_event_slices(Txn *txn, uint32_t sink, const Uuid *event, usec_t from, usec_t to, SliceVisit visit, void *context,
                              Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    uint64_t row = 0;
    SliceRecord slice;
    check(visit);
    int result = db_cursor(txn, DB_FILES, &cursor, error);
    if (result == 0 && from > INT64_MIN) result = first_row_since(cursor, sink, from, &row, error);
    if (result == 0) result = seek_slice(cursor, sink, row, &slice, error);
    while (result == 0 && slice.first_time <= to) {
        Span key, value;
        if (may_have(&slice, event)) result = visit(context, &slice, error);
        if (result == 0) result = db_move(cursor, MDB_NEXT, &key, &value, error);
        if (result == 0) result = is_of_sink(key, sink) ? ledger_decode_slice(key, value, &slice, error) : DB_NOT_FOUND;
    }
    return result < 0 ? result : 0;
}

int ledger_first_slice(Txn *txn, uint32_t sink, SliceRecord *ret_slice, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    int result = db_cursor(txn, DB_FILES, &cursor, error);
    if (result == 0) result = seek_slice(cursor, sink, 0, ret_slice, error);
    return result == DB_NOT_FOUND ? LEDGER_NOT_FOUND : result;
}

int ledger_row_state(Txn *txn, uint32_t sink, uint64_t row, RangeState *ret_state, Error *error) {
    RangeRecord range;
    int result = ranges_find(txn, sink, row, &range, error);
    if (result < 0) return result;
    if (result == DB_NOT_FOUND) return LEDGER_NOT_FOUND;
    *ret_state = range.state;
    return 0;
}
