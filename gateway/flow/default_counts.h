/*
 * Counts how often the defaults of a sink's columns were used for stored events. It exists as long
 * as the sink in this process (a part of its SinkGate). It counts by the names of the columns, so
 * it continues if the definition changes. Any thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef struct DefaultCounts DefaultCounts;

DefaultCounts *default_counts_new(void);
void default_counts_free(DefaultCounts *counts); /* NULL-safe; no other thread may use it any more */
/* `place`: index of the column in its sink, where the search begins. */
void default_counts_add(DefaultCounts *counts, const char *column, size_t place, uint64_t uses);
/* Returns 0 if the default of a column of that name was never used. */
uint64_t default_counts_of(DefaultCounts *counts, const char *column);
