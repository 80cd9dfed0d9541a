/* One file becomes several, which together hold its rows. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/array.h"
#include "storage/ledger_private.h"

typedef struct Slices {
    const Uuid *file;
    SliceRecord *items;
    size_t count, capacity;
} Slices;

static void add_to(Slices *slices, const SliceRecord *slice) {
    array_reserve(slices->items, slices->count, slices->capacity);
    slices->items[slices->count++] = *slice;
}

static int collect(void *context, const SliceRecord *slice, Error *error) {
    Slices *slices = context;
    if (!uuid_equal(&slice->file, slices->file))
        return error_set(error, -EBADMSG, "the slice of sink %" PRIu32 " from row %" PRIu64 " belongs to another file", slice->sink,
                         slice->first_row);
    add_to(slices, slice);
    return 0;
}

static int remove_key(Txn *txn, const LedgerKey *key, const char *what, Error *error) {
    int result = db_remove(txn, DB_FILES, ledger_key_span(key), error);
    return result == DB_NOT_FOUND ? error_set(error, -EBADMSG, "the ledger does not hold %s of a file that is divided", what) : result;
}

static int change_pack(Txn *txn, const Uuid *id, bool add, usec_t running, Error *error) {
    PackRecord pack;
    int result = ledger_find_pack(txn, id, &pack, error);
    if (result == LEDGER_NOT_FOUND || (result == 0 && !add && pack.slices == pack.done))
        return error_set(error, -EBADMSG, "a pack does not know of a slice of a file that is divided");
    if (result < 0) return result;
    pack.slices = add ? pack.slices + 1 : pack.slices - 1;
    check(pack.slices >= pack.done);
    /* What is left in it was done before; a pack in which nothing is left is kept by nobody. */
    if (!add && pack.done == pack.slices) pack.last_done = pack.slices > 0 ? running : 0;
    return ledger_put_pack(txn, &pack, error);
}

static int is_unreadable(Txn *txn, const SliceRecord *slice, bool *ret_unreadable, Error *error) {
    RangeRecord range;
    int result = ranges_find(txn, slice->sink, slice->first_row, &range, error);
    if (result == DB_NOT_FOUND)
        return error_set(error, -EBADMSG, "no range holds row %" PRIu64 " of sink %" PRIu32, slice->first_row, slice->sink);
    *ret_unreadable = result == 0 && range_is_unreadable(range.state);
    return result;
}

/* But for those that cannot be read, which are the only trace of what their packs hold. */
static int remove_slices(Txn *txn, const FileRecord *file, usec_t running, Slices *kept, Error *error) {
    Slices slices = {.file = &file->id};
    int result = ledger_visit_slices(txn, file->sink, file->first_row, file->rows, collect, &slices, error);
    for (size_t i = 0; i < slices.count && result == 0; i++) {
        const SliceRecord *slice = &slices.items[i];
        bool unreadable = false;
        result = is_unreadable(txn, slice, &unreadable, error);
        if (unreadable) add_to(kept, slice);
        if (unreadable || result < 0) continue;
        LedgerKey key = ledger_row_key(LEDGER_SLICE, slice->sink, slice->first_row);
        LedgerKey link = ledger_pack_slice_key(&slice->pack, slice->sink, slice->first_row);
        result = remove_key(txn, &key, "a slice", error);
        if (result == 0) result = remove_key(txn, &link, "the pack of a slice", error);
        if (result == 0) result = change_pack(txn, &slice->pack, false, running, error);
    }
    free(slices.items);
    return result;
}

static int add_slice(Txn *txn, const SliceRecord *slice, const OffsetRun *runs, Error *error) {
    LedgerKey link = ledger_pack_slice_key(&slice->pack, slice->sink, slice->first_row);
    int result = ledger_put_slice(txn, slice, runs, error);
    if (result == 0) result = db_put(txn, DB_FILES, ledger_key_span(&link), (Span){0}, error);
    return result == 0 ? change_pack(txn, &slice->pack, true, 0, error) : result;
}

/* The slices that cannot be read and lie in the part go on as its own. Parts begin with a slice
 * that can be read, so none lies in two. */
static int keep_unreadable(Txn *txn, Slices *kept, const FileRecord *part, Error *error) {
    int result = 0;
    for (size_t i = 0; i < kept->count && result == 0; i++) {
        SliceRecord *slice = &kept->items[i];
        if (slice->first_row < part->first_row || slice->first_row - part->first_row >= part->rows) continue;
        OffsetRuns runs = {0};
        slice->file = part->id;
        result = ledger_read_runs(txn, slice->sink, slice->first_row, &runs, error);
        check(result <= 0);
        if (result == 0) result = ledger_put_slice(txn, slice, runs.items, error);
        offset_runs_deinit(&runs);
    }
    return result;
}

/* Do the slices hold, in order, what can be read of the file? */
static int check_slices(const FileRecord *file, const SliceRecord *slices, size_t count, Error *error) {
    uint64_t end = file->first_row, rows = 0;
    for (size_t i = 0; i < count; i++) {
        const SliceRecord *slice = &slices[i];
        if (slice->sink != file->sink || slice->mapping_version != file->mapping_version || slice->rows == 0 || slice->first_row < end)
            return error_set(error, -EBADMSG, "the slice from row %" PRIu64 " is not one of the file that is divided", slice->first_row);
        end = slice->first_row + slice->rows;
        rows += slice->rows;
    }
    if (count == 0 || end > file->first_row + file->rows || rows != file_readable_rows(file))
        return error_set(error, -EBADMSG,
                         "the parts of the file of sink %" PRIu32 " from row %" PRIu64 " hold %" PRIu64 " rows instead of its %" PRIu64,
                         file->sink, file->first_row, rows, file_readable_rows(file));
    return 0;
}

