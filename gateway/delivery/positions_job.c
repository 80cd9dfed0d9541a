#include "gateway/delivery/positions_job.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "gateway/delivery/load_job.h"

static void copy_target(SinkTarget *to, const SinkTarget *from, LoadJob *job) {
    json_t *stored = sink_target_store(from);
    check(stored && sink_target_load(stored, to, &job->request.error) == 0);
    json_decref(stored);
}

static LoadJob *job_new(MessageKind kind, const SinkTarget *target, const char *label, uint32_t sink, Mailbox *reply, void *context) {
    LoadJob *job = load_job_new(kind, reply, context);
    job->connection = text_copy(target->connection);
    job->label = text_copy(label);
    job->sink = sink;
    copy_target(&job->target, target, job);
    return job;
}

/* Copies the texts of a key into the job; keys come in their order. */
static PartitionKey take_key(LoadJob *job, const PartitionKey *key, const char *topic_id, const char **ret_topic_id) {
    Partition copy = {.number = (uint32_t)job->partitions.count + 1,
                      .cluster = text_copy(key->cluster),
                      .group = text_copy(key->group),
                      .topic = text_copy(key->topic),
                      .topic_id = text_copy(topic_id ? topic_id : ""),
                      .generation = key->generation,
                      .partition = key->partition};
    PartitionKey own = {
        .cluster = copy.cluster, .group = copy.group, .topic = copy.topic, .generation = copy.generation, .partition = copy.partition};
    *ret_topic_id = topic_id ? copy.topic_id : NULL;
    partitions_take(&job->partitions, &copy);
    return own;
}

/* ---- claims ---------------------------------------------------------------------------------- */

static int by_claim(const void *a, const void *b) {
    return partition_key_compare(&((const PositionClaim *)a)->key, &((const PositionClaim *)b)->key);
}

/* By topic and partition alone: the order of a claim's keys, as there is one generation of a
 * topic. */
static int compare_place(const char *topic, int32_t partition, const PartitionKey *key) {
    int order = strcmp(topic, key->topic);
    return order != 0 ? order : (partition > key->partition) - (partition < key->partition);
}

static void sort_claims(PositionClaim *claims, size_t count) {
    qsort(claims, count, sizeof *claims, by_claim);
    for (size_t i = 1; i < count; i++) {
        const PartitionKey *key = &claims[i].key, *before = &claims[i - 1].key;
        check(strcmp(key->cluster, before->cluster) == 0 && strcmp(key->group, before->group) == 0);
        check(compare_place(key->topic, key->partition, before) > 0);
        check(key->generation == before->generation || strcmp(key->topic, before->topic) != 0);
    }
}

LoadJob *claim_job_new(const SinkTarget *target, const char *label, uint32_t sink, const PositionClaim *claims, size_t count,
                       bool only_listed, Mailbox *reply, void *context) {
    check(count > 0);
    LoadJob *job = job_new(MESSAGE_CLAIM, target, label, sink, reply, context);
    job->claims_listed = only_listed;
    job->claims = calloc(count, sizeof *job->claims);
    check(job->claims);
    memcpy(job->claims, claims, count * sizeof *claims);
    sort_claims(job->claims, count);
    job->claim_count = count;
    for (size_t i = 0; i < count; i++) {
        PositionClaim *claim = &job->claims[i];
        claim->key = take_key(job, &claim->key, claim->topic_id, &claim->topic_id);
        claim->next = 0;
        claim->was_there = false;
    }
    return job;
}

