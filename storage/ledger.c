#include "storage/ledger.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/text.h"
#include "storage/ledger_private.h"
#include "storage/record.h"

void file_record_deinit(FileRecord *file) {
    free(file->last_error);
    free(file->target);
    free(file->label);
    *file = (FileRecord){0};
}

int file_record_copy(const FileRecord *from, FileRecord *ret_file) {
    FileRecord file = *from;
    file.last_error = text_copy(from->last_error);
    file.target = text_copy(from->target);
    file.label = text_copy(from->label);
    *ret_file = file;
    return 0;
}

/* The caller's texts stay its own. */
void ledger_bring_up_to_date(FileRecord *file, const FileRecord *stored) {
    FileRecord updated = *stored;
    updated.last_error = file->last_error;
    updated.target = file->target;
    updated.label = file->label;
    *file = updated;
}

int ledger_find_file(Txn *txn, const Uuid *id, FileRecord *ret_file, Error *error) {
    LedgerKey id_key = ledger_id_key(LEDGER_FILE_ID, id);
    Span value;
    Cursor fields;
    int result = db_get(txn, DB_FILES, ledger_key_span(&id_key), &value, error);
    if (result != 0) return result == DB_NOT_FOUND ? LEDGER_NOT_FOUND : result;
    result = record_open(value, LEDGER_FILE_ID, 1, "a file's id", &fields, error);
    if (result < 0) return result;
    uint32_t sink = cursor_u32(&fields);
    uint64_t first_row = cursor_u64(&fields);
    result = record_read_whole(&fields, "a file's id", error);
    if (result < 0) return result;

    LedgerKey key = ledger_row_key(LEDGER_FILE, sink, first_row);
    FileRecord file;
    result = db_get(txn, DB_FILES, ledger_key_span(&key), &value, error);
    if (result == 0) result = ledger_decode_file(txn, ledger_key_span(&key), value, &file, error);
    if (result < 0) return result;
    if (result == DB_NOT_FOUND || !uuid_equal(&file.id, id)) {
        if (result == 0) file_record_deinit(&file);
        return error_set(error, -EBADMSG, "the ledger knows a file of sink %" PRIu32 " from row %" PRIu64 " that is not there", sink,
                         first_row);
    }
    *ret_file = file;
    return 0;
}

/* The file that the caller speaks of, as it is stored. */
int ledger_load_file(Txn *txn, const FileRecord *file, FileRecord *ret_stored, Error *error) {
    int result = ledger_find_file(txn, &file->id, ret_stored, error);
    if (result == LEDGER_NOT_FOUND) {
        char id[UUID_TEXT_SIZE + 1] = "";
        uuid_format(&file->id, id);
        return error_set(error, -EBADMSG, "the ledger does not know the file %s", id);
    }
    return result;
}

int ledger_wrong_state(const FileRecord *file, const char *what, Error *error) {
    return error_set(error, -EBADMSG, "the file of sink %" PRIu32 " from row %" PRIu64 " cannot be %s: it is %s", file->sink,
                     file->first_row, what, file_state_name(file->state));
}

int ledger_find_open_file(Txn *txn, uint32_t sink, FileRecord *ret_file, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    Span key, value;
    int result = db_cursor(txn, DB_FILES, &cursor, error);
    if (result == 0) result = ledger_seek_floor(cursor, LEDGER_FILE, sink, UINT64_MAX, &key, &value, error);
    if (result != 0) return result == DB_NOT_FOUND ? LEDGER_NOT_FOUND : result;
    FileRecord file;
    result = ledger_decode_file(txn, key, value, &file, error);
    if (result < 0) return result;
    if (file.state != FILE_OPEN) {
        file_record_deinit(&file);
        return LEDGER_NOT_FOUND;
    }
    *ret_file = file;
    return 0;
}

static int refuse_open_file(Txn *txn, uint32_t sink, Error *error) {
    FileRecord open;
    int result = ledger_find_open_file(txn, sink, &open, error);
    if (result != 0) return result == LEDGER_NOT_FOUND ? 0 : result;
    result = error_set(error, -EBADMSG, "sink %" PRIu32 " has an open file already, from row %" PRIu64, sink, open.first_row);
    file_record_deinit(&open);
    return result;
}

