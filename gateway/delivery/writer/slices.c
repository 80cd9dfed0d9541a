#include "gateway/delivery/writer/slices.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/log.h"
#include "gateway/delivery/writer/waiting.h"

typedef struct FileSlices {
    const Uuid *file;
    SliceRecord *items;
    size_t count, capacity;
} FileSlices;

static int add_slice(void *context, const SliceRecord *slice, Error *error) {
    FileSlices *list = context;
    if (!uuid_equal(&slice->file, list->file)) return 0;
    array_reserve(list->items, list->count, list->capacity);
    list->items[list->count++] = *slice;
    return 0;
}

/* Slices that were found damaged by an earlier import are left out. */
static int drop_damaged(void *context, const RangeRecord *range, Error *error) {
    FileSlices *list = context;
    if (range->state == RANGE_STAGED) return 0;
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++) {
        const SliceRecord *slice = &list->items[i];
        bool inside = slice->first_row >= range->first_row && slice->first_row < range->first_row + range->rows;
        if (!inside) list->items[kept++] = *slice;
    }
    list->count = kept;
    return 0;
}

/* Do the slices that are left have all rows of the file but those that nobody reads? They follow
 * each other, since all are of one sink. */
static int check_rows(const FileRecord *file, const FileSlices *list, Error *error) {
    uint64_t rows = 0, at = file->first_row;
    bool fits = true;
    for (size_t i = 0; i < list->count; i++) {
        const SliceRecord *slice = &list->items[i];
        fits = fits && slice->first_row >= at;
        at = slice->first_row + slice->rows;
        rows += slice->rows;
    }
    if (fits && at <= file->first_row + file->rows && rows == file_readable_rows(file)) return 0;
    return error_set(error, -EBADMSG,
                     "the file of sink %" PRIu32 " from row %" PRIu64 " has %" PRIu64 " rows that can be read, its slices have %" PRIu64,
                     file->sink, file->first_row, file_readable_rows(file), rows);
}

int slices_read(Txn *txn, const FileRecord *file, SliceRecord **ret_slices, size_t *ret_count, Error *error) {
    FileSlices list = {.file = &file->id};
    int r = ledger_visit_slices(txn, file->sink, file->first_row, file->rows, add_slice, &list, error);
    if (r == 0 && file_readable_rows(file) < file->rows) r = ledger_visit_ranges(txn, file->sink, drop_damaged, &list, error);
    if (r == 0) r = check_rows(file, &list, error);
    if (r < 0) {
        free(list.items);
        return r;
    }
    *ret_slices = list.items;
    *ret_count = list.count;
    return 0;
}

int slices_quarantine(Txn *txn, SinkState *sink, WaitingFile *waiting, FileRecord *file, const SliceRecord *slices, const bool *damaged,
                      size_t count, Error *error) {
    for (size_t i = 0; damaged && i < count; i++) {
        const SliceRecord *slice = &slices[i];
        if (!damaged[i]) continue;
        RangeState state;
        int r = ledger_lose_slice(txn, file, slice, &state, error);
        if (r < 0) return r;
        waiting_lose_rows(sink->waiting, waiting, slice->rows);
        totals_lose(&sink->totals, state, slice->rows);
        log_error("rows %" PRIu64 " to %" PRIu64 " of sink %s are damaged in a staging file and cannot be read: they are %s",
                  slice->first_row, slice->first_row + slice->rows - 1, file->label,
                  state == RANGE_RETURNED ? "read again from the broker" : "quarantined");
    }
    return 0;
}
