/*
 * Damaged records of partitions and of how far they were read. An end is forgotten, which costs
 * nothing; a mark is forgotten, too, and its bridge reads again what the broker was not told of. A
 * partition is found in the description of a slice that has rows of it. When none says it, it is
 * forgotten with its mark: what waits of it is left out by its import, and read again under a new
 * number.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "storage/commit_log.h"
#include "storage/pack.h"
#include "storage/repair_private.h"

static int decode(Txn *txn, Span key, Span value, Error *error) {
    Partition partition;
    uint32_t sink, number;
    int64_t end;
    Span mark;
    int r;
    switch (key.size ? key.data[0] : 0) {
    case CURSOR_PARTITION:
        r = partition_decode(key, value, &partition, error);
        if (r == 0) partition_deinit(&partition);
        return r;
    case CURSOR_END: return partition_decode_end(key, value, &sink, &number, &end, error);
    case CURSOR_MARK: return partition_decode_mark(key, value, &mark, error);
    case CURSOR_LAST_NUMBER:
        if (key.size == 1) return partition_last_number(txn, &number, error);
        break;
    default: break;
    }
    return error_set(error, -EBADMSG, "the database of positions holds a key of an unknown kind");
}

static int find_bad(Txn *txn, BadRecord **bad, size_t *count, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    size_t capacity = 0;
    Span key = {0}, value;
    int r = db_cursor(txn, DB_CURSORS, &cursor, error);
    if (r == 0) r = db_move(cursor, MDB_FIRST, &key, &value, error);
    while (r == 0) {
        Error why = {0};
        r = decode(txn, key, value, &why);
        if (r < 0) {
            array_reserve(*bad, *count, capacity);
            BadRecord *item = &(*bad)[(*count)++];
            *item = (BadRecord){0};
            buffer_append_span(&item->key, key);
            (void)snprintf(item->why, sizeof item->why, "%.199s", why.text);
        }
        r = db_move(cursor, MDB_NEXT, &key, &value, error);
    }
    return r < 0 ? r : 0;
}

/* ---- what has runs --------------------------------------------------------------------------- */

/* < 0 from the visit ends the walk and is returned. */
typedef int (*RunsVisit)(void *context, const SliceRecord *slice, const OffsetRuns *runs);

/* All slices that have runs, but for those whose record is damaged. */
static int visit_runs(Txn *txn, RunsVisit visit, void *context, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    char kind = LEDGER_SLICE;
    Span prefix = {.data = &kind, .size = 1}, key = prefix, value;
    OffsetRuns runs = {0};
    int r = db_cursor(txn, DB_FILES, &cursor, error);
    if (r == 0) r = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    while (r == 0 && span_starts_with(key, prefix)) {
        SliceRecord slice;
        runs.count = 0;
        if (ledger_decode_slice_and_runs(key, value, &slice, &runs, NULL) == 0 && runs.count > 0) r = visit(context, &slice, &runs);
        if (r == 0) r = db_move(cursor, MDB_NEXT, &key, &value, error);
    }
    offset_runs_deinit(&runs);
    return r < 0 ? r : 0;
}

static int note_number(void *context, const SliceRecord *slice, const OffsetRuns *runs) {
    uint32_t *last = context;
    for (size_t i = 0; i < runs->count; i++)
        if (runs->items[i].partition > *last) *last = runs->items[i].partition;
    return 0;
}

static int last_in_log(Txn *txn, uint32_t *last, Error *error) {
    CommitLogReader *reader;
    GroupView group;
    int r = commit_log_reader_new(txn, 1, &reader, error);
    if (r < 0) return r;
    while ((r = commit_log_read(reader, &group, error)) >= 0 && r != COMMIT_LOG_READ_END) {
        for (size_t i = 0; r != COMMIT_LOG_READ_DAMAGED && i < group.run_count; i++)
            if (group.runs[i].partition > *last) *last = group.runs[i].partition;
    }
    commit_log_reader_free(reader);
    return r < 0 ? r : 0;
}

/* The greatest number that stands anywhere: keys can be read even where a record cannot. */
static int last_of_keys(Txn *txn, uint32_t *last, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    Span key = {0}, value;
    int r = db_cursor(txn, DB_CURSORS, &cursor, error);
    if (r == 0) r = db_move(cursor, MDB_FIRST, &key, &value, error);
    for (; r == 0; r = db_move(cursor, MDB_NEXT, &key, &value, error)) {
        uint32_t number = 0;
        if ((key.data[0] == CURSOR_PARTITION || key.data[0] == CURSOR_MARK) && key.size == 5) number = load_be32(key.data + 1);
        if (key.data[0] == CURSOR_END && key.size == 9) number = load_be32(key.data + 5);
        if (number > *last) *last = number;
    }
    return r < 0 ? r : 0;
}

/* ---- each kind ------------------------------------------------------------------------------- */

static int repair_last_number(Repair *repair, const BadRecord *bad, Error *error) {
    uint32_t last = 0;
    int r = last_of_keys(repair->txn, &last, error);
    if (r == 0) r = visit_runs(repair->txn, note_number, &last, error);
    if (r == 0) r = last_in_log(repair->txn, &last, error);
    if (r == 0) r = partition_put_last_number(repair->txn, last, error);
    if (r == 0) (void)repair_report(repair, 0, 0, bad->why, "it is the highest number in use");
    return r;
}

typedef struct FindPartition {
    Repair *repair;
    uint32_t number;
    Partition found;
} FindPartition;