int ledger_open_file(Txn *txn, const FileRecord *file, Error *error) {
    check(txn_may_write(txn));
    check(file->sink && file->target && file->label && !uuid_is_nil(&file->id));
    check(file->state == FILE_OPEN && file->rows == 0 && file->bytes == 0 && file->damaged_rows == 0 && file->rejected_rows == 0 &&
          file->left_out == 0);
    LedgerKey id_key = ledger_id_key(LEDGER_FILE_ID, &file->id);
    Span value;
    uint64_t end;
    int result = refuse_open_file(txn, file->sink, error);
    if (result == 0) result = ledger_end_row(txn, file->sink, &end, error);
    if (result < 0) return result;
    if (file->first_row != end)
        return error_set(error, -EBADMSG, "a file of sink %" PRIu32 " from row %" PRIu64 " cannot be opened: its rows go on at %" PRIu64,
                         file->sink, file->first_row, end);
    result = db_get(txn, DB_FILES, ledger_key_span(&id_key), &value, error);
    if (result < 0) return result;
    if (result == 0) return error_set(error, -EBADMSG, "the id of a new file of sink %" PRIu32 " is taken", file->sink);

    result = ledger_put_file(txn, file, error);
    return result < 0 ? result : ledger_put_file_id(txn, file, error);
}

int ledger_find_pack(Txn *txn, const Uuid *id, PackRecord *ret_pack, Error *error) {
    LedgerKey key = ledger_id_key(LEDGER_PACK, id);
    Span value;
    int result = db_get(txn, DB_FILES, ledger_key_span(&key), &value, error);
    if (result != 0) return result == DB_NOT_FOUND ? LEDGER_NOT_FOUND : result;
    return ledger_decode_pack(ledger_key_span(&key), value, ret_pack, error);
}

int ledger_load_pack(Txn *txn, const Uuid *id, PackRecord *ret_pack, Error *error) {
    int result = ledger_find_pack(txn, id, ret_pack, error);
    if (result != LEDGER_NOT_FOUND) return result;
    char text[UUID_TEXT_SIZE + 1] = "";
    uuid_format(id, text);
    return error_set(error, -EBADMSG, "the ledger does not know the pack %s", text);
}

int ledger_add_pack(Txn *txn, const PackRecord *pack, Error *error) {
    check(txn_may_write(txn));
    check(!uuid_is_nil(&pack->id));
    PackRecord record;
    int result = ledger_find_pack(txn, &pack->id, &record, error);
    if (result < 0) return result;
    if (result == 0) return error_set(error, -EBADMSG, "a pack with the id of a new one is in the ledger already");
    record = (PackRecord){.id = pack->id, .bytes = pack->bytes};
    return ledger_put_pack(txn, &record, error);
}

/* The file's checksum is the XXH3-64 of the one before and the slice's, 8 bytes little-endian
 * each. */
uint64_t ledger_fold_checksum(uint64_t before, uint64_t slice) {
    uint64_t both[2] = {before, slice};
    return checksum_of(both, sizeof both);
}

static int check_slice(const FileRecord *file, const SliceRecord *slice, Error *error) {
    if (file->state != FILE_OPEN) return ledger_wrong_state(file, "added to", error);
    if (slice->sink != file->sink || slice->mapping_version != file->mapping_version || !uuid_equal(&slice->file, &file->id))
        return error_set(error, -EBADMSG, "the slice from row %" PRIu64 " is not one of this file: sink, mapping version or file differ",
                         slice->first_row);
    if (slice->first_row != file->first_row + file->rows)
        return error_set(error, -EBADMSG,
                         "the slice of sink %" PRIu32 " from row %" PRIu64 " does not go on where its file ends, at row %" PRIu64,
                         slice->sink, slice->first_row, file->first_row + file->rows);
    return 0;
}

