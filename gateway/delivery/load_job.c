#include "gateway/delivery/load_job.h"

#include <stdlib.h>

static void drop_job(Request *request) {
    load_job_free((LoadJob *)request);
}

LoadJob *load_job_new(MessageKind kind, Mailbox *reply, void *context) {
    LoadJob *job = calloc(1, sizeof *job);
    check(job);
    job->request = (Request){.message = {.kind = (int)kind}, .reply = reply, .context = context, .drop = drop_job};
    return job;
}

void load_job_free(LoadJob *job) {
    if (!job) return;
    for (size_t i = 0; i < job->file_count; i++) {
        file_record_deinit(&job->files[i].file);
        free(job->files[i].slices);
        free(job->files[i].slice_damaged);
        free(job->files[i].runs);
    }
    free(job->files);
    free(job->runs);
    free(job->positions);
    free(job->claims);
    free(job->limits);
    sink_target_deinit(&job->copied_from);
    arena_deinit(&job->arena);
    partitions_deinit(&job->partitions);
    free(job->connection);
    free(job->label);
    free(job->group);
    sink_target_deinit(&job->target);
    inferred_columns_free(job->wanted, job->wanted_count);
    inferred_columns_free(job->named, job->named_count);
    free(job->settled);
    ledger_history_free(job->history);
    for (size_t i = 0; i < job->table_count; i++) free(job->tables[i]);
    free(job->tables);
    free(job->needs);
    free(job->test);
    table_inspection_deinit(&job->inspection);
    free(job);
}
