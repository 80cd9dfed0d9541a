/*
 * A data directory whose gateway does not run, as the commands that look into it see it. Nothing in
 * it is changed. One thread.
 */
#pragma once

#include "base/error.h"
#include "gateway/commands/arguments.h"
#include "storage/data_directory.h"

typedef struct SinkLabels SinkLabels;

typedef struct Stopped {
    DataDirectory directory;
    Environment *environment;
    Txn *txn; /* that reads */
    SinkLabels *labels;
} Stopped;

/* `arguments`: --data DIR, else SLUICE_DATA, else "data". The errors of data_directory_inspect. */
int stopped_open(const Arguments *arguments, Stopped *ret_stopped, Error *error);
void stopped_close(Stopped *stopped);

/* "SOURCE/SINK" of the sink with the number; "sink NUMBER" where no definition says it. Valid until
 * the directory is closed. */
const char *stopped_label(Stopped *stopped, uint32_t sink);
/* Its number; 0: there is none of that label. */
uint32_t stopped_sink(const Stopped *stopped, const char *label);