const PositionClaim *claim_job_find(const LoadJob *job, const char *topic, int32_t partition) {
    size_t low = 0, high = job->claim_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_place(topic, partition, &job->claims[middle].key);
        if (order == 0) return &job->claims[middle];
        if (order > 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* The last one of the topic in the order of what was listed: by cluster, topic, generation. */
static const ListedPosition *last_listed(const LoadJob *job, const char *cluster, const char *topic) {
    size_t low = 0, high = job->listed_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const PartitionKey *key = &job->listed[middle].key;
        int order = strcmp(cluster, key->cluster);
        if (order == 0) order = strcmp(topic, key->topic);
        if (order >= 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0) return NULL;
    const ListedPosition *last = &job->listed[low - 1];
    return strcmp(last->key.cluster, cluster) == 0 && strcmp(last->key.topic, topic) == 0 ? last : NULL;
}

const ListedPosition *claim_job_listed(const LoadJob *job, const char *topic) {
    return last_listed(job, job->claims[0].key.cluster, topic);
}

void positions_job_take_generations(LoadJob *job) {
    const ListedPosition *last = NULL;
    for (size_t i = 0; i < job->claim_count; i++) {
        PartitionKey *key = &job->claims[i].key;
        if (i == 0 || strcmp(key->topic, job->claims[i - 1].key.topic) != 0) last = last_listed(job, key->cluster, key->topic);
        if (last && last->key.generation > key->generation) key->generation = last->key.generation;
    }
    sort_claims(job->claims, job->claim_count);
}

LoadJob *list_job_new(const SinkTarget *target, const char *label, uint32_t sink, const char *group, Mailbox *reply, void *context) {
    LoadJob *job = job_new(MESSAGE_LIST, target, label, sink, reply, context);
    job->group = text_copy(group);
    return job;
}

/* ---- swaps ----------------------------------------------------------------------------------- */

static int by_limit(const void *a, const void *b) {
    return partition_key_compare(&((const SwapLimit *)a)->key, &((const SwapLimit *)b)->key);
}

LoadJob *swap_job_new(const SinkTarget *target, const char *label, uint32_t sink, const char *group, const SwapLimit *limits, size_t count,
                      bool allow_empty, Mailbox *reply, void *context) {
    check(target->table.strategy == STRATEGY_REPLACE && run_of_group(group) > 0);
    LoadJob *job = job_new(MESSAGE_SWAP, target, label, sink, reply, context);
    job->group = text_copy(group);
    job->allow_empty = allow_empty;
    job->limits = calloc(count + 1, sizeof *job->limits);
    check(job->limits);
    job->limit_count = count;
    for (size_t i = 0; i < count; i++) {
        const char *none;
        check(strcmp(limits[i].key.group, group) == 0);
        job->limits[i] = (SwapLimit){.key = take_key(job, &limits[i].key, NULL, &none), .limit = limits[i].limit};
    }
    qsort(job->limits, count, sizeof *job->limits, by_limit);
    return job;
}

/* ---- all of a group -------------------------------------------------------------------------- */

static LoadJob *group_job_new(GroupDeed deed, const SinkTarget *target, const char *label, uint32_t sink, const char *group, Mailbox *reply,
                              void *context) {
    LoadJob *job = job_new(MESSAGE_GROUP_POSITIONS, target, label, sink, reply, context);
    job->deed = deed;
    job->group = text_copy(group);
    return job;
}

LoadJob *remove_job_new(const SinkTarget *target, const char *label, uint32_t sink, const char *group, Mailbox *reply, void *context) {
    return group_job_new(GROUP_REMOVE, target, label, sink, group, reply, context);
}

LoadJob *give_up_job_new(const SinkTarget *target, const char *label, uint32_t sink, const char *group, Mailbox *reply, void *context) {
    return group_job_new(GROUP_GIVE_UP, target, label, sink, group, reply, context);
}

LoadJob *copy_job_new(const SinkTarget *from, const SinkTarget *to, const char *label, uint32_t sink, const char *group, Mailbox *reply,
                      void *context) {
    LoadJob *job = group_job_new(GROUP_COPY, to, label, sink, group, reply, context);
    copy_target(&job->copied_from, from, job);
    return job;
}

/* ---- seeks ----------------------------------------------------------------------------------- */

static int by_position(const void *a, const void *b) {
    return partition_key_compare(&((const ImportPosition *)a)->key, &((const ImportPosition *)b)->key);
}

LoadJob *seek_job_new(const SinkTarget *target, const char *label, uint32_t sink, const ImportPosition *positions, size_t count,
                      bool backwards, bool compare, Mailbox *reply, void *context) {
    check(count > 0);
    LoadJob *job = job_new(MESSAGE_SEEK, target, label, sink, reply, context);
    job->positions = calloc(count, sizeof *job->positions);
    check(job->positions);
    memcpy(job->positions, positions, count * sizeof *positions);
    qsort(job->positions, count, sizeof *job->positions, by_position);
    job->position_count = count;
    job->seeks_backwards = backwards;
    job->seeks_where_equal = compare;
    for (size_t i = 0; i < count; i++) {
        const char *none;
        job->positions[i].key = take_key(job, &job->positions[i].key, NULL, &none);
    }
    check(positions_are_ordered(job->positions, count));
    return job;
}

const ImportPosition *seek_job_find(const LoadJob *job, const PartitionKey *key) {
    const ImportPosition wanted = {.key = *key};
    return bsearch(&wanted, job->positions, job->position_count, sizeof wanted, by_position);
}
