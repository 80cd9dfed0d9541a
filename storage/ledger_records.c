/* The ledger's records as bytes, and back. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "storage/ledger_private.h"
#include "storage/record.h"

#define VERSION 1
#define FILE_VERSION 4  /* 3: without left_out; 2: with the whole target; 1: and without first_failed */
#define SLICE_VERSION 3 /* 2: without ids; 1: and without runs */
#define PACK_VERSION 2  /* 1: last_done is a wall time */

LedgerKey ledger_row_key(char kind, uint32_t sink, uint64_t first_row) {
    check(kind == LEDGER_FILE || kind == LEDGER_SLICE || kind == LEDGER_RANGE || kind == LEDGER_WAITING_FILE);
    LedgerKey key = {.size = 13};
    key.bytes[0] = kind;
    store_be32(key.bytes + 1, sink);
    store_be64(key.bytes + 5, first_row);
    return key;
}

LedgerKey ledger_id_key(char kind, const Uuid *id) {
    check(kind == LEDGER_FILE_ID || kind == LEDGER_PACK || kind == LEDGER_PACK_SLICE || kind == LEDGER_WAITING_PACK);
    LedgerKey key = {.size = 17};
    key.bytes[0] = kind;
    memcpy(key.bytes + 1, id->bytes, sizeof id->bytes);
    return key;
}

LedgerKey ledger_pack_slice_key(const Uuid *pack, uint32_t sink, uint64_t first_row) {
    LedgerKey key = ledger_id_key(LEDGER_PACK_SLICE, pack);
    store_be32(key.bytes + 17, sink);
    store_be64(key.bytes + 21, first_row);
    key.size = 29;
    return key;
}

static int bad_key(Span key, Error *error) {
    return error_set(error, -EBADMSG, "the ledger holds a key of kind '%c' with %zu bytes", key.size ? key.data[0] : '?', key.size);
}

int ledger_parse_row_key(Span key, uint32_t *ret_sink, uint64_t *ret_first_row, Error *error) {
    if (key.size != 13) return bad_key(key, error);
    *ret_sink = load_be32(key.data + 1);
    *ret_first_row = load_be64(key.data + 5);
    return 0;
}

int ledger_parse_pack_slice_key(Span key, uint32_t *ret_sink, uint64_t *ret_first_row, Error *error) {
    if (key.size != 29) return bad_key(key, error);
    *ret_sink = load_be32(key.data + 17);
    *ret_first_row = load_be64(key.data + 21);
    return 0;
}

const char *range_state_name(RangeState state) {
    static const char *const names[] = {"staged", "imported", "expired", "quarantined", "deleted", "discarded", "overtaken", "returned"};
    check((size_t)state < sizeof names / sizeof *names);
    return names[state];
}

const char *file_state_name(FileState state) {
    static const char *const names[] = {"open", "closed", "imported", "expired", "deleted"};
    check((size_t)state < sizeof names / sizeof *names);
    return names[state];
}

static void put_uuid(Buffer *out, const Uuid *id) {
    buffer_append(out, id->bytes, sizeof id->bytes);
}

static void put_time(Buffer *out, usec_t time) {
    buffer_put_u64(out, (uint64_t)time);
}

static Uuid get_uuid(Cursor *fields) {
    Uuid id = {0};
    Span bytes = cursor_bytes(fields, sizeof id.bytes);
    if (bytes.size) memcpy(id.bytes, bytes.data, sizeof id.bytes);
    return id;
}

static usec_t get_time(Cursor *fields) {
    return (usec_t)cursor_u64(fields);
}

static int put(Txn *txn, const LedgerKey *key, Buffer *record, Error *error) {
    record_seal(record);
    return db_put(txn, DB_FILES, ledger_key_span(key), buffer_span(record), error);
}

