/*
 * The chain of each partition for one sink of a bridge: the runs that wait cover the records [from,
 * end) without a hole, as far as they were not decided about at the destination. `end` is where the
 * next run has to begin, and `from` where the records begin that may have to be read again. A
 * partition whose chain was forgotten has neither: the next run begins anywhere, and sets them. No
 * disk: it mirrors the records of the database (storage/partitions.h), which have the ends alone,
 * and holds what the transaction in the making would change.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/offset_run.h"

typedef struct SinkEnd {
    uint32_t partition; /* its number */
    bool recorded;      /* the database has a record of it */
    bool unsaved;       /* it was forgotten, which the database does not say yet */
    int64_t from, end;  /* from <= end; -1: there is no chain */
    int64_t left;       /* of none: where the last one ended when the sink's rows began to go to another table; else -1 */
    uint64_t first_row; /* number of the first row of the chain, or of the row that follows: runs of rows before it are no part of it */
    uint64_t begun;     /* commit that the chain begins in; 0: the start found it */
    /* of the transaction in the making */
    uint64_t transaction, append; /* that the offsets below belong to: numbers of the group builder */
    int64_t planned, tried;       /* end, with the Appends of the transaction; with the Append that is looked at, too */
} SinkEnd;

typedef struct SinkEnds {
    SinkEnd *items; /* by partition */
    size_t count, capacity;
    size_t known;   /* of them, recorded */
    size_t unsaved; /* of them */
} SinkEnds;

const SinkEnd *sink_ends_find(const SinkEnds *ends, uint32_t partition); /* NULL: nothing is known of it; else there may be no chain */
void sink_ends_clear(SinkEnds *ends);
void sink_ends_deinit(SinkEnds *ends);
/* Is it a sink of a bridge, as far as is known? */
static inline bool sink_ends_any(const SinkEnds *ends) {
    return ends->known > 0;
}

/* Adds a record of the database. An `end` of -1 means that the end was forgotten. The chain is
 * empty, because the waiting runs are not known yet. */
void sink_ends_load(SinkEnds *ends, uint32_t partition, int64_t end, int64_t left);
/* Sets the beginning of a loaded chain that has waiting runs. */
void sink_ends_begin_at(SinkEnds *ends, uint32_t partition, int64_t from, uint64_t first_row);
/* A run follows in the log, its rows from `first_row`, in `commit`. true: it does not go on, so a
 * chain begins with it. */
bool sink_ends_add(SinkEnds *ends, const OffsetRun *run, uint64_t first_row, uint64_t commit);
/* States that the records before the position were imported. Returns false if the position is
 * outside the chain. */
bool sink_ends_reach(SinkEnds *ends, uint32_t partition, int64_t position);
/* The rows of the sink go to another table from now on, and the database says so: each chain is
 * forgotten, with its end in `left`. */
void sink_ends_leave(SinkEnds *ends);
/* `sink_ends_saved`: once the database says so. */
void sink_ends_forget(SinkEnds *ends, uint32_t partition);
void sink_ends_saved(SinkEnds *ends);

/* The end as the Appends leave it that the transaction has so far; -1: there is none. */
int64_t sink_ends_planned(const SinkEnds *ends, uint64_t transaction, uint32_t partition);
/* A run of an Append: does it go on where the partition ends, with the runs of the Append before
 * it? `anywhere`: it sets the end. */
bool sink_ends_try(SinkEnds *ends, uint64_t transaction, uint64_t append, uint32_t partition, int64_t first, int64_t next, bool anywhere);
/* All runs of the Append that was tried last did: it is of the transaction. */
void sink_ends_plan(SinkEnds *ends, uint64_t transaction, uint32_t partition);
/* Asserts that each chain can be. */
void sink_ends_check(const SinkEnds *ends, uint64_t next_row);
