/* What is retained no longer: packs, with their slices, and the files of which no slice is left.
 * Ranges stay. */
#include <errno.h>
#include <stdlib.h>

#include "storage/ledger_private.h"

int ledger_forget_file(Txn *txn, const FileRecord *file, Error *error) {
    check(txn_may_write(txn));
    LedgerKey key = ledger_row_key(LEDGER_FILE, file->sink, file->first_row);
    LedgerKey id_key = ledger_id_key(LEDGER_FILE_ID, &file->id);
    int result = db_remove(txn, DB_FILES, ledger_key_span(&key), error);
    if (result >= 0) result = db_remove(txn, DB_FILES, ledger_key_span(&id_key), error);
    if (result >= 0) result = index_file(txn, file->sink, file->first_row, false, error);
    return result < 0 ? result : ledger_drop_target(txn, file, error);
}

enum { ENOUGH = -ECANCELED }; /* ends the walk, is not passed up */

static int any_slice(void *context, const SliceRecord *slice, Error *error) {
    *(bool *)context = true;
    return ENOUGH;
}

/* Its last slice went: so does the file. */
static int forget_file_without_slices(Txn *txn, const Uuid *id, Error *error) {
    _cleanup_(file_record_deinit) FileRecord file = {0};
    bool any = false;
    int result = ledger_find_file(txn, id, &file, error);
    if (result == LEDGER_NOT_FOUND) return 0; /* it was damaged and given up */
    if (result == 0) result = ledger_visit_slices(txn, file.sink, file.first_row, file.rows, any_slice, &any, error);
    if (result < 0 && result != ENOUGH) return result;
    if (any) return 0;
    if (file.state == FILE_OPEN || file.state == FILE_CLOSED) return ledger_wrong_state(&file, "forgotten", error);
    return ledger_forget_file(txn, &file, error);
}

static int forget_slice(Txn *txn, uint32_t sink, uint64_t first_row, bool *quarantined, Error *error) {
    LedgerKey key = ledger_row_key(LEDGER_SLICE, sink, first_row);
    Span value;
    SliceRecord slice;
    RangeRecord range;
    int result = ranges_find(txn, sink, first_row, &range, error);
    if (result < 0) return result;
    if (result == 0 && range.state == RANGE_QUARANTINED) *quarantined = true;
    result = db_get(txn, DB_FILES, ledger_key_span(&key), &value, error);
    if (result == DB_NOT_FOUND) { /* it was damaged and given up: its pack may still be of use */
        *quarantined = true;
        return 0;
    }
    if (result == 0) result = ledger_decode_slice(ledger_key_span(&key), value, &slice, error);
    if (result == 0) result = db_remove(txn, DB_FILES, ledger_key_span(&key), error);
    if (result == 0) result = forget_file_without_slices(txn, &slice.file, error);
    return result;
}

static int forget_pack(Txn *txn, ForgottenPack *pack, Error *error) {
    LedgerKey prefix = ledger_id_key(LEDGER_PACK_SLICE, &pack->id);
    for (;;) {
        _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
        Span key = ledger_key_span(&prefix), value;
        uint32_t sink;
        uint64_t first_row;
        int result = db_cursor(txn, DB_FILES, &cursor, error);
        if (result == 0) result = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
        if (result < 0) return result;
        if (result == DB_NOT_FOUND || !span_starts_with(key, ledger_key_span(&prefix))) break;
        result = ledger_parse_pack_slice_key(key, &sink, &first_row, error);
        if (result < 0) return result;
        int code = mdb_cursor_del(cursor, 0);
        if (code) return db_error(error, code, "cannot forget a pack");
        result = forget_slice(txn, sink, first_row, &pack->quarantined, error);
        if (result < 0) return result;
    }
    LedgerKey key = ledger_id_key(LEDGER_PACK, &pack->id);
    PackRecord record;
    int result = ledger_load_pack(txn, &pack->id, &record, error);
    if (result == 0) result = db_remove(txn, DB_FILES, ledger_key_span(&key), error);
    pack->bytes = record.bytes;
    return result < 0 ? result : index_pack(txn, &record, NULL, error);
}

int ledger_any_to_forget(Txn *txn, usec_t done_before, bool *ret_any, Error *error) {
    ForgottenPack *packs;
    size_t count;
    int result = index_done_packs(txn, done_before, 1, &packs, &count, error);
    if (result < 0) return result;
    free(packs);
    *ret_any = count > 0;
    return 0;
}

int ledger_forget_packs(Txn *txn, usec_t done_before, size_t most, ForgottenPack **ret_packs, size_t *ret_count, Error *error) {
    check(txn_may_write(txn));
    ForgottenPack *packs;
    size_t count;
    int result = index_done_packs(txn, done_before, most, &packs, &count, error);
    if (result < 0) return result;
    for (size_t i = 0; i < count && result == 0; i++) result = forget_pack(txn, &packs[i], error);
    if (result < 0) {
        free(packs);
        return result;
    }
    *ret_packs = packs;
    *ret_count = count;
    return 0;
}
