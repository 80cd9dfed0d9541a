/*
 * Records that are missing, or that lie under a key that was damaged: no checksum tells it, but
 * what points to them does. What is missing is noted as if it could not be read, and is then
 * written anew by the same steps.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "storage/pack.h"
#include "storage/repair_private.h"

void repair_note_bad(Repair *repair, Span key, const char *why) {
    for (size_t i = 0; i < repair->count; i++)
        if (span_equal(buffer_span(&repair->bad[i].key), key)) return;
    array_reserve(repair->bad, repair->count, repair->capacity);
    BadRecord *bad = &repair->bad[repair->count++];
    *bad = (BadRecord){0};
    buffer_append_span(&bad->key, key);
    (void)snprintf(bad->why, sizeof bad->why, "%.199s", why);
}

/* ---- walks: a list of keys first, since what follows changes what is walked over ------------- */

typedef struct KeyList {
    LedgerKey *items;
    size_t count, capacity;
} KeyList;

static int list_keys(Txn *txn, char kind, size_t bytes, KeyList *keys, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    Span prefix = {.data = &kind, .size = 1}, key = prefix, value;
    *keys = (KeyList){0};
    int r = db_cursor(txn, DB_FILES, &cursor, error);
    if (r == 0) r = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    for (; r == 0 && span_starts_with(key, prefix); r = db_move(cursor, MDB_NEXT, &key, &value, error)) {
        if (key.size != bytes) continue;
        array_reserve(keys->items, keys->count, keys->capacity);
        LedgerKey *item = &keys->items[keys->count++];
        memcpy(item->bytes, key.data, key.size);
        item->size = key.size;
    }
    return r < 0 ? r : 0;
}

typedef int (*LinkStep)(Repair *repair, const LedgerKey *key, Error *error);

static int each_key(Repair *repair, char kind, size_t bytes, LinkStep step, Error *error) {
    KeyList keys;
    int r = list_keys(repair->txn, kind, bytes, &keys, error);
    for (size_t i = 0; i < keys.count && r == 0; i++) r = step(repair, &keys.items[i], error);
    free(keys.items);
    return r;
}

static uint32_t sink_of(const LedgerKey *key) {
    return load_be32(key->bytes + 1);
}

static uint64_t row_of(const LedgerKey *key) {
    return load_be64(key->bytes + 5);
}

static int drop(Repair *repair, const LedgerKey *key, const char *why, Error *error) {
    int r = db_remove(repair->txn, DB_FILES, ledger_key_span(key), error);
    if (r < 0) return r;
    (void)repair_report(repair, 0, 0, why, "it is removed");
    return 0;
}

/* 0, DB_NOT_FOUND, or < 0; what cannot be read counts as not found. */
static int file_of_key(Txn *txn, const LedgerKey *key, FileRecord *ret_file, Error *error) {
    Span value;
    int r = db_get(txn, DB_FILES, ledger_key_span(key), &value, error);
    if (r == 0) r = ledger_decode_file(NULL, ledger_key_span(key), value, ret_file, error);
    return r == -EBADMSG ? DB_NOT_FOUND : r;
}

static int slice_of_key(Txn *txn, const LedgerKey *key, SliceRecord *ret_slice, Error *error) {
    Span value;
    int r = db_get(txn, DB_FILES, ledger_key_span(key), &value, error);
    if (r == 0) r = ledger_decode_slice(ledger_key_span(key), value, ret_slice, error);
    return r == -EBADMSG ? DB_NOT_FOUND : r;
}

/* Where the id says that the file is. */
static int place_of(Txn *txn, const Uuid *id, LedgerKey *ret_key, Error *error) {
    LedgerKey key = ledger_id_key(LEDGER_FILE_ID, id);
    uint32_t sink;
    uint64_t row;
    Span value;
    int r = db_get(txn, DB_FILES, ledger_key_span(&key), &value, error);
    if (r == 0) r = repair_open_file_id(value, &sink, &row, error);
    if (r == 0) *ret_key = ledger_row_key(LEDGER_FILE, sink, row);
    return r == -EBADMSG ? DB_NOT_FOUND : r;
}

static bool same_key(const LedgerKey *a, const LedgerKey *b) {
    return span_equal(ledger_key_span(a), ledger_key_span(b));
}

