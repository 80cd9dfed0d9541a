/* The whole ledger of a sink, looked at from every side. */
#include <errno.h>
#include <inttypes.h>

#include "storage/ledger_private.h"

typedef struct Verify {
    Txn *txn;
    uint32_t sink;
    uint64_t next_row;    /* where the next range must begin */
    int last_state;       /* of the range before; -1: none */
    uint64_t staged_rows; /* in ranges */

    uint64_t file_end;     /* no file may begin before */
    bool saw_open;         /* nothing may come after it */
    uint64_t waiting_rows; /* readable rows of files that are not done */

    const FileRecord *file;
    uint64_t slice_end; /* in `file`: where the next slice goes on */

    uint32_t pack_slices, pack_done;

    size_t packs_waiting, packs_done;
    uint64_t pack_bytes;
} Verify;

static int verify_range(void *context, const RangeRecord *range, Error *error) {
    Verify *verify = context;
    if (range->first_row != verify->next_row)
        return error_set(error, -EBADMSG, "sink %" PRIu32 ": a range begins at row %" PRIu64 ", but the one before ends at %" PRIu64,
                         range->sink, range->first_row, verify->next_row);
    if ((int)range->state == verify->last_state)
        return error_set(error, -EBADMSG, "sink %" PRIu32 ": the range from row %" PRIu64 " was not merged with the one before",
                         range->sink, range->first_row);
    verify->next_row += range->rows;
    verify->last_state = (int)range->state;
    if (range->state == RANGE_STAGED) verify->staged_rows += range->rows;
    return 0;
}

static bool is_waiting(const FileRecord *file) {
    return file->state == FILE_OPEN || file->state == FILE_CLOSED;
}

static RangeState range_of(const FileRecord *file) {
    switch (file->state) {
    case FILE_OPEN:
    case FILE_CLOSED: return RANGE_STAGED;
    case FILE_IMPORTED: return RANGE_IMPORTED;
    case FILE_EXPIRED: return RANGE_EXPIRED;
    case FILE_DELETED: return RANGE_DELETED;
    }
    unreachable();
}

static int verify_file_ranges(const Verify *verify, const FileRecord *file, Error *error) {
    uint64_t end = file->first_row + file->rows, damaged = 0, left_out = 0;
    for (uint64_t row = file->first_row; row < end;) {
        RangeRecord range;
        int result = ranges_find(verify->txn, file->sink, row, &range, error);
        if (result < 0) return result;
        if (result == DB_NOT_FOUND)
            return error_set(error, -EBADMSG, "sink %" PRIu32 ": row %" PRIu64 " is in a file but in no range", file->sink, row);
        uint64_t range_end = range.first_row + range.rows;
        if (range_end > end) range_end = end;
        if (range.state == RANGE_QUARANTINED)
            damaged += range_end - row;
        else if (range_is_left_out(range.state))
            left_out += range_end - row;
        else if (range.state != range_of(file))
            return error_set(error, -EBADMSG, "sink %" PRIu32 ": row %" PRIu64 " is %s, but its file is %s", file->sink, row,
                             range_state_name(range.state), file_state_name(file->state));
        row = range_end;
    }
    if (damaged != file->damaged_rows || left_out != file->left_out)
        return error_set(error, -EBADMSG,
                         "sink %" PRIu32 ": the file from row %" PRIu64 " counts %" PRIu64 " damaged rows and %" PRIu64
                         " that are left out, its ranges %" PRIu64 " and %" PRIu64,
                         file->sink, file->first_row, file->damaged_rows, file->left_out, damaged, left_out);
    return 0;
}

/* Rows of a waiting file that are in no slice must be quarantined, or returned. */
static int verify_gap(const Verify *verify, uint64_t end, Error *error) {
    for (uint64_t row = verify->slice_end; row < end;) {
        RangeRecord range;
        int result = ranges_find(verify->txn, verify->sink, row, &range, error);
        if (result < 0) return result;
        if (result == DB_NOT_FOUND || !range_is_unreadable(range.state))
            return error_set(error, -EBADMSG, "sink %" PRIu32 ": rows %" PRIu64 " to %" PRIu64 " are staged, but in no slice", verify->sink,
                             row, end - 1);
        row = range.first_row + range.rows;
    }
    return 0;
}

