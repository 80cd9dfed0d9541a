/* Which sinks are on their way from packs into their tables. */
#pragma once

#include "gateway/delivery/writer/state.h"

/* A sink on its way from packs into its table. */
typedef struct SinkImports {
    bool running;         /* a loader has a job of it */
    bool positions;       /* that sets positions alone */
    uint64_t begun;       /* the last commit when that job was given out */
    unsigned failures;    /* imports that failed since one succeeded */
    usec_t failing_since; /* boot: since which its destination takes nothing; 0: it does, as far as is known */
    usec_t paused_until;
    LedgerHistory *history;             /* what waited at the start, until an import succeeds or a loader has it; NULL: nothing; owned */
    struct WriterConnection *queued_on; /* NULL: in no queue */
    struct SinkState *next_queued;
} SinkImports;

typedef struct ImportState {
    unsigned in_flight; /* jobs that are not back */
    unsigned expiring;  /* files that the stager copies: they failed for too long */
    LoadJob *ended;     /* came back in this step and are not recorded, linked by message.next, oldest first */
    LoadJob *ended_tail;
    usec_t last_done; /* wall: of the file that was imported last */
} ImportState;