/* ---- files and their ids --------------------------------------------------------------------- */

static int move_file(Repair *repair, const LedgerKey *from, const LedgerKey *to, Error *error) {
    _cleanup_(buffer_deinit) Buffer copy = {0};
    Span value;
    int r = db_get(repair->txn, DB_FILES, ledger_key_span(from), &value, error);
    if (r != 0) return r < 0 ? r : 0;
    buffer_append_span(&copy, value);
    r = db_remove(repair->txn, DB_FILES, ledger_key_span(from), error);
    if (r >= 0) r = db_put(repair->txn, DB_FILES, ledger_key_span(to), buffer_span(&copy), error);
    if (r == 0) (void)repair_report(repair, sink_of(to), 0, "the record of a file has a damaged key", "it is moved back, nothing is lost");
    return r;
}

static int look_at_file(Repair *repair, const LedgerKey *key, Error *error) {
    _cleanup_(file_record_deinit) FileRecord file = {0}, there = {0};
    LedgerKey place, id;
    int r = file_of_key(repair->txn, key, &file, error);
    if (r != 0) return r < 0 ? r : 0;
    id = ledger_id_key(LEDGER_FILE_ID, &file.id);
    r = place_of(repair->txn, &file.id, &place, error);
    if (r == DB_NOT_FOUND) repair_note_bad(repair, ledger_key_span(&id), "the id of a file is missing");
    if (r != 0 || same_key(key, &place)) return r < 0 ? r : 0;
    r = file_of_key(repair->txn, &place, &there, error);
    if (r == DB_NOT_FOUND) return move_file(repair, key, &place, error);
    if (r == 0 && uuid_equal(&there.id, &file.id)) return drop(repair, key, "a second record of a file", error);
    return r;
}

static int has_slice_of(void *context, const SliceRecord *slice, Error *error) {
    return uuid_equal(context, &slice->file) ? REPAIR_ENOUGH : 0;
}

static int look_at_file_id(Repair *repair, const LedgerKey *key, Error *error) {
    _cleanup_(file_record_deinit) FileRecord file = {0};
    LedgerKey place;
    Uuid id;
    memcpy(id.bytes, key->bytes + 1, sizeof id.bytes);
    int r = place_of(repair->txn, &id, &place, error);
    if (r == 0) r = file_of_key(repair->txn, &place, &file, error);
    if (r < 0 || (r == 0 && uuid_equal(&file.id, &id))) return r;
    if (r == DB_NOT_FOUND) {
        r = ledger_visit_slices(repair->txn, sink_of(&place), row_of(&place), 1, has_slice_of, &id, error);
        if (r == REPAIR_ENOUGH) {
            repair_note_bad(repair, ledger_key_span(&place), "the record of a file is missing");
            return 0;
        }
        if (r < 0 && r != -EBADMSG) return r;
    }
    return drop(repair, key, "the id of a file belongs to no file", error);
}

/* ---- slices and their packs ------------------------------------------------------------------ */

/* Does the pack hold it? `ret_known`: it can be told. */
static bool pack_holds(Repair *repair, const Uuid *pack, uint32_t sink, uint64_t first_row, bool *ret_known) {
    PackDirectory directory;
    char path[64];
    bool holds = false;
    pack_path(pack, path);
    *ret_known = pack_read_directory(repair->files, path, &directory, NULL) == 0;
    if (!*ret_known) return false;
    for (size_t i = 0; i < directory.count; i++)
        holds = holds || (directory.slices[i].sink == sink && directory.slices[i].first_row == first_row);
    pack_directory_deinit(&directory);
    return holds;
}

static bool is_inside_file(Repair *repair, const SliceRecord *slice) {
    _cleanup_(file_record_deinit) FileRecord file = {0};
    LedgerKey place;
    if (place_of(repair->txn, &slice->file, &place, NULL) != 0 || file_of_key(repair->txn, &place, &file, NULL) != 0) return false;
    uint64_t next;
    if (repair_next_row(repair->txn, LEDGER_SLICE, slice->sink, slice->first_row, &next, NULL) < 0) return false;
    return slice->sink == file.sink && slice->first_row >= file.first_row && slice->first_row + slice->rows <= file.first_row + file.rows &&
           slice->first_row + slice->rows <= next;
}

