/* What leaves the packs: which file of which sink goes to the loaders next, and how their jobs ended. */
#pragma once

#include "gateway/delivery/writer/state.h"

/* A sink on its way from packs into its table. */
typedef struct SinkImports {
    bool running;      /* a loader has a job of it */
    unsigned failures; /* imports that failed since one succeeded */
    usec_t paused_until;
    struct WriterConnection *queued_on; /* NULL: in no queue */
    struct SinkState *next_queued;
} SinkImports;

typedef struct ImportState {
    unsigned in_flight; /* jobs that are not back */
    unsigned expiring;  /* files that the stager copies: they failed for too long */
    LoadJob *ended;     /* came back in this step, linked by message.next, newest first */
    usec_t last_done;   /* wall: of the file that was imported last */
} ImportState;

/* Queues the sink at a connection when a file of it may go; returns when to look again. */
usec_t writer_consider_import(Writer *writer, SinkState *sink);
void writer_pump_connections(Writer *writer);
void writer_import_back(Writer *writer, LoadJob *take_job);
void writer_record_imports(Writer *writer);
/* Every file may be tried at once. */
void writer_hurry(Writer *writer, SinkState *sink);
/* Slices that were found damaged: named, quarantined, and never asked for again. `damaged`: by slice; NULL: none is. */
int writer_quarantine_slices(Txn *txn, SinkState *sink, struct WaitingFile *waiting, FileRecord *file, const SliceRecord *slices,
                             const bool *damaged, size_t count, Error *error);
/* Slices of the file that can be read, in row order; free(). */
int writer_read_slices(Txn *txn, const FileRecord *file, SliceRecord **ret_slices, size_t *ret_count, Error *error);