/* Do the slices have the runs that the file has, each those of its rows? */
static int check_runs(Txn *txn, const FileRecord *file, const SliceRecord *slices, size_t count, const OffsetRun *runs, Error *error) {
    OffsetRuns old = {0};
    size_t given = 0;
    bool fit = true;
    int result = ledger_file_runs(txn, file, &old, error);
    for (size_t i = 0; i < count && fit && result == 0; i++) {
        size_t of_slice = slices[i].run_count;
        fit = of_slice <= old.count - given && (of_slice > 0 || old.count == 0);
        if (!fit || of_slice == 0) continue;
        fit = offset_runs_have(runs + given, of_slice, file->sink, slices[i].rows) &&
              offset_runs_equal(runs + given, old.items + given, of_slice);
        given += of_slice;
    }
    if (result == 0 && (!fit || given != old.count))
        result = error_set(error, -EBADMSG, "the parts of the file of sink %" PRIu32 " from row %" PRIu64 " do not have its runs",
                           file->sink, file->first_row);
    offset_runs_deinit(&old);
    return result;
}

/* What of the part is quarantined or left out, as its ranges say. */
static int count_unreadable(Txn *txn, FileRecord *part, Error *error) {
    uint64_t end = part->first_row + part->rows;
    part->damaged_rows = part->left_out = 0;
    for (uint64_t row = part->first_row; row < end;) {
        RangeRecord range;
        int result = ranges_find(txn, part->sink, row, &range, error);
        if (result < 0) return result;
        if (result == DB_NOT_FOUND) return error_set(error, -EBADMSG, "no range holds row %" PRIu64 " of sink %" PRIu32, row, part->sink);
        uint64_t range_end = range.first_row + range.rows < end ? range.first_row + range.rows : end;
        if (range.state == RANGE_QUARANTINED) part->damaged_rows += range_end - row;
        if (range_is_left_out(range.state)) part->left_out += range_end - row;
        row = range_end;
    }
    return 0;
}

/* The part whose slices are `slices`; its rows end where the next part begins. */
static int add_part(Txn *txn, const FileRecord *file, const SliceRecord *slices, size_t count, const OffsetRun *runs, Slices *kept,
                    uint64_t first_row, uint64_t end_row, Error *error) {
    FileRecord part = *file; /* shares its texts */
    part.id = slices[0].file;
    part.first_row = first_row;
    check(count > 0 && first_row < end_row && first_row >= file->first_row && end_row <= file->first_row + file->rows);
    part.rows = end_row - first_row;
    int result = count_unreadable(txn, &part, error);
    if (result < 0) return result;
    uint64_t readable = 0;
    part.bytes = part.checksum = 0;
    part.first_time = slices[0].first_time;
    part.last_time = slices[count - 1].last_time;
    part.attempts = 0;
    part.next_try = part.first_failed = 0;
    part.last_error = NULL;
    for (size_t i = 0; i < count; i++) {
        check(uuid_equal(&slices[i].file, &part.id));
        readable += slices[i].rows;
        part.bytes += slices[i].bytes;
        part.checksum = ledger_fold_checksum(part.checksum, slices[i].checksum);
        result = add_slice(txn, &slices[i], runs, error);
        if (result < 0) return result;
        if (slices[i].run_count > 0) runs += slices[i].run_count;
    }
    if (readable != file_readable_rows(&part))
        return error_set(error, -EBADMSG, "the slices of a part of the file of sink %" PRIu32 " from row %" PRIu64 " do not have its rows",
                         file->sink, file->first_row);
    result = keep_unreadable(txn, kept, &part, error);
    if (result == 0) result = ledger_put_file(txn, &part, error);
    return result == 0 ? ledger_put_file_id(txn, &part, error) : result;
}

int ledger_divide_file(Txn *txn, const Uuid *id, const SliceRecord *slices, size_t count, const OffsetRun *runs, usec_t running,
                       Error *error) {
    check(txn_may_write(txn));
    _cleanup_(file_record_deinit) FileRecord file = {0};
    Slices kept = {0};
    int result = ledger_find_file(txn, id, &file, error);
    if (result == LEDGER_NOT_FOUND) return error_set(error, -EBADMSG, "the ledger does not know a file that is divided");
    if (result == 0 && file.state != FILE_CLOSED)
        result = error_set(error, -EBADMSG, "a file that is %s cannot be divided", file_state_name(file.state));
    if (result == 0) result = check_slices(&file, slices, count, error);
    if (result == 0) result = check_runs(txn, &file, slices, count, runs, error);
    if (result == 0) result = remove_slices(txn, &file, running, &kept, error);
    LedgerKey key = ledger_row_key(LEDGER_FILE, file.sink, file.first_row), id_key = ledger_id_key(LEDGER_FILE_ID, &file.id);
    if (result == 0) result = remove_key(txn, &key, "the record", error);
    if (result == 0) result = remove_key(txn, &id_key, "the id", error);
    if (result == 0) result = index_file(txn, file.sink, file.first_row, false, error);
    uint64_t first_row = file.first_row;
    for (size_t i = 0, next; i < count && result == 0; i = next) {
        for (next = i + 1; next < count && uuid_equal(&slices[next].file, &slices[i].file);) next++;
        uint64_t end_row = next < count ? slices[next].first_row : file.first_row + file.rows;
        result = add_part(txn, &file, slices + i, next - i, runs, &kept, first_row, end_row, error);
        for (size_t k = i; k < next; k++)
            if (slices[k].run_count > 0) runs += slices[k].run_count;
        first_row = end_row;
    }
    check(result < 0 || first_row == file.first_row + file.rows);
    free(kept.items);
    return result;
}
