/* The end of files: imported, expired or deleted, with their ranges, and their slices counted as
 * done in their packs. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/array.h"
#include "storage/ledger_private.h"

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
    check(*ret_rows > 0 && *ret_rows <= end - row);
    return 0;
}

/* Are the file's rows all staged, but for those that are counted as damaged or left out? */
static int check_ranges(Txn *txn, const FileRecord *file, Error *error) {
    uint64_t end = file->first_row + file->rows, damaged = 0, left_out = 0, rows;
    for (uint64_t row = file->first_row; row < end; row += rows) {
        RangeState state;
        int result = stretch(txn, file->sink, row, end, &state, &rows, error);
        if (result < 0) return result;
        if (state == RANGE_QUARANTINED)
            damaged += rows;
        else if (range_is_left_out(state))
            left_out += rows;
        else if (state != RANGE_STAGED)
            return error_set(error, -EBADMSG, "row %" PRIu64 " of sink %" PRIu32 " is %s, but its file waits", row, file->sink,
                             range_state_name(state));
    }
    if (damaged != file->damaged_rows || left_out != file->left_out)
        return error_set(error, -EBADMSG,
                         "the file of sink %" PRIu32 " from row %" PRIu64 " counts %" PRIu64 " damaged rows and %" PRIu64
                         " that are left out, its ranges %" PRIu64 " and %" PRIu64,
                         file->sink, file->first_row, file->damaged_rows, file->left_out, damaged, left_out);
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

/* Quarantined and returned rows of the file in [row, end) become staged, until *rows are. */
static int restore(Txn *txn, FileRecord *file, uint64_t row, uint64_t end, uint64_t *rows, Error *error) {
    for (uint64_t length; row<end && * rows> 0; row += length) {
        RangeState state;
        int result = stretch(txn, file->sink, row, end, &state, &length, error);
        if (result < 0) return result;
        if (state != RANGE_QUARANTINED && state != RANGE_RETURNED) continue;
        if (length > *rows) length = *rows;
        uint64_t *counted = state == RANGE_QUARANTINED ? &file->damaged_rows : &file->left_out;
        if (length > *counted)
            return error_set(error, -EBADMSG,
                             "the file of sink %" PRIu32 " from row %" PRIu64 " counts fewer rows that are %s than its ranges", file->sink,
                             file->first_row, range_state_name(state));
        result = ranges_change(txn, file->sink, row, length, state, RANGE_STAGED, error);
        if (result < 0) return result;
        *counted -= length;
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
    check(done->pack.done > 0 && done->pack.last_done == done->running);
    done->has_pack = false;
    return ledger_put_pack(done->txn, &done->pack, error);
}

static int done_slice(Done *done, const SliceRecord *slice, Error *error) {
    if (done->has_pack && !uuid_equal(&done->pack.id, &slice->pack)) {
        int result = done_flush(done, error);
        if (result < 0) return result;
    }
    if (!done->has_pack) {
        int result = ledger_load_pack(done->txn, &slice->pack, &done->pack, error);
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
    check(txn_may_write(txn));
    _cleanup_(file_record_deinit) FileRecord stored = {0};
    int result = ledger_load_file(txn, file, &stored, error);
    if (result < 0) return result;
    if (stored.state != FILE_CLOSED) return ledger_wrong_state(&stored, "restored in part", error);
    if (rows > stored.damaged_rows + stored.left_out)
        return error_set(error, -EBADMSG, "the file of sink %" PRIu32 " from row %" PRIu64 " has only %" PRIu64 " damaged rows",
                         stored.sink, stored.first_row, stored.damaged_rows + stored.left_out);
    SliceList list = {.file = &stored.id};
    uint64_t left = rows;
    result = ledger_visit_slices(txn, stored.sink, stored.first_row, stored.rows, collect_slice, &list, error);
    for (size_t i = 0; i < list.count && result == 0; i++)
        result = restore(txn, &stored, list.slices[i].first_row, list.slices[i].first_row + list.slices[i].rows, &left, error);
    free(list.slices);
    if (result == 0) result = restore(txn, &stored, stored.first_row, stored.first_row + stored.rows, &left, error);
    if (result < 0) return result;
    check(left <= rows);
    result = ledger_put_file(txn, &stored, error);
    if (result == 0) ledger_bring_up_to_date(file, &stored);
    return result;
}

static int end_stored(Txn *txn, FileRecord *stored, FileState state, usec_t now, usec_t running, Error *error) {
    SliceList list = {.file = &stored->id};
    Done done = {.txn = txn, .running = running};
    int result = check_ranges(txn, stored, error);
    if (result == 0 && stored->rows > 0)
        result = ledger_visit_slices(txn, stored->sink, stored->first_row, stored->rows, collect_slice, &list, error);
    for (size_t i = 0; i < list.count && result == 0 && state == FILE_EXPIRED; i++)
        if (list.slices[i].run_count > 0) result = ledger_wrong_state(stored, "expired: the broker still has its records", error);
    if (result == 0) result = end_ranges(txn, stored, ended_range(state), error);
    for (size_t i = 0; i < list.count && result == 0; i++) result = done_slice(&done, &list.slices[i], error);
    if (result == 0) result = done_flush(&done, error);
    free(list.slices);
    if (result < 0) return result;

    check(done.slices == list.count && !done.has_pack);
    stored->state = state;
    stored->done = now;
    return done.slices ? ledger_put_file(txn, stored, error) : ledger_forget_file(txn, stored, error);
}

int ledger_end_file(Txn *txn, FileRecord *file, FileState state, usec_t now, usec_t running, Error *error) {
    check(txn_may_write(txn));
    _cleanup_(file_record_deinit) FileRecord stored = {0};
    check(state == FILE_IMPORTED || state == FILE_EXPIRED || state == FILE_DELETED);
    int result = ledger_load_file(txn, file, &stored, error);
    if (result < 0) return result;
    if (stored.state != FILE_CLOSED && !(stored.state == FILE_OPEN && state == FILE_DELETED))
        return ledger_wrong_state(&stored, file_state_name(state), error);
    if (file->rejected_rows > file_readable_rows(&stored))
        return error_set(error, -EBADMSG, "the file of sink %" PRIu32 " from row %" PRIu64 " cannot have more rejected rows than rows",
                         stored.sink, stored.first_row);
    stored.rejected_rows = file->rejected_rows;
    result = end_stored(txn, &stored, state, now, running, error);
    if (result == 0) ledger_bring_up_to_date(file, &stored);
    return result;
}
