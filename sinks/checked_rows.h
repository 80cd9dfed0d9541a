/*
 * The rows of a file as a driver sends them: the cells of some columns are checked, rows with a
 * cell that does not fit are left out, and cells may get another text. A row that is left out is
 * reported once, however often the rows are read. The rows that are given keep their numbers, so
 * that there are holes between blocks. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/span.h"
#include "sinks/driver.h"

/* NULL: the text fits. Else the words that say why it does not, as in "is out of range". What is
 * appended to `changed` is sent in place of the text; nothing: the text itself. Pure. */
typedef const char *(*CellCheck)(const void *context, Span text, Buffer *changed);

typedef struct CellRule {
    CellCheck test;      /* NULL: any text fits. NULL in the cell always fits */
    const void *context; /* of the check */
    const char *subject; /* of a reason: "column "n" is integer" */
} CellRule;

typedef struct CheckedRows {
    SinkRows rows; /* first: a SinkRows * is a CheckedRows * */
    SinkRows *source;
    const CellRule *rules;
    size_t rule_count; /* the cells up to the last one that has a rule */
    /* Called for each row that is left out, in row order: < 0 ends the reading, with the error. */
    int (*refuse)(void *context, uint64_t row, const char *reason, Span csv, Error *error);
    void *context;
    bool sends_originals; /* rows are given as they are in the source, without those that are left out */
    uint64_t refused;     /* rows, each counted once */
    bool has_failed;      /* `refuse` has ended the reading */
    uint64_t looked_at;   /* rows below this number have been */
    Span left;            /* of the source's block; its first record is `row` */
    uint64_t row, rows_left;
    Buffer out;         /* the rows that are given, when a cell of them is changed */
    const char *copied; /* the source's text before it is in `out` */
    Buffer cell, changed;
} CheckedRows;

/* The source, rules and context are borrowed. `rules`: `count` of them, by index of the cell. */
void checked_rows_init(CheckedRows *rows, SinkRows *source, const CellRule *rules, size_t count,
                       int (*refuse)(void *context, uint64_t row, const char *reason, Span csv, Error *error), void *context);
void checked_rows_deinit(CheckedRows *rows);
