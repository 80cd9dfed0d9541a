/* Where files go and what they are called: from another file of the sink, from a pack, from what
 * the writer noted in the catalog. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cursor.h"
#include "base/text.h"
#include "storage/catalog.h"
#include "storage/pack.h"
#include "storage/pack_format.h"
#include "storage/repair_private.h"

static int copy_texts(Txn *txn, RepairTexts *texts, Span key, Span value) {
    FileRecord other;
    if (ledger_decode_file(txn, key, value, &other, NULL) < 0) return 0;
    if (!texts->label) texts->label = text_copy(other.label);
    if (!texts->target && other.mapping_version == texts->wanted->mapping_version) texts->target = text_copy(other.target);
    file_record_deinit(&other);
    return texts->label && texts->target;
}

int repair_texts_of_other_files(Repair *repair, RepairTexts *texts, Error *error) {
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

char *repair_noted_target(Txn *txn, uint32_t sink, uint32_t version) {
    char key[9] = {'t'};
    Span document;
    store_be32(key + 1, sink);
    store_be32(key + 5, version);
    if (catalog_get(txn, CATALOG_VERSIONS, (Span){.data = key, .size = sizeof key}, &document, NULL) != 0) return NULL;
    return strndup(document.data, document.size);
}

char *repair_target_in_pack(Repair *repair, const SliceRecord *slice) {
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
        if (size <= PACK_DESCRIPTION_BYTES_MAX &&
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
    if (catalog_get(find->txn, CATALOG_SOURCES, (Span){.data = key.data, .size = 4}, &source, NULL) != 0) return REPAIR_ENOUGH;
    _cleanup_free_ char *source_id = identity(source, "sourceId"), *sink_id = identity(document, "sinkId");
    if (source_id && sink_id && asprintf(&find->label, "%s/%s", source_id, sink_id) < 0) find->label = NULL;
    return REPAIR_ENOUGH;
}

char *repair_label_of_sink(Txn *txn, uint32_t number) {
    FindLabel find = {.txn = txn, .number = number};
    (void)catalog_visit(txn, CATALOG_SINKS, (Span){0}, find_label, &find, NULL);
    return find.label;
}

typedef struct Targeted {
    Repair *repair;
    uint32_t version;
    FileRecord *files; /* their targets are empty */
    size_t count, capacity;
    char *target;
} Targeted;

static int target_of_slice(void *context, const SliceRecord *slice, Error *error) {
    Targeted *targeted = context;
    if (slice->mapping_version == targeted->version && !targeted->target) targeted->target = repair_target_in_pack(targeted->repair, slice);
    return targeted->target ? REPAIR_ENOUGH : 0;
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
static int put_target(Targeted *targeted, const BadRecord *bad, Error *error) {
    int r = 0;
    for (size_t i = 0; i < targeted->count && r == 0; i++) {
        FileRecord *file = &targeted->files[i];
        if (file->mapping_version != targeted->version) continue;
        free(file->target);
        file->target = text_copy(targeted->target ? targeted->target : "null");
        bool lost = !targeted->target && (file->state == FILE_OPEN || file->state == FILE_CLOSED);
        if (lost) file->state = FILE_CLOSED;
        bool is_bridge = false;
        if (lost) r = repair_is_bridge(targeted->repair->txn, file->sink, &is_bridge, error);
        if (lost && r == 0) r = repair_lose_file(targeted->repair, bad, file, is_bridge, error);
        if (r == 0) r = ledger_put_file(targeted->repair->txn, file, error);
    }
    return r;
}

int repair_target(Repair *repair, const BadRecord *bad, Error *error) {
    uint32_t sink = load_be32(bad->key.data + 1);
    Targeted targeted = {.repair = repair, .version = load_be32(bad->key.data + 5)};
    int r = db_remove(repair->txn, DB_FILES, buffer_span(&bad->key), error);
    if (r >= 0) r = ledger_visit_slices(repair->txn, sink, 0, UINT64_MAX, target_of_slice, &targeted, error);
    if (r == REPAIR_ENOUGH || r == -EBADMSG) r = 0;
    if (!targeted.target) targeted.target = repair_noted_target(repair->txn, sink, targeted.version);
    if (r == 0) r = collect_files(&targeted, sink, error);
    if (r == 0 && targeted.target) (void)repair_report(repair, sink, 0, bad->why, "it was read again from a staging file, nothing is lost");
    if (r == 0) r = put_target(&targeted, bad, error);
    for (size_t i = 0; i < targeted.count; i++) file_record_deinit(&targeted.files[i]);
    free(targeted.files);
    free(targeted.target);
    return r;
}
