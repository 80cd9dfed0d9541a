/* Damaged records of files and of their ids, from the slices of the file and the ranges that they
 * lie in. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/array.h"
#include "base/cursor.h"
#include "base/text.h"
#include "storage/repair_private.h"

typedef struct RepairGather {
    FileRecord *file;
    SliceRecord first;
    size_t slices;
} RepairGather;

static int gather_slice(void *context, const SliceRecord *slice, Error *error) {
    RepairGather *gather = context;
    FileRecord *file = gather->file;
    if (gather->slices == 0) {
        gather->first = *slice;
        file->id = slice->file;
        file->mapping_version = slice->mapping_version;
        file->first_time = slice->first_time;
    } else if (!uuid_equal(&slice->file, &file->id)) {
        return REPAIR_ENOUGH;
    }
    gather->slices++;
    file->last_time = slice->last_time;
    file->rows = slice->first_row + slice->rows - file->first_row;
    file->bytes += slice->bytes;
    file->checksum = ledger_fold_checksum(file->checksum, slice->checksum);
    return 0;
}

static int state_from_ranges(Txn *txn, FileRecord *file, Error *error) {
    uint64_t end = file->first_row + file->rows, staged = 0;
    file->state = FILE_CLOSED;
    for (uint64_t row = file->first_row; row < end;) {
        RangeRecord range;
        int r = ranges_find(txn, file->sink, row, &range, error);
        if (r == DB_NOT_FOUND) return error_set(error, -EBADMSG, "row %" PRIu64 " of sink %" PRIu32 " is in no range", row, file->sink);
        if (r < 0) return r;
        uint64_t range_end = least(range.first_row + range.rows, end);
        if (range.state == RANGE_QUARANTINED) file->damaged_rows += range_end - row;
        if (range_is_left_out(range.state)) file->left_out += range_end - row;
        if (range.state == RANGE_STAGED) staged += range_end - row;
        if (range.state == RANGE_IMPORTED) file->state = FILE_IMPORTED;
        if (range.state == RANGE_EXPIRED) file->state = FILE_EXPIRED;
        if (range.state == RANGE_DELETED) file->state = FILE_DELETED;
        row = range_end;
    }
    if (staged > 0 || file->state != FILE_CLOSED || file->left_out == 0) return 0;
    /* All of it was left out. It may have ended as imported: then it waits no more. */
    LedgerKey waits = ledger_row_key(LEDGER_WAITING_FILE, file->sink, file->first_row);
    Span nothing;
    int r = db_get(txn, DB_FILES, ledger_key_span(&waits), &nothing, error);
    if (r == DB_NOT_FOUND) file->state = FILE_IMPORTED;
    return r < 0 ? r : 0;
}

/* Its slices are done with it. */
static int note_pack(void *context, const SliceRecord *slice, Error *error) {
    Repair *repair = context;
    if (repair->pack_count > 0 && uuid_equal(&repair->packs[repair->pack_count - 1], &slice->pack)) return 0;
    array_reserve(repair->packs, repair->pack_count, repair->pack_capacity);
    repair->packs[repair->pack_count++] = slice->pack;
    return 0;
}

int repair_lose_file(Repair *repair, const BadRecord *bad, FileRecord *file, bool is_bridge, Error *error) {
    check(file->state == FILE_CLOSED);
    uint64_t end = file->first_row + file->rows, lost = 0;
    for (uint64_t row = file->first_row; row < end;) {
        RangeRecord range;
        int r = ranges_find(repair->txn, file->sink, row, &range, error);
        if (r != 0) return r < 0 ? r : -EBADMSG;
        uint64_t rows = least(range.first_row + range.rows, end) - row;
        if (range.state == RANGE_STAGED) {
            r = ranges_change(repair->txn, file->sink, row, rows, RANGE_STAGED, is_bridge ? RANGE_RETURNED : RANGE_QUARANTINED, error);
            lost += rows;
        }
        if (r < 0) return r;
        row += rows;
    }
    *(is_bridge ? &file->left_out : &file->damaged_rows) += lost;
    if (file->state == FILE_CLOSED) file->state = FILE_DELETED;
    Damage *damage = repair_report(repair, file->sink, is_bridge ? 0 : lost, bad->why,
                                   is_bridge ? "it is no longer known which table its rows go to: they are read again"
                                             : "it is no longer known which table its rows go to: they are quarantined");
    if (is_bridge) damage->returned = lost;
    int r = ledger_visit_slices(repair->txn, file->sink, file->first_row, file->rows, note_pack, repair, error);
    return r == -EBADMSG ? 0 : r;
}

