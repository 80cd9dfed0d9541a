#include "storage/repair.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/text.h"
#include "storage/catalog.h"
#include "storage/ledger_private.h"
#include "storage/pack.h"
#include "storage/pack_format.h"
#include "storage/record.h"
#include "storage/repair_private.h"

typedef struct Bad {
    Buffer key;
    char why[200];
} Bad;

typedef struct Repair {
    Txn *txn;
    Files *files;
    usec_t running;
    Bad *bad;
    size_t count, capacity;
    Damages *damages;
    uint32_t *sinks; /* to be verified */
    size_t sink_count, sink_capacity;
} Repair;

static bool is_kind(const Bad *bad, char kind, size_t size) {
    return bad->key.size == size && bad->key.data[0] == kind;
}

static Damage *report(Repair *repair, uint32_t sink, uint64_t rows, const char *why, const char *done) {
    array_reserve(repair->damages->items, repair->damages->count, repair->damages->capacity);
    Damage *damage = &repair->damages->items[repair->damages->count++];
    *damage = (Damage){.sink = sink, .rows = rows};
    (void)snprintf(damage->text, sizeof damage->text, "%s; %s", why, done);
    for (size_t i = 0; i < repair->sink_count; i++)
        if (repair->sinks[i] == sink) return damage;
    if (sink == 0) return damage;
    array_reserve(repair->sinks, repair->sink_count, repair->sink_capacity);
    repair->sinks[repair->sink_count++] = sink;
    return damage;
}

/* ---- what is damaged ------------------------------------------------------------------------------------------------------------------ */

static int open_id(Span value, uint32_t *ret_sink, uint64_t *ret_first_row, Error *error) {
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
        return key.size == 17 ? open_id(value, &sink, &row, error) : error_set(error, -EBADMSG, "a file's id has a wrong key");
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
        if (r < 0) {
            array_reserve(repair->bad, repair->count, repair->capacity);
            Bad *bad = &repair->bad[repair->count++];
            *bad = (Bad){0};
            buffer_append_span(&bad->key, key);
            (void)snprintf(bad->why, sizeof bad->why, "%.199s", why.text);
        }
        r = db_move(cursor, MDB_NEXT, &key, &value, error);
    }
    return r < 0 ? r : 0;
}

/* ---- slices --------------------------------------------------------------------------------------------------------------------------- */

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

static bool read_from_pack(Repair *repair, const Uuid *pack, uint32_t sink, uint64_t first_row, SliceRecord *ret_slice) {
    char path[64];
    PackDirectory directory;
    bool found = false;
    pack_path(pack, path);
    if (pack_read_directory(repair->files, path, &directory, NULL) < 0) return false;
    for (size_t i = 0; i < directory.count && !found; i++) {
        const SliceRecord *slice = &directory.slices[i];
        found = uuid_equal(&directory.id, pack) && slice->sink == sink && slice->first_row == first_row;
        if (found) *ret_slice = *slice;
    }
    pack_directory_deinit(&directory);
    ret_slice->pack = *pack;
    return found;
}

static int next_row_of(Txn *txn, char kind, uint32_t sink, uint64_t after, uint64_t *ret_row, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    LedgerKey from = ledger_row_key(kind, sink, after + 1);
    Span key = ledger_key_span(&from), value;
    *ret_row = UINT64_MAX;
    int r = db_cursor(txn, DB_FILES, &cursor, error);
    if (r == 0) r = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    if (r == 0 && key.size == 13 && span_starts_with(key, (Span){.data = from.bytes, .size = 5})) *ret_row = load_be64(key.data + 5);
    return r < 0 ? r : 0;
}

