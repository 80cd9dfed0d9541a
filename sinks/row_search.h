/*
 * The search for bad rows in a file, as numbers: which range of rows is tried next. A range that is
 * refused shrinks until the bad row stands alone; after it the ranges grow again. Pure. One thread.
 */
#pragma once

#include <stdint.h>

#define ROW_SEARCH_NONE UINT64_MAX

typedef struct RowSearch {
    uint64_t window;   /* of the next range: row numbers from its first row on, at least 1 */
    uint64_t suspect;  /* the row that a hint names: tried alone when what is before it went through; or none */
    uint64_t bad_end;  /* a bad row lies before this one; 0: none is known */
    uint64_t last_bad; /* the last row that was bad, at first the first row of the file */
} RowSearch;

/* At first the whole file is one range. */
RowSearch row_search_start(uint64_t first_row);
/* The rows from `first` to before `next`, two or more, were refused: next is what lies before the
 * suspect (or none), or that row alone, or half. */
void row_search_refused(RowSearch *search, uint64_t first, uint64_t next, uint64_t suspect);
/* A range of at least one row that ends before `next` went through. */
void row_search_went_through(RowSearch *search, uint64_t next);
/* The row is bad. They are found from front to back. */
void row_search_found(RowSearch *search, uint64_t row);
