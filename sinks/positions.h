/*
 * Positions of bridges, and what an import decides by them. A position is the offset that a
 * consumer group reads next of one partition, as far as one table is concerned. It is stored where
 * the rows are, and set in the transaction that brings them: that alone decides what is imported.
 * Pure: no I/O.
 *
 * A run is what the records [first, next) of one partition became: some rows of one sink, or none.
 * The runs of a partition follow each other without a hole as long as they come from one reader; a
 * hole means that somebody else has read on, or that rows are missing here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

/* One partition of one generation of a topic, as one group reads it. The table belongs to the
 * import. */
typedef struct PartitionKey {
    const char *cluster; /* of the broker, as it names itself */
    const char *group;
    const char *topic;
    uint32_t generation; /* how often the topic was made anew */
    int32_t partition;
} PartitionKey;

/* Order of keys at the destination, so that all imports lock positions in one order: as strcmp()
 * and by number. */
int partition_key_compare(const PartitionKey *a, const PartitionKey *b);

typedef struct ImportPosition {
    PartitionKey key; /* in; the caller's texts */
    bool found;       /* the destination has it; a driver sets it with `read` */
    bool over;        /* of a table that is replaced: its run is over or was never begun. Not `found` then. A driver sets it */
    int64_t read;     /* as the destination has it; set it before positions_decide */
    int64_t next;     /* out: as it will be; equal to read when no run was taken */
} ImportPosition;

/* Are the keys in their order, each once? */
bool positions_are_ordered(const ImportPosition *positions, size_t count);

typedef enum RunOutcome {
    RUN_TAKEN = 1, /* it begins at the position: its rows are imported */
    RUN_OVERTAKEN, /* the position is behind it: somebody else imported the records. Or it is `over`: nobody wants the records any more */
    /* It begins behind the position, or the position lies inside it: the records are to be read
     * again from the position. Those behind it do not follow either, until a run begins at the
     * position: the records that were read again, which may lie in the same file. */
    RUN_RETURNED,
} RunOutcome;

typedef struct ImportRun {
    size_t position;     /* index of its partition in the import's positions */
    int64_t first, next; /* offsets, first < next */
    uint64_t first_row;  /* number of its first row; with rows = 0: of the row that would follow */
    uint64_t rows;       /* whole records: a record's rows are never in two runs */
    bool lost;           /* in: its rows cannot be read any more, so that it is never taken */
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
