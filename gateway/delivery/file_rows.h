/*
 * The rows of one file as a driver reads them (SinkRows of sinks/driver.h): slice after slice from
 * the packs, in row order. A loader's thread. A slice whose rows are all left out is not read. A
 * damaged slice ends the reading with -EBADMSG; after file_rows_skip, reading continues without it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/files.h"
#include "sinks/driver.h"
#include "storage/ledger.h"

typedef struct FileRows FileRows;

/* `slices` are borrowed and in row order. `columns`: number of cells of a row. */
FileRows *file_rows_new(Files *files, const SliceRecord *slices, size_t count, size_t columns);
SinkRows *file_rows_reader(FileRows *rows);
/* Returns the index of the slice that was found damaged since the last skip; -1: none. */
ptrdiff_t file_rows_damaged(const FileRows *rows);
/* Leaves out the slice from now on. */
void file_rows_skip(FileRows *rows, size_t slice);
/* Returns rows and bytes of the slices that are not left out. */
void file_rows_size(const FileRows *rows, uint64_t *ret_rows, uint64_t *ret_bytes);
void file_rows_free(FileRows *rows); /* NULL-safe */
