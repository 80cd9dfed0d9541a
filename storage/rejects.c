#include "storage/rejects.h"

#include <errno.h>
#include <inttypes.h>

#include "base/log.h"
#include "storage/environment_private.h"
#include "storage/record.h"

/*
 * Keys of the database `rejects`; every part is big-endian:
 *   'V' sink number      a visible reject        'N' sink    the last number that was given in the sink
 *   'P' file id, row     a pending one           'B'         bytes that all rejects take: keys and values
 */
#define VISIBLE 'V'
#define PENDING 'P'
#define LAST_NUMBER 'N'
#define BYTES 'B'
#define VERSION 1
#define REJECT_VERSION 4 /* 1: without the running time; 2: without the place; 3: without what was dropped */

typedef struct Key {
    char bytes[25];
    size_t size;
} Key;

static Span key_span(const Key *key) {
    return (Span){.data = key->bytes, .size = key->size};
}

static Key visible_key(uint32_t sink, uint64_t number) {
    Key key = {.bytes = {VISIBLE}, .size = 13};
    store_be32(key.bytes + 1, sink);
    store_be64(key.bytes + 5, number);
    return key;
}

static Key pending_key(const Uuid *file, uint64_t row) {
    Key key = {.bytes = {PENDING}, .size = 25};
    memcpy(key.bytes + 1, file->bytes, sizeof file->bytes);
    store_be64(key.bytes + 17, row);
    return key;
}

/* Keys of one sink's visible rejects, and of one file's pending ones, begin with so many bytes. */
#define SINK_PREFIX 5
#define FILE_PREFIX 17

static void encode(const Reject *reject, Buffer *record) {
    record_begin(record, VISIBLE, REJECT_VERSION);
    buffer_put_u32(record, reject->sink);
    buffer_put_u64(record, (uint64_t)reject->at);
    buffer_put_u8(record, reject->is_row);
    buffer_append(record, reject->id.bytes, sizeof reject->id.bytes);
    buffer_put_u64(record, reject->row);
    buffer_put_u32(record, reject->mapping_version);
    buffer_put_block(record, reject->column);
    buffer_put_block(record, reject->reason);
    buffer_put_block(record, reject->content_type);
    buffer_put_block(record, reject->data);
    buffer_put_u64(record, (uint64_t)reject->running);
    buffer_put_block(record, reject->place);
    buffer_put_u8(record, reject->dropped);
    buffer_put_u64(record, reject->event_bytes);
    record_seal(record);
}

static int decode(Span value, Reject *ret_reject, Error *error) {
    Cursor fields;
    int result = record_open(value, VISIBLE, REJECT_VERSION, "a reject", &fields, error);
    if (result < 0) return result;
    Reject reject = {0};
    reject.sink = cursor_u32(&fields);
    reject.at = (usec_t)cursor_u64(&fields);
    reject.is_row = cursor_u8(&fields) != 0;
    Span id = cursor_bytes(&fields, sizeof reject.id.bytes);
    if (id.size) memcpy(reject.id.bytes, id.data, id.size);
    reject.row = cursor_u64(&fields);
    reject.mapping_version = cursor_u32(&fields);
    reject.column = cursor_block(&fields);
    reject.reason = cursor_block(&fields);
    reject.content_type = cursor_block(&fields);
    reject.data = cursor_block(&fields);
    if (record_version(value) >= 2) reject.running = (usec_t)cursor_u64(&fields);
    if (record_version(value) >= 3) reject.place = cursor_block(&fields);
    if (record_version(value) >= 4) {
        reject.dropped = cursor_u8(&fields) != 0;
        reject.event_bytes = cursor_u64(&fields);
    }
    result = record_read_whole(&fields, "a reject", error);
    if (result == 0) *ret_reject = reject;
    return result;
}

/* 0 when there is none yet. */
static int counter_get(Txn *txn, Span key, uint64_t *ret_value, Error *error) {
    Span value;
    *ret_value = 0;
    int result = db_get(txn, DB_REJECTS, key, &value, error);
    if (result != 0) return result < 0 ? result : 0;
    Cursor fields;
    result = record_open(value, (uint8_t)key.data[0], VERSION, "a counter of rejects", &fields, error);
    if (result < 0) return result;
    uint64_t count = cursor_u64(&fields);
    result = record_read_whole(&fields, "a counter of rejects", error);
    if (result == 0) *ret_value = count;
    return result;
}

