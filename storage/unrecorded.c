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

typedef struct UnrecordedSearch {
    Wanted *items; /* by sink and first row */
    size_t count, capacity;
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

static size_t first_of_sink(const UnrecordedSearch *search, uint32_t sink) {
    size_t low = 0, high = search->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (search->items[middle].slice.sink < sink) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void compare_group(UnrecordedSearch *search, const GroupView *group) {
    for (size_t i = 0; i < group->count; i++) {
        const GroupEntry *entry = &group->entries[i];
        for (size_t at = first_of_sink(search, entry->sink); at < search->count; at++) {
            Wanted *wanted = &search->items[at];
            const SliceRecord *slice = &wanted->slice;
            if (slice->sink != entry->sink || slice->first_row > entry->first_row) break;
            bool goes_on = wanted->next_row == entry->first_row && entry->rows <= slice->first_row + slice->rows - entry->first_row;
            if (!goes_on || entry->mapping_version != slice->mapping_version) continue;
            checksum_add(wanted->checksum, group->rows[i].data, group->rows[i].size);
            wanted->next_row += entry->rows;
        }
    }
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
    UnrecordedSearch search = {0};
    int r = 0;
    for (size_t i = 0; i < count; i++) ret_unrecorded[i] = add_pack(files, &packs[i], instance, i, &search);
    if (search.count > 0) {
        qsort(search.items, search.count, sizeof *search.items, by_sink_and_row);
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
    return r;
}
