/* The inside of changes, shared by change.c and change_build.c alone. */
#pragma once

#include "gateway/control/parts.h"

/* What the definitions become. */
typedef struct Outcome {
    Source *source; /* owned; NULL: as it is */
    Sink **sinks;   /* owned; those that change */
    size_t sink_count;
    const char *done; /* the sentence of success; static text. NULL: nothing differs from what is there */
    /* What it needs, beside the catalog */
    bool shows;     /* the loops run something else: a snapshot and its fence */
    bool withdraws; /* something ends: new events are refused first (shows, too) */
    bool prepares;  /* the table of sinks[0] is to be looked at */
    bool closes;    /* the open file of sinks[0] goes to another table or has other columns */
    bool creates;   /* needs a number: of sinks[0] if there is one, else of source */
} Outcome;

/* In this order, some left out. From CHANGE_DEFINING on the writer has been told. */
typedef enum ChangeStep {
    CHANGE_QUEUED,
    CHANGE_HELD, /* others are at its connection */
    CHANGE_PREPARING,
    CHANGE_WITHDRAWING,
    CHANGE_DEFINING,
    CHANGE_FENCING,
    CHANGE_CLOSING,
} ChangeStep;

/* A connection that could not be reached. Changes that were asked before that was known share the failure: else each would wait for its own, one
 * after the other. */
struct Unreachable {
    Unreachable *next;
    char *connection;
    char *text;  /* of the failed tasks */
    usec_t when; /* boot time */
};

struct Change {
    Errand errand; /* first */
    Change *next;
    Task *task;
    ChangeRequest request; /* own copies */
    ChangeStep step;
    usec_t asked; /* boot time */
    Outcome outcome;
    SinkGate *gate;        /* of a new sink */
    SnapshotSource *shown; /* what the loops will run */
    uint64_t fence;        /* no generation older than this may live */
    uint64_t discarded_rows;
};

void outcome_deinit(Outcome *outcome);
/* From what is committed now. -1: why not. Numbers and versions are not given yet. */
int change_build(Control *control, const ChangeRequest *request, Outcome *ret_outcome, Failure *failure);
int failure_set(Failure *failure, int status, const char *name, const char *format, ...) __attribute__((format(printf, 4, 5)));
