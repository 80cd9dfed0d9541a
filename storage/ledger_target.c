/* Where files go: the text of a table target is long, and the same in all files of a mapping
 * version. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "storage/ledger_private.h"
#include "storage/record.h"

#define VERSION 1

static LedgerKey target_key(uint32_t sink, uint32_t version, uint64_t digest) {
    LedgerKey key = {.bytes = {LEDGER_TARGET}, .size = 17};
    store_be32(key.bytes + 1, sink);
    store_be32(key.bytes + 5, version);
    store_be64(key.bytes + 9, digest);
    return key;
}

int ledger_open_target(Span key, Span value, Span *ret_target, Error *error) {
    static const char what[] = "the table that files go to";
    Cursor fields;
    if (key.size != 17) return error_set(error, -EBADMSG, "the ledger holds a key of a target with %zu bytes", key.size);
    int result = record_open(value, LEDGER_TARGET, VERSION, what, &fields, error);
    if (result < 0) return result;
    *ret_target = cursor_block(&fields);
    return record_read_whole(&fields, what, error);
}

int ledger_keep_target(Txn *txn, const FileRecord *file, uint64_t *ret_digest, Error *error) {
    Span text = span_of(file->target), value;
    uint64_t digest = checksum_of(text.data, text.size);
    LedgerKey key = target_key(file->sink, file->mapping_version, digest);
    *ret_digest = digest;
    int result = db_get(txn, DB_FILES, ledger_key_span(&key), &value, error);
    if (result != DB_NOT_FOUND) return result;
    _cleanup_(buffer_deinit) Buffer record = {0};
    record_begin(&record, LEDGER_TARGET, VERSION);
    buffer_put_block(&record, text);
    record_seal(&record);
    return db_put(txn, DB_FILES, ledger_key_span(&key), buffer_span(&record), error);
}

int ledger_find_target(Txn *txn, uint32_t sink, uint32_t version, uint64_t digest, char **ret_target, Error *error) {
    LedgerKey key = target_key(sink, version, digest);
    Span value, text;
    int result = db_get(txn, DB_FILES, ledger_key_span(&key), &value, error);
    if (result == DB_NOT_FOUND)
        return error_set(error, -EBADMSG, "where files of sink %" PRIu32 " with mapping version %" PRIu32 " go is not stored", sink,
                         version);
    if (result == 0) result = ledger_open_target(ledger_key_span(&key), value, &text, error);
    if (result < 0) return result;
    *ret_target = strndup(text.data, text.size);
    check(*ret_target);
    return 0;
}

/* Is the file at the cursor of that sink and mapping version? */
static int is_of(Span key, Span value, const FileRecord *file, bool *ret_is, Error *error) {
    LedgerKey from = ledger_row_key(LEDGER_FILE, file->sink, 0);
    FileRecord other;
    if (!span_starts_with(key, (Span){.data = from.bytes, .size = 5})) return 0;
    int result = ledger_decode_file(NULL, key, value, &other, error);
    if (result < 0) return result;
    *ret_is = *ret_is || other.mapping_version == file->mapping_version;
    file_record_deinit(&other);
    return 0;
}

static int has_neighbour(Txn *txn, const FileRecord *file, bool *ret_has, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    LedgerKey at = ledger_row_key(LEDGER_FILE, file->sink, file->first_row);
    Span key = ledger_key_span(&at), value;
    *ret_has = false;
    int result = db_cursor(txn, DB_FILES, &cursor, error);
    if (result == 0) result = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    if (result == 0) result = is_of(key, value, file, ret_has, error);
    if (result < 0) return result;
    result = db_move(cursor, result == DB_NOT_FOUND ? MDB_LAST : MDB_PREV, &key, &value, error);
    if (result == 0) result = is_of(key, value, file, ret_has, error);
    return result < 0 ? result : 0;
}

/* Versions may alternate for a moment when a mapping changes, so all files are looked at where a
 * neighbour is of another one. */
static int has_any(Txn *txn, const FileRecord *file, bool *ret_has, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    LedgerKey from = ledger_row_key(LEDGER_FILE, file->sink, 0);
    Span key = ledger_key_span(&from), value;
    int result = db_cursor(txn, DB_FILES, &cursor, error);
    if (result == 0) result = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    while (result == 0 && !*ret_has && span_starts_with(key, (Span){.data = from.bytes, .size = 5})) {
        result = is_of(key, value, file, ret_has, error);
        if (result == 0) result = db_move(cursor, MDB_NEXT, &key, &value, error);
    }
    return result < 0 ? result : 0;
}

int ledger_drop_target(Txn *txn, const FileRecord *file, Error *error) {
    bool has;
    int result = has_neighbour(txn, file, &has, error);
    if (result == 0 && !has) result = has_any(txn, file, &has, error);
    if (result == -EBADMSG) return 0; /* better too many */
    while (result == 0 && !has) {
        _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
        LedgerKey from = target_key(file->sink, file->mapping_version, 0);
        Span key = ledger_key_span(&from), value;
        result = db_cursor(txn, DB_FILES, &cursor, error);
        if (result == 0) result = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
        if (result < 0) return result;
        if (result != 0 || !span_starts_with(key, (Span){.data = from.bytes, .size = 9})) return 0;
        int code = mdb_cursor_del(cursor, 0);
        if (code) return db_error(error, code, "cannot forget where files go");
    }
    return result;
}
