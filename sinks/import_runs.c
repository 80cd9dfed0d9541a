#include "sinks/import_runs.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

bool import_has_runs(const ImportJob *job) {
    return job->position_count > 0;
}

static SinkResult missing(const PartitionKey *key, const char *table_id, Error *error) {
    (void)error_set(error, -ENODATA,
                    "positionsMissing: the table \"%s\" has no position of group \"%s\" in topic \"%s\", generation %u, partition %d of "
                    "cluster \"%s\"; a seek creates one.",
                    table_id, key->group, key->topic, key->generation, key->partition, key->cluster);
    return SINK_REFUSED;
}

/* Only those must be there that a run needs. */
static SinkResult positions_must_be_there(const ImportPosition *positions, size_t count, const ImportRun *runs, size_t run_count,
                                          const char *table_id, Error *error) {
    for (size_t i = 0; i < run_count; i++) {
        check(runs[i].position < count);
        const ImportPosition *position = &positions[runs[i].position];
        if (!position->found && !position->over) return missing(&position->key, table_id, error);
    }
    return SINK_DONE;
}

SinkResult import_runs_begin(const ImportJob *job, Error *error) {
    const char *table_id = sink_target_name(job->target);
    positions_begin(job->positions, job->position_count);
    for (size_t i = 0; i < job->file_count; i++) {
        const ImportFile *file = &job->files[i];
        SinkResult result = positions_must_be_there(job->positions, job->position_count, file->runs, file->run_count, table_id, error);
        if (result != SINK_DONE) return result;
    }
    return SINK_DONE;
}

void import_runs_decide(const ImportJob *job, size_t index) {
    ImportFile *file = &job->files[index];
    check(import_has_runs(job) && file->runs && file->run_count > 0);
    uint64_t rows = 0;
    for (size_t i = 0; i < file->run_count; i++) rows += file->runs[i].lost ? 0 : file->runs[i].rows;
    check(rows == file->rows); /* each row is in a run */
    file->left_out = positions_decide(job->positions, job->position_count, file->runs, file->run_count);
}

void import_runs_take_back(const ImportJob *job, size_t index) {
    check(job->files[index].already_imported);
    positions_begin(job->positions, job->position_count);
    for (size_t i = 0; i < index; i++) {
        const ImportFile *file = &job->files[i];
        if (!file->already_imported) (void)positions_decide(job->positions, job->position_count, file->runs, file->run_count);
    }
}

void import_runs_leave_out(const ImportFile *file) {
    SinkRange *ranges = calloc(file->run_count + 1, sizeof *ranges);
    size_t count = 0;
    check(ranges && file->reader->leave_out);
    for (size_t i = 0; i < file->run_count; i++) {
        const ImportRun *run = &file->runs[i];
        if (run->outcome == RUN_TAKEN || run->rows == 0) continue;
        if (count > 0 && ranges[count - 1].first_row + ranges[count - 1].rows == run->first_row)
            ranges[count - 1].rows += run->rows;
        else
            ranges[count++] = (SinkRange){.first_row = run->first_row, .rows = run->rows};
    }
    file->reader->leave_out(file->reader, ranges, count);
    free(ranges);
}

void import_runs_forget(ImportJob *job) {
    for (size_t i = 0; i < job->file_count; i++) job->files[i].left_out = 0;
}

size_t positions_changed(const ImportPosition *positions, size_t count, size_t **ret_changed) {
    size_t changed = 0;
    *ret_changed = calloc(count + 1, sizeof **ret_changed);
    check(*ret_changed);
    for (size_t i = 0; i < count; i++) {
        if (positions[i].next != positions[i].read) (*ret_changed)[changed++] = i;
    }
    return changed;
}

static bool is_same_group(const PartitionKey *a, const PartitionKey *b) {
    return strcmp(a->cluster, b->cluster) == 0 && strcmp(a->group, b->group) == 0;
}

ImportPosition *claim_positions(const ClaimJob *job) {
    check(job->count > 0);
    ImportPosition *positions = calloc(job->count, sizeof *positions);
    check(positions);
    for (size_t i = 0; i < job->count; i++) {
        positions[i].key = job->claims[i].key;
        check(is_same_group(&positions[i].key, &positions[0].key));
    }
    return positions;
}

void seek_assert(const SeekJob *job) {
    check(job->count > 0 && positions_are_ordered(job->positions, job->count));
    for (size_t i = 1; i < job->count; i++) check(is_same_group(&job->positions[i].key, &job->positions[0].key));
}

SinkResult seek_check(const SeekJob *job, const ImportPosition *before, Error *error) {
    for (size_t i = 0; i < job->count; i++) {
        const ImportPosition *position = &job->positions[i];
        if (job->compare && (position->found != before[i].found || (position->found && position->read != before[i].read))) {
            (void)error_set(error, -EBUSY, "The position of topic \"%s\", partition %d was changed by another session.",
                            position->key.topic, position->key.partition);
            return SINK_RETRY;
        }
        if (!job->backwards && position->found && position->next < position->read) {
            (void)error_set(error, -ERANGE, "The position of topic \"%s\", partition %d would go back, from %" PRId64 " to %" PRId64 ".",
                            position->key.topic, position->key.partition, position->read, position->next);
            return SINK_REFUSED;
        }
    }
    return SINK_DONE;
}

SinkResult positions_job_decide(const PositionsJob *job, Error *error) {
    SinkResult result = positions_must_be_there(job->positions, job->position_count, job->runs, job->run_count,
                                                sink_target_name(job->target), error);
    if (result != SINK_DONE) return result;
    positions_begin(job->positions, job->position_count);
    (void)positions_decide(job->positions, job->position_count, job->runs, job->run_count);
    return SINK_DONE;
}
