#include "storage/missing.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "storage/ledger_private.h"
#include "storage/pack.h"

typedef struct MissingSearch {
    Files *files;
    Txn *txn;
    MissingSlices *missing;
} MissingSearch;

static void add(MissingSlices *missing, const SliceRecord *slice, const char *label) {
    array_reserve(missing->items, missing->count, missing->capacity);
    MissingSlice *item = &missing->items[missing->count++];
    *item = (MissingSlice){.slice = *slice, .label = strdup(label)};
    check(item->label);
    missing->rows += slice->rows;
}

/* Is there still somebody who will read it? */
static int waits(Txn *txn, const SliceRecord *slice, FileRecord *file, bool *ret_waits, Error *error) {
    RangeRecord range;
    *ret_waits = false;
    if (file->state != FILE_OPEN && file->state != FILE_CLOSED) return 0;
    int result = ranges_find(txn, slice->sink, slice->first_row, &range, error);
    if (result < 0) return result;
    *ret_waits = result == 0 && range.state == RANGE_STAGED;
    return 0;
}

static int look_at_slice(MissingSearch *search, Span pack_slice_key, uint64_t pack_bytes, Error *error) {
    uint32_t sink;
    uint64_t first_row;
    Span value;
    SliceRecord slice;
    int result = ledger_parse_pack_slice_key(pack_slice_key, &sink, &first_row, error);
    if (result < 0) return result;
    LedgerKey key = ledger_row_key(LEDGER_SLICE, sink, first_row);
    result = db_get(search->txn, DB_FILES, ledger_key_span(&key), &value, error);
    if (result == DB_NOT_FOUND)
        return error_set(error, -EBADMSG, "the slice of sink %" PRIu32 " from row %" PRIu64 " of a pack is not in the ledger", sink,
                         first_row);
    if (result == 0) result = ledger_decode_slice(ledger_key_span(&key), value, &slice, error);
    if (result < 0) return result;
    if (slice.offset <= pack_bytes && slice.length <= pack_bytes - slice.offset) return 0;

    _cleanup_(file_record_deinit) FileRecord file = {0};
    bool is_waiting = false;
    result = ledger_find_file(search->txn, &slice.file, &file, error);
    if (result == LEDGER_NOT_FOUND) return error_set(error, -EBADMSG, "the ledger does not know the file of a slice");
    if (result == 0) result = waits(search->txn, &slice, &file, &is_waiting, error);
    if (result < 0) return result;
    if (is_waiting) add(search->missing, &slice, file.label);
    return 0;
}

/* `pack_bytes`: what there is of the pack file. */
static int look_at_slices(MissingSearch *search, const Uuid *pack, uint64_t pack_bytes, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    LedgerKey prefix = ledger_id_key(LEDGER_PACK_SLICE, pack);
    Span key = ledger_key_span(&prefix), value;
    int result = db_cursor(search->txn, DB_FILES, &cursor, error);
    if (result == 0) result = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    while (result == 0 && span_starts_with(key, ledger_key_span(&prefix))) {
        result = look_at_slice(search, key, pack_bytes, error);
        if (result == -EBADMSG) result = 0; /* damage, which whoever needs the record repairs or names */
        if (result < 0) return result;
        result = db_move(cursor, MDB_NEXT, &key, &value, error);
    }
    return result < 0 ? result : 0;
}

static int look_at_pack(void *context, const PackRecord *pack, Error *error) {
    MissingSearch *search = context;
    FileInfo info = {0};
    char path[64];
    if (pack->done >= pack->slices) return 0;
    pack_path(&pack->id, path);
    int result = search->files->info(search->files, path, &info, error);
    if (result < 0 && result != -ENOENT) return result;
    if (result == 0 && info.bytes >= pack->bytes) return 0;
    size_t before = search->missing->count;
    result = look_at_slices(search, &pack->id, result == 0 ? info.bytes : 0, error);
    if (search->missing->count > before) search->missing->packs++;
    return result;
}

static int by_sink_and_row(const void *a, const void *b) {
    const SliceRecord *left = &((const MissingSlice *)a)->slice, *right = &((const MissingSlice *)b)->slice;
    if (left->sink != right->sink) return left->sink < right->sink ? -1 : 1;
    return left->first_row < right->first_row ? -1 : left->first_row > right->first_row;
}

int missing_find(Files *files, Txn *txn, MissingSlices *ret_missing, Error *error) {
    MissingSlices missing = {0};
    MissingSearch search = {.files = files, .txn = txn, .missing = &missing};
    int result = ledger_visit_waiting_packs(txn, look_at_pack, &search, error);
    if (result < 0) {
        missing_deinit(&missing);
        return result;
    }
    if (missing.count) qsort(missing.items, missing.count, sizeof *missing.items, by_sink_and_row);
    *ret_missing = missing;
    return 0;
}

size_t missing_run(const MissingSlices *missing, size_t at, uint64_t *ret_rows) {
    check(at < missing->count);
    const SliceRecord *first = &missing->items[at].slice;
    uint64_t rows = first->rows;
    size_t count = 1;
    for (; at + count < missing->count; count++) {
        const SliceRecord *next = &missing->items[at + count].slice;
        if (next->sink != first->sink || next->first_row != first->first_row + rows) break;
        rows += next->rows;
    }
    *ret_rows = rows;
    return count;
}

void missing_deinit(MissingSlices *missing) {
    for (size_t i = 0; i < missing->count; i++) free(missing->items[i].label);
    free(missing->items);
    *missing = (MissingSlices){0};
}
