/*
 * The files of an import as one: rows one file behind the other, for a driver that must have sent
 * all of them before it writes the first one to the table. One thread, the loader's.
 */
#pragma once

#include "sinks/driver.h"
#include "sinks/refused_rows.h"

typedef struct ChainedFiles {
    SinkRows reader; /* first */
    ImportFile **files;
    size_t count;
    size_t at;        /* the file that is read; count: the end */
    ImportFile whole; /* all of them: its reader, counts, and the id of the first */
} ChainedFiles;

/* Of the files that were not imported before and have rows that go in. Must not move afterwards. */
void chained_files_init(ChainedFiles *chain, const ImportJob *job);
/* Rejects of the whole become those of the file that has the row. */
void chained_files_name_rejects(const ChainedFiles *chain, SinkRejects *rejects);
void chained_files_deinit(ChainedFiles *chain);
