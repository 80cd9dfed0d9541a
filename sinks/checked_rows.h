/*
 * A reader that checks the cells of some columns before a driver sends the rows. It leaves out each
 * row with a cell that does not fit, and can replace the text of a cell. A row that is left out is
 * reported once, even if the rows are read several times. The other rows keep their numbers, so the
 * row numbers of successive blocks can have gaps. Used by one thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/span.h"
#include "sinks/driver.h"

/* Returns NULL if the text fits, or else the reason as static text, such as "is out of range". If
 * the function appends a text to `changed`, that text is sent instead of the original one. Pure. */
typedef const char *(*CellCheck)(const void *context, Span text, Buffer *changed);

typedef struct CellRule {
    CellCheck test;      /* NULL: any text fits. A cell that is NULL always fits */
    const void *context; /* passed to `test` */
    const char *subject; /* begins the reason, for example: column "n" is integer */
} CellRule;

typedef struct CheckedRows {
    SinkRows rows; /* first: a SinkRows * is a CheckedRows * */
    SinkRows *source;
    const CellRule *rules;
    size_t rule_count; /* number of cells up to the last one that has a test */
    /* Called for each row that is left out, in the order of the rows. A result < 0 ends the reading
     * with the error. */
    int (*refuse)(void *context, uint64_t row, const char *reason, Span csv, Error *error);
    void *context;
    bool sends_originals; /* cells keep the text of the source; rows are still left out */
    uint64_t refused;     /* number of rows that were left out, each counted once */
    bool has_failed;      /* `refuse` has ended the reading */
    uint64_t looked_at;   /* rows below this number were checked before */
    Span left;            /* rest of the source's block; its first record has the number `row` */
    uint64_t row, rows_left;
    Buffer out;         /* the returned rows, if a cell of them was changed */
    const char *copied; /* the text of the source before this place was copied to `out` */
    Buffer cell, changed;
} CheckedRows;

/* Borrows the source, the rules and the context. `rules` has `count` elements, one for each cell,
 * and at least one of them has a test. */
void checked_rows_init(CheckedRows *rows, SinkRows *source, const CellRule *rules, size_t count,
                       int (*refuse)(void *context, uint64_t row, const char *reason, Span csv, Error *error), void *context);
void checked_rows_deinit(CheckedRows *rows);
