/*
 * The search for bad rows in a file, as numbers: which range of rows is tried next. A range that is
 * refused shrinks until the bad row is alone. After it the ranges grow again. Pure. One thread.
 */
#pragma once

#include <stdint.h>

#define ROW_SEARCH_NONE UINT64_MAX

typedef struct RowSearch {
    uint64_t window;   /* size of the next range in row numbers, at least 1 */
    uint64_t suspect;  /* the row that a hint names, which is tried alone when the rows before it were accepted; or none */
    uint64_t bad_end;  /* there is a bad row before this one; 0: none is known */
    uint64_t last_bad; /* the last bad row; at first the first row of the file */
} RowSearch;

/* Begins with the whole file as one range. */
RowSearch row_search_start(uint64_t first_row);
/* Begins behind other ranges, at `row`, with a range of `window` row numbers. */
RowSearch row_search_resume(uint64_t row, uint64_t window);
/* The rows from `first` up to, but not including, `next` (two or more) were refused. The next range
 * is the rows before the suspect (or none), or the suspect alone, or half of the range. */
void row_search_refused(RowSearch *search, uint64_t first, uint64_t next, uint64_t suspect);
/* A range of at least one row that ends before `next` was accepted. */
void row_search_went_through(RowSearch *search, uint64_t next);
/* The row is bad. Bad rows are found from front to back. */
void row_search_found(RowSearch *search, uint64_t row);