int ledger_add_slice(Txn *txn, FileRecord *file, const SliceRecord *slice, const OffsetRun *runs, Error *error) {
    check(txn_may_write(txn));
    _cleanup_(file_record_deinit) FileRecord stored = {0};
    PackRecord pack;
    check(slice->rows > 0);
    int result = ledger_load_file(txn, file, &stored, error);
    if (result == 0) result = check_slice(&stored, slice, error);
    if (result == 0 && slice->run_count > 0 && !offset_runs_have(runs, slice->run_count, slice->sink, slice->rows))
        result = error_set(error, -EBADMSG, "the runs of the slice of sink %" PRIu32 " from row %" PRIu64 " do not have its rows",
                           slice->sink, slice->first_row);
    if (result == 0) result = ledger_load_pack(txn, &slice->pack, &pack, error);
    /* The first to write, and it refuses before it does. */
    if (result == 0) result = ranges_append(txn, slice->sink, slice->first_row, slice->rows, RANGE_STAGED, error);
    if (result < 0) return result;

    if (file_readable_rows(&stored) == 0) stored.first_time = slice->first_time;
    stored.last_time = slice->last_time;
    stored.rows += slice->rows;
    stored.bytes += slice->bytes;
    stored.checksum = ledger_fold_checksum(stored.checksum, slice->checksum);
    pack.slices++;
    check(stored.first_row + stored.rows == slice->first_row + slice->rows && pack.slices > pack.done);

    LedgerKey key = ledger_pack_slice_key(&slice->pack, slice->sink, slice->first_row);
    result = ledger_put_slice(txn, slice, runs, error);
    if (result == 0) result = db_put(txn, DB_FILES, ledger_key_span(&key), (Span){0}, error);
    if (result == 0) result = ledger_put_pack(txn, &pack, error);
    if (result == 0) result = ledger_put_file(txn, &stored, error);
    if (result == 0) ledger_bring_up_to_date(file, &stored);
    return result;
}

/* Where the file counts its rows of that state. */
static uint64_t *unreadable_of(FileRecord *file, RangeState state) {
    check(range_is_unreadable(state));
    return state == RANGE_QUARANTINED ? &file->damaged_rows : &file->left_out;
}

static int skip_rows(Txn *txn, uint32_t sink, uint64_t first_row, uint64_t rows, RangeState state, Error *error) {
    check(txn_may_write(txn));
    _cleanup_(file_record_deinit) FileRecord open = {0};
    check(sink);
    int result = ledger_find_open_file(txn, sink, &open, error);
    if (result < 0) return result;
    bool is_open = result == 0;
    if (is_open && first_row != open.first_row + open.rows)
        return error_set(error, -EBADMSG, "row %" PRIu64 " of sink %" PRIu32 " is not where its open file ends", first_row, sink);
    result = ranges_append(txn, sink, first_row, rows, state, error);
    if (result < 0 || !is_open) return result;
    open.rows += rows;
    *unreadable_of(&open, state) += rows;
    return ledger_put_file(txn, &open, error);
}

int ledger_skip_rows(Txn *txn, uint32_t sink, uint64_t first_row, uint64_t rows, Error *error) {
    return skip_rows(txn, sink, first_row, rows, RANGE_QUARANTINED, error);
}

int ledger_return_rows(Txn *txn, uint32_t sink, uint64_t first_row, uint64_t rows, Error *error) {
    return skip_rows(txn, sink, first_row, rows, RANGE_RETURNED, error);
}

int ledger_discard_rows(Txn *txn, uint32_t sink, uint64_t first_row, uint64_t rows, Error *error) {
    check(txn_may_write(txn));
    check(sink);
    int result = refuse_open_file(txn, sink, error);
    if (result < 0) return result;
    return ranges_append(txn, sink, first_row, rows, RANGE_DISCARDED, error);
}

static int check_waits(const FileRecord *file, const char *what, Error *error) {
    return file->state == FILE_OPEN || file->state == FILE_CLOSED ? 0 : ledger_wrong_state(file, what, error);
}

/* Staged rows of the file, which waits, become `state`. */
static int take_rows_out(Txn *txn, FileRecord *file, uint64_t first_row, uint64_t rows, RangeState state, Error *error) {
    check(rows > 0);
    if (first_row < file->first_row || first_row - file->first_row > file->rows || rows > file->rows - (first_row - file->first_row))
        return error_set(error, -EBADMSG, "%" PRIu64 " rows from %" PRIu64 " of sink %" PRIu32 " are not all in this file", rows, first_row,
                         file->sink);
    if (rows > file_readable_rows(file))
        return error_set(error, -EBADMSG, "the file of sink %" PRIu32 " from row %" PRIu64 " counts more rows that are out than its ranges",
                         file->sink, file->first_row);
    int result = ranges_change(txn, file->sink, first_row, rows, RANGE_STAGED, state, error);
    if (result == 0) *unreadable_of(file, state) += rows;
    return result;
}

