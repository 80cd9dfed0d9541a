/*
 * A reader that leaves out some rows of another reader by their numbers. The other rows keep their
 * numbers, so the row numbers of successive blocks can have gaps. Used by one thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/span.h"
#include "sinks/driver.h"

typedef struct SkippedRows {
    SinkRows rows; /* first: a SinkRows * is a SkippedRows *. `next` is not supported */
    SinkRows *source;
    const uint64_t *numbers; /* ascending, each once */
    size_t count;
    Span left; /* rest of the source's block; its first record has the number `row` */
    uint64_t row, rows_left;
} SkippedRows;

/* Borrows the source. Leaves out no row. There is nothing to free. */
void skipped_rows_init(SkippedRows *rows, SinkRows *source);
/* From the next seek on, these rows are left out, and no others. Borrows `numbers`; count 0: none. */
void skipped_rows_set(SkippedRows *rows, const uint64_t *numbers, size_t count);
