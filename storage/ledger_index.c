/*
 * What finds the few among the many without a walk: files and packs that wait, packs by the time
 * since when all of them is done, and the bytes of all packs. Kept by the functions that write
 * records, so that they are never apart.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "storage/ledger_private.h"
#include "storage/record.h"

#define VERSION 1

static const char bytes_key[] = {LEDGER_BYTES};
static const Span empty = {0};

static Span bytes_span(void) {
    return (Span){.data = bytes_key, .size = 1};
}

static LedgerKey done_key(const PackRecord *pack) {
    LedgerKey key = {.bytes = {LEDGER_DONE_PACK}, .size = 25};
    check(pack->last_done >= 0); /* else the keys would not be in the order of the times */
    store_be64(key.bytes + 1, (uint64_t)pack->last_done);
    memcpy(key.bytes + 9, pack->id.bytes, sizeof pack->id.bytes);
    return key;
}

static bool is_done(const PackRecord *pack) {
    return pack->done >= pack->slices;
}

static LedgerKey key_of(const PackRecord *pack) {
    return is_done(pack) ? done_key(pack) : ledger_id_key(LEDGER_WAITING_PACK, &pack->id);
}

static int put(Txn *txn, const LedgerKey *key, Error *error) {
    return db_put(txn, DB_FILES, ledger_key_span(key), empty, error);
}

static int drop(Txn *txn, const LedgerKey *key, Error *error) {
    int result = db_remove(txn, DB_FILES, ledger_key_span(key), error);
    return result < 0 ? result : 0;
}

/* ---- bytes ----------------------------------------------------------------------------------- */

static int get_bytes(Txn *txn, uint64_t *ret_bytes, Error *error) {
    static const char what[] = "the bytes of all packs";
    Span value;
    Cursor fields;
    int result = db_get(txn, DB_FILES, bytes_span(), &value, error);
    if (result != 0) return result;
    result = record_open(value, LEDGER_BYTES, VERSION, what, &fields, error);
    if (result < 0) return result;
    *ret_bytes = cursor_u64(&fields);
    return record_read_whole(&fields, what, error);
}

static int put_bytes(Txn *txn, uint64_t bytes, Error *error) {
    _cleanup_(buffer_deinit) Buffer record = {0};
    record_begin(&record, LEDGER_BYTES, VERSION);
    buffer_put_u64(&record, bytes);
    record_seal(&record);
    return db_put(txn, DB_FILES, bytes_span(), buffer_span(&record), error);
}

static int add_bytes(Txn *txn, uint64_t added, uint64_t removed, Error *error) {
    uint64_t bytes = 0;
    if (added == removed) return 0;
    int result = get_bytes(txn, &bytes, error);
    if (result < 0) return result;
    bytes += added;
    return put_bytes(txn, bytes > removed ? bytes - removed : 0, error);
}

int ledger_pack_bytes(Txn *txn, uint64_t *ret_bytes, Error *error) {
    *ret_bytes = 0;
    int result = get_bytes(txn, ret_bytes, error);
    return result < 0 ? result : 0;
}

/* ---- packs ----------------------------------------------------------------------------------- */

int index_pack(Txn *txn, const PackRecord *before, const PackRecord *after, Error *error) {
    int result = 0;
    check((before || after) && (!before || !after || uuid_equal(&before->id, &after->id)));
    bool same = before && after && is_done(before) == is_done(after) && (!is_done(after) || before->last_done == after->last_done);
    if (before && !same) {
        LedgerKey key = key_of(before);
        result = drop(txn, &key, error);
    }
    if (result == 0 && after && !same) {
        LedgerKey key = key_of(after);
        result = put(txn, &key, error);
    }
    return result == 0 ? add_bytes(txn, after ? after->bytes : 0, before ? before->bytes : 0, error) : result;
}

int ledger_visit_waiting_packs(Txn *txn, PackVisit visit, void *context, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    char kind = LEDGER_WAITING_PACK;
    Span prefix = {.data = &kind, .size = 1}, key = prefix, value;
    int result = db_cursor(txn, DB_FILES, &cursor, error);
    if (result == 0) result = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    while (result == 0 && span_starts_with(key, prefix)) {
        PackRecord pack;
        Uuid id;
        if (key.size != 17) return error_set(error, -EBADMSG, "the ledger holds a key of a pack that waits with %zu bytes", key.size);
        memcpy(id.bytes, key.data + 1, sizeof id.bytes);
        result = ledger_find_pack(txn, &id, &pack, error);
        if (result == 0) result = visit(context, &pack, error);
        if (result == LEDGER_NOT_FOUND) result = error_set(error, -EBADMSG, "a pack waits but is not in the ledger");
        if (result < 0) return result;
        result = db_move(cursor, MDB_NEXT, &key, &value, error);
    }
    return result < 0 ? result : 0;
}

/* Is a slice in it, whatever became of its record? */
static int has_slices(Txn *txn, const Uuid *pack, bool *ret_has, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    LedgerKey prefix = ledger_id_key(LEDGER_PACK_SLICE, pack);
    Span key = ledger_key_span(&prefix), value;
    int result = db_cursor(txn, DB_FILES, &cursor, error);
    if (result == 0) result = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    *ret_has = result == 0 && span_starts_with(key, ledger_key_span(&prefix));
    return result < 0 ? result : 0;
}

