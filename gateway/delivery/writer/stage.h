/* What leaves the log: which sinks are due, what the stager gets next, and what it brought back; closing files. */
#pragma once

#include "gateway/delivery/writer/sink_queue.h"
#include "gateway/delivery/writer/state.h"

/* A sink on its way from the log into packs. */
typedef struct SinkStaging {
    bool staging; /* a Stage holds runs of it */
    bool queued;  /* in StageQueue.due */
    bool pressed; /* pins the oldest groups of a log that is too large */
    CloseReason close_after;
} SinkStaging;

typedef struct StageQueue {
    SinkQueue due;      /* sinks that go into the next Stages */
    SinkQueue closing;  /* sinks whose open files are closed in one transaction, within the step */
    unsigned in_flight; /* Stages and Divides that are not back */
    unsigned failures;  /* in a row */
    usec_t paused_until;
} StageQueue;

void writer_judge(Writer *writer, SinkState *sink);
void writer_give_out_stages(Writer *writer);
void writer_stage_ended(Writer *writer, Stage *take_stage);
void writer_close_files(Writer *writer); /* those in the close queue */
/* The sink is not staged in the next Stages after all. */
void writer_unqueue_stage(Writer *writer, SinkState *sink);
void stage_free(Stage *stage);
/* Adds a closed file to those that wait. NULL: its target is damaged. */
struct WaitingFile *writer_add_waiting(Writer *writer, SinkState *sink, const FileRecord *file, Error *error);
