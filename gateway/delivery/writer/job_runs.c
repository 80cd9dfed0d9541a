#include "gateway/delivery/writer/job_runs.h"

#include <errno.h>
#include <stdlib.h>

#include "base/array.h"
#include "gateway/delivery/writer/watch.h"
#include "gateway/flow/partition_key.h"

/* While it is made, ImportRun.position is the number of the partition. */
typedef struct RunReader {
    Txn *txn;
    const Partitions *known;
    LoadFile *file;
    size_t slice; /* of those that can be read: the next one */
    OffsetRuns runs;
    size_t capacity;
    SliceRecord unknown; /* .rows > 0: a slice with runs of a partition that is not known */
} RunReader;

static void add_run(RunReader *reader, const OffsetRun *run, uint64_t first_row, bool lost) {
    LoadFile *file = reader->file;
    array_reserve(file->runs, file->run_count, reader->capacity);
    file->runs[file->run_count++] = (ImportRun){
        .position = run->partition, .first = run->first, .next = run->next, .first_row = first_row, .rows = run->rows, .lost = lost};
}

static int add_slice(void *context, const SliceRecord *slice, Error *error) {
    RunReader *reader = context;
    LoadFile *file = reader->file;
    if (!uuid_equal(&slice->file, &file->file.id)) return 0;
    bool readable = reader->slice < file->slice_count && file->slices[reader->slice].first_row == slice->first_row;
    if (readable) reader->slice++;
    if (slice->run_count == 0) return 0;
    reader->runs.count = 0;
    int r = ledger_read_runs(reader->txn, slice->sink, slice->first_row, &reader->runs, error);
    if (r != 0) return r < 0 ? r : error_set(error, -EBADMSG, "the runs of a slice are not in the ledger");
    uint64_t row = slice->first_row;
    for (size_t i = 0; i < reader->runs.count; i++) {
        const OffsetRun *run = &reader->runs.items[i];
        if (partitions_get(reader->known, run->partition)) {
            add_run(reader, run, row, !readable);
        } else if (readable) {
            reader->unknown = *slice;
        }
        row += run->rows;
    }
    return 0;
}

static int by_key(const void *a, const void *b) {
    return partition_key_compare(&((const ImportPosition *)a)->key, &((const ImportPosition *)b)->key);
}

/* Numbers become indexes of positions. */
static void resolve(ImportRun *runs, size_t count, const uint32_t *places) {
    for (size_t i = 0; i < count; i++) runs[i].position = places[runs[i].position];
}

static void mark(const ImportRun *runs, size_t count, uint32_t *places) {
    for (size_t i = 0; i < count; i++) places[runs[i].position] = 1;
}

/* The texts of those that are marked in `places`, and of the watched ones: those that have no
 * number get some that are of this job alone. */
static void copy_partitions(const Partitions *known, LoadJob *job, const Watched *watched, size_t watched_count, uint32_t *places,
                            size_t most) {
    for (size_t i = 0; i < watched_count; i++) {
        const Partition *partition = partitions_find(known, &watched[i].key->partition);
        if (partition) places[partition->number] = 1;
    }
    for (size_t i = 0; i < known->count; i++) {
        if (!places[known->items[i].number]) continue;
        Partition copy = partition_copy(&known->items[i]);
        partitions_take(&job->partitions, &copy);
    }
    for (size_t i = 0; i < watched_count; i++) {
        if (partitions_find(known, &watched[i].key->partition)) continue;
        Partition copy = partition_copy(&watched[i].key->partition);
        copy.number = (uint32_t)(most + i);
        partitions_take(&job->partitions, &copy);
    }
}

static void add_positions(const Partitions *known, LoadJob *job, const Watched *watched, size_t watched_count) {
    size_t most = 1;
    for (size_t i = 0; i < known->count; i++)
        if (known->items[i].number >= most) most = (size_t)known->items[i].number + 1;
    check(most + watched_count <= UINT32_MAX);
    uint32_t *places = calloc(most + watched_count, sizeof *places);
    check(places);
    mark(job->runs, job->run_count, places);
    for (size_t i = 0; i < job->file_count; i++) mark(job->files[i].runs, job->files[i].run_count, places);
    copy_partitions(known, job, watched, watched_count, places, most);
    job->position_count = job->partitions.count;
    job->positions = calloc(job->position_count + 1, sizeof *job->positions);
    check(job->positions);
    for (size_t i = 0; i < job->position_count; i++) job->positions[i].key = partition_key_of(&job->partitions.items[i]);
    qsort(job->positions, job->position_count, sizeof *job->positions, by_key);
    for (size_t i = 0; i < job->position_count; i++) {
        const Partition wanted = partition_wanted(&job->positions[i].key);
        const Partition *partition = partitions_find(&job->partitions, &wanted);
        check(partition);
        places[partition->number] = (uint32_t)i;
    }
    resolve(job->runs, job->run_count, places);
    for (size_t i = 0; i < job->file_count; i++) resolve(job->files[i].runs, job->files[i].run_count, places);
    free(places);
}

/* Is each row that can be read in a run? */
static bool all_in_runs(const LoadFile *file) {
    uint64_t rows = 0;
    for (size_t i = 0; i < file->slice_count; i++) rows += file->slices[i].rows;
    for (size_t i = 0; i < file->run_count; i++) rows -= file->runs[i].lost ? 0 : file->runs[i].rows;
    return rows == 0 && file->run_count > 0;
}

int job_runs_read(Txn *txn, const Partitions *known, LoadJob *job, LoadFile **ret_file, SliceRecord *ret_slice, Error *error) {
    bool any = false;
    int r = 0;
    for (size_t i = 0; i < job->file_count && r == 0; i++) {
        RunReader reader = {.txn = txn, .known = known, .file = &job->files[i]};
        const FileRecord *file = &job->files[i].file;
        r = ledger_visit_slices(txn, file->sink, file->first_row, file->rows, add_slice, &reader, error);
        offset_runs_deinit(&reader.runs);
        any = any || job->files[i].run_count > 0;
        if (r < 0 || reader.unknown.rows == 0) continue;
        *ret_file = &job->files[i];
        *ret_slice = reader.unknown;
        r = JOB_RUNS_UNKNOWN;
    }
    for (size_t i = 0; i < job->file_count && r == 0 && any; i++)
        if (!all_in_runs(&job->files[i])) r = error_set(error, -EBADMSG, "a file has rows of a broker's records and others");
    if (r == 0 && any) add_positions(known, job, NULL, 0);
    return r;
}

void job_runs_put(const Partitions *known, LoadJob *job, const JobPositions *wanted) {
    job->runs = calloc(wanted->run_count + 1, sizeof *job->runs);
    check(job->runs);
    for (size_t i = 0; i < wanted->run_count; i++) {
        const OffsetRun *run = &wanted->runs[i];
        check(run->rows == 0);
        if (!partitions_get(known, run->partition)) continue;
        job->runs[job->run_count++] = (ImportRun){
            .position = run->partition, .first = run->first, .next = run->next, .first_row = wanted->next_row};
    }
    add_positions(known, job, wanted->watched, wanted->watched_count);
}