static int find_in_pack(void *context, const SliceRecord *slice, const OffsetRuns *runs) {
    FindPartition *find = context;
    bool names = false;
    for (size_t i = 0; i < runs->count && !names; i++) names = runs->items[i].partition == find->number;
    SliceReader *reader;
    SliceRuns said = {0};
    if (!names || slice_open(find->repair->files, slice, &reader, NULL) < 0) return 0;
    if (slice_runs(reader, &said, NULL) == 0) {
        const Partition *partition = partitions_get(&said.partitions, find->number);
        if (partition) find->found = partition_copy(partition);
    }
    slice_close(reader);
    slice_runs_deinit(&said);
    return find->found.number ? REPAIR_ENOUGH : 0;
}

typedef struct Numbers {
    uint32_t *items;
    size_t count, capacity;
} Numbers;

/* The sinks that have an end of the partition, by the keys alone: other records may be damaged as
 * well. */
static int find_sinks(Txn *txn, uint32_t number, Numbers *sinks, Error *error) {
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    char kind = CURSOR_END;
    Span prefix = {.data = &kind, .size = 1}, key = prefix, value;
    int r = db_cursor(txn, DB_CURSORS, &cursor, error);
    if (r == 0) r = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    for (; r == 0 && span_starts_with(key, prefix); r = db_move(cursor, MDB_NEXT, &key, &value, error)) {
        if (key.size != 9 || load_be32(key.data + 5) != number || load_be32(key.data + 1) == 0) continue;
        array_reserve(sinks->items, sinks->count, sinks->capacity);
        sinks->items[sinks->count++] = load_be32(key.data + 1);
    }
    return r < 0 ? r : 0;
}

static int forget_ends(Txn *txn, uint32_t number, Error *error) {
    Numbers sinks = {0};
    int r = number > 0 ? find_sinks(txn, number, &sinks, error) : 0;
    for (size_t i = 0; i < sinks.count && r == 0; i++) r = partition_end_forget(txn, sinks.items[i], number, -1, error);
    free(sinks.items);
    return r;
}

static int repair_partition(Repair *repair, const BadRecord *bad, Error *error) {
    FindPartition find = {.repair = repair, .number = load_be32(bad->key.data + 1)};
    int r = visit_runs(repair->txn, find_in_pack, &find, error);
    if (r < 0 && r != REPAIR_ENOUGH) return r;
    if (find.found.number) {
        r = partition_put(repair->txn, &find.found, error);
        partition_deinit(&find.found);
        if (r == 0) (void)repair_report(repair, 0, 0, bad->why, "it was read again from a staging file, nothing is lost");
        return r;
    }
    char mark[5] = {CURSOR_MARK};
    store_be32(mark + 1, find.number);
    r = db_remove(repair->txn, DB_CURSORS, buffer_span(&bad->key), error);
    if (r >= 0) r = db_remove(repair->txn, DB_CURSORS, (Span){.data = mark, .size = sizeof mark}, error);
    if (r >= 0) r = forget_ends(repair->txn, find.number, error);
    if (r == 0)
        (void)repair_report(repair, 0, 0, bad->why, "no staging file has it: it is removed, and its waiting records are read again");
    return r;
}

/* What stays says that the sink is one of a bridge. */
static int repair_end(Repair *repair, const BadRecord *bad, Error *error) {
    uint32_t sink = load_be32(bad->key.data + 1), partition = load_be32(bad->key.data + 5);
    bool can_be = sink > 0 && partition > 0;
    int r = can_be ? partition_end_forget(repair->txn, sink, partition, -1, error)
                   : db_remove(repair->txn, DB_CURSORS, buffer_span(&bad->key), error);
    if (r >= 0) (void)repair_report(repair, 0, 0, bad->why, "it is removed, nothing is lost");
    return r < 0 ? r : 0;
}

static int repair_one(Repair *repair, const BadRecord *bad, Error *error) {
    char kind = bad->key.size ? bad->key.data[0] : 0;
    if (kind == CURSOR_PARTITION && bad->key.size == 5) return repair_partition(repair, bad, error);
    if (kind == CURSOR_LAST_NUMBER && bad->key.size == 1) return repair_last_number(repair, bad, error);
    if (kind == CURSOR_END && bad->key.size == 9) return repair_end(repair, bad, error);
    bool is_mark = kind == CURSOR_MARK && bad->key.size == 5;
    int r = db_remove(repair->txn, DB_CURSORS, buffer_span(&bad->key), error);
    if (r >= 0)
        (void)repair_report(repair, 0, 0, bad->why,
                            is_mark ? "it is removed: messages that the broker still has may be stored again" : "it is removed");
    return r < 0 ? r : 0;
}

int repair_partitions(Repair *repair, Error *error) {
    BadRecord *bad = NULL;
    size_t count = 0;
    int r = find_bad(repair->txn, &bad, &count, error);
    for (size_t i = 0; i < count && r == 0; i++) r = repair_one(repair, &bad[i], error);
    for (size_t i = 0; i < count; i++) buffer_deinit(&bad[i].key);
    free(bad);
    return r;
}

/* ---- for the others -------------------------------------------------------------------------- */

static int is_of_sink(void *context, const SliceRecord *slice, const OffsetRuns *runs) {
    return slice->sink == *(const uint32_t *)context ? REPAIR_ENOUGH : 0;
}

static int any_end(void *context, uint32_t sink, uint32_t partition, int64_t end, int64_t left, Error *error) {
    return REPAIR_ENOUGH;
}

int repair_is_bridge(Txn *txn, uint32_t sink, bool *ret_is, Error *error) {
    int r = partition_ends_visit(txn, sink, any_end, NULL, error);
    if (r == 0) r = visit_runs(txn, is_of_sink, &sink, error);
    *ret_is = r == REPAIR_ENOUGH;
    return r == REPAIR_ENOUGH ? 0 : r;
}
