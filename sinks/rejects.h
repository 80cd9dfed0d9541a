/*
 * The rows that a destination refused in one import, with copies of their text, until they are handed to the job. Bounded by count and
 * by bytes: a file of nothing but bad rows must not fill the memory. One thread. All-zero is empty.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "sinks/driver.h"

#define REJECTS_BYTES_MOST ((size_t)64 << 20)

typedef struct SinkRejects {
    Arena arena; /* texts */
    SinkReject *items;
    size_t count, capacity;
} SinkRejects;

/* Copies `reason` (newlines become spaces) and `csv`. SINK_DONE, or SINK_REFUSED when the job allows no more. */
SinkResult sink_rejects_add(SinkRejects *rejects, const ImportJob *job, const ImportFile *file, uint64_t row, const char *reason, Span csv,
                            Error *error);
/* Hands them to the job, when there are any, and sets job->rejected_rows. SINK_RETRY when they could not be stored. */
SinkResult sink_rejects_store(const SinkRejects *rejects, ImportJob *job, Error *error);
void sink_rejects_deinit(SinkRejects *rejects);
