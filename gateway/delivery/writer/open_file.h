/* The open file of one sink: slices are added to it until it is closed. */
#pragma once

#include "storage/ledger.h"

typedef struct OpenFile {
    bool exists;
    bool runs;       /* its slices have runs: all or none, since an import takes positions for all rows or for none */
    FileRecord file; /* as in the ledger; while there is one */
    usec_t since;    /* boot: when the oldest row of it came */
} OpenFile;

/* Nothing is open any more. */
static inline void open_file_forget(OpenFile *open) {
    check(open->exists);
    file_record_deinit(&open->file);
    open->exists = false;
}
