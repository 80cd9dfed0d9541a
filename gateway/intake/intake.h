/*
 * The intake: HTTP requests in, Appends out, answers back. One Intake a loop thread; nothing of it
 * is shared but the snapshot and usage. All of a turn's requests are gathered into one Append,
 * posted to the writer after the turn; a request is answered on its own loop when the Append is
 * back (or at once, when no sink waits for the sync), unless it died meanwhile.
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
    int index; /* of the loop, for MESSAGE_DRAINED */
    uint32_t project;
    const char *branch; /* branchId of answers; NULL: default */
    IntakeLimits limits;
    HttpLimits http;
    const char *trusted_proxies; /* comma-separated CIDRs */
    Usage *usage;
    Mailbox *writer;
    Mailbox *control;
    Templates *templates;
    Snapshot *snapshot; /* the first one; a reference is taken */
    Clock *clock;
} IntakeOptions;

/* Starts the loop thread on `listener`. */
int intake_start(const IntakeOptions *options, const HttpListener *listener, Intake **ret_intake, Error *error);
Mailbox *intake_mailbox(Intake *intake); /* MESSAGE_SNAPSHOT, MESSAGE_DRAIN */
/* Waits until all Appends and template batches are back, so the writer and the broker must still
 * answer; joins the thread. NULL-safe. */
void intake_stop(Intake *intake);