int ledger_put_file(Txn *txn, const FileRecord *file, Error *error) {
    _cleanup_(buffer_deinit) Buffer record = {0};
    uint64_t digest;
    check(file->sink && file->first_row > 0 && !uuid_is_nil(&file->id) && file->target && file->label);
    check(file->state <= FILE_DELETED && file->reason <= CLOSE_SHUTDOWN && file->rows <= UINT64_MAX - file->first_row);
    check(file->damaged_rows <= file->rows && file->left_out <= file->rows - file->damaged_rows);
    check(file->rejected_rows <= file_readable_rows(file));
    int kept = ledger_keep_target(txn, file, &digest, error);
    if (kept < 0) return kept;
    record_begin(&record, LEDGER_FILE, FILE_VERSION);
    put_uuid(&record, &file->id);
    buffer_put_u32(&record, file->mapping_version);
    buffer_put_u8(&record, (unsigned char)file->state);
    buffer_put_u8(&record, (unsigned char)file->reason);
    buffer_put_u64(&record, file->rows);
    buffer_put_u64(&record, file->bytes);
    buffer_put_u64(&record, file->damaged_rows);
    buffer_put_u64(&record, file->rejected_rows);
    buffer_put_u64(&record, file->checksum);
    put_time(&record, file->first_time);
    put_time(&record, file->last_time);
    put_time(&record, file->opened);
    put_time(&record, file->closed);
    put_time(&record, file->done);
    buffer_put_u32(&record, file->attempts);
    put_time(&record, file->next_try);
    put_time(&record, file->first_failed);
    buffer_put_u8(&record, file->last_error != NULL);
    buffer_put_block(&record, span_of(file->last_error));
    buffer_put_u64(&record, digest);
    buffer_put_block(&record, span_of(file->label));
    buffer_put_u64(&record, file->left_out);
    LedgerKey key = ledger_row_key(LEDGER_FILE, file->sink, file->first_row);
    bool waits = file->state == FILE_OPEN || file->state == FILE_CLOSED;
    int result = put(txn, &key, &record, error);
    return result == 0 ? index_file(txn, file->sink, file->first_row, waits, error) : result;
}

int ledger_put_file_id(Txn *txn, const FileRecord *file, Error *error) {
    check(file->sink && file->first_row > 0 && !uuid_is_nil(&file->id));
    _cleanup_(buffer_deinit) Buffer record = {0};
    record_begin(&record, LEDGER_FILE_ID, VERSION);
    buffer_put_u32(&record, file->sink);
    buffer_put_u64(&record, file->first_row);
    LedgerKey key = ledger_id_key(LEDGER_FILE_ID, &file->id);
    return put(txn, &key, &record, error);
}

int ledger_put_slice(Txn *txn, const SliceRecord *slice, const OffsetRun *runs, Error *error) {
    check(slice->sink && slice->first_row > 0 && slice->rows > 0 && slice->rows <= UINT64_MAX - slice->first_row);
    check(slice->offset <= UINT64_MAX - slice->length);
    check(slice->run_count == 0 || offset_runs_have(runs, slice->run_count, slice->sink, slice->rows));
    _cleanup_(buffer_deinit) Buffer record = {0};
    record_begin(&record, LEDGER_SLICE, SLICE_VERSION);
    put_uuid(&record, &slice->pack);
    buffer_put_u64(&record, slice->offset);
    buffer_put_u64(&record, slice->length);
    buffer_put_u32(&record, slice->mapping_version);
    buffer_put_u64(&record, slice->rows);
    buffer_put_u64(&record, slice->bytes);
    buffer_put_u64(&record, slice->checksum);
    put_time(&record, slice->first_time);
    put_time(&record, slice->last_time);
    put_uuid(&record, &slice->file);
    put_uuid(&record, &slice->ids.first);
    put_uuid(&record, &slice->ids.last);
    if (slice->run_count > 0)
        offset_runs_put(&record, runs, slice->run_count);
    else
        buffer_put_u32(&record, 0);
    LedgerKey key = ledger_row_key(LEDGER_SLICE, slice->sink, slice->first_row);
    return put(txn, &key, &record, error);
}