static int look_at_slice(Repair *repair, const LedgerKey *key, Error *error) {
    SliceRecord slice;
    Span nothing;
    bool known;
    int r = slice_of_key(repair->txn, key, &slice, error);
    if (r != 0) return r < 0 ? r : 0;
    LedgerKey link = ledger_pack_slice_key(&slice.pack, slice.sink, slice.first_row);
    r = db_get(repair->txn, DB_FILES, ledger_key_span(&link), &nothing, error);
    if (r != DB_NOT_FOUND) return r;
    bool holds = pack_holds(repair, &slice.pack, slice.sink, slice.first_row, &known);
    if (!holds && (known || !is_inside_file(repair, &slice))) return drop(repair, key, "the record of a slice has a damaged key", error);
    r = db_put(repair->txn, DB_FILES, ledger_key_span(&link), (Span){0}, error);
    if (r == 0)
        (void)repair_report(repair, slice.sink, 0, "a pack does not list one of its slices", "it lists the slice again, nothing is lost");
    return r;
}

static int has_row(void *context, const SliceRecord *slice, Error *error) {
    return REPAIR_ENOUGH;
}

static int look_at_link(Repair *repair, const LedgerKey *key, Error *error) {
    SliceRecord slice;
    Uuid pack;
    bool known;
    uint32_t sink = load_be32(key->bytes + 17);
    uint64_t row = load_be64(key->bytes + 21);
    LedgerKey at = ledger_row_key(LEDGER_SLICE, sink, row);
    memcpy(pack.bytes, key->bytes + 1, sizeof pack.bytes);
    int r = slice_of_key(repair->txn, &at, &slice, error);
    if (r < 0 || (r == 0 && uuid_equal(&slice.pack, &pack))) return r;
    if (r == DB_NOT_FOUND) {
        bool holds = pack_holds(repair, &pack, sink, row, &known);
        int covered = known ? 0 : ledger_visit_slices(repair->txn, sink, row, 1, has_row, NULL, error);
        if (covered < 0 && covered != REPAIR_ENOUGH && covered != -EBADMSG) return covered;
        if (holds || (!known && covered != REPAIR_ENOUGH)) {
            char why[100];
            (void)snprintf(why, sizeof why, "the record of the slice of sink %" PRIu32 " from row %" PRIu64 " is missing", sink, row);
            repair_note_bad(repair, ledger_key_span(&at), why);
            return 0;
        }
    }
    return drop(repair, key, "a pack lists a slice that it does not contain", error);
}

/* ---- where files go -------------------------------------------------------------------------- */

static int look_at_target(Repair *repair, const LedgerKey *key, Error *error) {
    _cleanup_(file_record_deinit) FileRecord file = {0};
    Error why = {0};
    Span value;
    int r = db_get(repair->txn, DB_FILES, ledger_key_span(key), &value, error);
    if (r == 0) r = ledger_decode_file(repair->txn, ledger_key_span(key), value, &file, &why);
    if (r != -EBADMSG) return r < 0 ? error_set(error, r, "%s", why.text) : 0;
    r = file_of_key(repair->txn, key, &file, error);
    if (r != 0) return r < 0 ? r : 0;
    LedgerKey target = {.bytes = {LEDGER_TARGET}, .size = 17};
    store_be32(target.bytes + 1, file.sink);
    store_be32(target.bytes + 5, file.mapping_version);
    repair_note_bad(repair, ledger_key_span(&target), why.text);
    return 0;
}

/* ---- rows without a slice, packs ------------------------------------------------------------- */

typedef struct GapSearch {
    Repair *repair;
    uint64_t row; /* slices follow each other up to here */
} GapSearch;

static int find_gap(GapSearch *search, uint32_t sink, uint64_t end, Error *error) {
    for (uint64_t row = search->row; row < end;) {
        RangeRecord range;
        int r = ranges_find(search->repair->txn, sink, row, &range, error);
        if (r != 0) return r == -EBADMSG || r > 0 ? 0 : r;
        if (range.state == RANGE_STAGED) {
            char why[100];
            LedgerKey key = ledger_row_key(LEDGER_SLICE, sink, row);
            (void)snprintf(why, sizeof why, "the record of the slice of sink %" PRIu32 " from row %" PRIu64 " is missing", sink, row);
            repair_note_bad(search->repair, ledger_key_span(&key), why);
        }
        row = range.first_row + range.rows;
    }
    return 0;
}

