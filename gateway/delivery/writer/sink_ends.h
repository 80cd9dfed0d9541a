/*
 * How far the log has each partition for one sink of a bridge: where its next run has to begin. No disk: it mirrors the records of the database
 * (storage/partitions.h), and holds what the transaction in the making would change.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct SinkEnd {
    uint32_t partition; /* its number */
    int64_t end;        /* -1: there is nothing of it */
    /* of the transaction in the making */
    uint64_t transaction, append; /* that the offsets below belong to: numbers of the group builder */
    int64_t planned, tried;       /* end, with the Appends of the transaction; with the Append that is looked at, too */
} SinkEnd;

typedef struct SinkEnds {
    SinkEnd *items; /* by partition */
    size_t count, capacity;
    size_t known; /* of them, with an end */
} SinkEnds;

int64_t sink_ends_find(const SinkEnds *ends, uint32_t partition); /* -1: there is none */
void sink_ends_put(SinkEnds *ends, uint32_t partition, int64_t end);
void sink_ends_clear(SinkEnds *ends);
void sink_ends_deinit(SinkEnds *ends);
/* Is it a sink of a bridge, as far as is known? */
static inline bool sink_ends_any(const SinkEnds *ends) {
    return ends->known > 0;
}

/* The end as the Appends leave it that the transaction has so far. */
int64_t sink_ends_planned(const SinkEnds *ends, uint64_t transaction, uint32_t partition);
/* A run of an Append: does it go on where the partition ends, with the runs of the Append before it? `anywhere`: it sets the end. */
bool sink_ends_try(SinkEnds *ends, uint64_t transaction, uint64_t append, uint32_t partition, int64_t first, int64_t next, bool anywhere);
/* All runs of the Append that was tried last did: it is of the transaction. */
void sink_ends_plan(SinkEnds *ends, uint64_t transaction, uint32_t partition);