static int counter_put(Txn *txn, Span key, uint64_t count, Error *error) {
    _cleanup_(buffer_deinit) Buffer record = {0};
    record_begin(&record, (uint8_t)key.data[0], VERSION);
    buffer_put_u64(&record, count);
    record_seal(&record);
    return db_put(txn, DB_REJECTS, key, buffer_span(&record), error);
}

static const char bytes_key[] = {BYTES};

/* A damaged counter is counted anew from what it counts. */
static int count_bytes(Txn *txn, uint64_t *ret_bytes, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    Span key = {0}, value;
    *ret_bytes = 0;
    int result = db_cursor(txn, DB_REJECTS, &cursor, error);
    if (result == 0) result = db_move(cursor, MDB_FIRST, &key, &value, error);
    while (result == 0) {
        if (key.data[0] == VISIBLE || key.data[0] == PENDING) *ret_bytes += key.size + value.size;
        result = db_move(cursor, MDB_NEXT, &key, &value, error);
    }
    return result < 0 ? result : 0;
}

static int get_bytes(Txn *txn, uint64_t *ret_bytes, Error *error) {
    int result = counter_get(txn, (Span){.data = bytes_key, .size = 1}, ret_bytes, error);
    return result == -EBADMSG ? count_bytes(txn, ret_bytes, error) : result;
}

static int add_bytes(Txn *txn, uint64_t added, uint64_t removed, Error *error) {
    Span key = {.data = bytes_key, .size = 1};
    uint64_t bytes;
    if (added == removed) return 0;
    /* What was added or removed is in the count already when that had to be made anew. */
    int result = counter_get(txn, key, &bytes, error);
    if (result == -EBADMSG) {
        result = count_bytes(txn, &bytes, error);
        return result == 0 ? counter_put(txn, key, bytes, error) : result;
    }
    if (result < 0) return result;
    bytes += added;
    return counter_put(txn, key, bytes > removed ? bytes - removed : 0, error);
}

uint64_t rejects_bytes(Txn *txn) {
    uint64_t bytes;
    return get_bytes(txn, &bytes, NULL) == 0 ? bytes : 0;
}

static Key last_number_key(uint32_t sink) {
    Key key = {.bytes = {LAST_NUMBER}, .size = 5};
    store_be32(key.bytes + 1, sink);
    return key;
}

/* The greatest number among the visible ones. */
static int greatest_number(Txn *txn, uint32_t sink, uint64_t *ret_number, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    Key behind = visible_key(sink, UINT64_MAX);
    Span key = key_span(&behind), value;
    *ret_number = 0;
    int result = db_cursor(txn, DB_REJECTS, &cursor, error);
    if (result == 0) result = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    if (result == 0)
        result = db_move(cursor, MDB_PREV, &key, &value, error);
    else if (result == DB_NOT_FOUND)
        result = db_move(cursor, MDB_LAST, &key, &value, error);
    if (result == 0 && key.size == behind.size && span_starts_with(key, (Span){.data = behind.bytes, .size = SINK_PREFIX}))
        *ret_number = load_be64(key.data + SINK_PREFIX);
    return result < 0 ? result : 0;
}

static int last_number(Txn *txn, uint32_t sink, uint64_t *ret_number, Error *error) {
    Key key = last_number_key(sink);
    int result = counter_get(txn, key_span(&key), ret_number, error);
    return result == -EBADMSG ? greatest_number(txn, sink, ret_number, error) : result;
}

static int next_number(Txn *txn, uint32_t sink, uint64_t *ret_number, Error *error) {
    Key key = last_number_key(sink);
    uint64_t last;
    int result = last_number(txn, sink, &last, error);
    if (result == 0) result = counter_put(txn, key_span(&key), last + 1, error);
    if (result == 0) *ret_number = last + 1;
    return result;
}