int ledger_put_pack(Txn *txn, const PackRecord *pack, Error *error) {
    check(pack->done <= pack->slices && pack->last_done >= 0);
    _cleanup_(buffer_deinit) Buffer record = {0};
    record_begin(&record, LEDGER_PACK, PACK_VERSION);
    buffer_put_u64(&record, pack->bytes);
    buffer_put_u32(&record, pack->slices);
    buffer_put_u32(&record, pack->done);
    put_time(&record, pack->last_done);
    LedgerKey key = ledger_id_key(LEDGER_PACK, &pack->id);
    PackRecord before;
    int found = ledger_find_pack(txn, &pack->id, &before, NULL);
    if (found < 0 && found != -EBADMSG) return error_set(error, found, "the record of a pack cannot be read");
    int result = put(txn, &key, &record, error);
    return result == 0 ? index_pack(txn, found == 0 ? &before : NULL, pack, error) : result;
}

int ledger_decode_file(Txn *txn, Span key, Span value, FileRecord *ret_file, Error *error) {
    FileRecord file = {0};
    int result = ledger_parse_row_key(key, &file.sink, &file.first_row, error);
    if (result < 0) return result;
    char what[80];
    (void)snprintf(what, sizeof what, "the file of sink %" PRIu32 " from row %" PRIu64, file.sink, file.first_row);
    Cursor fields;
    result = record_open(value, LEDGER_FILE, FILE_VERSION, what, &fields, error);
    if (result < 0) return result;
    file.id = get_uuid(&fields);
    file.mapping_version = cursor_u32(&fields);
    uint8_t state = cursor_u8(&fields), reason = cursor_u8(&fields);
    file.state = (FileState)state;
    file.reason = (CloseReason)reason;
    file.rows = cursor_u64(&fields);
    file.bytes = cursor_u64(&fields);
    file.damaged_rows = cursor_u64(&fields);
    file.rejected_rows = cursor_u64(&fields);
    file.checksum = cursor_u64(&fields);
    file.first_time = get_time(&fields);
    file.last_time = get_time(&fields);
    file.opened = get_time(&fields);
    file.closed = get_time(&fields);
    file.done = get_time(&fields);
    file.attempts = cursor_u32(&fields);
    file.next_try = get_time(&fields);
    if (record_version(value) >= 2) file.first_failed = get_time(&fields);
    bool has_error = cursor_u8(&fields) != 0;
    file.last_error = text_copy_span(cursor_block(&fields));
    uint64_t digest = 0;
    bool has_text = record_version(value) < 3;
    if (has_text) {
        file.target = text_copy_span(cursor_block(&fields));
    } else {
        digest = cursor_u64(&fields);
    }
    file.label = text_copy_span(cursor_block(&fields));
    if (record_version(value) >= 4) file.left_out = cursor_u64(&fields);
    if (!has_error) {
        free(file.last_error);
        file.last_error = NULL;
    }
    result = record_read_whole(&fields, what, error);
    bool cannot_be = state > FILE_DELETED || reason > CLOSE_SHUTDOWN || file.sink == 0 || file.first_row == 0 ||
                     file.rows > UINT64_MAX - file.first_row || file.damaged_rows > file.rows ||
                     file.left_out > file.rows - file.damaged_rows || file.rejected_rows > file_readable_rows(&file) ||
                     uuid_is_nil(&file.id);
    if (result == 0 && cannot_be) result = error_set(error, -EBADMSG, "the record of %s has a value that is not possible", what);
    if (result == 0 && !has_text && txn) result = ledger_find_target(txn, file.sink, file.mapping_version, digest, &file.target, error);
    if (result == 0 && !has_text && !txn) file.target = text_copy("");
    if (result < 0) {
        file_record_deinit(&file);
        return result;
    }
    *ret_file = file;
    return 0;
}

/* Version 2 has runs, and from version 3 on there may be none. false: they are not possible. */
static bool get_runs(Span value, Cursor *fields, SliceRecord *slice, OffsetRuns *runs) {
    if (record_version(value) < 2) return true;
    if (record_version(value) > 2) {
        Cursor ahead = *fields;
        if (cursor_u32(&ahead) == 0) {
            *fields = ahead;
            return !ahead.failed;
        }
    }
    return offset_runs_get(fields, slice->sink, slice->rows, runs, &slice->run_count);
}

