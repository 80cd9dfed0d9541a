#include "storage/repair.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "storage/record.h"
#include "storage/repair_private.h"

static bool is_kind(const BadRecord *bad, char kind, size_t size) {
    return bad->key.size == size && bad->key.data[0] == kind;
}

void repair_note_sink(Repair *repair, uint32_t sink) {
    for (size_t i = 0; i < repair->sink_count; i++)
        if (repair->sinks[i] == sink) return;
    array_reserve(repair->sinks, repair->sink_count, repair->sink_capacity);
    repair->sinks[repair->sink_count++] = sink;
}

Damage *repair_report(Repair *repair, uint32_t sink, uint64_t rows, const char *why, const char *done) {
    check(rows == 0 || sink);
    array_reserve(repair->damages->items, repair->damages->count, repair->damages->capacity);
    Damage *damage = &repair->damages->items[repair->damages->count++];
    *damage = (Damage){.sink = sink, .rows = rows};
    (void)snprintf(damage->text, sizeof damage->text, "%s; %s", why, done);
    if (sink) repair_note_sink(repair, sink);
    return damage;
}

/* ---- what is damaged ------------------------------------------------------------------------- */

int repair_open_file_id(Span value, uint32_t *ret_sink, uint64_t *ret_first_row, Error *error) {
    Cursor fields;
    int r = record_open(value, LEDGER_FILE_ID, 1, "a file's id", &fields, error);
    if (r < 0) return r;
    *ret_sink = cursor_u32(&fields);
    *ret_first_row = cursor_u64(&fields);
    return record_read_whole(&fields, "a file's id", error);
}

static int decode(Txn *txn, Span key, Span value, Error *error) {
    FileRecord file;
    SliceRecord slice;
    PackRecord pack;
    RangeRecord range;
    Cursor fields;
    Span text;
    uint32_t sink;
    uint64_t row;
    int r;
    switch (key.size ? key.data[0] : 0) {
    case LEDGER_FILE:
        r = ledger_decode_file(NULL, key, value, &file, error);
        if (r == 0) file_record_deinit(&file);
        return r;
    case LEDGER_FILE_ID:
        return key.size == 17 ? repair_open_file_id(value, &sink, &row, error) : error_set(error, -EBADMSG, "a file's id has a wrong key");
    case LEDGER_SLICE: return ledger_decode_slice(key, value, &slice, error);
    case LEDGER_PACK: return ledger_decode_pack(key, value, &pack, error);
    case LEDGER_RANGE: return ledger_decode_range(key, value, &range, error);
    case LEDGER_PACK_SLICE: return ledger_parse_pack_slice_key(key, &sink, &row, error);
    case LEDGER_WAITING_FILE:
    case LEDGER_WAITING_PACK:
    case LEDGER_DONE_PACK: return 0; /* made anew */
    case LEDGER_TARGET: return ledger_open_target(key, value, &text, error);
    case LEDGER_BYTES: return ledger_pack_bytes(txn, &row, error);
    case LEDGER_COPY: return record_open(value, LEDGER_COPY, 1, "an orphan or a copy of an expired file", &fields, error);
    default: return error_set(error, -EBADMSG, "the ledger holds a key of an unknown kind");
    }
}

static int find_bad(Repair *repair, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    Span key = {0}, value;
    int r = db_cursor(repair->txn, DB_FILES, &cursor, error);
    if (r == 0) r = db_move(cursor, MDB_FIRST, &key, &value, error);
    while (r == 0) {
        Error why = {0};
        r = decode(repair->txn, key, value, &why);
        if (r < 0) repair_note_bad(repair, key, why.text);
        r = db_move(cursor, MDB_NEXT, &key, &value, error);
    }
    return r < 0 ? r : 0;
}

/* ---- all of them ----------------------------------------------------------------------------- */

/* What the records around it do not give back: only this record goes, and what is left of its sink
 * decides. */
static int give_up(Repair *repair, const BadRecord *bad, const Error *why, Error *error) {
    uint32_t sink = bad->key.size == 13 ? load_be32(bad->key.data + 1) : 0;
    char done[220];
    (void)snprintf(done, sizeof done, "it cannot be restored and is removed: %.120s", why->text);
    (void)repair_report(repair, sink, 0, bad->why, done);
    int r = db_remove(repair->txn, DB_FILES, buffer_span(&bad->key), error);
    return r < 0 ? r : 0;
}

typedef struct RepairStep {
    char kind;
    size_t key_bytes;
    int (*repair)(Repair *repair, const BadRecord *bad, Error *error);
} RepairStep;

static int run(Repair *repair, const RepairStep *step, const BadRecord *bad, Error *error) {
    Error why = {0};
    int r = step->repair(repair, bad, &why);
    if (r == -EBADMSG) return give_up(repair, bad, &why, error);
    return r < 0 ? error_set(error, r, "%s", why.text) : 0;
}