static int compare_ids(const void *a, const void *b) {
    return memcmp(a, b, sizeof(Uuid));
}

int ledger_keep_unknown_packs(Txn *txn, Uuid *ids, size_t *count, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    Span key = {0}, value;
    size_t unknown = 0;
    bool stands = false; /* the cursor, on the last one that was found or behind it */
    int result = db_cursor(txn, DB_FILES, &cursor, error);
    if (result < 0) return result;
    if (*count) qsort(ids, *count, sizeof *ids, compare_ids);
    for (size_t i = 0; i < *count; i++) {
        LedgerKey wanted = ledger_id_key(LEDGER_PACK, &ids[i]);
        bool known = false;
        if (stands) { /* nearly always it is the next one */
            result = db_move(cursor, MDB_NEXT, &key, &value, error);
            known = result == 0 && span_equal(key, ledger_key_span(&wanted));
        }
        if (result >= 0 && !known) {
            key = ledger_key_span(&wanted);
            result = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
            known = result == 0 && span_equal(key, ledger_key_span(&wanted));
        }
        if (result < 0) return result;
        stands = result == 0;
        if (!known) result = has_slices(txn, &ids[i], &known, error);
        if (result < 0) return result;
        check(unknown <= i);
        if (!known) ids[unknown++] = ids[i];
    }
    *count = unknown;
    return 0;
}

int index_done_packs(Txn *txn, usec_t done_before, size_t most, ForgottenPack **ret_packs, size_t *ret_count, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    char kind = LEDGER_DONE_PACK;
    Span prefix = {.data = &kind, .size = 1}, key = prefix, value;
    check(most > 0);
    *ret_packs = NULL;
    *ret_count = 0;
    int result = db_cursor(txn, DB_FILES, &cursor, error);
    if (result == 0) result = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    for (; result == 0 && span_starts_with(key, prefix) && *ret_count < most; result = db_move(cursor, MDB_NEXT, &key, &value, error)) {
        if (key.size != 25) {
            result = error_set(error, -EBADMSG, "the ledger holds a key of a pack that is done with %zu bytes", key.size);
            break;
        }
        if (load_be64(key.data + 1) > (uint64_t)(done_before < 0 ? 0 : done_before) || done_before < 0) break;
        if (!*ret_packs) *ret_packs = calloc(most, sizeof **ret_packs);
        check(*ret_packs);
        memcpy((*ret_packs)[(*ret_count)++].id.bytes, key.data + 9, sizeof(Uuid));
    }
    check(*ret_count <= most && (*ret_packs != NULL) == (*ret_count > 0));
    if (result < 0) free(*ret_packs), *ret_packs = NULL;
    return result < 0 ? result : 0;
}

/* ---- files ----------------------------------------------------------------------------------- */

int index_file(Txn *txn, uint32_t sink, uint64_t first_row, bool waits, Error *error) {
    check(sink && first_row > 0);
    LedgerKey key = ledger_row_key(LEDGER_WAITING_FILE, sink, first_row);
    return waits ? put(txn, &key, error) : drop(txn, &key, error);
}

static int visit_waiting_file(Txn *txn, uint32_t sink, uint64_t first_row, FileVisit visit, void *context, Error *error) {
    _cleanup_(file_record_deinit) FileRecord file = {0};
    LedgerKey at = ledger_row_key(LEDGER_FILE, sink, first_row);
    Span value;
    int result = db_get(txn, DB_FILES, ledger_key_span(&at), &value, error);
    if (result == DB_NOT_FOUND)
        return error_set(error, -EBADMSG, "the file of sink %" PRIu32 " from row %" PRIu64 " waits but is not there", sink, first_row);
    if (result == 0) result = ledger_decode_file(txn, ledger_key_span(&at), value, &file, error);
    return result == 0 ? visit(context, &file, error) : result;
}

int ledger_visit_waiting_files(Txn *txn, FileVisit visit, FileDamaged damaged, void *context, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    char kind = LEDGER_WAITING_FILE;
    Span prefix = {.data = &kind, .size = 1}, key = prefix, value;
    int result = db_cursor(txn, DB_FILES, &cursor, error);
    if (result == 0) result = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    while (result == 0 && span_starts_with(key, prefix)) {
        uint32_t sink;
        uint64_t first_row;
        result = ledger_parse_row_key(key, &sink, &first_row, error);
        if (result < 0) return result;
        result = visit_waiting_file(txn, sink, first_row, visit, context, error);
        if (result == -EBADMSG) result = damaged(context, sink, error);
        if (result < 0) return result;
        result = db_move(cursor, MDB_NEXT, &key, &value, error);
    }
    return result < 0 ? result : 0;
}

