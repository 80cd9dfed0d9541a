#include "storage/ledger.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
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
static void bring_up_to_date(FileRecord *file, const FileRecord *stored) {
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
static int load_file(Txn *txn, const FileRecord *file, FileRecord *ret_stored, Error *error) {
    int result = ledger_find_file(txn, &file->id, ret_stored, error);
    if (result == LEDGER_NOT_FOUND) {
        char id[UUID_TEXT_SIZE + 1] = "";
        uuid_format(&file->id, id);
        return error_set(error, -EBADMSG, "the ledger does not know the file %s", id);
    }
    return result;
}

static int wrong_state(const FileRecord *file, const char *what, Error *error) {
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
    check(file->sink && file->target && file->label && !uuid_is_nil(&file->id));
    check(file->state == FILE_OPEN && file->rows == 0 && file->bytes == 0 && file->damaged_rows == 0 && file->rejected_rows == 0);
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

static int load_pack(Txn *txn, const Uuid *id, PackRecord *ret_pack, Error *error) {
    int result = ledger_find_pack(txn, id, ret_pack, error);
    if (result != LEDGER_NOT_FOUND) return result;
    char text[UUID_TEXT_SIZE + 1] = "";
    uuid_format(id, text);
    return error_set(error, -EBADMSG, "the ledger does not know the pack %s", text);
}

int ledger_add_pack(Txn *txn, const PackRecord *pack, Error *error) {
    check(!uuid_is_nil(&pack->id));
    PackRecord record;
    int result = ledger_find_pack(txn, &pack->id, &record, error);
    if (result < 0) return result;
    if (result == 0) return error_set(error, -EBADMSG, "a pack with the id of a new one is in the ledger already");
    record = (PackRecord){.id = pack->id, .bytes = pack->bytes};
    return ledger_put_pack(txn, &record, error);
}

/* The file's checksum is the XXH3-64 of the one before and the slice's, 8 bytes little-endian each. */
uint64_t ledger_fold_checksum(uint64_t before, uint64_t slice) {
    uint64_t both[2] = {before, slice};
    return checksum_of(both, sizeof both);
}

static int check_slice(const FileRecord *file, const SliceRecord *slice, Error *error) {
    if (file->state != FILE_OPEN) return wrong_state(file, "added to", error);
    if (slice->sink != file->sink || slice->mapping_version != file->mapping_version || !uuid_equal(&slice->file, &file->id))
        return error_set(error, -EBADMSG, "the slice from row %" PRIu64 " is not one of this file: sink, mapping version or file differ",
                         slice->first_row);
    if (slice->first_row != file->first_row + file->rows)
        return error_set(error, -EBADMSG,
                         "the slice of sink %" PRIu32 " from row %" PRIu64 " does not go on where its file ends, at row %" PRIu64,
                         slice->sink, slice->first_row, file->first_row + file->rows);
    return 0;
}

int ledger_add_slice(Txn *txn, FileRecord *file, const SliceRecord *slice, Error *error) {
    _cleanup_(file_record_deinit) FileRecord stored = {0};
    PackRecord pack;
    check(slice->rows > 0);
    int result = load_file(txn, file, &stored, error);
    if (result == 0) result = check_slice(&stored, slice, error);
    if (result == 0) result = load_pack(txn, &slice->pack, &pack, error);
    /* The first to write, and it refuses before it does. */
    if (result == 0) result = ranges_append(txn, slice->sink, slice->first_row, slice->rows, RANGE_STAGED, error);
    if (result < 0) return result;

    if (stored.rows == stored.damaged_rows) stored.first_time = slice->first_time;
    stored.last_time = slice->last_time;
    stored.rows += slice->rows;
    stored.bytes += slice->bytes;
    stored.checksum = ledger_fold_checksum(stored.checksum, slice->checksum);
    pack.slices++;

    LedgerKey key = ledger_pack_slice_key(&slice->pack, slice->sink, slice->first_row);
    result = ledger_put_slice(txn, slice, error);
    if (result == 0) result = db_put(txn, DB_FILES, ledger_key_span(&key), (Span){0}, error);
    if (result == 0) result = ledger_put_pack(txn, &pack, error);
    if (result == 0) result = ledger_put_file(txn, &stored, error);
    if (result == 0) bring_up_to_date(file, &stored);
    return result;
}

int ledger_skip_rows(Txn *txn, uint32_t sink, uint64_t first_row, uint64_t rows, Error *error) {
    _cleanup_(file_record_deinit) FileRecord open = {0};
    check(sink);
    int result = ledger_find_open_file(txn, sink, &open, error);
    if (result < 0) return result;
    bool is_open = result == 0;
    if (is_open && first_row != open.first_row + open.rows)
        return error_set(error, -EBADMSG, "row %" PRIu64 " of sink %" PRIu32 " is not where its open file ends", first_row, sink);
    result = ranges_append(txn, sink, first_row, rows, RANGE_QUARANTINED, error);
    if (result < 0 || !is_open) return result;
    open.rows += rows;
    open.damaged_rows += rows;
    return ledger_put_file(txn, &open, error);
}

int ledger_discard_rows(Txn *txn, uint32_t sink, uint64_t first_row, uint64_t rows, Error *error) {
    check(sink);
    int result = refuse_open_file(txn, sink, error);
    if (result < 0) return result;
    return ranges_append(txn, sink, first_row, rows, RANGE_DISCARDED, error);
}

int ledger_quarantine_rows(Txn *txn, FileRecord *file, uint64_t first_row, uint64_t rows, Error *error) {
    _cleanup_(file_record_deinit) FileRecord stored = {0};
    check(rows > 0);
    int result = load_file(txn, file, &stored, error);
    if (result < 0) return result;
    if (stored.state != FILE_OPEN && stored.state != FILE_CLOSED) return wrong_state(&stored, "quarantined in part", error);
    if (first_row < stored.first_row || first_row - stored.first_row > stored.rows || rows > stored.rows - (first_row - stored.first_row))
        return error_set(error, -EBADMSG, "%" PRIu64 " rows from %" PRIu64 " of sink %" PRIu32 " are not all in this file", rows, first_row,
                         stored.sink);
    result = ranges_change(txn, stored.sink, first_row, rows, RANGE_STAGED, RANGE_QUARANTINED, error);
    if (result < 0) return result;
    stored.damaged_rows += rows;
    result = ledger_put_file(txn, &stored, error);
    if (result == 0) bring_up_to_date(file, &stored);
    return result;
}

int ledger_close_file(Txn *txn, FileRecord *file, CloseReason reason, usec_t now, Error *error) {
    _cleanup_(file_record_deinit) FileRecord stored = {0};
    check(reason != CLOSE_NONE);
    int result = load_file(txn, file, &stored, error);
    if (result < 0) return result;
    if (stored.state != FILE_OPEN) return wrong_state(&stored, "closed", error);
    if (stored.rows == 0)
        return error_set(error, -EBADMSG, "the open file of sink %" PRIu32 " has no rows and cannot be closed", stored.sink);
    stored.state = FILE_CLOSED;
    stored.reason = reason;
    stored.closed = now;
    result = ledger_put_file(txn, &stored, error);
    if (result == 0) bring_up_to_date(file, &stored);
    return result;
}

int ledger_update_file(Txn *txn, const FileRecord *file, Error *error) {
    _cleanup_(file_record_deinit) FileRecord stored = {0};
    int result = load_file(txn, file, &stored, error);
    if (result < 0) return result;
    if (stored.state != FILE_CLOSED) return wrong_state(&stored, "marked as failed", error);
    stored.attempts = file->attempts;
    stored.next_try = file->next_try;
    stored.first_failed = file->first_failed;
    free(stored.last_error);
    stored.last_error = text_copy(file->last_error);
    return ledger_put_file(txn, &stored, error);
}

static RangeState ended_range(FileState state) {
    switch (state) {
    case FILE_IMPORTED: return RANGE_IMPORTED;
    case FILE_EXPIRED: return RANGE_EXPIRED;
    case FILE_DELETED: return RANGE_DELETED;
    case FILE_OPEN:
    case FILE_CLOSED: break;
    }
    unreachable();
}

/* The stretch of one state that `row` begins, cut at `end`. */
static int stretch(Txn *txn, uint32_t sink, uint64_t row, uint64_t end, RangeState *ret_state, uint64_t *ret_rows, Error *error) {
    RangeRecord range;
    int result = ranges_find(txn, sink, row, &range, error);
    if (result == DB_NOT_FOUND) return error_set(error, -EBADMSG, "row %" PRIu64 " of sink %" PRIu32 " is in no range", row, sink);
    if (result < 0) return result;
    uint64_t range_end = range.first_row + range.rows;
    *ret_state = range.state;
    *ret_rows = (range_end < end ? range_end : end) - row;
    return 0;
}

/* Are the file's rows all staged, but for those that are counted as damaged? */
static int check_ranges(Txn *txn, const FileRecord *file, Error *error) {
    uint64_t end = file->first_row + file->rows, damaged = 0, rows;
    for (uint64_t row = file->first_row; row < end; row += rows) {
        RangeState state;
        int result = stretch(txn, file->sink, row, end, &state, &rows, error);
        if (result < 0) return result;
        if (state == RANGE_QUARANTINED)
            damaged += rows;
        else if (state != RANGE_STAGED)
            return error_set(error, -EBADMSG, "row %" PRIu64 " of sink %" PRIu32 " is %s, but its file waits", row, file->sink,
                             range_state_name(state));
    }
    if (damaged != file->damaged_rows)
        return error_set(error, -EBADMSG,
                         "the file of sink %" PRIu32 " from row %" PRIu64 " counts %" PRIu64 " damaged rows, its ranges %" PRIu64,
                         file->sink, file->first_row, file->damaged_rows, damaged);
    return 0;
}

static int end_ranges(Txn *txn, const FileRecord *file, RangeState to, Error *error) {
    uint64_t end = file->first_row + file->rows, rows;
    for (uint64_t row = file->first_row; row < end; row += rows) {
        RangeState state;
        int result = stretch(txn, file->sink, row, end, &state, &rows, error);
        if (result == 0 && state == RANGE_STAGED) result = ranges_change(txn, file->sink, row, rows, RANGE_STAGED, to, error);
        if (result < 0) return result;
    }
    return 0;
}

/* Quarantined rows in [row, end) become staged, until *rows are. */
static int restore(Txn *txn, uint32_t sink, uint64_t row, uint64_t end, uint64_t *rows, Error *error) {
    for (uint64_t length; row<end && * rows> 0; row += length) {
        RangeState state;
        int result = stretch(txn, sink, row, end, &state, &length, error);
        if (result < 0) return result;
        if (state != RANGE_QUARANTINED) continue;
        if (length > *rows) length = *rows;
        result = ranges_change(txn, sink, row, length, RANGE_QUARANTINED, RANGE_STAGED, error);
        if (result < 0) return result;
        *rows -= length;
    }
    return 0;
}

typedef struct Done {
    Txn *txn;
    PackRecord pack; /* not written back yet */
    bool has_pack;
    usec_t running;
    size_t slices;
} Done;

static int done_flush(Done *done, Error *error) {
    if (!done->has_pack) return 0;
    done->has_pack = false;
    return ledger_put_pack(done->txn, &done->pack, error);
}

static int done_slice(Done *done, const SliceRecord *slice, Error *error) {
    if (done->has_pack && !uuid_equal(&done->pack.id, &slice->pack)) {
        int result = done_flush(done, error);
        if (result < 0) return result;
    }
    if (!done->has_pack) {
        int result = load_pack(done->txn, &slice->pack, &done->pack, error);
        if (result < 0) return result;
        done->has_pack = true;
    }
    if (done->pack.done >= done->pack.slices) return error_set(error, -EBADMSG, "a pack has fewer slices than are done");
    done->pack.done++;
    done->pack.last_done = done->running;
    done->slices++;
    return 0;
}

typedef struct SliceList {
    SliceRecord *slices;
    size_t count, capacity;
    const Uuid *file;
} SliceList;

static int collect_slice(void *context, const SliceRecord *slice, Error *error) {
    SliceList *list = context;
    if (!uuid_equal(&slice->file, list->file))
        return error_set(error, -EBADMSG, "the slice of sink %" PRIu32 " from row %" PRIu64 " belongs to another file", slice->sink,
                         slice->first_row);
    array_reserve(list->slices, list->count, list->capacity);
    list->slices[list->count++] = *slice;
    return 0;
}

int ledger_restore_rows(Txn *txn, FileRecord *file, uint64_t rows, Error *error) {
    _cleanup_(file_record_deinit) FileRecord stored = {0};
    int result = load_file(txn, file, &stored, error);
    if (result < 0) return result;
    if (stored.state != FILE_CLOSED) return wrong_state(&stored, "restored in part", error);
    if (rows > stored.damaged_rows)
        return error_set(error, -EBADMSG, "the file of sink %" PRIu32 " from row %" PRIu64 " has only %" PRIu64 " damaged rows",
                         stored.sink, stored.first_row, stored.damaged_rows);
    SliceList list = {.file = &stored.id};
    uint64_t left = rows;
    result = ledger_visit_slices(txn, stored.sink, stored.first_row, stored.rows, collect_slice, &list, error);
    for (size_t i = 0; i < list.count && result == 0; i++)
        result = restore(txn, stored.sink, list.slices[i].first_row, list.slices[i].first_row + list.slices[i].rows, &left, error);
    free(list.slices);
    if (result == 0) result = restore(txn, stored.sink, stored.first_row, stored.first_row + stored.rows, &left, error);
    if (result < 0) return result;
    stored.damaged_rows -= rows - left;
    result = ledger_put_file(txn, &stored, error);
    if (result == 0) bring_up_to_date(file, &stored);
    return result;
}

static int forget_file(Txn *txn, const FileRecord *file, Error *error) {
    LedgerKey key = ledger_row_key(LEDGER_FILE, file->sink, file->first_row);
    LedgerKey id_key = ledger_id_key(LEDGER_FILE_ID, &file->id);
    int result = db_remove(txn, DB_FILES, ledger_key_span(&key), error);
    if (result >= 0) result = db_remove(txn, DB_FILES, ledger_key_span(&id_key), error);
    if (result >= 0) result = index_file(txn, file->sink, file->first_row, false, error);
    return result < 0 ? result : ledger_drop_target(txn, file, error);
}

static int end_stored(Txn *txn, FileRecord *stored, FileState state, usec_t now, usec_t running, Error *error) {
    SliceList list = {.file = &stored->id};
    Done done = {.txn = txn, .running = running};
    int result = check_ranges(txn, stored, error);
    if (result == 0 && stored->rows > 0)
        result = ledger_visit_slices(txn, stored->sink, stored->first_row, stored->rows, collect_slice, &list, error);
    if (result == 0) result = end_ranges(txn, stored, ended_range(state), error);
    for (size_t i = 0; i < list.count && result == 0; i++) result = done_slice(&done, &list.slices[i], error);
    if (result == 0) result = done_flush(&done, error);
    free(list.slices);
    if (result < 0) return result;

    stored->state = state;
    stored->done = now;
    return done.slices ? ledger_put_file(txn, stored, error) : forget_file(txn, stored, error);
}

int ledger_end_file(Txn *txn, FileRecord *file, FileState state, usec_t now, usec_t running, Error *error) {
    _cleanup_(file_record_deinit) FileRecord stored = {0};
    check(state == FILE_IMPORTED || state == FILE_EXPIRED || state == FILE_DELETED);
    int result = load_file(txn, file, &stored, error);
    if (result < 0) return result;
    if (stored.state != FILE_CLOSED && !(stored.state == FILE_OPEN && state == FILE_DELETED))
        return wrong_state(&stored, file_state_name(state), error);
    if (file->rejected_rows > stored.rows - stored.damaged_rows)
        return error_set(error, -EBADMSG, "the file of sink %" PRIu32 " from row %" PRIu64 " cannot have more rejected rows than rows",
                         stored.sink, stored.first_row);
    stored.rejected_rows = file->rejected_rows;
    result = end_stored(txn, &stored, state, now, running, error);
    if (result == 0) bring_up_to_date(file, &stored);
    return result;
}

/* --- walks --- */

/* Calls `step` for each key from `from` on that begins with `prefix`. */
typedef int (*Step)(void *context, Span key, Span value, Error *error);

static int walk(Txn *txn, Span from, Span prefix, Step step, void *context, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    Span key = from, value;
    int result = db_cursor(txn, DB_FILES, &cursor, error);
    if (result == 0) result = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    while (result == 0 && span_starts_with(key, prefix)) {
        result = step(context, key, value, error);
        if (result < 0) return result;
        result = db_move(cursor, MDB_NEXT, &key, &value, error);
    }
    return result < 0 ? result : 0;
}

typedef struct Visit {
    Txn *txn;
    FileVisit file;
    SliceVisit slice;
    PackVisit pack;
    RangeVisit range;
    void *context;
    uint64_t end; /* slices from this row on are not asked for */
} Visit;

static int step_file(void *context, Span key, Span value, Error *error) {
    const Visit *visit = context;
    _cleanup_(file_record_deinit) FileRecord file = {0};
    int result = ledger_decode_file(visit->txn, key, value, &file, error);
    return result < 0 ? result : visit->file(visit->context, &file, error);
}

static int step_pack(void *context, Span key, Span value, Error *error) {
    const Visit *visit = context;
    PackRecord pack;
    int result = ledger_decode_pack(key, value, &pack, error);
    return result < 0 ? result : visit->pack(visit->context, &pack, error);
}

static int step_range(void *context, Span key, Span value, Error *error) {
    const Visit *visit = context;
    RangeRecord range;
    int result = ledger_decode_range(key, value, &range, error);
    return result < 0 ? result : visit->range(visit->context, &range, error);
}

int ledger_visit_files(Txn *txn, uint32_t sink, FileVisit visit, void *context, Error *error) {
    LedgerKey key = ledger_row_key(LEDGER_FILE, sink, 0);
    Span from = ledger_key_span(&key);
    Visit visitor = {.txn = txn, .file = visit, .context = context};
    return walk(txn, from, (Span){.data = from.data, .size = sink ? 5 : 1}, step_file, &visitor, error);
}

int ledger_visit_packs(Txn *txn, PackVisit visit, void *context, Error *error) {
    char prefix = LEDGER_PACK;
    Visit visitor = {.pack = visit, .context = context};
    return walk(txn, (Span){.data = &prefix, .size = 1}, (Span){.data = &prefix, .size = 1}, step_pack, &visitor, error);
}

int ledger_visit_ranges(Txn *txn, uint32_t sink, RangeVisit visit, void *context, Error *error) {
    LedgerKey key = ledger_row_key(LEDGER_RANGE, sink, 0);
    Span from = ledger_key_span(&key);
    Visit visitor = {.range = visit, .context = context};
    return walk(txn, from, (Span){.data = from.data, .size = 5}, step_range, &visitor, error);
}

int ledger_visit_slices(Txn *txn, uint32_t sink, uint64_t first_row, uint64_t rows, SliceVisit visit, void *context, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    LedgerKey from = ledger_row_key(LEDGER_SLICE, sink, first_row);
    uint64_t end = rows > UINT64_MAX - first_row ? UINT64_MAX : first_row + rows;
    Span key, value;
    int result = db_cursor(txn, DB_FILES, &cursor, error);
    if (result < 0) return result;
    /* The slice before may reach into the rows that are asked for. */
    result = ledger_seek_floor(cursor, LEDGER_SLICE, sink, first_row, &key, &value, error);
    if (result == DB_NOT_FOUND) {
        key = ledger_key_span(&from);
        result = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    }
    while (result == 0 && span_starts_with(key, (Span){.data = from.bytes, .size = 5})) {
        SliceRecord slice;
        result = ledger_decode_slice(key, value, &slice, error);
        if (result < 0) return result;
        if (slice.first_row >= end) return 0;
        if (slice.first_row + slice.rows > first_row) result = visit(context, &slice, error);
        if (result < 0) return result;
        result = db_move(cursor, MDB_NEXT, &key, &value, error);
    }
    return result < 0 ? result : 0;
}

/* --- forgetting --- */

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
    if (file.state == FILE_OPEN || file.state == FILE_CLOSED) return wrong_state(&file, "forgotten", error);
    return forget_file(txn, &file, error);
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
    int result = load_pack(txn, &pack->id, &record, error);
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
