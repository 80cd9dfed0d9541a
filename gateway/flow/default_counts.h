/*
 * How often the defaults of a sink's columns were used for events that are stored. One for the life
 * of a sink in this process (a part of its SinkGate), by the names of the columns, so that it goes
 * on when the definition changes. Any thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef struct DefaultCounts DefaultCounts;

DefaultCounts *default_counts_new(void);
void default_counts_free(DefaultCounts *counts); /* NULL-safe; nobody uses it any more */
/* `place`: of the column in its sink, where it is looked for first. */
void default_counts_add(DefaultCounts *counts, const char *column, size_t place, uint64_t uses);
/* 0: the default of a column of that name was never used. */
uint64_t default_counts_of(DefaultCounts *counts, const char *column);