int rejects_add(Txn *txn, Reject *reject, Error *error) {
    check(txn_may_write(txn));
    _cleanup_(buffer_deinit) Buffer record = {0};
    check(reject->sink);
    uint64_t number = 0;
    int result = next_number(txn, reject->sink, &number, error);
    if (result < 0) return result;
    encode(reject, &record);
    Key key = visible_key(reject->sink, number);
    result = db_insert(txn, DB_REJECTS, key_span(&key), buffer_span(&record), error);
    if (result == 0) result = add_bytes(txn, key.size + record.size, 0, error);
    if (result == 0) reject->number = number;
    return result;
}

/* The first record whose key begins as `first` does, from `first` on. Its value lies in the map. */
static int find_first(Txn *txn, const Key *first, size_t prefix, Key *ret_key, Span *ret_value, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    Span key = key_span(first), value;
    int result = db_cursor(txn, DB_REJECTS, &cursor, error);
    if (result == 0) result = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    if (result != 0) return result;
    if (!span_starts_with(key, (Span){.data = first->bytes, .size = prefix})) return DB_NOT_FOUND;
    if (key.size > sizeof ret_key->bytes) return error_set(error, -EBADMSG, "rejects hold a key of %zu bytes", key.size);
    memcpy(ret_key->bytes, key.data, key.size);
    ret_key->size = key.size;
    *ret_value = value;
    return 0;
}

int rejects_drop_pending(Txn *txn, const Uuid *file, Error *error) {
    check(txn_may_write(txn));
    Key first = pending_key(file, 0), key;
    uint64_t removed = 0;
    for (;;) {
        Span value;
        int result = find_first(txn, &first, FILE_PREFIX, &key, &value, error);
        if (result == DB_NOT_FOUND) break;
        if (result == 0) {
            removed += key.size + value.size;
            result = db_remove(txn, DB_REJECTS, key_span(&key), error);
        }
        if (result < 0) return result;
    }
    return add_bytes(txn, 0, removed, error);
}

int rejects_put_pending(Txn *txn, const Uuid *file, Reject *rejects, size_t count, Error *error) {
    check(txn_may_write(txn));
    _cleanup_(buffer_deinit) Buffer record = {0};
    uint64_t added = 0;
    int result = rejects_drop_pending(txn, file, error);
    for (size_t i = 0; i < count && result == 0; i++) {
        const Reject *reject = &rejects[i];
        check(reject->sink && reject->is_row && uuid_equal(&reject->id, file));
        encode(reject, &record);
        Key key = pending_key(file, reject->row);
        result = db_insert(txn, DB_REJECTS, key_span(&key), buffer_span(&record), error);
        if (result == -EEXIST) return error_set(error, -EEXIST, "row %" PRIu64 " is among the rejects of its file twice", reject->row);
        added += key.size + record.size;
    }
    return result < 0 ? result : add_bytes(txn, added, 0, error);
}

int rejects_count_pending(Txn *txn, const Uuid *file, uint64_t *ret_rows, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    Key first = pending_key(file, 0);
    Span key = key_span(&first), value;
    uint64_t rows = 0;
    int result = db_cursor(txn, DB_REJECTS, &cursor, error);
    if (result == 0) result = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    while (result == 0 && span_starts_with(key, (Span){.data = first.bytes, .size = FILE_PREFIX})) {
        rows++;
        result = db_move(cursor, MDB_NEXT, &key, &value, error);
    }
    if (result < 0) return result;
    *ret_rows = rows;
    return 0;
}

