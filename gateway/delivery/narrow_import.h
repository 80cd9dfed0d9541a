/*
 * An import into a table that lacks columns of the sink (SCHEMA_DRIFT_IGNORE): the driver gets a
 * target without them, and rows without their cells. The values that are left out that way are
 * counted: those that are not NULL, of rows that do not delete, once a row however often it is
 * read. A refused row has all its cells in the rejects, so it does not count. A loader's thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "sinks/driver.h"

typedef struct NarrowImport NarrowImport;

/* `whole` is borrowed and has more columns than the table lacks; `lacks`: by index of its columns,
 * copied. NULL when it is NULL or none is lacking. */
NarrowImport *narrow_import_new(const SinkTarget *whole, const bool *lacks);
const SinkTarget *narrow_import_target(const NarrowImport *narrow);
/* The reader of the next file, made of one (borrowed) whose rows have all cells. In the order of
 * the job's files. */
SinkRows *narrow_import_add(NarrowImport *narrow, SinkRows *rows);
/* The same refused rows with all cells; valid until the next call. `files`: of the job. 0, or a
 * negated errno: a row could not be read. */
int narrow_import_widen(NarrowImport *narrow, const ImportFile *files, const SinkReject *rejects, size_t count,
                        const SinkReject **ret_rejects, Error *error);
/* Values of the column that were left out till now. */
uint64_t narrow_import_left_out(const NarrowImport *narrow, size_t column);
/* After SINK_DONE: a line in the log that names the columns that had values, and the metric. */
void narrow_import_note(const NarrowImport *narrow, const char *label);
void narrow_import_free(NarrowImport *narrow); /* NULL-safe */
