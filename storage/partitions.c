#include "storage/partitions.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/text.h"
#include "storage/partitions_private.h"
#include "storage/record.h"

#define VERSION 1

static const char last_number_key[] = {CURSOR_LAST_NUMBER};
static const Span last_number_span = {.data = last_number_key, .size = 1};

#define FORGOTTEN (-1) /* in place of an end; below it: FORGOTTEN - 1 - end, of what went to another table */

static Span numbered_key(char kind, uint32_t number, char out[static 5]) {
    out[0] = kind;
    store_be32(out + 1, number);
    return (Span){.data = out, .size = 5};
}

static Span partition_key(uint32_t number, char out[static 5]) {
    return numbered_key(CURSOR_PARTITION, number, out);
}

static Span end_key(uint32_t sink, uint32_t partition, char out[static 9]) {
    out[0] = CURSOR_END;
    store_be32(out + 1, sink);
    store_be32(out + 5, partition);
    return (Span){.data = out, .size = 9};
}

/* ---- one ------------------------------------------------------------------------------------- */

void partition_deinit(Partition *partition) {
    free(partition->cluster);
    free(partition->group);
    free(partition->topic);
    free(partition->topic_id);
    *partition = (Partition){0};
}

Partition partition_copy(const Partition *partition) {
    Partition copy = *partition;
    copy.cluster = text_copy(partition->cluster);
    copy.group = text_copy(partition->group);
    copy.topic = text_copy(partition->topic);
    copy.topic_id = text_copy(partition->topic_id ? partition->topic_id : "");
    return copy;
}

int partition_compare(const Partition *a, const Partition *b) {
    int order = strcmp(a->cluster, b->cluster);
    if (order == 0) order = strcmp(a->group, b->group);
    if (order == 0) order = strcmp(a->topic, b->topic);
    if (order == 0) order = (a->generation > b->generation) - (a->generation < b->generation);
    if (order == 0) order = (a->partition > b->partition) - (a->partition < b->partition);
    return order;
}

int partition_decode(Span key, Span value, Partition *ret_partition, Error *error) {
    if (key.size != 5) return error_set(error, -EBADMSG, "the database of positions holds a key of a partition with %zu bytes", key.size);
    Partition partition = {.number = load_be32(key.data + 1)};
    char what[40];
    (void)snprintf(what, sizeof what, "the partition number %" PRIu32, partition.number);
    Cursor fields;
    int r = record_open(value, CURSOR_PARTITION, VERSION, what, &fields, error);
    if (r < 0) return r;
    partition.cluster = text_copy_span(cursor_block(&fields));
    partition.group = text_copy_span(cursor_block(&fields));
    partition.topic = text_copy_span(cursor_block(&fields));
    partition.topic_id = text_copy_span(cursor_block(&fields));
    partition.generation = cursor_u32(&fields);
    partition.partition = (int32_t)cursor_u32(&fields);
    r = record_read_whole(&fields, what, error);
    if (r == 0 && (partition.number == 0 || !partition.topic[0] || partition.partition < 0))
        r = error_set(error, -EBADMSG, "the record of %s has a value that is not possible", what);
    if (r < 0) {
        partition_deinit(&partition);
        return r;
    }
    *ret_partition = partition;
    return 0;
}

int partition_put(Txn *txn, const Partition *partition, Error *error) {
    check(txn_may_write(txn));
    check(partition->number > 0 && partition->topic[0] && partition->partition >= 0);
    _cleanup_(buffer_deinit) Buffer record = {0};
    char key[5];
    record_begin(&record, CURSOR_PARTITION, VERSION);
    buffer_put_block(&record, span_of(partition->cluster));
    buffer_put_block(&record, span_of(partition->group));
    buffer_put_block(&record, span_of(partition->topic));
    buffer_put_block(&record, span_of(partition->topic_id ? partition->topic_id : ""));
    buffer_put_u32(&record, partition->generation);
    buffer_put_u32(&record, (uint32_t)partition->partition);
    record_seal(&record);
    return db_put(txn, DB_CURSORS, partition_key(partition->number, key), buffer_span(&record), error);
}

