#include "sinks/swap.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void swap_begin(SwapJob *job) {
    check(job->target->table.strategy == STRATEGY_REPLACE && run_of_group(job->group) > 0);
    for (size_t i = 0; i < job->limit_count; i++) {
        check(strcmp(job->limits[i].key.group, job->group) == 0);
        check(i == 0 || partition_key_compare(&job->limits[i - 1].key, &job->limits[i].key) < 0);
    }
    job->outcome = 0;
    job->later_run = job->rows = job->swallowed_rows = 0;
    job->took_too_long = false;
}

ImportPosition *swap_positions(const SwapJob *job) {
    ImportPosition *positions = calloc(job->limit_count + 1, sizeof *positions);
    check(positions);
    for (size_t i = 0; i < job->limit_count; i++) positions[i].key = job->limits[i].key;
    return positions;
}

bool swap_is_complete(const SwapJob *job, const ImportPosition *positions) {
    for (size_t i = 0; i < job->limit_count; i++)
        if (!positions[i].found || positions[i].read < job->limits[i].limit) return false;
    return true;
}

SwapOutcome swap_outcome_of_marks(SwapJob *job, const RunMarks *marks) {
    bool is_new = false;
    switch (run_marks_state(marks, job->group, &is_new)) {
    case RUN_OPEN: return is_new ? SWAP_NOT_COMPLETE : 0;
    case RUN_DONE: return SWAP_DONE_BEFORE;
    case RUN_SUPERSEDED: job->later_run = run_marks_last(marks); return SWAP_SUPERSEDED;
    }
    unreachable();
}

SinkResult swap_check_counts(SwapJob *job, uint64_t collected, uint64_t inserted, uint64_t there, Error *error) {
    if (there == inserted && inserted <= collected) {
        if (inserted == 0 && !job->allow_empty) {
            job->outcome = SWAP_EMPTY;
            job->swallowed_rows = collected;
            return SINK_DONE;
        }
        job->rows = there;
        job->swallowed_rows = collected - inserted;
        return SINK_DONE;
    }
    (void)error_set(error, -EINVAL,
                    "The table \"%s\" has %" PRIu64 " rows after its old ones were deleted and %" PRIu64
                    " new ones inserted: a trigger or rule of the table keeps or adds rows. The old rows are kept.",
                    job->target->table.table_id, there, inserted);
    return SINK_REFUSED;
}
