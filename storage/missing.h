/*
 * Slices that wait for their import and whose bytes are not in staging/: the pack is missing, or is
 * shorter than the ledger says. They may be missing only for a moment (a file system that is not
 * mounted), so nothing is decided here. A start without them is refused, and only an admin can give
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

/* Looks for every pack with slices that are not done. Any answer of the file system other than
 * -ENOENT (a directory that may not be read) is an error. */
int missing_find(Files *files, Txn *txn, MissingSlices *ret_missing, Error *error);
/* Returns the number of items from `at` on that are rows of one sink without a gap, and the number
 * of these rows. `at` < count. */
size_t missing_run(const MissingSlices *missing, size_t at, uint64_t *ret_rows);
void missing_deinit(MissingSlices *missing);