int partition_find(Txn *txn, uint32_t number, Partition *ret_partition, Error *error) {
    char bytes[5];
    Span key = partition_key(number, bytes), value;
    int r = db_get(txn, DB_CURSORS, key, &value, error);
    if (r != 0) return r == DB_NOT_FOUND ? PARTITION_NOT_FOUND : r;
    return partition_decode(key, value, ret_partition, error);
}

int partition_last_number(Txn *txn, uint32_t *ret_number, Error *error) {
    static const char what[] = "the last number of a partition";
    Span value;
    Cursor fields;
    *ret_number = 0;
    int r = db_get(txn, DB_CURSORS, last_number_span, &value, error);
    if (r != 0) return r < 0 ? r : 0;
    r = record_open(value, CURSOR_LAST_NUMBER, VERSION, what, &fields, error);
    if (r < 0) return r;
    *ret_number = cursor_u32(&fields);
    return record_read_whole(&fields, what, error);
}

int partition_put_last_number(Txn *txn, uint32_t number, Error *error) {
    check(txn_may_write(txn));
    _cleanup_(buffer_deinit) Buffer record = {0};
    record_begin(&record, CURSOR_LAST_NUMBER, VERSION);
    buffer_put_u32(&record, number);
    record_seal(&record);
    return db_put(txn, DB_CURSORS, last_number_span, buffer_span(&record), error);
}

/* ---- all ------------------------------------------------------------------------------------- */

void partitions_deinit(Partitions *partitions) {
    for (size_t i = 0; i < partitions->count; i++) partition_deinit(&partitions->items[i]);
    free(partitions->items);
    free(partitions->by_key);
    *partitions = (Partitions){0};
}

