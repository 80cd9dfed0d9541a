/*
 * The rows that a destination refused in one import, with copies of their text, until they are
 * passed to the job. Their number and their bytes are limited, so that a file with only bad rows
 * does not fill the memory. Used by one thread. An all-zero value is empty.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "sinks/driver.h"

#define REJECTS_BYTES_MAX ((size_t)64 << 20)
#define SWALLOWED_NAMED_MAX 1000 /* rows of one file; further ones are only counted */
#define SWALLOWED_BYTES_MAX ((size_t)16 << 20)

typedef struct SinkRejects {
    Arena arena; /* texts */
    SinkReject *items;
    size_t count, capacity;
    uint64_t refused;                      /* number of items that are refused rows; the others are swallowed rows */
    size_t refused_bytes, swallowed_bytes; /* of all rows that were added, including those that are no longer items */
    /* About the current file. A row is swallowed if the table accepts it without an error and does
     * not store it, because of a trigger or a rule. */
    size_t file_first; /* index of the first item of the file */
    uint64_t swallowed, swallowed_named;
} SinkRejects;

extern const char sink_reason_swallowed[];

/* Adds a refused row. Copies `reason` (newlines become spaces) and `csv`. Returns SINK_DONE, or
 * SINK_REFUSED if a limit is exceeded: job->bad_rows_max or REJECTS_BYTES_MAX. */
SinkResult sink_rejects_add(SinkRejects *rejects, const ImportJob *job, const ImportFile *file, uint64_t row, const char *reason, Span csv,
                            Error *error);

/*
 * Swallowed rows are collected for one file at a time: begin, then add or count, then end. They
 * become rejects with a reason of their own, except in two cases. If no row of the file was stored,
 * the table sends its rows elsewhere by design. If there are many swallowed rows, a filter of the
 * table removes them. In both cases they are only counted, in job->swallowed_rows. Swallowed rows
 * never make an import fail. They do not count towards the limits of refused rows; their own number
 * is limited by job->bad_rows_max too.
 */
void sink_rejects_begin_file(SinkRejects *rejects);
/* Can `rows` more swallowed rows become rejects? If not, the caller need not find out which rows
 * they are. */
bool sink_rejects_may_name(const SinkRejects *rejects, const ImportJob *job, uint64_t rows);
void sink_rejects_add_swallowed(SinkRejects *rejects, const ImportJob *job, const ImportFile *file, uint64_t row, Span csv);
/* Counts swallowed rows of which only the number is known. */
void sink_rejects_count_swallowed(SinkRejects *rejects, uint64_t rows);
/* Ends the file and sorts its items by row. `stored` is the number of rows of the file that the
 * table stored. */
void sink_rejects_end_file(SinkRejects *rejects, ImportJob *job, uint64_t stored);

/* A mark remembers a state. sink_rejects_return removes everything that was added or counted since
 * then, before the same rows are sent again. Both calls must be within one file. */
typedef struct SinkRejectsMark {
    size_t count;
    uint64_t refused, swallowed, swallowed_named;
    size_t refused_bytes, swallowed_bytes;
} SinkRejectsMark;
SinkRejectsMark sink_rejects_mark(const SinkRejects *rejects);
void sink_rejects_return(SinkRejects *rejects, const SinkRejectsMark *mark);

/* Passes the rejects to the job, if there are any, and sets job->rejected_rows. Returns SINK_DONE,
 * or SINK_RETRY if they could not be stored. */
SinkResult sink_rejects_store(const SinkRejects *rejects, ImportJob *job, Error *error);
void sink_rejects_deinit(SinkRejects *rejects);