int ledger_decode_slice_and_runs(Span key, Span value, SliceRecord *ret_slice, OffsetRuns *runs, Error *error) {
    SliceRecord slice = {0};
    int result = ledger_parse_row_key(key, &slice.sink, &slice.first_row, error);
    if (result < 0) return result;
    char what[80];
    (void)snprintf(what, sizeof what, "the slice of sink %" PRIu32 " from row %" PRIu64, slice.sink, slice.first_row);
    Cursor fields;
    result = record_open(value, LEDGER_SLICE, SLICE_VERSION, what, &fields, error);
    if (result < 0) return result;
    slice.pack = get_uuid(&fields);
    slice.offset = cursor_u64(&fields);
    slice.length = cursor_u64(&fields);
    slice.mapping_version = cursor_u32(&fields);
    slice.rows = cursor_u64(&fields);
    slice.bytes = cursor_u64(&fields);
    slice.checksum = cursor_u64(&fields);
    slice.first_time = get_time(&fields);
    slice.last_time = get_time(&fields);
    slice.file = get_uuid(&fields);
    if (record_version(value) >= 3) {
        slice.ids.first = get_uuid(&fields);
        slice.ids.last = get_uuid(&fields);
    }
    if (!get_runs(value, &fields, &slice, runs))
        return error_set(error, -EBADMSG, "the record of %s is damaged: its runs are not possible", what);
    result = record_read_whole(&fields, what, error);
    if (result < 0) return result;
    if (slice.sink == 0 || slice.first_row == 0 || slice.rows == 0 || slice.rows > UINT64_MAX - slice.first_row ||
        slice.offset > UINT64_MAX - slice.length)
        return error_set(error, -EBADMSG, "the record of %s has a value that is not possible", what);
    *ret_slice = slice;
    return 0;
}

int ledger_decode_slice(Span key, Span value, SliceRecord *ret_slice, Error *error) {
    return ledger_decode_slice_and_runs(key, value, ret_slice, NULL, error);
}

int ledger_decode_pack(Span key, Span value, PackRecord *ret_pack, Error *error) {
    PackRecord pack = {0};
    if (key.size != 17) return bad_key(key, error);
    memcpy(pack.id.bytes, key.data + 1, sizeof pack.id.bytes);
    char what[60] = "the pack ";
    uuid_format(&pack.id, what + strlen("the pack "));
    Cursor fields;
    int result = record_open(value, LEDGER_PACK, PACK_VERSION, what, &fields, error);
    if (result < 0) return result;
    pack.bytes = cursor_u64(&fields);
    pack.slices = cursor_u32(&fields);
    pack.done = cursor_u32(&fields);
    pack.last_done = get_time(&fields);
    if (record_version(value) < 2) pack.last_done = 0;
    result = record_read_whole(&fields, what, error);
    if (result < 0) return result;
    if (pack.done > pack.slices || pack.last_done < 0)
        return error_set(error, -EBADMSG, "the record of %s has a value that is not possible", what);
    *ret_pack = pack;
    return 0;
}

int ledger_seek_floor(MDB_cursor *cursor, char kind, uint32_t sink, uint64_t row, Span *ret_key, Span *ret_value, Error *error) {
    LedgerKey bytes = ledger_row_key(kind, sink, row);
    Span wanted = ledger_key_span(&bytes), key = wanted, value;
    int result = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    if (result < 0) return result;
    if (result == DB_NOT_FOUND)
        result = db_move(cursor, MDB_LAST, &key, &value, error);
    else if (!span_equal(key, wanted))
        result = db_move(cursor, MDB_PREV, &key, &value, error);
    if (result != 0) return result;
    if (!span_starts_with(key, (Span){.data = bytes.bytes, .size = 5})) return DB_NOT_FOUND;
    *ret_key = key;
    *ret_value = value;
    return 0;
}
