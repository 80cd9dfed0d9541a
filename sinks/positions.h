/*
 * Positions of bridges, and the decisions that an import makes with them. A position belongs to one
 * consumer group, one partition and one table. It is the offset that the group reads next for this
 * table. It is stored at the destination of the rows, and set in the transaction that writes them.
 * Only the stored position decides which rows are imported. This module does no I/O.
 *
 * A run consists of the rows of one sink that were made from the records [first, next) of one
 * partition. It can have no rows. The runs of a partition have no gaps between them as long as they
 * come from one reader. A gap means that another reader has read further, or that rows are missing
 * here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

/* One partition of one generation of a topic, as one group reads it. The table belongs to the
 * import. */
typedef struct PartitionKey {
    const char *cluster; /* the name that the broker gives for its cluster */
    const char *group;
    const char *topic;
    uint32_t generation; /* number of times that the topic was created again */
    int32_t partition;
} PartitionKey;

/* Compares keys: texts by strcmp(), then numbers by value. All imports lock positions in this
 * order. Returns < 0, 0 or > 0. */
int partition_key_compare(const PartitionKey *a, const PartitionKey *b);

typedef struct ImportPosition {
    PartitionKey key; /* in; the texts belong to the caller */
    bool found;       /* the destination has the position; set by a driver together with `read` */
    bool over;        /* set by a driver, for a table that is replaced: the run is over or never began; `found` is false then */
    int64_t read;     /* the value at the destination; set before positions_decide */
    int64_t next;     /* out: the new value; equal to `read` if no run was taken */
} ImportPosition;

/* Are the keys in the order of partition_key_compare, without duplicates? */
bool positions_are_ordered(const ImportPosition *positions, size_t count);

typedef enum RunOutcome {
    RUN_TAKEN = 1, /* it begins at the position: its rows are imported */
    RUN_OVERTAKEN, /* the position is after it: another import took the records. Or the position is `over`: the records are not needed */
    /* The run begins after the position, or the position is inside the run. The records must be
     * read again from the position. Later runs of the partition are returned too, until a run
     * begins at the position. That run has the records that were read again; it can be in the
     * same file. */
    RUN_RETURNED,
} RunOutcome;

typedef struct ImportRun {
    size_t position;     /* index of its partition in the import's positions */
    int64_t first, next; /* offsets, first < next */
    uint64_t first_row;  /* number of its first row; if it has no rows: number of the next row */
    uint64_t rows;       /* number of rows; the rows of one record are never in two runs */
    bool lost;           /* in: its rows can no longer be read, so it is never taken */
    RunOutcome outcome;  /* out */
} ImportRun;

/* Before the runs of the first file of an import. */
void positions_begin(ImportPosition *positions, size_t count);
/* Decides about the runs of the next file, in their order. Returns how many rows are left out, of
 * those that are not lost. */
uint64_t positions_decide(ImportPosition *positions, size_t position_count, ImportRun *runs, size_t run_count);

/*
 * The outcomes of a file's runs as text, for the ledger: a letter for each outcome (t, o, r) and
 * how many runs in a row have it, "t12o1r7". Empty without runs.
 */
void runs_put_outcomes(const ImportRun *runs, size_t count, Buffer *out);
/* Sets the outcomes from such a text. false: it is none of so many runs; then they are
 * undefined. */
bool runs_take_outcomes(ImportRun *runs, size_t count, const char *text);
