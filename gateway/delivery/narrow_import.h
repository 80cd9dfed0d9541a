/*
 * An import into a table without some columns of the sink (SCHEMA_DRIFT_IGNORE). The driver gets a
 * target without these columns, and rows without their cells. The values that are left out are
 * counted: those that are not NULL, of rows that do not delete, once per row however often it is
 * read. A refused row has all its cells in the rejects, so it is not counted. A loader's thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "sinks/driver.h"

typedef struct NarrowImport NarrowImport;

/* `whole` is borrowed and has more columns than are missing. `lacks`: by index of its columns,
 * copied. Returns NULL if it is NULL or no column is missing. */
NarrowImport *narrow_import_new(const SinkTarget *whole, const bool *lacks);
const SinkTarget *narrow_import_target(const NarrowImport *narrow);
/* Makes the reader of the next file from one (borrowed) whose rows have all cells. In the order of
 * the job's files. */
SinkRows *narrow_import_add(NarrowImport *narrow, SinkRows *rows);
/* Returns the same refused rows with all cells, valid until the next call. `files`: those of the
 * job. 0, or a negated errno: a row could not be read. */
int narrow_import_widen(NarrowImport *narrow, const ImportFile *files, const SinkReject *rejects, size_t count,
                        const SinkReject **ret_rejects, Error *error);
/* Returns the number of values of the column that were left out so far. */
uint64_t narrow_import_left_out(const NarrowImport *narrow, size_t column);
/* Call it after SINK_DONE: logs the columns whose values were left out, and adds to the metric. */
void narrow_import_note(const NarrowImport *narrow, const char *label);
void narrow_import_free(NarrowImport *narrow); /* NULL-safe */
