/*
 * Reads the rows of a file one record at a time, as CSV text. Drivers use it for the few records
 * that they must name, count or refuse individually. The text is the one that mapping writes: `\n`
 * ends a record unless it is inside quotes. Used by one thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/span.h"
#include "sinks/driver.h"

/* Returns the size in bytes of the first record of `csv` with its newline, or 0 if the record is
 * not complete. */
size_t csv_record_size(Span csv);

/* Returns the size in bytes of the first `count` records, or 0 if there are fewer. */
size_t csv_record_sizes(Span csv, uint64_t count);

/* Returns the size in bytes of the first cell of a record, with its quotes and without the comma or
 * newline after it. Returns csv.size if the cell does not end. */
size_t csv_cell_size(Span csv);
/* Returns the text of a cell that is not NULL, without quotes. The text is part of `cell` or of
 * `unquoted`, which is overwritten. */
Span csv_cell_text(Span cell, Buffer *unquoted);

/* Appends one cell as CSV text, with quotes where the format requires them. */
void csv_record_put_cell(Buffer *out, const SinkCell *cell);
/* Appends one record with its newline. */
void csv_record_put(Buffer *out, const SinkCell *cells, size_t count);

typedef struct CsvWalk {
    SinkRows *reader;
    Span left;          /* rest of the current block; valid until the next block is read */
    uint64_t row;       /* number of the first record of `left` */
    uint64_t rows_left; /* in the current block */
} CsvWalk;

/* Starts at the first row whose number is >= `row`. */
int csv_walk_start(CsvWalk *walk, SinkRows *reader, uint64_t row, Error *error);
/* Returns the next record and its row number. *ret_csv is valid until the next call. Returns 0,
 * SINK_ROWS_END, or < 0: -EBADMSG if a block has fewer rows than it claims. */
int csv_walk_next(CsvWalk *walk, Span *ret_csv, uint64_t *ret_row, Error *error);