static int file_at(Txn *txn, uint32_t sink, uint64_t row, FileRecord *ret_file, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    Span key, value;
    int r = db_cursor(txn, DB_FILES, &cursor, error);
    if (r == 0) r = ledger_seek_floor(cursor, LEDGER_FILE, sink, row, &key, &value, error);
    if (r == 0) r = ledger_decode_file(txn, key, value, ret_file, error);
    if (r == 0 && row - ret_file->first_row >= ret_file->rows) {
        file_record_deinit(ret_file);
        return DB_NOT_FOUND;
    }
    return r;
}

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* Where its rows are stands nowhere. The record of a slice stays, so that its pack knows it and is kept after its time. */
static int lose_slice(Repair *repair, const Bad *bad, const Uuid *pack, uint32_t sink, uint64_t first_row, Error *error) {
    _cleanup_(file_record_deinit) FileRecord file = {0};
    RangeRecord range;
    uint64_t next;
    int r = file_at(repair->txn, sink, first_row, &file, error);
    if (r == 0) r = ranges_find(repair->txn, sink, first_row, &range, error);
    if (r == 0) r = next_row_of(repair->txn, LEDGER_SLICE, sink, first_row, &next, error);
    if (r < 0) return r;
    LedgerKey key = ledger_row_key(LEDGER_SLICE, sink, first_row);
    if (r == DB_NOT_FOUND) {
        (void)report(repair, sink, 0, bad->why, "it belongs to no file: removed");
        return db_remove(repair->txn, DB_FILES, ledger_key_span(&key), error);
    }
    uint64_t end = least(least(next, file.first_row + file.rows), range.first_row + range.rows), rows = end - first_row;
    bool waits = range.state == RANGE_STAGED;
    if (pack) {
        SliceRecord slice = {.pack = *pack,
                             .sink = sink,
                             .first_row = first_row,
                             .rows = rows,
                             .mapping_version = file.mapping_version,
                             .first_time = file.first_time,
                             .last_time = file.last_time,
                             .file = file.id};
        r = ledger_put_slice(repair->txn, &slice, error);
    } else {
        r = db_remove(repair->txn, DB_FILES, ledger_key_span(&key), error);
        if (r > 0) r = 0;
    }
    if (r == 0 && waits) r = ledger_quarantine_rows(repair->txn, &file, first_row, rows, error);
    if (r < 0) return r;
    char done[160];
    (void)snprintf(done, sizeof done,
                   waits ? "its staging file does not say where they are: rows %" PRIu64 " to %" PRIu64 " are quarantined"
                         : "rows %" PRIu64 " to %" PRIu64 " are imported already",
                   first_row, first_row + rows - 1);
    (void)report(repair, sink, waits ? rows : 0, bad->why, done);
    return 0;
}

static int repair_slice(Repair *repair, const Bad *bad, Error *error) {
    uint32_t sink = load_be32(bad->key.data + 1);
    uint64_t first_row = load_be64(bad->key.data + 5);
    Uuid pack = {0};
    SliceRecord slice = {0};
    int found = find_pack_of(repair, sink, first_row, &pack, error);
    if (found < 0) return found;
    if (found == DB_NOT_FOUND || !read_from_pack(repair, &pack, sink, first_row, &slice))
        return lose_slice(repair, bad, found == 0 ? &pack : NULL, sink, first_row, error);
    int r = ledger_put_slice(repair->txn, &slice, error);
    if (r == 0) (void)report(repair, sink, 0, bad->why, "it was read again from its staging file, nothing is lost");
    return r;
}

/* ---- files ---------------------------------------------------------------------------------------------------------------------------- */

/* Texts of the file: from another one of the sink, from the writer's notes, from a pack. */
static char *label_of_sink(Txn *txn, uint32_t number);
static char *target_in_pack(Repair *repair, const SliceRecord *slice);

typedef struct Texts {
    const FileRecord *wanted;
    char *label, *target;
} Texts;

static int copy_texts(Txn *txn, Texts *texts, Span key, Span value) {
    FileRecord other;
    if (ledger_decode_file(txn, key, value, &other, NULL) < 0) return 0;
    if (!texts->label) texts->label = text_copy(other.label);
    if (!texts->target && other.mapping_version == texts->wanted->mapping_version) texts->target = text_copy(other.target);
    file_record_deinit(&other);
    return texts->label && texts->target;
}