static int verify_slice(void *context, const SliceRecord *slice, Error *error) {
    Verify *verify = context;
    const FileRecord *file = verify->file;
    if (!uuid_equal(&slice->file, &file->id) || slice->mapping_version != file->mapping_version)
        return error_set(error, -EBADMSG, "sink %" PRIu32 ": the slice from row %" PRIu64 " is not one of the file that it lies in",
                         slice->sink, slice->first_row);
    if (slice->first_row < verify->slice_end || slice->first_row + slice->rows > file->first_row + file->rows)
        return error_set(error, -EBADMSG, "sink %" PRIu32 ": the slice from row %" PRIu64 " overlaps another one, or leaves its file",
                         slice->sink, slice->first_row);
    int result = is_waiting(file) ? verify_gap(verify, slice->first_row, error) : 0;
    if (result < 0) return result;
    verify->slice_end = slice->first_row + slice->rows;

    LedgerKey pack = ledger_id_key(LEDGER_PACK, &slice->pack);
    LedgerKey link = ledger_pack_slice_key(&slice->pack, slice->sink, slice->first_row);
    Span value;
    result = db_get(verify->txn, DB_FILES, ledger_key_span(&pack), &value, error);
    if (result == 0) result = db_get(verify->txn, DB_FILES, ledger_key_span(&link), &value, error);
    if (result == DB_NOT_FOUND)
        return error_set(error, -EBADMSG, "sink %" PRIu32 ": the pack of the slice from row %" PRIu64 " does not know it", slice->sink,
                         slice->first_row);
    return result;
}

static int verify_file(void *context, const FileRecord *file, Error *error) {
    Verify *verify = context;
    if (file->first_row < verify->file_end || verify->saw_open)
        return error_set(error, -EBADMSG, "sink %" PRIu32 ": the file from row %" PRIu64 " overlaps the one before, or that one is open",
                         file->sink, file->first_row);
    verify->file_end = file->first_row + file->rows;
    verify->saw_open = file->state == FILE_OPEN;
    if (verify->saw_open && verify->file_end != verify->next_row)
        return error_set(error, -EBADMSG, "sink %" PRIu32 ": the open file ends at row %" PRIu64 ", the ranges at %" PRIu64, file->sink,
                         verify->file_end, verify->next_row);
    if (file->rows == 0 && !verify->saw_open)
        return error_set(error, -EBADMSG, "sink %" PRIu32 ": the file from row %" PRIu64 " has no rows", file->sink, file->first_row);
    LedgerKey index = ledger_row_key(LEDGER_WAITING_FILE, file->sink, file->first_row);
    Span nothing;
    int indexed = db_get(verify->txn, DB_FILES, ledger_key_span(&index), &nothing, error);
    if (indexed < 0) return indexed;
    if ((indexed == 0) != is_waiting(file))
        return error_set(error, -EBADMSG, "sink %" PRIu32 ": the file from row %" PRIu64 " is not where those that wait are looked for",
                         file->sink, file->first_row);
    if (is_waiting(file)) verify->waiting_rows += file_readable_rows(file);

    FileRecord found;
    int result = ledger_find_file(verify->txn, &file->id, &found, error);
    if (result == 0) file_record_deinit(&found);
    if (result == LEDGER_NOT_FOUND)
        return error_set(error, -EBADMSG, "sink %" PRIu32 ": the file from row %" PRIu64 " is not found by its id", file->sink,
                         file->first_row);
    if (result == 0) result = verify_file_ranges(verify, file, error);
    verify->file = file;
    verify->slice_end = file->first_row;
    if (result == 0 && file->rows > 0)
        result = ledger_visit_slices(verify->txn, file->sink, file->first_row, file->rows, verify_slice, verify, error);
    if (result == 0 && is_waiting(file)) result = verify_gap(verify, file->first_row + file->rows, error);
    return result;
}

static int verify_slice_has_file(void *context, const SliceRecord *slice, Error *error) {
    Verify *verify = context;
    FileRecord file;
    int result = ledger_find_file(verify->txn, &slice->file, &file, error);
    if (result < 0) return result;
    bool inside = result == 0 && slice->sink == file.sink && slice->first_row >= file.first_row &&
                  slice->first_row + slice->rows <= file.first_row + file.rows;
    if (result == 0) file_record_deinit(&file);
    if (!inside)
        return error_set(error, -EBADMSG, "sink %" PRIu32 ": the slice from row %" PRIu64 " lies outside of its file", slice->sink,
                         slice->first_row);
    return 0;
}

