/*
 * Partitions that bridges read, and how far. A partition is one of one generation of a topic, as
 * one consumer group of one cluster reads it; for JetStream, a stream. The log and the slices name
 * it by a number, which is never given twice. Its end, for each sink, is the `next` of the last run
 * that the log has of it for the sink: what is appended has to go on there. An end that is
 * forgotten costs nothing: the first run after an assignment sets it; what stays of it says that
 * the sink is one of a bridge. Its mark is what a bridge keeps with what it appends, whole, where
 * its broker keeps no positions. Records of the database `cursors`; docs/formats.md has each byte.
 * The writer's thread, but partition_find and partitions_of_runs, which any thread may call.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "storage/environment.h"
#include "storage/offset_run.h"

typedef struct Partition {
    uint32_t number; /* from 1; 0: not given yet */
    char *cluster;   /* owned, as all texts */
    char *group;     /* of consumers */
    char *topic;     /* or stream */
    char *topic_id;  /* "": not known. Says what a generation is, so it is no part of the key */
    uint32_t generation;
    int32_t partition;
} Partition;

void partition_deinit(Partition *partition);
Partition partition_copy(const Partition *partition);
/* Order of keys: cluster, group, topic, generation, partition. */
int partition_compare(const Partition *a, const Partition *b);

enum { PARTITION_NOT_FOUND = 1 };
/* `ret_partition`: partition_deinit() it. -EBADMSG: damaged. */
int partition_find(Txn *txn, uint32_t number, Partition *ret_partition, Error *error);

/* All partitions that have a number, in memory. All-zero is empty. */
typedef struct Partitions {
    Partition *items; /* owned, by number */
    size_t count, capacity;
    uint32_t *by_key; /* owned: places in `items` */
    size_t by_key_capacity;
} Partitions;

/* -EBADMSG: a record is damaged (repair.h). */
int partitions_load(Txn *txn, Partitions *ret_partitions, Error *error);
void partitions_deinit(Partitions *partitions);
/* NULL: it has none yet. Until the next call that changes them. */
const Partition *partitions_find(const Partitions *partitions, const Partition *key);
const Partition *partitions_get(const Partitions *partitions, uint32_t number);
/* Gives a partition that has none the next number. -EOVERFLOW: no number is left. */
int partitions_add(Txn *txn, Partitions *partitions, const Partition *key, uint32_t *ret_number, Error *error);
/* Adds one that has a number, above all that are there; takes its texts. */
void partitions_take(Partitions *partitions, Partition *take_partition);
/* The transaction was aborted: only the first `count` stay. */
void partitions_undo(Partitions *partitions, size_t count);
/* Those that the runs name, by number; what is not known, or damaged, is left out. For what is
 * written to a pack. */
int partitions_of_runs(Txn *txn, const OffsetRun *runs, size_t count, Partitions *ret_partitions, Error *error);

/* 0 or PARTITION_NOT_FOUND: there is none, or it was forgotten; -EBADMSG: damaged. */
int partition_end_find(Txn *txn, uint32_t sink, uint32_t partition, int64_t *ret_end, Error *error);
int partition_end_set(Txn *txn, uint32_t sink, uint32_t partition, int64_t end, Error *error);
/* Of each sink and partition the `next` of its last run. In the transaction that appends them. */
int partition_ends_set(Txn *txn, const OffsetRun *runs, size_t count, Error *error);
/* Where the next run begins is not known any more. The record stays, without an end. `left` -1, or
 * the end of what the log had when the rows of the sink began to go to another table: those there
 * may begin behind it. */
int partition_end_forget(Txn *txn, uint32_t sink, uint32_t partition, int64_t left, Error *error);
/* Removes all records of a sink that is erased. */
int partition_ends_forget(Txn *txn, uint32_t sink, Error *error);
/* < 0 from the visit ends the walk and is returned. `sink` 0: all. By sink and partition. `end` -1:
 * it was forgotten, with `left`. */
typedef int (*PartitionEndVisit)(void *context, uint32_t sink, uint32_t partition, int64_t end, int64_t left, Error *error);
int partition_ends_visit(Txn *txn, uint32_t sink, PartitionEndVisit visit, void *context, Error *error);

/* The mark of a partition. Set: in the place of the one before; it is not empty. Find: 0 or
 * PARTITION_NOT_FOUND; valid until the transaction ends or writes; -EBADMSG: damaged. */
int partition_mark_set(Txn *txn, uint32_t partition, Span mark, Error *error);
int partition_mark_find(Txn *txn, uint32_t partition, Span *ret_mark, Error *error);