int ledger_quarantine_rows(Txn *txn, FileRecord *file, uint64_t first_row, uint64_t rows, Error *error) {
    check(txn_may_write(txn));
    _cleanup_(file_record_deinit) FileRecord stored = {0};
    int result = ledger_load_file(txn, file, &stored, error);
    if (result == 0) result = check_waits(&stored, "quarantined in part", error);
    if (result == 0) result = take_rows_out(txn, &stored, first_row, rows, RANGE_QUARANTINED, error);
    if (result == 0) result = ledger_put_file(txn, &stored, error);
    if (result == 0) ledger_bring_up_to_date(file, &stored);
    return result;
}

/* Are they staged, and does each come after the one before? Only then is anything changed. */
static int check_left_out(Txn *txn, uint32_t sink, const RangeRecord *ranges, size_t count, Error *error) {
    for (size_t i = 0; i < count; i++) {
        RangeRecord found;
        uint64_t first_row = ranges[i].first_row, rows = ranges[i].rows;
        check(range_is_left_out(ranges[i].state) && rows > 0);
        int result = ranges_find(txn, sink, first_row, &found, error);
        if (result < 0) return result;
        bool in_order = i == 0 || first_row >= ranges[i - 1].first_row + ranges[i - 1].rows;
        if (result == DB_NOT_FOUND || !in_order || found.state != RANGE_STAGED || rows > found.rows - (first_row - found.first_row))
            return error_set(error, -EBADMSG, "%" PRIu64 " rows from %" PRIu64 " of sink %" PRIu32 " that are left out are not all staged",
                             rows, first_row, sink);
    }
    return 0;
}

int ledger_leave_out(Txn *txn, FileRecord *file, const RangeRecord *ranges, size_t count, Error *error) {
    check(txn_may_write(txn));
    _cleanup_(file_record_deinit) FileRecord stored = {0};
    int result = ledger_load_file(txn, file, &stored, error);
    if (result == 0) result = check_waits(&stored, "left out in part", error);
    if (result == 0) result = check_left_out(txn, stored.sink, ranges, count, error);
    for (size_t i = 0; i < count && result == 0; i++)
        result = take_rows_out(txn, &stored, ranges[i].first_row, ranges[i].rows, ranges[i].state, error);
    if (result == 0) result = ledger_put_file(txn, &stored, error);
    if (result == 0) ledger_bring_up_to_date(file, &stored);
    return result;
}

int ledger_lose_slice(Txn *txn, FileRecord *file, const SliceRecord *slice, RangeState *ret_state, Error *error) {
    RangeRecord range = {.first_row = slice->first_row, .rows = slice->rows, .state = RANGE_RETURNED};
    bool returned = slice->run_count > 0;
    *ret_state = returned ? RANGE_RETURNED : RANGE_QUARANTINED;
    if (returned) return ledger_leave_out(txn, file, &range, 1, error);
    return ledger_quarantine_rows(txn, file, slice->first_row, slice->rows, error);
}

int ledger_close_file(Txn *txn, FileRecord *file, CloseReason reason, usec_t now, Error *error) {
    check(txn_may_write(txn));
    _cleanup_(file_record_deinit) FileRecord stored = {0};
    check(reason > CLOSE_NONE && reason <= CLOSE_SHUTDOWN);
    int result = ledger_load_file(txn, file, &stored, error);
    if (result < 0) return result;
    if (stored.state != FILE_OPEN) return ledger_wrong_state(&stored, "closed", error);
    if (stored.rows == 0)
        return error_set(error, -EBADMSG, "the open file of sink %" PRIu32 " has no rows and cannot be closed", stored.sink);
    stored.state = FILE_CLOSED;
    stored.reason = reason;
    stored.closed = now;
    result = ledger_put_file(txn, &stored, error);
    if (result == 0) ledger_bring_up_to_date(file, &stored);
    return result;
}

int ledger_update_file(Txn *txn, const FileRecord *file, Error *error) {
    check(txn_may_write(txn));
    _cleanup_(file_record_deinit) FileRecord stored = {0};
    int result = ledger_load_file(txn, file, &stored, error);
    if (result < 0) return result;
    if (stored.state != FILE_CLOSED) return ledger_wrong_state(&stored, "marked as failed", error);
    stored.attempts = file->attempts;
    stored.next_try = file->next_try;
    stored.first_failed = file->first_failed;
    free(stored.last_error);
    stored.last_error = text_copy(file->last_error);
    return ledger_put_file(txn, &stored, error);
}