static int write_file(Repair *repair, const BadRecord *bad, FileRecord *file, RepairGather *gather, Error *error) {
    RepairTexts texts = {.wanted = file};
    int r = repair_texts_of_other_files(repair, &texts, error);
    if (!texts.label) texts.label = repair_label_of_sink(repair->txn, file->sink);
    if (!texts.target) texts.target = repair_target_in_pack(repair, &gather->first);
    if (!texts.target) texts.target = repair_noted_target(repair->txn, file->sink, file->mapping_version);
    file->label = texts.label ? texts.label : text_copy("?");
    file->target = texts.target ? texts.target : text_copy("null");
    bool waits = file->state == FILE_CLOSED;
    if (waits) file->reason = CLOSE_CHANGE;
    file->opened = file->closed = file->last_time;
    if (r == 0 && !texts.target && waits) {
        r = repair_lose_file(repair, bad, file, gather->first.run_count > 0, error);
    } else if (r == 0) {
        (void)repair_report(repair, file->sink, 0, bad->why, "it was restored from its slices, nothing is lost");
    }
    if (file->state != FILE_CLOSED) file->done = file->last_time;
    if (r == 0) r = ledger_put_file(repair->txn, file, error);
    return r == 0 ? ledger_put_file_id(repair->txn, file, error) : r;
}

int repair_file(Repair *repair, const BadRecord *bad, Error *error) {
    _cleanup_(file_record_deinit) FileRecord file = {.sink = load_be32(bad->key.data + 1), .first_row = load_be64(bad->key.data + 5)};
    RepairGather gather = {.file = &file};
    uint64_t next;
    int r = repair_next_row(repair->txn, LEDGER_FILE, file.sink, file.first_row, &next, error);
    if (r == 0) r = ledger_visit_slices(repair->txn, file.sink, file.first_row, next - file.first_row, gather_slice, &gather, error);
    if (r == REPAIR_ENOUGH) r = 0;
    if (r < 0) return r;
    if (gather.slices == 0) {
        (void)repair_report(repair, file.sink, 0, bad->why, "it has no slices: removed");
        return db_remove(repair->txn, DB_FILES, buffer_span(&bad->key), error);
    }
    /* Rows behind its last slice that were damaged in the log are its own as well. */
    uint64_t ranges_end;
    RangeRecord tail;
    r = ledger_end_row(repair->txn, file.sink, &ranges_end, error);
    uint64_t end = file.first_row + file.rows;
    if (r == 0 && end < least(next, ranges_end)) {
        r = ranges_find(repair->txn, file.sink, end, &tail, error);
        if (r == 0 && (tail.state == RANGE_QUARANTINED || tail.state == RANGE_RETURNED))
            file.rows = least(tail.first_row + tail.rows, next) - file.first_row;
        if (r > 0) r = 0;
    }
    if (r == 0) r = state_from_ranges(repair->txn, &file, error);
    return r == 0 ? write_file(repair, bad, &file, &gather, error) : r;
}

static int find_by_id(Repair *repair, const Uuid *id, FileRecord *ret_file, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    char kind = LEDGER_FILE;
    Span prefix = {.data = &kind, .size = 1}, key = prefix, value;
    int r = db_cursor(repair->txn, DB_FILES, &cursor, error);
    if (r == 0) r = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    while (r == 0 && span_starts_with(key, prefix)) {
        if (ledger_decode_file(repair->txn, key, value, ret_file, NULL) == 0) {
            if (uuid_equal(&ret_file->id, id)) return 0;
            file_record_deinit(ret_file);
        }
        r = db_move(cursor, MDB_NEXT, &key, &value, error);
    }
    return r < 0 ? r : DB_NOT_FOUND;
}

int repair_file_id(Repair *repair, const BadRecord *bad, Error *error) {
    _cleanup_(file_record_deinit) FileRecord file = {0};
    Uuid id;
    memcpy(id.bytes, bad->key.data + 1, sizeof id.bytes);
    int r = find_by_id(repair, &id, &file, error);
    if (r < 0) return r;
    (void)repair_report(repair, file.sink, 0, bad->why,
                        r == 0 ? "the file was found without it, nothing is lost" : "no file has it: removed");
    return r == 0 ? ledger_put_file_id(repair->txn, &file, error) : db_remove(repair->txn, DB_FILES, buffer_span(&bad->key), error);
}