static int texts_of_other_files(Repair *repair, Texts *texts, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    LedgerKey from = ledger_row_key(LEDGER_FILE, texts->wanted->sink, 0);
    Span prefix = {.data = from.bytes, .size = 5}, key = ledger_key_span(&from), value;
    int r = db_cursor(repair->txn, DB_FILES, &cursor, error);
    if (r == 0) r = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    while (r == 0 && span_starts_with(key, prefix)) {
        if (copy_texts(repair->txn, texts, key, value)) return 0;
        r = db_move(cursor, MDB_NEXT, &key, &value, error);
    }
    return r < 0 ? r : 0;
}

static char *noted_target(Txn *txn, uint32_t sink, uint32_t version) {
    char key[9] = {'t'};
    Span document;
    store_be32(key + 1, sink);
    store_be32(key + 5, version);
    if (catalog_get(txn, CATALOG_VERSIONS, (Span){.data = key, .size = sizeof key}, &document, NULL) != 0) return NULL;
    return strndup(document.data, document.size);
}

typedef struct RepairGather {
    FileRecord *file;
    SliceRecord first;
    size_t slices;
} RepairGather;

enum { ENOUGH = -ECANCELED };

static int gather_slice(void *context, const SliceRecord *slice, Error *error) {
    RepairGather *gather = context;
    FileRecord *file = gather->file;
    if (gather->slices == 0) {
        gather->first = *slice;
        file->id = slice->file;
        file->mapping_version = slice->mapping_version;
        file->first_time = slice->first_time;
    } else if (!uuid_equal(&slice->file, &file->id)) {
        return ENOUGH;
    }
    gather->slices++;
    file->last_time = slice->last_time;
    file->rows = slice->first_row + slice->rows - file->first_row;
    file->bytes += slice->bytes;
    file->checksum = ledger_fold_checksum(file->checksum, slice->checksum);
    return 0;
}

static int state_from_ranges(Txn *txn, FileRecord *file, Error *error) {
    uint64_t end = file->first_row + file->rows;
    file->state = FILE_CLOSED;
    for (uint64_t row = file->first_row; row < end;) {
        RangeRecord range;
        int r = ranges_find(txn, file->sink, row, &range, error);
        if (r == DB_NOT_FOUND) return error_set(error, -EBADMSG, "row %" PRIu64 " of sink %" PRIu32 " is in no range", row, file->sink);
        if (r < 0) return r;
        uint64_t range_end = least(range.first_row + range.rows, end);
        if (range.state == RANGE_QUARANTINED) file->damaged_rows += range_end - row;
        if (range.state == RANGE_IMPORTED) file->state = FILE_IMPORTED;
        if (range.state == RANGE_EXPIRED) file->state = FILE_EXPIRED;
        if (range.state == RANGE_DELETED) file->state = FILE_DELETED;
        row = range_end;
    }
    return 0;
}

static int lose_file(Repair *repair, const Bad *bad, FileRecord *file, Error *error) {
    uint64_t end = file->first_row + file->rows, lost = 0;
    for (uint64_t row = file->first_row; row < end;) {
        RangeRecord range;
        int r = ranges_find(repair->txn, file->sink, row, &range, error);
        if (r != 0) return r < 0 ? r : -EBADMSG;
        uint64_t rows = least(range.first_row + range.rows, end) - row;
        if (range.state == RANGE_STAGED) {
            r = ranges_change(repair->txn, file->sink, row, rows, RANGE_STAGED, RANGE_QUARANTINED, error);
            lost += rows;
        }
        if (r < 0) return r;
        row += rows;
    }
    file->damaged_rows += lost;
    if (file->state == FILE_CLOSED) file->state = FILE_DELETED;
    (void)report(repair, file->sink, lost, bad->why, "nothing says any more which table its rows go to: they are quarantined");
    return 0;
}

