/* Walks over the records of the ledger. */
#include <errno.h>

#include "storage/ledger_private.h"

/* Calls `step` for each key from `from` on that begins with `prefix`. */
typedef int (*Step)(void *context, Span key, Span value, Error *error);

static int walk(Txn *txn, Span from, Span prefix, Step step, void *context, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    check(prefix.size > 0 && span_starts_with(from, prefix));
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
    check(visit);
    LedgerKey key = ledger_row_key(LEDGER_FILE, sink, 0);
    Span from = ledger_key_span(&key);
    Visit visitor = {.txn = txn, .file = visit, .context = context};
    return walk(txn, from, (Span){.data = from.data, .size = sink ? 5 : 1}, step_file, &visitor, error);
}

int ledger_visit_packs(Txn *txn, PackVisit visit, void *context, Error *error) {
    check(visit);
    char prefix = LEDGER_PACK;
    Visit visitor = {.pack = visit, .context = context};
    return walk(txn, (Span){.data = &prefix, .size = 1}, (Span){.data = &prefix, .size = 1}, step_pack, &visitor, error);
}

int ledger_visit_ranges(Txn *txn, uint32_t sink, RangeVisit visit, void *context, Error *error) {
    check(visit);
    LedgerKey key = ledger_row_key(LEDGER_RANGE, sink, 0);
    Span from = ledger_key_span(&key);
    Visit visitor = {.range = visit, .context = context};
    return walk(txn, from, (Span){.data = from.data, .size = 5}, step_range, &visitor, error);
}

int ledger_visit_slices(Txn *txn, uint32_t sink, uint64_t first_row, uint64_t rows, SliceVisit visit, void *context, Error *error) {
    check(visit);
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
