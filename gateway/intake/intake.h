/*
 * The intake: it reads HTTP requests, makes Appends, and answers. There is one Intake per loop
 * thread. Only the snapshot and the usage are shared. The rows of all requests of a turn are
 * collected in one Append, which is posted to the writer after the turn. A request is answered on
 * its own loop when the Append is back, or at once if no sink waits for the sync. A request whose
 * connection was closed in the meantime is not answered.
 */
#pragma once

#include "base/error.h"
#include "gateway/flow/messages.h"
#include "gateway/flow/snapshot.h"
#include "gateway/flow/usage.h"
#include "gateway/http/loop.h"
#include "gateway/templates/broker.h"

typedef struct Intake Intake;

typedef struct IntakeLimits {
    size_t event_bytes;        /* 1 MB */
    size_t body_bytes;         /* after decoding, 8 MB … */
    size_t row_bytes;          /* 1.5 MB */
    size_t request_rows_bytes; /* 256 MB */
} IntakeLimits;

typedef struct IntakeOptions {
    int index; /* index of the loop, for MESSAGE_DRAINED */
    uint32_t project;
    const char *branch; /* branchId of answers; NULL: default */
    IntakeLimits limits;
    HttpLimits http;
    const char *trusted_proxies; /* comma-separated CIDRs */
    Usage *usage;
    Mailbox *writer;
    Mailbox *control;
    Templates *templates;
    Snapshot *snapshot; /* the first snapshot; the intake takes a reference */
    Clock *clock;
} IntakeOptions;

/* Starts the loop thread on `listener`. */
int intake_start(const IntakeOptions *options, const HttpListener *listener, Intake **ret_intake, Error *error);
Mailbox *intake_mailbox(Intake *intake); /* MESSAGE_SNAPSHOT, MESSAGE_DRAIN */
/* Stops the intake. It waits until all Appends and template batches are back, so the writer and the
 * template broker must still answer. Then it joins the thread. NULL-safe. */
void intake_stop(Intake *intake);
