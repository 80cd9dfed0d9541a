/*
 * Rows of the buffer as text for people and programs: ndjson (RFC 8259, a row per line) or CSV
 * (RFC 4180). One thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/span.h"
#include "config/definition.h"
#include "mapping/row.h"

typedef struct RowDump {
    FILE *out; /* borrowed */
    bool csv;
    uint64_t rows; /* written so far */
    /* Of the rows that follow: */
    SinkTarget target;
    bool has_target;
    char *label;    /* "SOURCE/SINK" */
    Buffer header;  /* of the CSV: the line that was written last */
    Buffer line;    /* of the row that is written */
    RowCell *cells; /* target.column_count, and one more where rows may delete */
    size_t cell_count;
} RowDump;

/* All-zero, then `out` and `csv` set, is ready. The rows that follow are those of the target
 * (`json`: the text of sink_target_store). In CSV a header line is written where the columns differ
 * from those before. -EBADMSG: the text is no target. */
int row_dump_target(RowDump *dump, const char *label, Span json, Error *error);
/* Whole rows, the first of which has the number. -EBADMSG: they are not rows of the target. -EIO:
 * they cannot be written. */
int row_dump_rows(RowDump *dump, uint64_t first_row, Span rows, Error *error);
void row_dump_deinit(RowDump *dump);