/* Where the key stands in `by_key`, or would stand. */
static size_t place_of(const Partitions *partitions, const Partition *key) {
    size_t low = 0, high = partitions->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (partition_compare(&partitions->items[partitions->by_key[middle]], key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void partitions_take(Partitions *partitions, Partition *take_partition) {
    size_t place = place_of(partitions, take_partition), count = partitions->count;
    check(count == 0 || partitions->items[count - 1].number < take_partition->number);
    array_reserve(partitions->by_key, count, partitions->by_key_capacity);
    array_reserve(partitions->items, count, partitions->capacity);
    memmove(partitions->by_key + place + 1, partitions->by_key + place, (count - place) * sizeof *partitions->by_key);
    partitions->by_key[place] = (uint32_t)count;
    partitions->items[partitions->count++] = *take_partition;
    *take_partition = (Partition){0};
}

int partitions_load(Txn *txn, Partitions *ret_partitions, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    Partitions partitions = {0};
    char kind = CURSOR_PARTITION;
    Span prefix = {.data = &kind, .size = 1}, key = prefix, value;
    int r = db_cursor(txn, DB_CURSORS, &cursor, error);
    if (r == 0) r = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    while (r == 0 && span_starts_with(key, prefix)) {
        Partition partition;
        r = partition_decode(key, value, &partition, error);
        if (r < 0) break;
        partitions_take(&partitions, &partition);
        r = db_move(cursor, MDB_NEXT, &key, &value, error);
    }
    if (r < 0) {
        partitions_deinit(&partitions);
        return r;
    }
    *ret_partitions = partitions;
    return 0;
}

const Partition *partitions_find(const Partitions *partitions, const Partition *key) {
    size_t place = place_of(partitions, key);
    if (place == partitions->count) return NULL;
    const Partition *found = &partitions->items[partitions->by_key[place]];
    return partition_compare(found, key) == 0 ? found : NULL;
}

const Partition *partitions_get(const Partitions *partitions, uint32_t number) {
    size_t low = 0, high = partitions->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (partitions->items[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < partitions->count && partitions->items[low].number == number ? &partitions->items[low] : NULL;
}

int partitions_add(Txn *txn, Partitions *partitions, const Partition *key, uint32_t *ret_number, Error *error) {
    check(txn_may_write(txn));
    check(!partitions_find(partitions, key));
    uint32_t last;
    int r = partition_last_number(txn, &last, error);
    if (r < 0) return r;
    if (partitions->count > 0 && partitions->items[partitions->count - 1].number > last)
        return error_set(error, -EBADMSG, "the last number of a partition is below one that was given");
    if (last == UINT32_MAX) return error_set(error, -EOVERFLOW, "there is no number left for another partition");
    Partition partition = partition_copy(key);
    partition.number = last + 1;
    r = partition_put(txn, &partition, error);
    if (r == 0) r = partition_put_last_number(txn, partition.number, error);
    if (r < 0) {
        partition_deinit(&partition);
        return r;
    }
    *ret_number = partition.number;
    partitions_take(partitions, &partition);
    return 0;
}

void partitions_undo(Partitions *partitions, size_t count) {
    check(count <= partitions->count);
    size_t kept = 0;
    for (size_t i = 0; i < partitions->count; i++)
        if (partitions->by_key[i] < count) partitions->by_key[kept++] = partitions->by_key[i];
    check(kept == count);
    while (partitions->count > count) partition_deinit(&partitions->items[--partitions->count]);
}

static int by_number(const void *a, const void *b) {
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

int partitions_of_runs(Txn *txn, const OffsetRun *runs, size_t count, Partitions *ret_partitions, Error *error) {
    Partitions partitions = {0};
    uint32_t *numbers = calloc(count ? count : 1, sizeof *numbers);
    int r = 0;
    check(numbers);
    for (size_t i = 0; i < count; i++) numbers[i] = runs[i].partition;
    qsort(numbers, count, sizeof *numbers, by_number);
    for (size_t i = 0; i < count && r == 0; i++) {
        Partition partition;
        if (i > 0 && numbers[i] == numbers[i - 1]) continue;
        r = partition_find(txn, numbers[i], &partition, error);
        if (r == 0) partitions_take(&partitions, &partition);
        if (r == PARTITION_NOT_FOUND || r == -EBADMSG) r = 0;
    }
    free(numbers);
    if (r < 0) {
        partitions_deinit(&partitions);
        return r;
    }
    *ret_partitions = partitions;
    return 0;
}

/* ---- ends ------------------------------------------------------------------------------------ */

int partition_decode_end(Span key, Span value, uint32_t *ret_sink, uint32_t *ret_partition, int64_t *ret_end, Error *error) {
    if (key.size != 9) return error_set(error, -EBADMSG, "the database of positions holds a key of an end with %zu bytes", key.size);
    uint32_t sink = load_be32(key.data + 1), partition = load_be32(key.data + 5);
    char what[80];
    (void)snprintf(what, sizeof what, "the end of partition number %" PRIu32 " for sink %" PRIu32, partition, sink);
    Cursor fields;
    int r = record_open(value, CURSOR_END, VERSION, what, &fields, error);
    if (r < 0) return r;
    int64_t end = (int64_t)cursor_u64(&fields);
    r = record_read_whole(&fields, what, error);
    if (r < 0) return r;
    if (sink == 0 || partition == 0) return error_set(error, -EBADMSG, "the record of %s has a value that is not possible", what);
    *ret_sink = sink;
    *ret_partition = partition;
    *ret_end = end;
    return 0;
}

int partition_end_find(Txn *txn, uint32_t sink, uint32_t partition, int64_t *ret_end, Error *error) {
    char bytes[9];
    Span key = end_key(sink, partition, bytes), value;
    int r = db_get(txn, DB_CURSORS, key, &value, error);
    if (r != 0) return r == DB_NOT_FOUND ? PARTITION_NOT_FOUND : r;
    int64_t end;
    r = partition_decode_end(key, value, &sink, &partition, &end, error);
    if (r < 0) return r;
    if (end <= FORGOTTEN) return PARTITION_NOT_FOUND;
    *ret_end = end;
    return 0;
}

static int put_end(Txn *txn, uint32_t sink, uint32_t partition, int64_t end, Error *error) {
    check(txn_may_write(txn));
    check(sink > 0 && partition > 0);
    _cleanup_(buffer_deinit) Buffer record = {0};
    char key[9];
    record_begin(&record, CURSOR_END, VERSION);
    buffer_put_u64(&record, (uint64_t)end);
    record_seal(&record);
    return db_put(txn, DB_CURSORS, end_key(sink, partition, key), buffer_span(&record), error);
}

int partition_end_set(Txn *txn, uint32_t sink, uint32_t partition, int64_t end, Error *error) {
    check(end >= 0);
    return put_end(txn, sink, partition, end, error);
}

int partition_ends_set(Txn *txn, const OffsetRun *runs, size_t count, Error *error) {
    int r = 0;
    for (size_t i = 0; i < count && r == 0; i++) {
        bool goes_on = i + 1 < count && runs[i + 1].sink == runs[i].sink && runs[i + 1].partition == runs[i].partition;
        check(offset_run_holds(&runs[i]));
        if (!goes_on) r = partition_end_set(txn, runs[i].sink, runs[i].partition, runs[i].next, error);
    }
    return r;
}

int partition_end_forget(Txn *txn, uint32_t sink, uint32_t partition, int64_t left, Error *error) {
    check(left >= -1 && left < INT64_MAX);
    return put_end(txn, sink, partition, FORGOTTEN - 1 - left, error);
}

int partition_ends_forget(Txn *txn, uint32_t sink, Error *error) {
    check(txn_may_write(txn) && sink > 0);
    for (;;) {
        _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
        char bytes[9];
        Span prefix = {.data = end_key(sink, 0, bytes).data, .size = 5}, key = prefix, value;
        int r = db_cursor(txn, DB_CURSORS, &cursor, error);
        if (r == 0) r = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
        if (r < 0) return r;
        if (r == DB_NOT_FOUND || !span_starts_with(key, prefix)) return 0;
        int code = mdb_cursor_del(cursor, 0);
        if (code) return db_error(error, code, "cannot forget how far a sink has read");
    }
}

int partition_ends_visit(Txn *txn, uint32_t sink, PartitionEndVisit visit, void *context, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    char bytes[9];
    Span prefix = {.data = end_key(sink, 0, bytes).data, .size = sink ? 5 : 1}, key = prefix, value;
    int r = db_cursor(txn, DB_CURSORS, &cursor, error);
    if (r == 0) r = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    while (r == 0 && span_starts_with(key, prefix)) {
        uint32_t of_sink, partition;
        int64_t end;
        r = partition_decode_end(key, value, &of_sink, &partition, &end, error);
        int64_t left = end < FORGOTTEN ? FORGOTTEN - 1 - end : -1;
        if (r == 0) r = visit(context, of_sink, partition, end < FORGOTTEN ? -1 : end, left, error);
        if (r < 0) return r;
        r = db_move(cursor, MDB_NEXT, &key, &value, error);
    }
    return r < 0 ? r : 0;
}

/* ---- marks ----------------------------------------------------------------------------------- */

int partition_decode_mark(Span key, Span value, Span *ret_mark, Error *error) {
    if (key.size != 5) return error_set(error, -EBADMSG, "the database of positions holds a key of a mark with %zu bytes", key.size);
    char what[60];
    (void)snprintf(what, sizeof what, "the mark of partition number %" PRIu32, load_be32(key.data + 1));
    Cursor fields;
    int r = record_open(value, CURSOR_MARK, VERSION, what, &fields, error);
    if (r < 0) return r;
    Span mark = cursor_block(&fields);
    r = record_read_whole(&fields, what, error);
    if (r < 0) return r;
    if (mark.size == 0) return error_set(error, -EBADMSG, "the record of %s is empty", what);
    *ret_mark = mark;
    return 0;
}

int partition_mark_set(Txn *txn, uint32_t partition, Span mark, Error *error) {
    check(txn_may_write(txn));
    check(partition > 0 && mark.size > 0);
    _cleanup_(buffer_deinit) Buffer record = {0};
    char key[5];
    record_begin(&record, CURSOR_MARK, VERSION);
    buffer_put_block(&record, mark);
    record_seal(&record);
    return db_put(txn, DB_CURSORS, numbered_key(CURSOR_MARK, partition, key), buffer_span(&record), error);
}

int partition_mark_find(Txn *txn, uint32_t partition, Span *ret_mark, Error *error) {
    char bytes[5];
    Span key = numbered_key(CURSOR_MARK, partition, bytes), value;
    int r = db_get(txn, DB_CURSORS, key, &value, error);
    if (r != 0) return r == DB_NOT_FOUND ? PARTITION_NOT_FOUND : r;
    return partition_decode_mark(key, value, ret_mark, error);
}
