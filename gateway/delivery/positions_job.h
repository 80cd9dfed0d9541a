/*
 * Jobs for a loader that read or change the positions of a bridge at the destination of a sink:
 * claims, seeks and the like. Any thread can use these functions; a job belongs to one thread at a
 * time.
 */
#pragma once

#include "gateway/flow/messages.h"

/*
 * Makes a job of MESSAGE_CLAIM. The job creates the positions of the given partitions (key,
 * topic_id, start, earliest) for the sink, or reads those that exist. The claims are in any order,
 * of one cluster and group, with each topic and partition once. The texts are copied. The first
 * claim of a source has all its topics in one job. Neither the table of positions nor the table of
 * the sink needs to exist.
 *
 * The job finds the current generation of each topic: a claim of a lower generation than the
 * highest one in the table becomes a claim of the highest one. After SINK_DONE, `claims` have next
 * and was_there. `listed` has the positions of the group that the table had before, of all
 * generations. If the highest generation has a topic_id that differs from the broker's, the topic
 * was created again. `only_listed`: if the table has no position of the group and the cluster,
 * nothing is claimed, and the job returns without `claimed`.
 *
 * If the table is replaced by each run, the group is that of a run. The job then also returns
 * run_state and later_run (see ClaimJob), and creates the table of the sink if the run begins.
 * load_job_free().
 */
LoadJob *claim_job_new(const SinkTarget *target, const char *label, uint32_t sink, const PositionClaim *claims, size_t count,
                       bool only_listed, Mailbox *reply, void *context);
/* Returns the claim of a partition, owned by the job. NULL: the job does not claim it. */
const PositionClaim *claim_job_find(const LoadJob *job, const char *topic, int32_t partition);
/* Returns a listed position of the topic with the highest generation, owned by the job. NULL: no
 * position of the topic was listed. */
const ListedPosition *claim_job_listed(const LoadJob *job, const char *topic);

/*
 * Makes a job of MESSAGE_SWAP: the rows of a run replace those of the table, if all positions have
 * reached their limits. `group` is the group of the run, as run_group() makes it. The limits are in
 * any order, with each partition once. The texts are copied. The job returns with swap_outcome,
 * rows and the other results of SwapJob. load_job_free().
 */
LoadJob *swap_job_new(const SinkTarget *target, const char *label, uint32_t sink, const char *group, const SwapLimit *limits, size_t count,
                      bool allow_empty, Mailbox *reply, void *context);

/*
 * Makes a job of MESSAGE_SEEK, which sets positions (key, next). SeekJob describes `backwards`.
 * `compare`: sets them only if the existing ones match `found` and `read`. The positions are in any
 * order, of one cluster and group, with each partition once. The texts are copied. After -EBUSY and
 * -ERANGE, `read` has the existing value. After other failures it is unknown whether the positions
 * were set. load_job_free().
 */
LoadJob *seek_job_new(const SinkTarget *target, const char *label, uint32_t sink, const ImportPosition *positions, size_t count,
                      bool backwards, bool compare, Mailbox *reply, void *context);
/* Returns the position of the key, owned by the job. NULL: the job does not have it. */
const ImportPosition *seek_job_find(const LoadJob *job, const PartitionKey *key);

/* Makes a job of MESSAGE_LIST; the caller may change it to MESSAGE_ORIGIN. After SINK_DONE,
 * `listed` has all positions of the group, of all clusters and generations, in key order. It is
 * empty if the table of positions does not exist. load_job_free(). */
LoadJob *list_job_new(const SinkTarget *target, const char *label, uint32_t sink, const char *group, Mailbox *reply, void *context);
/*
 * The next three functions make jobs of MESSAGE_GROUP_POSITIONS. load_job_free().
 *   give_up_job_new  gives up an open run (PositionsDriver.give_up)
 *   remove_job_new   removes all positions of the group, unless another gateway has set any of them
 *                    since; `listed` has the remaining ones
 *   copy_job_new     copies the positions to another table of the same connection, except those
 *                    that it already has
 * After a removal or a copy, `changed` is the number of positions.
 */
LoadJob *give_up_job_new(const SinkTarget *target, const char *label, uint32_t sink, const char *group, Mailbox *reply, void *context);
LoadJob *remove_job_new(const SinkTarget *target, const char *label, uint32_t sink, const char *group, Mailbox *reply, void *context);
LoadJob *copy_job_new(const SinkTarget *from, const SinkTarget *to, const char *label, uint32_t sink, const char *group, Mailbox *reply,
                      void *context);

/* For the loader: raises the generations of the claims to the highest listed ones, and sorts the
 * claims by key. */
void positions_job_take_generations(LoadJob *job);