static int step_gap(void *context, const SliceRecord *slice, Error *error) {
    GapSearch *search = context;
    int r = find_gap(search, slice->sink, slice->first_row, error);
    if (slice->first_row + slice->rows > search->row) search->row = slice->first_row + slice->rows;
    return r;
}

static int look_for_gaps(Repair *repair, const LedgerKey *key, Error *error) {
    _cleanup_(file_record_deinit) FileRecord file = {0};
    int r = file_of_key(repair->txn, key, &file, error);
    if (r != 0 || (file.state != FILE_OPEN && file.state != FILE_CLOSED) || file.rows == 0) return r < 0 ? r : 0;
    GapSearch search = {.repair = repair, .row = file.first_row};
    r = ledger_visit_slices(repair->txn, file.sink, file.first_row, file.rows, step_gap, &search, error);
    if (r == 0) r = find_gap(&search, file.sink, file.first_row + file.rows, error);
    return r == -EBADMSG ? 0 : r;
}

static int look_at_pack(Repair *repair, const Uuid *id, Error *error) {
    PackRecord pack;
    uint32_t slices, done;
    LedgerKey key = ledger_id_key(LEDGER_PACK, id);
    int r = ledger_count_pack(repair->txn, id, &slices, &done, error);
    if (r == 0) r = ledger_find_pack(repair->txn, id, &pack, error);
    if (r == LEDGER_NOT_FOUND) repair_note_bad(repair, ledger_key_span(&key), "the record of a pack is missing");
    if (r == 0 && (pack.slices != slices || pack.done != done))
        repair_note_bad(repair, ledger_key_span(&key), "a pack does not count its slices");
    return r < 0 && r != -EBADMSG ? r : 0;
}

static int look_at_known_pack(Repair *repair, const LedgerKey *key, Error *error) {
    Uuid id;
    memcpy(id.bytes, key->bytes + 1, sizeof id.bytes);
    return look_at_pack(repair, &id, error);
}

static int look_at_linked_pack(Repair *repair, const LedgerKey *key, Error *error) {
    LedgerKey pack = {.size = 17};
    Span value;
    memcpy(pack.bytes, key->bytes, 17);
    pack.bytes[0] = LEDGER_PACK;
    int r = db_get(repair->txn, DB_FILES, ledger_key_span(&pack), &value, error);
    if (r == DB_NOT_FOUND) repair_note_bad(repair, ledger_key_span(&pack), "the record of a pack is missing");
    return r < 0 ? r : 0;
}

/* ---- ranges ---------------------------------------------------------------------------------- */

typedef struct RangeList {
    RangeRecord *items;
    size_t count, capacity;
} RangeList;

static int add_range(void *context, const RangeRecord *range, Error *error) {
    RangeList *list = context;
    array_reserve(list->items, list->count, list->capacity);
    list->items[list->count++] = *range;
    return 0;
}

static int drop_range(Repair *repair, RangeList *list, size_t at, Error *error) {
    LedgerKey key = ledger_row_key(LEDGER_RANGE, list->items[at].sink, list->items[at].first_row);
    memmove(list->items + at, list->items + at + 1, (list->count - at - 1) * sizeof *list->items);
    list->count--;
    return drop(repair, &key, "a range of rows has a damaged key", error);
}

static uint64_t range_end(const RangeRecord *range) {
    return range->first_row + range->rows;
}

/* Of two that overlap the one goes without which the other fits to its neighbour. */
static int drop_overlapping(Repair *repair, RangeList *list, uint64_t end, Error *error) {
    int r = 0;
    for (size_t i = 0; i < list->count && r == 0;)
        if (range_end(&list->items[i]) > end)
            r = drop_range(repair, list, i, error);
        else
            i++;
    for (size_t i = 1; i < list->count && r == 0;) {
        if (list->items[i].first_row >= range_end(&list->items[i - 1])) {
            i++;
            continue;
        }
        uint64_t next = i + 1 < list->count ? list->items[i + 1].first_row : end;
        bool first_fits = range_end(&list->items[i - 1]) == next;
        r = drop_range(repair, list, first_fits ? i : i - 1, error);
        if (!first_fits && i > 1) i--;
    }
    return r;
}

