/*
 * The rows of a file one record at a time, as CSV text: for the few records that a driver has to
 * name, count or refuse one by one. The text is what mapping writes: `\n` ends a record unless it
 * stands between quotes. One thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/span.h"
#include "sinks/driver.h"

/* Bytes of the first record of `csv` with its newline; 0: no whole record. */
size_t csv_record_size(Span csv);

/* Bytes of the first `count` records; 0 when there are not so many. */
size_t csv_record_sizes(Span csv, uint64_t count);

/* Bytes of the first cell of a record, as it is written, without the comma or newline behind it;
 * csv.size: it does not end. */
size_t csv_cell_size(Span csv);
/* The text of a cell that is not NULL: of the record itself, or of `unquoted`, which is overwritten. */
Span csv_cell_text(Span cell, Buffer *unquoted);

/* One cell as CSV text, quoted where the row text demands it. */
void csv_record_put_cell(Buffer *out, const SinkCell *cell);
/* One whole record with its newline. */
void csv_record_put(Buffer *out, const SinkCell *cells, size_t count);

typedef struct CsvWalk {
    SinkRows *reader;
    Span left;          /* of the block at hand; valid until the next block */
    uint64_t row;       /* number of the first record of `left` */
    uint64_t rows_left; /* in the block at hand */
} CsvWalk;

/* Starts at the first row whose number is >= `row`. */
int csv_walk_start(CsvWalk *walk, SinkRows *reader, uint64_t row, Error *error);
/* 0 or SINK_ROWS_END; -EBADMSG when a block does not hold the rows that it claims. */
int csv_walk_next(CsvWalk *walk, Span *ret_csv, uint64_t *ret_row, Error *error);