int ledger_visit_last_files(Txn *txn, uint32_t sink, size_t most, FileVisit visit, void *context, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    LedgerKey from = ledger_row_key(LEDGER_FILE, sink, 0);
    Span key, value;
    int result = db_cursor(txn, DB_FILES, &cursor, error);
    if (result == 0) result = ledger_seek_floor(cursor, LEDGER_FILE, sink, UINT64_MAX, &key, &value, error);
    for (size_t i = 0; i < most && result == 0 && span_starts_with(key, (Span){.data = from.bytes, .size = 5}); i++) {
        _cleanup_(file_record_deinit) FileRecord file = {0};
        result = ledger_decode_file(txn, key, value, &file, error);
        if (result == 0) result = visit(context, &file, error);
        if (result < 0) return result;
        result = db_move(cursor, MDB_PREV, &key, &value, error);
    }
    return result < 0 ? result : 0;
}

/* ---- made anew ------------------------------------------------------------------------------- */

static int drop_all(Txn *txn, char kind, Error *error) {
    for (;;) {
        _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
        Span prefix = {.data = &kind, .size = 1}, key = prefix, value;
        int result = db_cursor(txn, DB_FILES, &cursor, error);
        if (result == 0) result = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
        if (result < 0) return result;
        if (result == DB_NOT_FOUND || !span_starts_with(key, prefix)) return 0;
        int code = mdb_cursor_del(cursor, 0);
        if (code) return db_error(error, code, "cannot rebuild an index");
    }
}

typedef struct Keys {
    LedgerKey *items;
    size_t count, capacity;
    uint64_t bytes;
} Keys;

static void add_key(Keys *keys, LedgerKey key) {
    array_reserve(keys->items, keys->count, keys->capacity);
    keys->items[keys->count++] = key;
}

static int note_pack(void *context, const PackRecord *pack, Error *error) {
    Keys *keys = context;
    add_key(keys, key_of(pack));
    keys->bytes += pack->bytes;
    return 0;
}

static int note_file(void *context, const FileRecord *file, Error *error) {
    bool waits = file->state == FILE_OPEN || file->state == FILE_CLOSED;
    if (waits) add_key(context, ledger_row_key(LEDGER_WAITING_FILE, file->sink, file->first_row));
    return 0;
}

static const char kinds[] = {LEDGER_WAITING_PACK, LEDGER_DONE_PACK, LEDGER_WAITING_FILE};

static int compare_keys(const void *a, const void *b) {
    const LedgerKey *left = a, *right = b;
    if (left->size != right->size) return left->size < right->size ? -1 : 1;
    return memcmp(left->bytes, right->bytes, left->size);
}

static int compare_index(Txn *txn, const Keys *keys, bool *ret_differs, Error *error) {
    size_t found = 0;
    for (size_t i = 0; i < sizeof kinds && !*ret_differs; i++) {
        _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
        Span prefix = {.data = &kinds[i], .size = 1}, key = prefix, value;
        int result = db_cursor(txn, DB_FILES, &cursor, error);
        if (result == 0) result = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
        for (; result == 0 && span_starts_with(key, prefix); result = db_move(cursor, MDB_NEXT, &key, &value, error)) {
            LedgerKey wanted = {.size = key.size};
            bool fits = key.size <= sizeof wanted.bytes;
            if (fits) memcpy(wanted.bytes, key.data, key.size);
            *ret_differs = *ret_differs || !fits || !keys->count ||
                           !bsearch(&wanted, keys->items, keys->count, sizeof wanted, compare_keys);
            found++;
        }
        if (result < 0) return result;
    }
    *ret_differs = *ret_differs || found != keys->count;
    return 0;
}

int ledger_index_differs(Txn *txn, bool *ret_differs, Error *error) {
    Keys keys = {0};
    uint64_t bytes = 0;
    int result = ledger_visit_packs(txn, note_pack, &keys, error);
    if (result == 0) result = ledger_visit_files(txn, 0, note_file, &keys, error);
    *ret_differs = false;
    if (result == 0) result = ledger_pack_bytes(txn, &bytes, error);
    if (result == 0 || result == -EBADMSG) *ret_differs = result < 0 || bytes != keys.bytes;
    if (keys.count) qsort(keys.items, keys.count, sizeof *keys.items, compare_keys);
    if (result == 0) result = compare_index(txn, &keys, ret_differs, error);
    free(keys.items);
    return result == -EBADMSG ? 0 : result;
}

int ledger_make_index(Txn *txn, Error *error) {
    check(txn_may_write(txn));
    Keys keys = {0};
    int result = 0;
    for (size_t i = 0; i < sizeof kinds && result == 0; i++) result = drop_all(txn, kinds[i], error);
    if (result == 0) result = ledger_visit_packs(txn, note_pack, &keys, error);
    if (result == 0) result = ledger_visit_files(txn, 0, note_file, &keys, error);
    for (size_t i = 0; i < keys.count && result == 0; i++) result = put(txn, &keys.items[i], error);
    if (result == 0) result = put_bytes(txn, keys.bytes, error);
    free(keys.items);
    return result;
}

int ledger_has_index(Txn *txn, bool *ret_has, Error *error) {
    Span value;
    int result = db_get(txn, DB_FILES, bytes_span(), &value, error);
    *ret_has = result == 0;
    return result < 0 ? result : 0;
}
