/* Damaged ranges, from the files around them; and what the repair of the others asks about rows. */
#include <errno.h>
#include <inttypes.h>

#include "base/cursor.h"
#include "storage/repair_private.h"

int repair_next_row(Txn *txn, char kind, uint32_t sink, uint64_t after, uint64_t *ret_row, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    LedgerKey from = ledger_row_key(kind, sink, after + 1);
    Span key = ledger_key_span(&from), value;
    *ret_row = UINT64_MAX;
    int r = db_cursor(txn, DB_FILES, &cursor, error);
    if (r == 0) r = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    if (r == 0 && key.size == 13 && span_starts_with(key, (Span){.data = from.bytes, .size = 5})) *ret_row = load_be64(key.data + 5);
    return r < 0 ? r : 0;
}

int repair_file_at(Txn *txn, uint32_t sink, uint64_t row, FileRecord *ret_file, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    Span key, value;
    int r = db_cursor(txn, DB_FILES, &cursor, error);
    if (r == 0) r = ledger_seek_floor(cursor, LEDGER_FILE, sink, row, &key, &value, error);
    if (r == 0) r = ledger_decode_file(txn, key, value, ret_file, error);
    if (r == 0 && row - ret_file->first_row >= ret_file->rows) {
        file_record_deinit(ret_file);
        return DB_NOT_FOUND;
    }
    return r;
}

/* What of the file is quarantined and left out, but for the range that begins at `but_for`. */
static int sum_unreadable(Txn *txn, const FileRecord *file, uint64_t but_for, uint64_t *ret_quarantined, uint64_t *ret_left_out,
                          Error *error) {
    uint64_t end = file->first_row + file->rows;
    *ret_quarantined = *ret_left_out = 0;
    for (uint64_t row = file->first_row; row < end;) {
        RangeRecord range;
        uint64_t range_end;
        int r = row == but_for ? DB_NOT_FOUND : ranges_find(txn, file->sink, row, &range, error);
        if (r < 0 && r != -EBADMSG) return r;
        if (r == 0) {
            range_end = range.first_row + range.rows;
            if (range.state == RANGE_QUARANTINED) *ret_quarantined += least(range_end, end) - row;
            if (range_is_left_out(range.state)) *ret_left_out += least(range_end, end) - row;
        } else {
            r = repair_next_row(txn, LEDGER_RANGE, file->sink, row, &range_end, error);
            if (r < 0) return r;
        }
        row = range_end;
    }
    return 0;
}

static int state_from_files(Txn *txn, uint32_t sink, uint64_t first_row, uint64_t rows, RangeState *ret_state, Error *error) {
    _cleanup_(file_record_deinit) FileRecord file = {0};
    uint64_t quarantined, left_out;
    int r = repair_file_at(txn, sink, first_row, &file, error);
    *ret_state = RANGE_IMPORTED; /* of files that were forgotten nothing else is likely */
    if (r != 0) return r < 0 ? r : 0;
    r = sum_unreadable(txn, &file, first_row, &quarantined, &left_out, error);
    if (r < 0) return r;
    switch (file.state) {
    case FILE_OPEN:
    case FILE_CLOSED: *ret_state = RANGE_STAGED; break;
    case FILE_IMPORTED: break;
    case FILE_EXPIRED: *ret_state = RANGE_EXPIRED; break;
    case FILE_DELETED: *ret_state = RANGE_DELETED; break;
    }
    uint64_t no_quarantine = file.damaged_rows > quarantined ? file.damaged_rows - quarantined : 0;
    uint64_t not_left_out = file.left_out > left_out ? file.left_out - left_out : 0;
    if (no_quarantine > 0 && (no_quarantine >= rows || not_left_out < rows)) {
        *ret_state = RANGE_QUARANTINED;
    } else if (not_left_out > 0) {
        *ret_state = RANGE_RETURNED; /* or overtaken: nothing says which, and nothing depends on it */
    }
    return 0;
}

/* Where the last range of a sink ended. */
static int ledger_end_known(Txn *txn, uint32_t sink, uint64_t first_row, uint64_t *ret_end, Error *error) {
    SinkTotals totals;
    int r = totals_find(txn, sink, &totals, error);
    if (r < 0 && r != -EBADMSG) return r;
    if (r == 0) {
        *ret_end = totals.staged_row;
        return 0;
    }
    _cleanup_(file_record_deinit) FileRecord file = {0};
    r = repair_file_at(txn, sink, first_row, &file, error);
    *ret_end = r == 0 ? file.first_row + file.rows : first_row + 1;
    return r < 0 ? r : 0;
}

int repair_range(Repair *repair, const BadRecord *bad, Error *error) {
    uint32_t sink = load_be32(bad->key.data + 1);
    uint64_t first_row = load_be64(bad->key.data + 5), end;
    RangeState state;
    int r = repair_next_row(repair->txn, LEDGER_RANGE, sink, first_row, &end, error);
    if (r == 0 && end == UINT64_MAX) r = ledger_end_known(repair->txn, sink, first_row, &end, error);
    if (r == 0 && end > first_row) r = state_from_files(repair->txn, sink, first_row, end - first_row, &state, error);
    if (r < 0) return r;
    if (end <= first_row) return error_set(error, -EBADMSG, "it ends before it begins");
    (void)repair_report(repair, sink, 0, bad->why, "it was found again from the files around it");
    return ranges_put_merged(repair->txn, &(RangeRecord){.sink = sink, .first_row = first_row, .rows = end - first_row, .state = state},
                             error);
}
