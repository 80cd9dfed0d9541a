/*
 * The rows of one file as a driver reads them (SinkRows of sinks/driver.h): slice after slice from
 * the packs, in row order. A loader's thread. A slice of which all rows are left out is not read. A
 * damaged slice ends the reading with -EBADMSG; file_rows_skip goes on without it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/files.h"
#include "sinks/driver.h"
#include "storage/ledger.h"

typedef struct FileRows FileRows;

/* `slices` (borrowed) in row order; `columns`: cells a row has. */
FileRows *file_rows_new(Files *files, const SliceRecord *slices, size_t count, size_t columns);
SinkRows *file_rows_reader(FileRows *rows);
/* Index of the slice that turned out damaged since the last skip; -1: none. */
ptrdiff_t file_rows_damaged(const FileRows *rows);
/* From now on the slice is not there. */
void file_rows_skip(FileRows *rows, size_t slice);
/* Rows and bytes of the slices that are there. */
void file_rows_size(const FileRows *rows, uint64_t *ret_rows, uint64_t *ret_bytes);
void file_rows_free(FileRows *rows); /* NULL-safe */
