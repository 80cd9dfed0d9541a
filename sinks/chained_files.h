/*
 * Joins the files of an import to one reader, for a driver that must have sent all of them before
 * it writes the first row to the table. One thread, that of the loader.
 */
#pragma once

#include "sinks/driver.h"
#include "sinks/refused_rows.h"

typedef struct ChainedFiles {
    SinkRows reader; /* first */
    ImportFile **files;
    size_t count;
    size_t at;        /* index of the file that is read; `count` at the end */
    ImportFile whole; /* all files together: the reader, the counts, and the id of the first file */
} ChainedFiles;

/* Chains the files that were not imported before and have rows to import. Must not move
 * afterwards. */
void chained_files_init(ChainedFiles *chain, const ImportJob *job);
/* Assigns the rejects of the chain to the files that have the rows. */
void chained_files_name_rejects(const ChainedFiles *chain, SinkRejects *rejects);
void chained_files_deinit(ChainedFiles *chain);
