#include "storage/unrecorded.h"

#include <stdlib.h>

#include "base/array.h"
#include "base/checksum.h"
#include "storage/commit_log.h"
#include "storage/pack.h"

/* More are no crash, but a database that is not theirs: it would take long to find out. */
#define SLICES_MOST 20000

typedef struct Wanted {
    SliceRecord slice;
    size_t pack;        /* index of its pack */
    uint64_t next_row;  /* the rows before it were found */
    Checksum *checksum; /* of those */
} Wanted;

/* The slices of one sink, one after another. The log has the rows of a sink in their order, so each
 * is looked at only while its own rows pass. */
typedef struct WantedSink {
    uint32_t sink;
    size_t end;
    size_t next;             /* the first one whose rows have not begun to pass */
    size_t open, open_count; /* opened[open..open + open_count): those whose rows are passing, without a gap so far */
} WantedSink;

typedef struct UnrecordedSearch {
    Wanted *items; /* by sink and first row */
    size_t count, capacity;
    WantedSink *sinks; /* by sink */
    size_t sink_count, sink_capacity;
    size_t *opened; /* count of them: each sink has the part that its items have */
} UnrecordedSearch;

/* false: it may hold anything. */
static bool add_pack(Files *files, const Uuid *id, const Uuid *instance, size_t pack, UnrecordedSearch *search) {
    char path[64];
    PackDirectory directory;
    pack_path(id, path);
    if (pack_read_directory(files, path, &directory, NULL) < 0) return false;
    bool ours = uuid_equal(&directory.instance, instance) && uuid_equal(&directory.id, id) && directory.count > 0;
    bool taken = ours && search->count + directory.count <= SLICES_MOST;
    for (size_t i = 0; taken && i < directory.count; i++) {
        array_reserve(search->items, search->count, search->capacity);
        search->items[search->count++] = (Wanted){
            .slice = directory.slices[i], .pack = pack, .next_row = directory.slices[i].first_row, .checksum = checksum_new()};
    }
    pack_directory_deinit(&directory);
    return taken;
}

static int by_sink_and_row(const void *a, const void *b) {
    const SliceRecord *left = &((const Wanted *)a)->slice, *right = &((const Wanted *)b)->slice;
    if (left->sink != right->sink) return left->sink < right->sink ? -1 : 1;
    return left->first_row < right->first_row ? -1 : left->first_row > right->first_row;
}

static void index_by_sink(UnrecordedSearch *search) {
    qsort(search->items, search->count, sizeof *search->items, by_sink_and_row);
    search->opened = calloc(search->count, sizeof *search->opened);
    check(search->opened);
    for (size_t i = 0; i < search->count; i++) {
        uint32_t sink = search->items[i].slice.sink;
        if (search->sink_count == 0 || search->sinks[search->sink_count - 1].sink != sink) {
            array_reserve(search->sinks, search->sink_count, search->sink_capacity);
            search->sinks[search->sink_count++] = (WantedSink){.sink = sink, .next = i, .open = i};
        }
        search->sinks[search->sink_count - 1].end = i + 1;
    }
}

static int compare_sinks(const void *key, const void *item) {
    uint32_t sink = *(const uint32_t *)key, other = ((const WantedSink *)item)->sink;
    return sink < other ? -1 : sink > other;
}

/* true: more of its rows may follow. */
static bool take_entry(Wanted *wanted, const GroupEntry *entry, Span rows) {
    const SliceRecord *slice = &wanted->slice;
    uint64_t end = slice->first_row + slice->rows;
    if (wanted->next_row != entry->first_row || entry->rows > end - entry->first_row) return false;
    if (entry->mapping_version != slice->mapping_version) return false;
    checksum_add(wanted->checksum, rows.data, rows.size);
    wanted->next_row += entry->rows;
    return wanted->next_row < end;
}

static void compare_entry(UnrecordedSearch *search, const GroupEntry *entry, Span rows) {
    if (search->sink_count == 0 || entry->rows == 0) return;
    WantedSink *sink = bsearch(&entry->sink, search->sinks, search->sink_count, sizeof *sink, compare_sinks);
    if (!sink) return;
    /* A slice that begins within an entry is none that was made from this log. */
    for (; sink->next < sink->end && search->items[sink->next].slice.first_row <= entry->first_row; sink->next++) {
        if (search->items[sink->next].slice.first_row == entry->first_row) search->opened[sink->open + sink->open_count++] = sink->next;
    }
    check(sink->open + sink->open_count <= sink->next);
    size_t kept = 0;
    for (size_t i = 0; i < sink->open_count; i++) {
        size_t at = search->opened[sink->open + i];
        if (take_entry(&search->items[at], entry, rows)) search->opened[sink->open + kept++] = at;
    }
    sink->open_count = kept;
}

static void compare_group(UnrecordedSearch *search, const GroupView *group) {
    for (size_t i = 0; i < group->count; i++) compare_entry(search, &group->entries[i], group->rows[i]);
}

static int read_log(Txn *txn, UnrecordedSearch *search, Error *error) {
    CommitLogReader *reader;
    int r = commit_log_reader_new(txn, 1, &reader, error);
    if (r < 0) return r;
    for (;;) {
        GroupView group;
        r = commit_log_read(reader, &group, error);
        if (r < 0 || r == COMMIT_LOG_READ_END) break;
        if (r != COMMIT_LOG_READ_DAMAGED) compare_group(search, &group);
    }
    commit_log_reader_free(reader);
    return r < 0 ? r : 0;
}

int unrecorded_find(Files *files, Txn *txn, const Uuid *instance, const Uuid *packs, size_t count, bool *ret_unrecorded, Error *error) {
    check(count == 0 || (packs && ret_unrecorded));
    UnrecordedSearch search = {0};
    int r = 0;
    for (size_t i = 0; i < count; i++) ret_unrecorded[i] = add_pack(files, &packs[i], instance, i, &search);
    if (search.count > 0) {
        index_by_sink(&search);
        r = read_log(txn, &search, error);
    }
    for (size_t i = 0; i < search.count; i++) {
        const Wanted *wanted = &search.items[i];
        bool found = wanted->next_row == wanted->slice.first_row + wanted->slice.rows &&
                     checksum_end(wanted->checksum) == wanted->slice.checksum;
        if (!found) ret_unrecorded[wanted->pack] = false;
        checksum_free(wanted->checksum);
    }
    free(search.items);
    free(search.sinks);
    free(search.opened);
    return r;
}
