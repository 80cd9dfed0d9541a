/*
 * Partitions that bridges read, and how far they are read. A partition is a partition of one
 * generation of a topic, as one consumer group of one cluster reads it; for JetStream it is a
 * stream. The log and the slices have its number, which is never used twice.
 *
 * The end of a partition, for each sink, is the `next` of the last run that the log has for the
 * sink. The next run has to begin there. An end may be forgotten without harm: the first run after
 * an assignment sets it. The record stays without an end, and shows that the sink belongs to a
 * bridge. The mark of a partition is data of a bridge that is stored with the rows, and replaced as
 * a whole. Bridges have it if their broker keeps no positions.
 *
 * These are records of the database `cursors`; docs/formats.md has each byte. The writer's thread,
 * except partition_find and partitions_of_runs, which any thread may call.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "storage/environment.h"
#include "storage/offset_run.h"

typedef struct Partition {
    uint32_t number; /* from 1; 0: it has no number yet */
    char *cluster;   /* owned, like all texts */
    char *group;     /* consumer group */
    char *topic;     /* or stream */
    char *topic_id;  /* "": not known. It defines the generation, so it is not part of the key */
    uint32_t generation;
    int32_t partition;
} Partition;

void partition_deinit(Partition *partition);
Partition partition_copy(const Partition *partition);
/* Order of keys: cluster, group, topic, generation, partition. */
int partition_compare(const Partition *a, const Partition *b);

enum { PARTITION_NOT_FOUND = 1 };
/* Returns 0 or PARTITION_NOT_FOUND; -EBADMSG: the record is damaged. The caller releases
 * `ret_partition` with partition_deinit(). */
int partition_find(Txn *txn, uint32_t number, Partition *ret_partition, Error *error);

/* All partitions with a number, in memory. All-zero is empty. */
typedef struct Partitions {
    Partition *items; /* owned, by number */
    size_t count, capacity;
    uint32_t *by_key; /* owned: indexes in `items` */
    size_t by_key_capacity;
} Partitions;

/* -EBADMSG: a record is damaged (repair.h). */
int partitions_load(Txn *txn, Partitions *ret_partitions, Error *error);
void partitions_deinit(Partitions *partitions);
/* Returns NULL if the partition has no number yet. The result is valid until the next change. */
const Partition *partitions_find(const Partitions *partitions, const Partition *key);
const Partition *partitions_get(const Partitions *partitions, uint32_t number);
/* Gives a new partition the next number. -EOVERFLOW: no number is left. */
int partitions_add(Txn *txn, Partitions *partitions, const Partition *key, uint32_t *ret_number, Error *error);
/* Adds a partition whose number is higher than all others; takes its texts. */
void partitions_take(Partitions *partitions, Partition *take_partition);
/* Keeps only the first `count` partitions, after the transaction was aborted. */
void partitions_undo(Partitions *partitions, size_t count);
/* Returns the partitions that the runs name, by number. Unknown and damaged ones are left out. For
 * packs. */
int partitions_of_runs(Txn *txn, const OffsetRun *runs, size_t count, Partitions *ret_partitions, Error *error);

/* Returns 0, or PARTITION_NOT_FOUND if there is no end or it was forgotten; -EBADMSG: damaged. */
int partition_end_find(Txn *txn, uint32_t sink, uint32_t partition, int64_t *ret_end, Error *error);
int partition_end_set(Txn *txn, uint32_t sink, uint32_t partition, int64_t end, Error *error);
/* Sets the ends: for each sink and partition the `next` of its last run. In the transaction that
 * appends the runs. */
int partition_ends_set(Txn *txn, const OffsetRun *runs, size_t count, Error *error);
/* Forgets the end, so that the next run may begin anywhere. The record stays without an end.
 * `left`: -1, or the end of the log when the rows of the sink began to go to another table, which
 * may begin behind it. */
int partition_end_forget(Txn *txn, uint32_t sink, uint32_t partition, int64_t left, Error *error);
/* Removes all records of a sink that is deleted for good. */
int partition_ends_forget(Txn *txn, uint32_t sink, Error *error);
/* Visits by sink and partition. A result < 0 of the visit ends the walk and is returned. `sink` 0:
 * all sinks. `end` -1: it was forgotten, with `left`. */
typedef int (*PartitionEndVisit)(void *context, uint32_t sink, uint32_t partition, int64_t end, int64_t left, Error *error);
int partition_ends_visit(Txn *txn, uint32_t sink, PartitionEndVisit visit, void *context, Error *error);

/* The mark of a partition. Set replaces it; it is not empty. Find returns 0 or PARTITION_NOT_FOUND;
 * the mark is valid until the transaction ends or writes; -EBADMSG: damaged. */
int partition_mark_set(Txn *txn, uint32_t partition, Span mark, Error *error);
int partition_mark_find(Txn *txn, uint32_t partition, Span *ret_mark, Error *error);
