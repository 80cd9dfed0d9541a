/* The runs of slices and files of a bridge's sink. */
#include <errno.h>
#include <inttypes.h>

#include "storage/ledger_private.h"

int ledger_read_runs(Txn *txn, uint32_t sink, uint64_t first_row, OffsetRuns *runs, Error *error) {
    LedgerKey key = ledger_row_key(LEDGER_SLICE, sink, first_row);
    Span value;
    SliceRecord slice;
    size_t before = runs->count;
    int result = db_get(txn, DB_FILES, ledger_key_span(&key), &value, error);
    if (result != 0) return result == DB_NOT_FOUND ? LEDGER_NOT_FOUND : result;
    result = ledger_decode_slice_and_runs(ledger_key_span(&key), value, &slice, runs, error);
    if (result < 0) runs->count = before;
    return result;
}

typedef struct FileRuns {
    Txn *txn;
    const FileRecord *file;
    OffsetRuns *runs;
} FileRuns;

static int add_slice(void *context, const SliceRecord *slice, Error *error) {
    FileRuns *add = context;
    RangeRecord range;
    if (!uuid_equal(&slice->file, &add->file->id))
        return error_set(error, -EBADMSG, "the slice of sink %" PRIu32 " from row %" PRIu64 " belongs to another file", slice->sink,
                         slice->first_row);
    if (slice->run_count == 0) return 0;
    int result = ranges_find(add->txn, slice->sink, slice->first_row, &range, error);
    if (result == DB_NOT_FOUND)
        return error_set(error, -EBADMSG, "no range holds row %" PRIu64 " of sink %" PRIu32, slice->first_row, slice->sink);
    if (result < 0 || range_is_unreadable(range.state)) return result;
    return ledger_read_runs(add->txn, slice->sink, slice->first_row, add->runs, error);
}

int ledger_file_runs(Txn *txn, const FileRecord *file, OffsetRuns *runs, Error *error) {
    FileRuns add = {.txn = txn, .file = file, .runs = runs};
    size_t before = runs->count;
    int result = file->rows > 0 ? ledger_visit_slices(txn, file->sink, file->first_row, file->rows, add_slice, &add, error) : 0;
    if (result < 0) runs->count = before;
    return result;
}
