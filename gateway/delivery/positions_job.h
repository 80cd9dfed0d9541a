/*
 * Claims and seeks as jobs for a loader: what a bridge has done about positions at the destination
 * of a sink. Any thread; a job belongs to one at a time.
 */
#pragma once

#include "gateway/flow/messages.h"

/*
 * A job of MESSAGE_CLAIM: makes the positions of all these partitions (key, topic_id, start,
 * earliest) for the sink, or reads those that are there. In any order, of one cluster and group,
 * each topic and partition once; the texts are copied. All topics of the first time belong in one
 * job. The table of positions need not be there, nor the sink's.
 *
 * The job finds the present generation of each topic: a claim of a lower one than the table has
 * becomes one of the highest that it has. Back, with SINK_DONE, `claims` have next and was_there,
 * and `listed` is what the table had of the group before, of all generations: with another topic_id
 * at the highest one than the broker tells, the topic was made anew. `only_listed`: where the table
 * has no position of the group and the cluster nothing is claimed, and the job comes back without
 * `claimed`. load_job_free().
 */
LoadJob *claim_job_new(const SinkTarget *target, const char *label, uint32_t sink, const PositionClaim *claims, size_t count,
                       bool only_listed, Mailbox *reply, void *context);
/*
 * Of a table that is replaced: the group is that of a run, and the job comes back with run_state
 * and later_run, see ClaimJob. Then the table of the sink is made as well, if the run begins.
 */
/* NULL: it was not claimed. */
const PositionClaim *claim_job_find(const LoadJob *job, const char *topic, int32_t partition);
/* Of the highest generation that was listed; NULL: none of the topic was. */
const ListedPosition *claim_job_listed(const LoadJob *job, const char *topic);

/*
 * A job of MESSAGE_SWAP: the rows of a run (`group`, as run_group() makes it) replace those of the
 * table, once all positions are at their limits. In any order, each partition once; the texts are
 * copied. The job comes back with swap_outcome, rows and the like, see SwapJob. load_job_free().
 */
LoadJob *swap_job_new(const SinkTarget *target, const char *label, uint32_t sink, const char *group, const SwapLimit *limits, size_t count,
                      bool allow_empty, Mailbox *reply, void *context);

/*
 * A job of MESSAGE_SEEK: sets positions (key, next), see SeekJob for `backwards`. `compare`: only
 * where they are as found and read say. In any order, of one cluster and group, each partition
 * once; the texts are copied. After -EBUSY and -ERANGE, `read` says what is there; after other
 * failures it is unknown whether they were set. load_job_free().
 */
LoadJob *seek_job_new(const SinkTarget *target, const char *label, uint32_t sink, const ImportPosition *positions, size_t count,
                      bool backwards, bool compare, Mailbox *reply, void *context);
/* NULL: it is not of the job. */
const ImportPosition *seek_job_find(const LoadJob *job, const PartitionKey *key);

/* A job of MESSAGE_LIST, which may be made one of MESSAGE_ORIGIN: back, with SINK_DONE, `listed` is
 * all that the table has of the group, of all clusters and generations, in key order. None when
 * there is no table of positions. load_job_free(). */
LoadJob *list_job_new(const SinkTarget *target, const char *label, uint32_t sink, const char *group, Mailbox *reply, void *context);
/*
 * Jobs of MESSAGE_GROUP_POSITIONS: all positions of the group in the table are removed, unless
 * another gateway has set any of them since, and what is left comes back in `listed`; or they
 * become those of another table of the same connection as well, but where it has some already.
 * `changed` is how many. load_job_free().
 */
/* Or an open run is given up (PositionsDriver.give_up). */
LoadJob *give_up_job_new(const SinkTarget *target, const char *label, uint32_t sink, const char *group, Mailbox *reply, void *context);
LoadJob *remove_job_new(const SinkTarget *target, const char *label, uint32_t sink, const char *group, Mailbox *reply, void *context);
LoadJob *copy_job_new(const SinkTarget *from, const SinkTarget *to, const char *label, uint32_t sink, const char *group, Mailbox *reply,
                      void *context);

/* For the loader: raises the generations of the claims by what was listed, and puts them in key
 * order. */
void positions_job_take_generations(LoadJob *job);