static void note_range(Repair *repair, uint32_t sink, uint64_t row) {
    char why[80];
    LedgerKey key = ledger_row_key(LEDGER_RANGE, sink, row);
    (void)snprintf(why, sizeof why, "the range of sink %" PRIu32 " from row %" PRIu64 " is missing", sink, row);
    repair_note_bad(repair, ledger_key_span(&key), why);
}

static int look_at_ranges(Repair *repair, uint32_t sink, Error *error) {
    RangeList list = {0};
    SinkTotals totals;
    uint64_t end = UINT64_MAX, row = 1;
    int known = totals_find(repair->txn, sink, &totals, error);
    if (known < 0 && known != -EBADMSG) return known;
    if (known == 0) end = totals.staged_row;
    int r = ledger_visit_ranges(repair->txn, sink, add_range, &list, error);
    if (r == 0 && known == TOTALS_NOT_FOUND && list.count > 0 && list.items[0].first_row != 1) { /* of a sink that never had a row? */
        uint64_t file;
        r = repair_next_row(repair->txn, LEDGER_FILE, sink, 0, &file, error);
        if (file == UINT64_MAX) end = 1;
    }
    if (r == 0) r = drop_overlapping(repair, &list, end, error);
    for (size_t i = 0; i < list.count && r == 0; i++) {
        if (list.items[i].first_row > row) note_range(repair, sink, row);
        row = range_end(&list.items[i]);
    }
    if (r == 0 && known == 0 && row < end) note_range(repair, sink, row);
    free(list.items);
    return r;
}

/* ---- all ------------------------------------------------------------------------------------- */

static int each_sink_of(Repair *repair, char kind, int (*step)(Repair *repair, uint32_t sink, Error *error), Error *error) {
    uint32_t sink = 0;
    for (;;) {
        _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
        LedgerKey from = ledger_row_key(kind, sink, 0);
        Span key = ledger_key_span(&from), value;
        int r = db_cursor(repair->txn, DB_FILES, &cursor, error);
        if (r == 0) r = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
        if (r < 0) return r;
        if (r != 0 || key.size != 13 || key.data[0] != kind) return 0;
        uint32_t found = load_be32(key.data + 1);
        if (found > 0) r = step(repair, found, error);
        if (r < 0 || found == UINT32_MAX) return r;
        sink = found + 1;
    }
}

int repair_find_misplaced(Repair *repair, Error *error) {
    int r = each_key(repair, LEDGER_FILE, 13, look_at_file, error);
    if (r == 0) r = each_key(repair, LEDGER_FILE_ID, 17, look_at_file_id, error);
    if (r == 0) r = each_key(repair, LEDGER_FILE, 13, look_at_target, error);
    if (r == 0) r = each_key(repair, LEDGER_SLICE, 13, look_at_slice, error);
    if (r == 0) r = each_key(repair, LEDGER_PACK_SLICE, 29, look_at_link, error);
    if (r == 0) r = each_sink_of(repair, LEDGER_FILE, look_at_ranges, error);
    return r == 0 ? each_sink_of(repair, LEDGER_RANGE, look_at_ranges, error) : r;
}

int repair_find_uncounted(Repair *repair, Error *error) {
    int r = each_key(repair, LEDGER_FILE, 13, look_for_gaps, error);
    if (r == 0) r = each_key(repair, LEDGER_PACK_SLICE, 29, look_at_linked_pack, error);
    return r == 0 ? each_key(repair, LEDGER_PACK, 17, look_at_known_pack, error) : r;
}

static int note_sink(Repair *repair, uint32_t sink, Error *error) {
    repair_note_sink(repair, sink);
    return 0;
}

int repair_note_all_sinks(Repair *repair, Error *error) {
    int r = each_sink_of(repair, LEDGER_FILE, note_sink, error);
    return r == 0 ? each_sink_of(repair, LEDGER_RANGE, note_sink, error) : r;
}
