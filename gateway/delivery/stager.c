#include "gateway/delivery/stager.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/thread.h"
#include "gateway/delivery/run_list.h"
#include "gateway/flow/messages.h"
#include "mapping/row.h"
#include "storage/commit_log.h"
#include "storage/pack.h"
#include "storage/recovery.h"

#define COPY_BYTES (1u << 20)

struct Stager {
    Environment *environment;
    Files *files;
    Uuid instance;
    Mailbox *mailbox;
    Message *taken; /* not worked off yet, oldest first */
    ThreadOwner owner;
};

/* One sink's share of a group, as it stands in the map: valid while the read transaction lasts. */
typedef struct Part {
    GroupEntry entry; /* without rows: only runs */
    Span rows;
    size_t first_run, run_count; /* of its item's runs */
} Part;

typedef struct Item {
    StageItem *stage;
    Part *parts;
    size_t count, capacity;
    OffsetRuns runs; /* of all parts */
} Item;

Stager *stager_new(Environment *environment, Files *files, const Uuid *instance) {
    Stager *stager = calloc(1, sizeof *stager);
    check(stager);
    stager->environment = environment;
    stager->files = files;
    stager->instance = *instance;
    stager->mailbox = mailbox_new(NULL, NULL);
    return stager;
}

Mailbox *stager_mailbox(Stager *stager) {
    return stager->mailbox;
}

/* ---- collecting from the log ----------------------------------------------------------------- */

static int by_sink_and_row(const void *a, const void *b) {
    const StageItem *left = ((const Item *)a)->stage, *right = ((const Item *)b)->stage;
    if (left->sink != right->sink) return left->sink < right->sink ? -1 : 1;
    return left->first_row < right->first_row ? -1 : left->first_row > right->first_row;
}