int ledger_verify(Txn *txn, uint32_t sink, uint64_t staged_row, Error *error) {
    Verify verify = {.txn = txn, .sink = sink, .next_row = 1, .last_state = -1, .file_end = 1};
    int result = ledger_visit_ranges(txn, sink, verify_range, &verify, error);
    if (result < 0) return result;
    if (verify.next_row != staged_row)
        return error_set(error, -EBADMSG, "sink %" PRIu32 ": the ranges end at row %" PRIu64 ", but rows below %" PRIu64 " are staged",
                         sink, verify.next_row, staged_row);
    result = ledger_visit_files(txn, sink, verify_file, &verify, error);
    if (result == 0) result = ledger_visit_slices(txn, sink, 0, UINT64_MAX, verify_slice_has_file, &verify, error);
    if (result < 0) return result;
    if (verify.staged_rows != verify.waiting_rows)
        return error_set(error, -EBADMSG, "sink %" PRIu32 ": %" PRIu64 " rows are staged, but the files that wait hold %" PRIu64, sink,
                         verify.staged_rows, verify.waiting_rows);
    return 0;
}

static int count_pack_slice(Verify *verify, Span key, Error *error) {
    uint32_t sink;
    uint64_t first_row;
    Span value;
    SliceRecord slice;
    FileRecord file;
    int result = ledger_parse_pack_slice_key(key, &sink, &first_row, error);
    if (result < 0) return result;
    LedgerKey slice_key = ledger_row_key(LEDGER_SLICE, sink, first_row);
    result = db_get(verify->txn, DB_FILES, ledger_key_span(&slice_key), &value, error);
    if (result == 0) result = ledger_decode_slice(ledger_key_span(&slice_key), value, &slice, error);
    if (result == 0) result = ledger_find_file(verify->txn, &slice.file, &file, error);
    if (result < 0) return result;
    if (result != 0)
        return error_set(error, -EBADMSG, "sink %" PRIu32 ": a pack holds a slice from row %" PRIu64 " that is not in the ledger", sink,
                         first_row);
    verify->pack_slices++;
    if (!is_waiting(&file)) verify->pack_done++;
    file_record_deinit(&file);
    return 0;
}

static int count_pack(Verify *verify, const Uuid *pack, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    LedgerKey prefix = ledger_id_key(LEDGER_PACK_SLICE, pack);
    Span key = ledger_key_span(&prefix), value;
    verify->pack_slices = verify->pack_done = 0;
    int result = db_cursor(verify->txn, DB_FILES, &cursor, error);
    if (result == 0) result = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    while (result == 0 && span_starts_with(key, ledger_key_span(&prefix))) {
        result = count_pack_slice(verify, key, error);
        if (result < 0) return result;
        result = db_move(cursor, MDB_NEXT, &key, &value, error);
    }
    return result < 0 ? result : 0;
}

int ledger_count_pack(Txn *txn, const Uuid *pack, uint32_t *ret_slices, uint32_t *ret_done, Error *error) {
    Verify verify = {.txn = txn};
    int result = count_pack(&verify, pack, error);
    *ret_slices = verify.pack_slices;
    *ret_done = verify.pack_done;
    return result;
}

static int verify_pack(void *context, const PackRecord *pack, Error *error) {
    Verify *verify = context;
    int result = count_pack(verify, &pack->id, error);
    if (result < 0) return result;
    if (verify->pack_slices != pack->slices || verify->pack_done != pack->done) {
        char id[UUID_TEXT_SIZE + 1] = "";
        uuid_format(&pack->id, id);
        return error_set(error, -EBADMSG, "pack %s counts %" PRIu32 " slices and %" PRIu32 " done, there are %" PRIu32 " and %" PRIu32, id,
                         pack->slices, pack->done, verify->pack_slices, verify->pack_done);
    }
    verify->packs_waiting += pack->done < pack->slices;
    verify->packs_done += pack->done >= pack->slices;
    verify->pack_bytes += pack->bytes;
    return 0;
}

static int count_waiting(void *context, const PackRecord *pack, Error *error) {
    ((Verify *)context)->packs_waiting--;
    return 0;
}

int ledger_verify_packs(Txn *txn, Error *error) {
    Verify verify = {.txn = txn};
    uint64_t bytes;
    size_t count = 0;
    ForgottenPack *done = NULL;
    int result = ledger_visit_packs(txn, verify_pack, &verify, error);
    if (result == 0) result = ledger_visit_waiting_packs(txn, count_waiting, &verify, error);
    if (result == 0) result = ledger_pack_bytes(txn, &bytes, error);
    if (result == 0) result = index_done_packs(txn, INT64_MAX, verify.packs_done + 1, &done, &count, error);
    free(done);
    if (result < 0) return result;
    if (verify.packs_waiting != 0 || count != verify.packs_done || bytes != verify.pack_bytes)
        return error_set(error, -EBADMSG, "packs are not where those that wait or are done are looked for");
    return 0;
}