static int write_file(Repair *repair, const Bad *bad, FileRecord *file, RepairGather *gather, Error *error) {
    Texts texts = {.wanted = file};
    int r = texts_of_other_files(repair, &texts, error);
    if (!texts.label) texts.label = label_of_sink(repair->txn, file->sink);
    if (!texts.target) texts.target = target_in_pack(repair, &gather->first);
    if (!texts.target) texts.target = noted_target(repair->txn, file->sink, file->mapping_version);
    file->label = texts.label ? texts.label : text_copy("?");
    file->target = texts.target ? texts.target : text_copy("null");
    bool waits = file->state == FILE_CLOSED;
    if (waits) file->reason = CLOSE_CHANGE;
    file->opened = file->closed = file->last_time;
    if (r == 0 && !texts.target && waits) {
        r = lose_file(repair, bad, file, error);
    } else if (r == 0) {
        (void)report(repair, file->sink, 0, bad->why, "it was put together again from its slices, nothing is lost");
    }
    if (file->state != FILE_CLOSED) file->done = file->last_time;
    if (r == 0) r = ledger_put_file(repair->txn, file, error);
    return r == 0 ? ledger_put_file_id(repair->txn, file, error) : r;
}

static int repair_file(Repair *repair, const Bad *bad, Error *error) {
    _cleanup_(file_record_deinit) FileRecord file = {.sink = load_be32(bad->key.data + 1), .first_row = load_be64(bad->key.data + 5)};
    RepairGather gather = {.file = &file};
    uint64_t next;
    int r = next_row_of(repair->txn, LEDGER_FILE, file.sink, file.first_row, &next, error);
    if (r == 0) r = ledger_visit_slices(repair->txn, file.sink, file.first_row, next - file.first_row, gather_slice, &gather, error);
    if (r == ENOUGH) r = 0;
    if (r < 0) return r;
    if (gather.slices == 0) {
        (void)report(repair, file.sink, 0, bad->why, "it has no slices: removed");
        return db_remove(repair->txn, DB_FILES, buffer_span(&bad->key), error);
    }
    /* Rows behind its last slice that were damaged in the log are its own as well. */
    uint64_t ranges_end;
    RangeRecord tail;
    r = ledger_end_row(repair->txn, file.sink, &ranges_end, error);
    uint64_t end = file.first_row + file.rows;
    if (r == 0 && end < least(next, ranges_end)) {
        r = ranges_find(repair->txn, file.sink, end, &tail, error);
        if (r == 0 && tail.state == RANGE_QUARANTINED) file.rows = least(tail.first_row + tail.rows, next) - file.first_row;
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

static int repair_file_id(Repair *repair, const Bad *bad, Error *error) {
    _cleanup_(file_record_deinit) FileRecord file = {0};
    Uuid id;
    memcpy(id.bytes, bad->key.data + 1, sizeof id.bytes);
    int r = find_by_id(repair, &id, &file, error);
    if (r < 0) return r;
    (void)report(repair, file.sink, 0, bad->why, r == 0 ? "the file was found without it, nothing is lost" : "no file has it: removed");
    return r == 0 ? ledger_put_file_id(repair->txn, &file, error) : db_remove(repair->txn, DB_FILES, buffer_span(&bad->key), error);
}

static char *target_in_pack(Repair *repair, const SliceRecord *slice) {
    char path[64], head[FRAME_PREFIX_BYTES];
    File *file;
    /* It also finds a description that is damaged. */
    if (slice->length == 0 || slice_verify(repair->files, slice, NULL) != 0) return NULL;
    pack_path(&slice->pack, path);
    if (repair->files->open(repair->files, path, &file, NULL) < 0) return NULL;
    char *target = NULL;
    if (repair->files->read(repair->files, file, slice->offset, head, sizeof head, NULL) == 0) {
        Cursor cursor = cursor_of((Span){.data = head + 4, .size = 4});
        size_t size = cursor_u32(&cursor);
        _cleanup_(buffer_deinit) Buffer text = {0};
        if (size <= PACK_DESCRIPTION_BYTES_MOST &&
            repair->files->read(repair->files, file, slice->offset + sizeof head, buffer_reserve(&text, size), size, NULL) == 0) {
            json_t *json = json_loadb(text.data, size, 0, NULL);
            json_t *found = json_object_get(json, "target");
            if (json_is_object(found)) target = json_dumps(found, JSON_COMPACT | JSON_SORT_KEYS);
            json_decref(json);
        }
    }
    repair->files->close(repair->files, file);
    return target;
}

typedef struct FindLabel {
    Txn *txn;
    uint32_t number;
    char *label;
} FindLabel;

static char *identity(Span document, const char *name) {
    json_t *json = json_loadb(document.data, document.size, 0, NULL);
    const char *id = json_string_value(json_object_get(json_object_get(json, "definition"), name));
    char *copy = id ? text_copy(id) : NULL;
    json_decref(json);
    return copy;
}

static int find_label(void *context, Span key, Span document, Error *error) {
    FindLabel *find = context;
    Span source;
    if (key.size != 8 || load_be32(key.data + 4) != find->number) return 0;
    if (catalog_get(find->txn, CATALOG_SOURCES, (Span){.data = key.data, .size = 4}, &source, NULL) != 0) return ENOUGH;
    _cleanup_free_ char *source_id = identity(source, "sourceId"), *sink_id = identity(document, "sinkId");
    if (source_id && sink_id && asprintf(&find->label, "%s/%s", source_id, sink_id) < 0) find->label = NULL;
    return ENOUGH;
}

static char *label_of_sink(Txn *txn, uint32_t number) {
    FindLabel find = {.txn = txn, .number = number};
    (void)catalog_visit(txn, CATALOG_SINKS, (Span){0}, find_label, &find, NULL);
    return find.label;
}

/* ---- where files go ------------------------------------------------------------------------------------------------------------------- */

typedef struct Targeted {
    Repair *repair;
    uint32_t version;
    FileRecord *files; /* their targets are empty */
    size_t count, capacity;
    char *target;
} Targeted;

static int target_of_slice(void *context, const SliceRecord *slice, Error *error) {
    Targeted *targeted = context;
    if (slice->mapping_version == targeted->version && !targeted->target) targeted->target = target_in_pack(targeted->repair, slice);
    return targeted->target ? ENOUGH : 0;
}

static int collect_files(Targeted *targeted, uint32_t sink, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    LedgerKey from = ledger_row_key(LEDGER_FILE, sink, 0);
    Span prefix = {.data = from.bytes, .size = 5}, key = ledger_key_span(&from), value;
    int r = db_cursor(targeted->repair->txn, DB_FILES, &cursor, error);
    if (r == 0) r = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    while (r == 0 && span_starts_with(key, prefix)) {
        FileRecord file;
        if (ledger_decode_file(NULL, key, value, &file, NULL) == 0) {
            array_reserve(targeted->files, targeted->count, targeted->capacity);
            targeted->files[targeted->count++] = file;
        }
        r = db_move(cursor, MDB_NEXT, &key, &value, error);
    }
    return r < 0 ? r : 0;
}

/* Each of its files is written with the text, which stores it. */
static int put_target(Targeted *targeted, const Bad *bad, Error *error) {
    int r = 0;
    for (size_t i = 0; i < targeted->count && r == 0; i++) {
        FileRecord *file = &targeted->files[i];
        if (file->mapping_version != targeted->version) continue;
        free(file->target);
        file->target = text_copy(targeted->target ? targeted->target : "null");
        bool lost = !targeted->target && (file->state == FILE_OPEN || file->state == FILE_CLOSED);
        if (lost) file->state = FILE_CLOSED;
        if (lost) r = lose_file(targeted->repair, bad, file, error);
        if (r == 0) r = ledger_put_file(targeted->repair->txn, file, error);
    }
    return r;
}

static int repair_target(Repair *repair, const Bad *bad, Error *error) {
    uint32_t sink = load_be32(bad->key.data + 1);
    Targeted targeted = {.repair = repair, .version = load_be32(bad->key.data + 5)};
    int r = db_remove(repair->txn, DB_FILES, buffer_span(&bad->key), error);
    if (r >= 0) r = ledger_visit_slices(repair->txn, sink, 0, UINT64_MAX, target_of_slice, &targeted, error);
    if (r == ENOUGH || r == -EBADMSG) r = 0;
    if (!targeted.target) targeted.target = noted_target(repair->txn, sink, targeted.version);
    if (r == 0) r = collect_files(&targeted, sink, error);
    if (r == 0 && targeted.target) (void)report(repair, sink, 0, bad->why, "it was read again from a staging file, nothing is lost");
    if (r == 0) r = put_target(&targeted, bad, error);
    for (size_t i = 0; i < targeted.count; i++) file_record_deinit(&targeted.files[i]);
    free(targeted.files);
    free(targeted.target);
    return r;
}

/* ---- ranges --------------------------------------------------------------------------------------------------------------------------- */

static int sum_quarantined(Txn *txn, const FileRecord *file, uint64_t but_for, uint64_t *ret_rows, Error *error) {
    uint64_t end = file->first_row + file->rows;
    *ret_rows = 0;
    for (uint64_t row = file->first_row; row < end;) {
        RangeRecord range;
        uint64_t range_end;
        int r = row == but_for ? DB_NOT_FOUND : ranges_find(txn, file->sink, row, &range, error);
        if (r < 0 && r != -EBADMSG) return r;
        if (r == 0) {
            range_end = range.first_row + range.rows;
            if (range.state == RANGE_QUARANTINED) *ret_rows += least(range_end, end) - row;
        } else {
            r = next_row_of(txn, LEDGER_RANGE, file->sink, row, &range_end, error);
            if (r < 0) return r;
        }
        row = range_end;
    }
    return 0;
}

static int state_from_files(Txn *txn, uint32_t sink, uint64_t first_row, RangeState *ret_state, Error *error) {
    _cleanup_(file_record_deinit) FileRecord file = {0};
    uint64_t quarantined;
    int r = file_at(txn, sink, first_row, &file, error);
    *ret_state = RANGE_IMPORTED; /* of files that were forgotten nothing else is likely */
    if (r != 0) return r < 0 ? r : 0;
    r = sum_quarantined(txn, &file, first_row, &quarantined, error);
    if (r < 0) return r;
    switch (file.state) {
    case FILE_OPEN:
    case FILE_CLOSED: *ret_state = RANGE_STAGED; break;
    case FILE_IMPORTED: break;
    case FILE_EXPIRED: *ret_state = RANGE_EXPIRED; break;
    case FILE_DELETED: *ret_state = RANGE_DELETED; break;
    }
    if (quarantined < file.damaged_rows) *ret_state = RANGE_QUARANTINED;
    return 0;
}

/* Where the last range of a sink ended. */
static int ledger_end_known(Txn *txn, uint32_t sink, uint64_t first_row, uint64_t *ret_end, Error *error) {
    SinkTotals totals;
    int r = totals_find(txn, sink, &totals, error);
    if (r < 0 && r != -EBADMSG) return r;
    if (r == 0) {
        *ret_end = totals.staged_row;
        return 0;
    }
    _cleanup_(file_record_deinit) FileRecord file = {0};
    r = file_at(txn, sink, first_row, &file, error);
    *ret_end = r == 0 ? file.first_row + file.rows : first_row + 1;
    return r < 0 ? r : 0;
}

static int repair_range(Repair *repair, const Bad *bad, Error *error) {
    uint32_t sink = load_be32(bad->key.data + 1);
    uint64_t first_row = load_be64(bad->key.data + 5), end;
    RangeState state;
    int r = next_row_of(repair->txn, LEDGER_RANGE, sink, first_row, &end, error);
    if (r == 0 && end == UINT64_MAX) r = ledger_end_known(repair->txn, sink, first_row, &end, error);
    if (r == 0) r = state_from_files(repair->txn, sink, first_row, &state, error);
    if (r < 0) return r;
    if (end <= first_row) return error_set(error, -EBADMSG, "it ends before it begins");
    (void)report(repair, sink, 0, bad->why, "it was found again from the files around it");
    return ranges_put_merged(repair->txn, &(RangeRecord){.sink = sink, .first_row = first_row, .rows = end - first_row, .state = state},
                             error);
}

/* ---- packs ---------------------------------------------------------------------------------------------------------------------------- */

static int repair_pack(Repair *repair, const Bad *bad, Error *error) {
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
    if (r == 0) (void)report(repair, 0, 0, bad->why, "it was counted anew from its slices, nothing is lost");
    return r;
}

/* ---- all of them ---------------------------------------------------------------------------------------------------------------------- */

/* What the records around it do not give back: only this record goes, and what is left of its sink decides. */
static int give_up(Repair *repair, const Bad *bad, const Error *why, Error *error) {
    uint32_t sink = bad->key.size == 13 ? load_be32(bad->key.data + 1) : 0;
    char done[220];
    (void)snprintf(done, sizeof done, "it cannot be put together again and is removed: %.120s", why->text);
    (void)report(repair, sink, 0, bad->why, done);
    int r = db_remove(repair->txn, DB_FILES, buffer_span(&bad->key), error);
    return r < 0 ? r : 0;
}

typedef struct RepairStep {
    char kind;
    size_t key_bytes;
    int (*repair)(Repair *repair, const Bad *bad, Error *error);
} RepairStep;

static int run(Repair *repair, const RepairStep *step, const Bad *bad, Error *error) {
    Error why = {0};
    int r = step->repair(repair, bad, &why);
    if (r == -EBADMSG) return give_up(repair, bad, &why, error);
    return r < 0 ? error_set(error, r, "%s", why.text) : 0;
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
    if (repair->count > 0) {
        int r = ledger_make_index(repair->txn, error);
        if (r < 0) return r;
    }
    for (size_t i = 0; i < repair->count; i++) {
        const Bad *bad = &repair->bad[i];
        bool done = is_kind(bad, LEDGER_BYTES, 1);
        if (done) (void)report(repair, 0, 0, bad->why, "it was counted anew");
        for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) done = done || is_kind(bad, steps[s].kind, steps[s].key_bytes);
        if (done) continue;
        int r = db_remove(repair->txn, DB_FILES, buffer_span(&bad->key), error);
        if (r < 0) return r;
        (void)report(repair, 0, 0, bad->why, "it is removed");
    }
    return 0;
}

static int verify_sinks(Repair *repair, Error *error) {
    for (size_t i = 0; i < repair->sink_count; i++) {
        uint32_t sink = repair->sinks[i];
        uint64_t end;
        Error why = {0};
        int r = ledger_end_row(repair->txn, sink, &end, &why);
        if (r == 0) r = ledger_verify(repair->txn, sink, end, &why);
        if (r < 0 && r != -EBADMSG) return error_set(error, r, "%s", why.text);
        if (r < 0) report(repair, sink, 0, "what is stored of it does not fit together", why.text)->stays = true;
    }
    return 0;
}

static void found_totals(void *context, uint32_t sink, const char *why, const char *done) {
    (void)report(context, sink, 0, why, done);
}

int repair_records(Txn *txn, Files *files, usec_t running, Damages *ret_damages, Error *error) {
    Damages damages = {0};
    Repair repair = {.txn = txn, .files = files, .running = running, .damages = &damages};
    int r = find_bad(&repair, error);
    if (r == 0) r = repair_ledger(&repair, error);
    if (r == 0) r = repair_totals(txn, found_totals, &repair, error);
    if (r == 0) r = verify_sinks(&repair, error);
    for (size_t i = 0; i < repair.count; i++) buffer_deinit(&repair.bad[i].key);
    free(repair.bad);
    free(repair.sinks);
    if (r < 0) {
        free(damages.items);
        return r;
    }
    *ret_damages = damages;
    return 0;
}