/* The item that rows from `first_row` of `sink` would lie in; NULL: none. */
static Item *find_item(Item *items, size_t count, uint32_t sink, uint64_t first_row) {
    size_t low = 0, high = count;
    while (low < high) { /* the first item behind the place */
        size_t middle = low + (high - low) / 2;
        const StageItem *item = items[middle].stage;
        bool behind = item->sink > sink || (item->sink == sink && item->first_row > first_row);
        if (behind) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    if (low == 0) return NULL;
    const StageItem *item = items[low - 1].stage;
    return item->sink == sink && first_row < item->first_row + item->rows ? &items[low - 1] : NULL;
}

/* The item that runs without rows ride with, which stand in `commit` before the row: those that a
 * sink's items are read from do not overlap. */
static Item *find_item_of_runs(Item *items, size_t count, uint32_t sink, uint64_t row, uint64_t commit) {
    for (int behind = 0; behind < 2; behind++) { /* before a row of it, or behind its last one */
        Item *item = row > (uint64_t)behind ? find_item(items, count, sink, row - (uint64_t)behind) : NULL;
        if (item && item->stage->has_runs && commit >= item->stage->from_commit && commit <= item->stage->to_commit) return item;
    }
    return NULL;
}

static void collect_runs(Item *item, const GroupView *group, size_t entry) {
    const OffsetRun *runs;
    Part *part = &item->parts[item->count - 1];
    part->first_run = item->runs.count;
    part->run_count = item->stage->has_runs ? group_runs(group, entry, &runs) : 0;
    for (size_t i = 0; i < part->run_count; i++) offset_runs_add(&item->runs, &runs[i]);
}

static int collect_group(Item *items, size_t count, const GroupView *group, Error *error) {
    for (size_t i = 0; i < group->count; i++) {
        const GroupEntry *entry = &group->entries[i];
        Item *item = entry->rows > 0 ? find_item(items, count, entry->sink, entry->first_row)
                                     : find_item_of_runs(items, count, entry->sink, entry->first_row, group->commit);
        if (!item) continue;
        if (entry->rows > 0 && (entry->first_row + entry->rows > item->stage->first_row + item->stage->rows ||
                                entry->mapping_version != item->stage->mapping_version))
            return error_set(error, -EBADMSG,
                             "commit %" PRIu64 " holds rows %" PRIu64 " to %" PRIu64 " of sink %u, which do not fit its slice",
                             group->commit, entry->first_row, entry->first_row + entry->rows - 1, entry->sink);
        if (item->count == item->capacity) {
            item->capacity = item->capacity ? 2 * item->capacity : 16;
            item->parts = realloc(item->parts, item->capacity * sizeof *item->parts);
            check(item->parts);
        }
        item->parts[item->count++] = (Part){.entry = *entry, .rows = group->rows[i]};
        collect_runs(item, group, i);
    }
    return 0;
}

static int collect(Txn *txn, Item *items, size_t count, Error *error) {
    uint64_t from = UINT64_MAX, to = 0;
    for (size_t i = 0; i < count; i++) {
        if (items[i].stage->from_commit < from) from = items[i].stage->from_commit;
        if (items[i].stage->to_commit > to) to = items[i].stage->to_commit;
    }
    CommitLogReader *reader;
    int r = commit_log_reader_new(txn, from, &reader, error);
    if (r < 0) return r;
    for (;;) {
        GroupView group;
        r = commit_log_read(reader, &group, error);
        if (r < 0 || r == COMMIT_LOG_READ_END || group.commit > to) break;
        if (r == COMMIT_LOG_READ_DAMAGED) continue; /* its rows are missed below */
        r = collect_group(items, count, &group, error);
        if (r < 0) break;
    }
    commit_log_reader_free(reader);
    return r < 0 ? r : 0;
}

/* ---- writing the pack ------------------------------------------------------------------------ */

/* Cuts the item where its numbers or a checksum do not hold; *ret_parts are good. */
static void find_damage(Item *item, size_t *ret_parts) {
    StageItem *stage = item->stage;
    uint64_t expected = stage->first_row, end = stage->first_row + stage->rows, behind = end;
    size_t parts = 0;
    for (; parts < item->count; parts++) {
        const Part *part = &item->parts[parts];
        if (part->entry.first_row != expected) {
            behind = part->entry.first_row > expected ? part->entry.first_row : end;
            break;
        }
        if (part->entry.rows > 0 && !group_rows_intact(&part->entry, part->rows)) {
            behind = expected + part->entry.rows;
            break;
        }
        expected += part->entry.rows;
    }
    stage->rows = expected - stage->first_row;
    stage->damaged_first = expected;
    stage->damaged_rows = expected < end ? behind - expected : 0;
    check(expected <= end && behind <= end);
    *ret_parts = parts;
}

/* Those of the parts; the slice has them. */
static void take_runs(const Item *item, size_t parts) {
    RunList list = {0};
    for (size_t i = 0; i < parts; i++)
        for (size_t k = 0; k < item->parts[i].run_count; k++) run_list_add(&list, &item->runs.items[item->parts[i].first_run + k]);
    check(list.runs.count <= UINT32_MAX);
    item->stage->slice.run_count = (uint32_t)list.runs.count;
    item->stage->runs = steal(list.runs.items);
    run_list_deinit(&list);
}

/* `runs`: slice->run_count of them. */
static int begin_slice(Txn *txn, PackWriter *writer, SliceRecord *slice, const char *description, const OffsetRun *runs, Error *error) {
    if (slice->run_count == 0) return pack_begin_slice(writer, slice, span_of(description), error);
    Partitions partitions = {0};
    int r = partitions_of_runs(txn, runs, slice->run_count, &partitions, error);
    if (r == 0) r = pack_begin_slice_with_runs(writer, slice, span_of(description), runs, &partitions, error);
    partitions_deinit(&partitions);
    return r;
}

static int write_slice(Stager *stager, Txn *txn, Stage *stage, PackWriter **writer, const Item *item, size_t parts, Error *error) {
    StageItem *out = item->stage;
    SliceRecord *slice = &out->slice;
    check(parts > 0 && parts <= item->count && out->rows > 0);
    *slice = (SliceRecord){
        .sink = out->sink, .mapping_version = out->mapping_version, .first_row = out->first_row, .rows = out->rows, .file = out->file};
    bool has_ids = false;
    for (size_t i = 0; i < parts; i++) {
        const GroupEntry *entry = &item->parts[i].entry;
        if (entry->rows > 0 && has_ids)
            uuid_range_add(&slice->ids, &entry->ids);
        else if (entry->rows > 0)
            slice->ids = entry->ids;
        has_ids = has_ids || entry->rows > 0;
        if (i == 0 || entry->first_time < slice->first_time) slice->first_time = entry->first_time;
        if (i == 0 || entry->last_time > slice->last_time) slice->last_time = entry->last_time;
    }
    if (out->has_runs) take_runs(item, parts);
    int r = *writer ? 0 : pack_create(stager->files, &stage->pack, &stager->instance, writer, error);
    if (r == 0) r = begin_slice(txn, *writer, slice, out->description, out->runs, error);
    for (size_t i = 0; i < parts && r == 0; i++)
        if (item->parts[i].rows.size > 0) r = pack_add_rows(*writer, item->parts[i].rows, error);
    if (r == 0) r = pack_end_slice(*writer, slice, error);
    return r;
}

/* Behind a cut the sink's later rows have to wait. */
static int write_items(Stager *stager, Txn *txn, Stage *stage, Item *items, PackWriter **writer, Error *error) {
    uint32_t cut = 0; /* sink whose item ended early */
    for (size_t i = 0; i < stage->count; i++) {
        Item *item = &items[i];
        uint64_t wanted = item->stage->rows;
        if (item->stage->sink == cut) {
            item->stage->rows = 0;
            continue;
        }
        size_t parts;
        find_damage(item, &parts);
        if (item->stage->rows + item->stage->damaged_rows < wanted) cut = item->stage->sink;
        if (item->stage->rows == 0) continue;
        int r = write_slice(stager, txn, stage, writer, item, parts, error);
        if (r < 0) return r;
        stage->record.slices++;
    }
    return 0;
}

/* What is staged of a sink has no gap, and each run goes on where the one before ended: rows leave
 * the log in the order of their numbers. */
static void check_order(const Item *items, size_t count) {
    check(count > 0);
    for (size_t i = 0; i < count; i++) {
        const StageItem *item = items[i].stage, *before = i > 0 ? items[i - 1].stage : NULL;
        check(item->rows > 0 && item->first_row > 0 && item->from_commit <= item->to_commit);
        check(item->description && item->damaged_rows == 0);
        if (before && before->sink == item->sink) check(before->first_row + before->rows == item->first_row);
    }
}

static int write_pack(Stager *stager, Stage *stage, Error *error) {
    Item *items = calloc(stage->count, sizeof *items);
    check(items);
    for (size_t i = 0; i < stage->count; i++) items[i].stage = &stage->items[i];
    qsort(items, stage->count, sizeof *items, by_sink_and_row);
    check_order(items, stage->count);

    Txn *txn = NULL;
    PackWriter *writer = NULL;
    int r = txn_begin_read(stager->environment, &txn, error);
    if (r == 0) r = failpoint_error("stager.before-pack", error);
    if (r == 0) r = collect(txn, items, stage->count, error);
    if (r == 0) r = write_items(stager, txn, stage, items, &writer, error);
    if (txn) txn_abort(txn);
    stage->record.id = stage->pack;
    if (r == 0 && writer) {
        r = pack_finish(steal(writer), &stage->record.bytes, error);
        /* It may have failed behind the rename. Nobody knows of this pack, so nobody misses it;
         * what stays is found at the next start. */
        if (r < 0) (void)pack_remove(stager->files, &stage->pack, NULL);
    }
    pack_abandon(writer);
    for (size_t i = 0; i < stage->count; i++) {
        free(items[i].parts);
        offset_runs_deinit(&items[i].runs);
    }
    free(items);
    return r;
}

/* ---- divided files --------------------------------------------------------------------------- */

typedef struct OpenSlice {
    SliceReader *open;
    Span left; /* of its last block */
} OpenSlice;

/* Writes the next `rows` rows of the source. 0, SLICE_READ_DAMAGED or < 0. */
static int move_rows(OpenSlice *source, uint64_t rows, PackWriter *writer, Error *error) {
    while (rows > 0) {
        if (source->left.size == 0) {
            int r = slice_read(source->open, &source->left, error);
            if (r < 0) return r;
            if (r == SLICE_READ_DAMAGED) return r;
            if (r != 0) return error_set(error, -EBADMSG, "a slice of a file that is divided holds fewer rows than it should");
        }
        Span piece = {.data = source->left.data, .size = 0};
        for (; rows > 0 && source->left.size > 0; rows--) {
            size_t size = row_size(source->left);
            if (size == 0) return error_set(error, -EBADMSG, "a slice of a file that is divided ends within a row");
            piece.size += size;
            source->left.data += size;
            source->left.size -= size;
        }
        int r = pack_add_rows(writer, piece, error);
        if (r < 0) return r;
    }
    return 0;
}

/* `runs`: those of the slice. */
static int move_slice(Stager *stager, Txn *txn, const Divide *divide, const SliceRecord *slice, const OffsetRun *runs, SliceRecord *parts,
                      size_t count, PackWriter *writer, Error *error) {
    OpenSlice source = {0};
    int r = slice_open(stager->files, slice, &source.open, error);
    for (size_t i = 0; i < count && r == 0; i++) {
        r = begin_slice(txn, writer, &parts[i], divide->description, runs, error);
        if (parts[i].run_count > 0) runs += parts[i].run_count;
        if (r == 0) r = move_rows(&source, parts[i].rows, writer, error);
        if (r == 0) r = pack_end_slice(writer, &parts[i], error);
    }
    if (r == 0 && source.left.size > 0) r = error_set(error, -EBADMSG, "a slice of a file that is divided holds more rows than it should");
    slice_close(source.open);
    return r;
}

/* The slice is damaged, and those behind it may be too: they are found at once. */
static int find_damaged(Stager *stager, Divide *divide, size_t from, Error *error) {
    divide->slice_damaged = calloc(divide->slice_count, sizeof *divide->slice_damaged);
    check(divide->slice_damaged);
    divide->slice_damaged[from] = true;
    for (size_t i = from + 1; i < divide->slice_count; i++) {
        Error ignored = {0}; /* what cannot be read now is found when it is */
        divide->slice_damaged[i] = slice_verify(stager->files, &divide->slices[i], &ignored) == SLICE_READ_DAMAGED;
    }
    return error_set(error, -EBADMSG, "a slice of a file that is divided is damaged");
}

static int divide_file(Stager *stager, Divide *divide, Error *error) {
    Txn *txn = NULL;
    PackWriter *writer = NULL;
    size_t done = 0;
    const OffsetRun *runs = divide->runs.items;
    int r = txn_begin_read(stager->environment, &txn, error);
    if (r == 0) r = failpoint_error("stager.before-divide", error);
    if (r == 0) r = pack_create(stager->files, &divide->pack, &stager->instance, &writer, error);
    for (size_t i = 0; i < divide->slice_count && r == 0; i++) {
        const SliceRecord *slice = &divide->slices[i];
        size_t count = 0;
        while (done + count < divide->part_count && divide->parts[done + count].first_row < slice->first_row + slice->rows) count++;
        r = move_slice(stager, txn, divide, slice, runs, divide->parts + done, count, writer, error);
        if (r == SLICE_READ_DAMAGED) r = find_damaged(stager, divide, i, error);
        done += count;
        if (slice->run_count > 0) runs += slice->run_count;
    }
    if (txn) txn_abort(txn);
    check(r != 0 || done == divide->part_count); /* each part was written */
    divide->record.id = divide->pack;
    if (r == 0) {
        r = pack_finish(steal(writer), &divide->record.bytes, error);
        if (r < 0) (void)pack_remove(stager->files, &divide->pack, NULL);
    }
    pack_abandon(writer);
    return r;
}

/* ---- what an earlier process left ------------------------------------------------------------ */

/* What fails is left to the next start. */
static void sweep(Stager *stager, const Sweep *sweep) {
    RecoveryReport report = {0};
    Error error = {0};
    Txn *txn;
    int r = txn_begin_read(stager->environment, &txn, &error);
    if (r == 0) {
        r = recovery_sweep_staging(stager->files, txn, &stager->instance, sweep->now, &report, &error);
        txn_abort(txn);
    }
    if (r < 0) log_failure(LOG_ERROR, "cannot search staging/ for files of an earlier process", &error);
    if (report.orphans > 0) log_warning("%zu staging files that the ledger does not know were moved to staging/orphans/", report.orphans);
    metrics_add(METRIC_ORPHANS, report.orphans);
}

/* ---- expired files --------------------------------------------------------------------------- */

static int copy_slice(Files *files, const SliceRecord *slice, File *to, void *buffer, Error *error) {
    char path[64];
    File *from = NULL;
    pack_path(&slice->pack, path);
    int r = files->open(files, path, &from, error);
    for (uint64_t done = 0; r == 0 && done < slice->length;) {
        size_t size = slice->length - done < COPY_BYTES ? (size_t)(slice->length - done) : COPY_BYTES;
        r = files->read(files, from, slice->offset + done, buffer, size, error);
        if (r == 0) r = files->append(files, to, (Span){.data = buffer, .size = size}, error);
        done += size;
    }
    files->close(files, from);
    return r;
}

static int copy_expired(Stager *stager, Expire *expire, Error *error) {
    Files *files = stager->files;
    char id[UUID_TEXT_SIZE + 1] = {0}, path[80], temporary[96];
    uuid_format(&expire->file, id);
    (void)snprintf(path, sizeof path, "staging/expired/%s.slices", id);
    (void)snprintf(temporary, sizeof temporary, "%s.tmp", path);

    File *to = NULL;
    void *buffer = malloc(COPY_BYTES);
    check(buffer);
    int r = files->make_directory(files, "staging/expired", 0700, error);
    if (r == 0) (void)files->remove(files, temporary, NULL); /* of a try that a crash ended */
    if (r == 0) r = files->create(files, temporary, 0600, &to, error);
    for (size_t i = 0; i < expire->slice_count && r == 0; i++) {
        r = copy_slice(files, &expire->slices[i], to, buffer, error);
        expire->bytes += expire->slices[i].length;
    }
    if (r == 0) r = failpoint_error("expiry.before-sync", error);
    if (r == 0) r = files->sync(files, to, error);
    files->close(files, to);
    if (r == 0) r = failpoint_error("expiry.before-rename", error);
    if (r == 0) r = files->rename(files, temporary, path, error);
    if (r == 0) r = failpoint_error("expiry.after-rename", error);
    if (r == 0) r = files->sync_directory(files, "staging/expired", error);
    if (r == 0) r = files->sync_directory(files, "staging", error);
    if (r < 0 && to) (void)files->remove(files, temporary, NULL);
    free(buffer);
    return r;
}

/* ---- messages -------------------------------------------------------------------------------- */

bool stager_step(Stager *stager) {
    check_on_thread(&stager->owner);
    if (!stager->taken) stager->taken = mailbox_take(stager->mailbox);
    Message *message = stager->taken;
    if (!message) return false;
    stager->taken = message->next;
    switch (message->kind) {
    case MESSAGE_SWEEP:
        sweep(stager, (const Sweep *)message);
        free(message);
        break;
    case MESSAGE_STAGE: {
        Stage *stage = (Stage *)message;
        stage->request.result = write_pack(stager, stage, &stage->request.error);
        mailbox_post(stage->request.reply, message);
        break;
    }
    case MESSAGE_DIVIDE: {
        Divide *divide = (Divide *)message;
        divide->request.result = divide_file(stager, divide, &divide->request.error);
        mailbox_post(divide->request.reply, message);
        break;
    }
    case MESSAGE_EXPIRE: {
        Expire *expire = (Expire *)message;
        expire->request.result = copy_expired(stager, expire, &expire->request.error);
        mailbox_post(expire->request.reply, message);
        break;
    }
    case MESSAGE_DRAIN: free(message); break; /* the writer gives out nothing more by itself */
    default: unreachable();
    }
    return true;
}

static void refuse(Message *message) {
    static const char text[] = "The gateway is shutting down.";
    if (message->kind == MESSAGE_STAGE) {
        Stage *stage = (Stage *)message;
        stage->request.result = error_set(&stage->request.error, -ECANCELED, "%s", text);
        mailbox_post(stage->request.reply, message);
    } else if (message->kind == MESSAGE_DIVIDE) {
        Divide *divide = (Divide *)message;
        divide->request.result = error_set(&divide->request.error, -ECANCELED, "%s", text);
        mailbox_post(divide->request.reply, message);
    } else if (message->kind == MESSAGE_EXPIRE) {
        Expire *expire = (Expire *)message;
        expire->request.result = error_set(&expire->request.error, -ECANCELED, "%s", text);
        mailbox_post(expire->request.reply, message);
    } else {
        free(message);
    }
}

void stager_free(Stager *stager) {
    if (!stager) return;
    mailbox_pass(stager->mailbox); /* its thread has ended */
    for (int round = 0; round < 2; round++) {
        Message *next = NULL;
        for (Message *message = round == 0 ? stager->taken : mailbox_take(stager->mailbox); message; message = next) {
            next = message->next;
            refuse(message);
        }
    }
    mailbox_free(stager->mailbox);
    free(stager);
}