int rejects_publish(Txn *txn, const Uuid *file, uint64_t *ret_rows, Error *error) {
    check(txn_may_write(txn));
    _cleanup_(buffer_deinit) Buffer copy = {0};
    Key first = pending_key(file, 0), key;
    uint64_t rows = 0, removed = 0, added = 0;
    for (;; rows++) {
        Span value = {0};
        Reject reject;
        uint64_t number = 0;
        int result = find_first(txn, &first, FILE_PREFIX, &key, &value, error);
        if (result == DB_NOT_FOUND) break;
        if (result < 0) return result;
        /* What lies in the map moves when something is written. */
        buffer_clear(&copy);
        buffer_append_span(&copy, value);
        result = decode(buffer_span(&copy), &reject, error);
        if (result == -EBADMSG) { /* the row is refused all the same, only its data is lost */
            log_error("the record of a refused row is damaged and removed");
            result = db_remove(txn, DB_REJECTS, key_span(&key), error);
            if (result < 0) return result;
            removed += key.size + copy.size;
            continue;
        }
        if (result == 0) result = db_remove(txn, DB_REJECTS, key_span(&key), error);
        if (result == 0) result = next_number(txn, reject.sink, &number, error);
        if (result < 0) return result;
        Key visible = visible_key(reject.sink, number);
        result = db_insert(txn, DB_REJECTS, key_span(&visible), buffer_span(&copy), error);
        if (result < 0) return result;
        removed += key.size + copy.size;
        added += visible.size + copy.size;
    }
    int result = add_bytes(txn, added, removed, error);
    if (result == 0) *ret_rows = rows;
    return result;
}

int rejects_visit(Txn *txn, uint32_t sink, uint64_t after_number, RejectVisit visit, void *context, Error *error) {
    if (after_number == UINT64_MAX) return 0;
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    Key first = visible_key(sink, after_number + 1);
    Span key = key_span(&first), value;
    int result = db_cursor(txn, DB_REJECTS, &cursor, error);
    if (result == 0) result = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    while (result == 0 && span_starts_with(key, (Span){.data = first.bytes, .size = SINK_PREFIX})) {
        Reject reject;
        result = decode(value, &reject, error);
        if (result == 0 && (key.size != first.size || reject.sink != sink))
            result = error_set(error, -EBADMSG, "a reject of sink %" PRIu32 " has a wrong key", sink);
        if (result == -EBADMSG && key.size == first.size) { /* the others are to be seen all the same */
            reject = (Reject){.sink = sink, .reason = SPAN("(the record of this reject is damaged: its data is lost)")};
            result = 0;
        }
        if (result < 0) return result;
        reject.number = load_be64(key.data + SINK_PREFIX);
        result = visit(context, &reject, error);
        if (result < 0) return result;
        result = db_move(cursor, MDB_NEXT, &key, &value, error);
    }
    return result < 0 ? result : 0;
}

int rejects_count(Txn *txn, uint32_t sink, uint64_t *ret_count, Error *error) {
    Key first = visible_key(sink, 0), found;
    Span value;
    uint64_t last;
    *ret_count = 0;
    int result = find_first(txn, &first, SINK_PREFIX, &found, &value, error);
    if (result != 0) return result == DB_NOT_FOUND ? 0 : result;
    result = last_number(txn, sink, &last, error);
    if (result < 0) return result;
    uint64_t number = load_be64(found.bytes + SINK_PREFIX);
    if (found.size != first.size || number > last) return error_set(error, -EBADMSG, "a reject of sink %" PRIu32 " has a wrong key", sink);
    *ret_count = last - number + 1;
    return 0;
}

int rejects_remove(Txn *txn, uint32_t sink, uint64_t up_to_number, uint64_t *ret_removed, Error *error) {
    check(txn_may_write(txn));
    Key first = visible_key(sink, 0), key;
    uint64_t removed = 0, bytes = 0;
    for (;;) {
        Span value;
        int result = find_first(txn, &first, SINK_PREFIX, &key, &value, error);
        if (result == DB_NOT_FOUND || (result == 0 && load_be64(key.bytes + SINK_PREFIX) > up_to_number)) break;
        if (result == 0) {
            bytes += key.size + value.size;
            result = db_remove(txn, DB_REJECTS, key_span(&key), error);
        }
        if (result < 0) return result;
        removed++;
    }
    int result = add_bytes(txn, 0, bytes, error);
    if (result == 0) *ret_removed = removed;
    return result;
}

int rejects_forget_sink(Txn *txn, uint32_t sink, Error *error) {
    check(txn_may_write(txn));
    Key counter = last_number_key(sink);
    uint64_t removed;
    int result = rejects_remove(txn, sink, UINT64_MAX, &removed, error);
    if (result == 0) result = db_remove(txn, DB_REJECTS, key_span(&counter), error);
    return result < 0 ? result : 0;
}