/* Of a pack that can be read; what cannot be counted now stays as it was. */
static int count_done(Repair *repair, const Uuid *id, Error *error) {
    PackRecord pack;
    Error why = {0};
    int r = ledger_find_pack(repair->txn, id, &pack, &why);
    if (r == 0) r = ledger_count_pack(repair->txn, id, &pack.slices, &pack.done, &why);
    if (r == 0) {
        pack.last_done = repair->running;
        r = ledger_put_pack(repair->txn, &pack, &why);
    }
    return r < 0 && r != -EBADMSG ? error_set(error, r, "%s", why.text) : 0;
}

static int repair_ledger(Repair *repair, Error *error) {
    /* What is written below counts bytes. */
    for (size_t i = 0; i < repair->count; i++) {
        int r = is_kind(&repair->bad[i], LEDGER_BYTES, 1) ? db_remove(repair->txn, DB_FILES, buffer_span(&repair->bad[i].key), error) : 0;
        if (r < 0) return r;
    }
    /* Each from what stands in those before it. */
    static const RepairStep steps[] = {{LEDGER_TARGET, 17, repair_target},   {LEDGER_RANGE, 13, repair_range},
                                       {LEDGER_SLICE, 13, repair_slice},     {LEDGER_FILE, 13, repair_file},
                                       {LEDGER_FILE_ID, 17, repair_file_id}, {LEDGER_PACK, 17, repair_pack}};
    for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
        for (size_t i = 0; i < repair->count; i++) {
            if (!is_kind(&repair->bad[i], steps[s].kind, steps[s].key_bytes)) continue;
            int r = run(repair, &steps[s], &repair->bad[i], error);
            if (r < 0) return r;
        }
    }
    for (size_t i = 0; i < repair->pack_count; i++) {
        int r = count_done(repair, &repair->packs[i], error);
        if (r < 0) return r;
    }
    for (size_t i = 0; i < repair->count; i++) {
        const BadRecord *bad = &repair->bad[i];
        bool done = is_kind(bad, LEDGER_BYTES, 1);
        if (done) (void)repair_report(repair, 0, 0, bad->why, "it was counted again");
        for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) done = done || is_kind(bad, steps[s].kind, steps[s].key_bytes);
        if (done) continue;
        int r = db_remove(repair->txn, DB_FILES, buffer_span(&bad->key), error);
        if (r < 0) return r;
        (void)repair_report(repair, 0, 0, bad->why, "it is removed");
    }
    return 0;
}

static void forget_bad(Repair *repair) {
    for (size_t i = 0; i < repair->count; i++) buffer_deinit(&repair->bad[i].key);
    repair->count = repair->pack_count = 0;
}

static int repair_found(Repair *repair, int (*find)(Repair *repair, Error *error), Error *error) {
    int r = find(repair, error);
    if (r == 0) r = repair_ledger(repair, error);
    forget_bad(repair);
    return r;
}

static int repair_index(Repair *repair, Error *error) {
    bool differs;
    int r = ledger_index_differs(repair->txn, &differs, error);
    if (r < 0 || !differs) return r;
    if (repair->damages->count == 0)
        (void)repair_report(repair, 0, 0, "files or packs are not where those that wait or are done are looked for",
                            "this index is rebuilt, nothing is lost");
    return ledger_make_index(repair->txn, error);
}

static int verify_sinks(Repair *repair, Error *error) {
    for (size_t i = 0; i < repair->sink_count; i++) {
        uint32_t sink = repair->sinks[i];
        uint64_t end;
        Error why = {0};
        int r = ledger_end_row(repair->txn, sink, &end, &why);
        if (r == 0) r = ledger_verify(repair->txn, sink, end, &why);
        if (r < 0 && r != -EBADMSG) return error_set(error, r, "%s", why.text);
        if (r < 0) repair_report(repair, sink, 0, "its stored records are not consistent", why.text)->stays = true;
    }
    return 0;
}

static void found_totals(void *context, uint32_t sink, const char *why, const char *done) {
    (void)repair_report(context, sink, 0, why, done);
}

int repair_records(Txn *txn, Files *files, usec_t running, Damages *ret_damages, Error *error) {
    check(txn_may_write(txn));
    Damages damages = {0};
    Repair repair = {.txn = txn, .files = files, .running = running, .damages = &damages};
    int r = repair_partitions(&repair, error);
    if (r == 0) r = repair_found(&repair, find_bad, error);
    if (r == 0) r = repair_found(&repair, repair_find_misplaced, error);
    if (r == 0) r = repair_found(&repair, repair_find_uncounted, error);
    if (r == 0) r = repair_index(&repair, error);
    if (r == 0) r = repair_totals(txn, found_totals, &repair, error);
    if (r == 0) r = repair_note_all_sinks(&repair, error);
    for (size_t i = 0; i < repair.sink_count && r == 0; i++) r = repair_missing_totals(txn, repair.sinks[i], found_totals, &repair, error);
    if (r == 0) r = verify_sinks(&repair, error);
    forget_bad(&repair);
    free(repair.bad);
    free(repair.sinks);
    free(repair.packs);
    if (r < 0) {
        free(damages.items);
        return r;
    }
    *ret_damages = damages;
    return 0;
}
