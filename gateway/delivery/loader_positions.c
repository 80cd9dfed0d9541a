#include "gateway/delivery/loader_positions.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/failpoint.h"
#include "gateway/delivery/positions_job.h"

static PositionsOwner owner_of(const Loader *loader, const LoadJob *job) {
    return (PositionsOwner){.instance = loader->loaders->options.instance, .sink_label = job->label};
}

SinkResult loader_takes_positions(const Kept *kept, LoadJob *job) {
    if (kept->driver->positions) return SINK_DONE;
    (void)error_set(&job->request.error, -EINVAL, "Connection \"%s\" cannot store positions, so rows of a broker cannot be imported there.",
                    job->connection);
    return SINK_REFUSED;
}

SinkResult loader_advance(const Loader *loader, Kept *kept, LoadJob *job) {
    PositionsJob positions = {.owner = owner_of(loader, job),
                              .target = &job->target,
                              .positions = job->positions,
                              .position_count = job->position_count,
                              .runs = job->runs,
                              .run_count = job->run_count};
    SinkResult result = loader_takes_positions(kept, job);
    return result == SINK_DONE ? kept->driver->positions->advance(kept->session, &positions, &job->request.error) : result;
}

static SinkResult list(const Kept *kept, LoadJob *job, const char *group) {
    SinkResult result = loader_takes_positions(kept, job);
    arena_deinit(&job->arena); /* of an earlier try */
    job->arena = (Arena){0};
    job->listed = NULL;
    job->listed_count = 0;
    if (result != SINK_DONE) return result;
    return kept->driver->positions->list(kept->session, &job->target, group, &job->arena, &job->listed, &job->listed_count,
                                         &job->request.error);
}

SinkResult loader_list(const Kept *kept, LoadJob *job) {
    return list(kept, job, job->group);
}

/* What is left of them then is somebody else's, and is listed. */
static SinkResult remove_group(const Loader *loader, Kept *kept, LoadJob *job) {
    SinkResult result = kept->driver->positions->remove(kept->session, &job->target, job->group, &loader->loaders->options.instance,
                                                        &job->changed, &job->request.error);
    return result == SINK_DONE ? list(kept, job, job->group) : result;
}

SinkResult loader_group(const Loader *loader, Kept *kept, LoadJob *job) {
    SinkResult result = loader_takes_positions(kept, job);
    job->changed = 0;
    if (result != SINK_DONE) return result;
    if (job->deed == GROUP_REMOVE) return remove_group(loader, kept, job);
    if (job->deed == GROUP_GIVE_UP)
        return kept->driver->positions->give_up(kept->session, &job->target, job->group, &loader->loaders->options.instance, &job->changed,
                                                &job->request.error);
    return kept->driver->positions->copy(kept->session, &job->copied_from, &job->target, job->group, &job->changed, &job->request.error);
}

static bool any_listed(const LoadJob *job) {
    for (size_t i = 0; i < job->listed_count; i++)
        if (strcmp(job->listed[i].key.cluster, job->claims[0].key.cluster) == 0) return true;
    return false;
}

SinkResult loader_claim(const Loader *loader, Kept *kept, LoadJob *job) {
    SinkResult result = list(kept, job, job->claims[0].key.group);
    if (result != SINK_DONE) return result;
    job->request.error = (Error){0};
    job->claimed = !job->claims_listed || any_listed(job);
    if (!job->claimed) return SINK_DONE;
    positions_job_take_generations(job);
    ClaimJob claim = {.owner = owner_of(loader, job), .target = &job->target, .claims = job->claims, .count = job->claim_count};
    result = kept->driver->positions->claim(kept->session, &claim, &job->request.error);
    job->run_state = claim.state;
    job->later_run = claim.later_run;
    return result;
}

SinkResult loader_swap(const Loader *loader, Kept *kept, LoadJob *job, SwapJob *swap) {
    swap->owner = owner_of(loader, job);
    swap->target = &job->target;
    swap->group = job->group;
    swap->limits = job->limits;
    swap->limit_count = job->limit_count;
    swap->allow_empty = job->allow_empty;
    SinkResult result = loader_takes_positions(kept, job);
    if (result != SINK_DONE) return result;
    (void)failpoint_hit("loader.before-swap");
    result = kept->driver->positions->swap(kept->session, swap, &job->request.error);
    if (result != SINK_DONE) return result;
    (void)failpoint_hit("loader.after-swap"); /* a crash here finds the run done */
    job->swap_outcome = swap->outcome;
    job->later_run = swap->later_run;
    job->rows = swap->rows;
    job->swallowed_rows = swap->swallowed_rows;
    return SINK_DONE;
}

SinkResult loader_seek(const Loader *loader, Kept *kept, LoadJob *job) {
    SinkResult result = loader_takes_positions(kept, job);
    if (result != SINK_DONE) return result;
    size_t size = job->position_count * sizeof *job->positions;
    ImportPosition *given = malloc(size);
    check(given);
    memcpy(given, job->positions, size);
    SeekJob seek = {.owner = owner_of(loader, job),
                    .target = &job->target,
                    .positions = job->positions,
                    .count = job->position_count,
                    .backwards = job->seeks_backwards,
                    .compare = job->seeks_where_equal};
    result = kept->driver->positions->seek(kept->session, &seek, &job->request.error);
    int code = job->request.error.code;
    if (result != SINK_DONE && code != -EBUSY && code != -ERANGE) memcpy(job->positions, given, size);
    free(given);
    return result;
}
