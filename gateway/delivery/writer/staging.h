/* Which sinks are on their way from the log into packs. */
#pragma once

#include "gateway/delivery/writer/sink_queue.h"
#include "gateway/delivery/writer/state.h"

/* A sink on its way from the log into packs. */
typedef struct SinkStaging {
    bool staging; /* a Stage holds runs of it that is not recorded */
    bool queued;  /* in StageQueue.due */
    bool forced;  /* pins the oldest groups of a log that is too large */
    CloseReason close_after;
} SinkStaging;

typedef struct StageQueue {
    SinkQueue due;      /* sinks that go into the next Stages */
    SinkQueue closing;  /* sinks whose open files are closed in one transaction, within the step */
    unsigned in_flight; /* Stages and Divides that are not back */
    Stage *ended;       /* came back in this step and are not recorded, linked by message.next, oldest first */
    Stage *ended_tail;
    unsigned failures; /* in a row */
    usec_t paused_until;
} StageQueue;
