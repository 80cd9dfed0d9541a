/*
 * Slices that wait for their import and whose bytes are not in staging/: the pack is not there, or
 * it is shorter than the ledger says. They may be away for a moment (a file system that is not
 * mounted), so nothing is decided here: a start without them is refused, and only an admin gives
 * them up. The writer's thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/files.h"
#include "storage/ledger.h"

typedef struct MissingSlice {
    SliceRecord slice;
    char *label; /* owned: "SOURCE/SINK" of its file */
} MissingSlice;

typedef struct MissingSlices {
    MissingSlice *items; /* owned; by sink and first row */
    size_t count, capacity;
    size_t packs;
    uint64_t rows;
} MissingSlices;

/* Looks for every pack of which slices are not done. What the file system answers but -ENOENT (a
 * folder that may not be read) is an error. */
int missing_find(Files *files, Txn *txn, MissingSlices *ret_missing, Error *error);
/* How many items from `at` on are rows of one sink without a gap, and how many rows these are; at <
 * count. */
size_t missing_run(const MissingSlices *missing, size_t at, uint64_t *ret_rows);
void missing_deinit(MissingSlices *missing);
