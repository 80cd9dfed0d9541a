/* Damaged slices and packs, from the footer of the pack, the list of its slices and the ranges
 * around them. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cursor.h"
#include "storage/pack.h"
#include "storage/repair_private.h"

/* Which pack says that it holds the slice? A walk over the lists of all packs. */
static int find_pack_of(Repair *repair, uint32_t sink, uint64_t first_row, Uuid *ret_pack, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    char kind = LEDGER_PACK_SLICE;
    Span prefix = {.data = &kind, .size = 1}, key = prefix, value;
    int r = db_cursor(repair->txn, DB_FILES, &cursor, error);
    if (r == 0) r = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    while (r == 0 && span_starts_with(key, prefix)) {
        if (key.size == 29 && load_be32(key.data + 17) == sink && load_be64(key.data + 21) == first_row) {
            memcpy(ret_pack->bytes, key.data + 1, sizeof ret_pack->bytes);
            return 0;
        }
        r = db_move(cursor, MDB_NEXT, &key, &value, error);
    }
    return r < 0 ? r : DB_NOT_FOUND;
}

/* Those that its description says. Rows of a bridge must not go on without them, so they are lost
 * when it cannot be read. */
static bool read_runs(Repair *repair, SliceRecord *slice, OffsetRuns *ret_runs) {
    SliceReader *reader;
    SliceRuns runs = {0};
    if (slice_open(repair->files, slice, &reader, NULL) < 0) return false;
    int r = slice_runs(reader, &runs, NULL);
    slice_close(reader);
    if (r != 0) return false;
    slice->run_count = (uint32_t)runs.runs.count;
    *ret_runs = runs.runs;
    partitions_deinit(&runs.partitions);
    return true;
}

static bool read_from_pack(Repair *repair, const Uuid *pack, uint32_t sink, uint64_t first_row, SliceRecord *ret_slice,
                           OffsetRuns *ret_runs) {
    char path[64];
    PackDirectory directory;
    bool found = false;
    pack_path(pack, path);
    if (pack_read_directory(repair->files, path, &directory, NULL) < 0) return false;
    for (size_t i = 0; i < directory.count && !found; i++) {
        const SliceRecord *slice = &directory.slices[i];
        found = uuid_equal(&directory.id, pack) && slice->sink == sink && slice->first_row == first_row && slice->rows > 0 &&
                slice->rows <= UINT64_MAX - first_row;
        if (found) *ret_slice = *slice;
    }
    pack_directory_deinit(&directory);
    ret_slice->pack = *pack;
    return found && read_runs(repair, ret_slice, ret_runs);
}

static int lose_rows(Repair *repair, FileRecord *file, uint64_t first_row, uint64_t rows, bool is_bridge, Error *error) {
    RangeRecord range = {.first_row = first_row, .rows = rows, .state = RANGE_RETURNED};
    return is_bridge ? ledger_leave_out(repair->txn, file, &range, 1, error)
                     : ledger_quarantine_rows(repair->txn, file, first_row, rows, error);
}

/* Where its rows are stands nowhere. The record of a slice stays, so that its pack knows it and is
 * kept after its time. */
static int lose_slice(Repair *repair, const BadRecord *bad, const Uuid *pack, uint32_t sink, uint64_t first_row, Error *error) {
    _cleanup_(file_record_deinit) FileRecord file = {0};
    RangeRecord range;
    uint64_t next;
    int r = repair_file_at(repair->txn, sink, first_row, &file, error);
    if (r == 0) r = ranges_find(repair->txn, sink, first_row, &range, error);
    if (r == 0) r = repair_next_row(repair->txn, LEDGER_SLICE, sink, first_row, &next, error);
    if (r < 0) return r;
    LedgerKey key = ledger_row_key(LEDGER_SLICE, sink, first_row);
    if (r == DB_NOT_FOUND) {
        (void)repair_report(repair, sink, 0, bad->why, "it belongs to no file: removed");
        return db_remove(repair->txn, DB_FILES, ledger_key_span(&key), error);
    }
    uint64_t end = least(least(next, file.first_row + file.rows), range.first_row + range.rows), rows = end - first_row;
    bool waits = range.state == RANGE_STAGED, is_bridge = false;
    if (waits) r = repair_is_bridge(repair->txn, sink, &is_bridge, error);
    if (r < 0) return r;
    if (pack) {
        SliceRecord slice = {.pack = *pack,
                             .sink = sink,
                             .first_row = first_row,
                             .rows = rows,
                             .mapping_version = file.mapping_version,
                             .first_time = file.first_time,
                             .last_time = file.last_time,
                             .file = file.id};
        r = ledger_put_slice(repair->txn, &slice, NULL, error);
    } else {
        r = db_remove(repair->txn, DB_FILES, ledger_key_span(&key), error);
        if (r > 0) r = 0;
    }
    if (r == 0 && waits) r = lose_rows(repair, &file, first_row, rows, is_bridge, error);
    if (r < 0) return r;
    char done[160];
    (void)snprintf(done, sizeof done, "%srows %" PRIu64 " to %" PRIu64 " are %s",
                   waits ? "its staging file does not have their place: " : "", first_row, first_row + rows - 1,
                   !waits      ? "imported already"
                   : is_bridge ? "read again"
                               : "quarantined");
    Damage *damage = repair_report(repair, sink, waits && !is_bridge ? rows : 0, bad->why, done);
    if (waits && is_bridge) damage->returned = rows;
    return 0;
}

int repair_slice(Repair *repair, const BadRecord *bad, Error *error) {
    uint32_t sink = load_be32(bad->key.data + 1);
    uint64_t first_row = load_be64(bad->key.data + 5);
    Uuid pack = {0};
    SliceRecord slice = {0};
    OffsetRuns runs = {0};
    int found = find_pack_of(repair, sink, first_row, &pack, error);
    if (found < 0) return found;
    if (found == DB_NOT_FOUND || !read_from_pack(repair, &pack, sink, first_row, &slice, &runs))
        return lose_slice(repair, bad, found == 0 ? &pack : NULL, sink, first_row, error);
    int r = ledger_put_slice(repair->txn, &slice, runs.items, error);
    offset_runs_deinit(&runs);
    if (r == 0) (void)repair_report(repair, sink, 0, bad->why, "it was read again from its staging file, nothing is lost");
    return r;
}

int repair_pack(Repair *repair, const BadRecord *bad, Error *error) {
    PackRecord pack = {.last_done = repair->running};
    FileInfo info = {0};
    char path[64];
    memcpy(pack.id.bytes, bad->key.data + 1, sizeof pack.id.bytes);
    pack_path(&pack.id, path);
    int r = repair->files->info(repair->files, path, &info, error);
    if (r < 0 && r != -ENOENT) return r;
    pack.bytes = r == 0 ? info.bytes : 0;
    r = ledger_count_pack(repair->txn, &pack.id, &pack.slices, &pack.done, error);
    if (r == 0) r = ledger_put_pack(repair->txn, &pack, error);
    if (r == 0) (void)repair_report(repair, 0, 0, bad->why, "it was counted again from its slices, nothing is lost");
    return r;
}
