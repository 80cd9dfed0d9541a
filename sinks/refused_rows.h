/*
 * The rows that a destination refused in one import, with copies of their text, until they are
 * handed to the job. Bounded by count and by bytes: a file of nothing but bad rows must not fill
 * the memory. One thread. All-zero is empty.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "sinks/driver.h"

#define REJECTS_BYTES_MAX ((size_t)64 << 20)
#define SWALLOWED_NAMED_MAX 1000 /* rows of one file: more are only counted */
#define SWALLOWED_BYTES_MAX ((size_t)16 << 20)

typedef struct SinkRejects {
    Arena arena; /* texts */
    SinkReject *items;
    size_t count, capacity;
    uint64_t refused;                      /* of the items; the others are swallowed rows */
    size_t refused_bytes, swallowed_bytes; /* of rows, with those that are no items any more */
    /* Of the file at hand. Swallowed: the table took them without an error and did not store them,
     * since a trigger or a rule said so. */
    size_t file_first; /* item */
    uint64_t swallowed, swallowed_named;
} SinkRejects;

extern const char sink_reason_swallowed[];

/* Copies `reason` (newlines become spaces) and `csv`. SINK_DONE, or SINK_REFUSED when the job
 * allows no more. */
SinkResult sink_rejects_add(SinkRejects *rejects, const ImportJob *job, const ImportFile *file, uint64_t row, const char *reason, Span csv,
                            Error *error);

/*
 * Swallowed rows, file by file: begin, add or count, end. They become rejects like others, with a
 * reason of their own, but for two cases: when none of the file's rows was stored, it is how the
 * table works (rows are sent elsewhere), and when they are many, they are what a filter of the
 * table takes out. Then they are only counted, in job->swallowed_rows. They never make an import
 * fail: refused rows have their limits for themselves, and as many swallowed ones as may be refused
 * are named besides.
 */
void sink_rejects_begin_file(SinkRejects *rejects);
/* Is it worth to look for `rows` more of them? */
bool sink_rejects_may_name(const SinkRejects *rejects, const ImportJob *job, uint64_t rows);
void sink_rejects_add_swallowed(SinkRejects *rejects, const ImportJob *job, const ImportFile *file, uint64_t row, Span csv);
/* `rows` of which nobody knows which they are. */
void sink_rejects_count_swallowed(SinkRejects *rejects, uint64_t rows);
/* Sorts the file's items by row. `stored`: rows of the file that the table has now. */
void sink_rejects_end_file(SinkRejects *rejects, ImportJob *job, uint64_t stored);

/* To forget what was added or counted since: the rows are taken once more. Within one file. */
typedef struct SinkRejectsMark {
    size_t count;
    uint64_t refused, swallowed, swallowed_named;
    size_t refused_bytes, swallowed_bytes;
} SinkRejectsMark;
SinkRejectsMark sink_rejects_mark(const SinkRejects *rejects);
void sink_rejects_return(SinkRejects *rejects, const SinkRejectsMark *mark);

/* Hands them to the job, when there are any, and sets job->rejected_rows. SINK_RETRY when they
 * could not be stored. */
SinkResult sink_rejects_store(const SinkRejects *rejects, ImportJob *job, Error *error);
void sink_rejects_deinit(SinkRejects *rejects);
