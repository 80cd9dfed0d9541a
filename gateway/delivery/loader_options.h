/* Options of the loaders. */
#pragma once

#include "base/clock.h"
#include "base/files.h"
#include "base/mailbox.h"
#include "config/connection.h"
#include "gateway/flow/messages.h"
#include "sinks/driver.h"

typedef struct Loaders Loaders;

typedef struct LoadersOptions {
    const Connections *connections;
    const char *data_directory;
    Files *files;
    Uuid instance;
    Mailbox *writer;       /* MESSAGE_PENDING_REJECTS */
    unsigned threads;      /* maximum number of jobs on one connection; 0: no threads, the caller runs loaders_step (simulation) */
    usec_t import_timeout; /* maximum time without progress: no row is sent, and the destination is not seen to work */
    usec_t import_longest; /* maximum time in total; 0: no limit of the loaders */
    uint32_t bad_rows_max; /* of one file */
    const SinkDriver *(*driver_of)(void *context, const ConnectionType *type); /* NULL: sink_driver_of */
    void *driver_context;
    /* Without threads: called while a job waits for the writer, so that the writer can be stepped.
     * NULL: the job sleeps. */
    void (*dispatch)(void *context);
    void *dispatch_context;
} LoadersOptions;
