/*
 * A bridge: a source that reads from a broker, as a state machine. bridge_step takes what waits in
 * its mailbox, reads records, and sends rows to the writer; a thread of its own (bridge_runner.h),
 * a test or the simulation calls it. Everything that it talks to is given: there are no globals.
 *
 *   bridge.c            mail, the client, definitions that change, the end
 *   bridge_topics.c     which topics and partitions there are, and assignments
 *   bridge_positions.c  where a sink goes on with a partition: decisions, without any I/O
 *   bridge_claims.c     what the writer and the destinations have: asked, and answered
 *   bridge_flow.c       records -> micro-batches -> Appends, and when not to read
 *   bridge_acks.c       a broker that keeps what is not acknowledged, in the place of claims
 *   bridge_range.c      offsets that the broker does not have
 *   bridge_finish.c     `loop: false`: the end
 *   bridge_replace.c    tables that are replaced by each run
 *   bridge_seek.c       what an admin asks for
 *   bridge_status_make.c  how it is, for people; also the offsets that lag tools read
 *
 * docs/delivery.md has its rules. One thread, but for what says otherwise.
 */
#pragma once

#include "base/clock.h"
#include "base/mailbox.h"
#include "config/connection.h"
#include "gateway/flow/bridge_status.h"
#include "gateway/flow/messages.h"
#include "gateway/flow/snapshot.h"
#include "gateway/sources/bridge_client.h"
#include "gateway/templates/batch.h"

typedef struct Bridge Bridge;

typedef struct BridgeOptions {
    Clock *clock; /* borrowed, as all of these */
    Usage *usage;
    const Connections *connections;
    const char *data_directory;
    Mailbox *writer;
    Mailbox *control;                                   /* MESSAGE_RUN_ANEW; NULL: no sink replaces its table */
    void (*post_job)(void *context, LoadJob *take_job); /* to the loaders */
    void *post_job_context;
    void (*post_templates)(void *context, TemplateBatch *take_batch);
    void *post_templates_context;
    BridgeBoard *board;
    const BridgeClientType *client; /* NULL: as the source's definition says */
    uint32_t project;
    /* limits, as the options say */
    size_t event_bytes, row_bytes, rows_bytes; /* rows_bytes: of the rows of a micro-batch */
} BridgeOptions;

/* `source`: of the snapshot, of which it takes a reference. Its options are copied. */
Bridge *bridge_new(const BridgeOptions *options, Snapshot *snapshot, const SnapshotSource *source);
/*
 * It takes MESSAGE_SNAPSHOT, MESSAGE_DRAIN, MESSAGE_BRIDGE_SEEK and _SKIP, and answers to what it
 * asked. It is there until bridge_free, so that what comes back late has a place.
 */
Mailbox *bridge_mailbox(Bridge *bridge);
/* Does what there is to do, and waits for records at most 100 ms; returns how long nothing will
 * change without a message. */
usec_t bridge_step(Bridge *bridge);
/* Its source is gone, or it was drained: it does nothing any more. */
bool bridge_has_ended(const Bridge *bridge);
/* Nothing that it asked for is on its way. After it has ended: it can be freed while others run. */
bool bridge_is_owed_nothing(const Bridge *bridge);
/* A message comes that it should look at soon, a snapshot or the end: what waits for the broker
 * gives up until then. Any thread. */
void bridge_expedite(Bridge *bridge);
/* Nobody posts any more. The calling thread becomes the owner of the mailbox, and drops what is in
 * it. NULL-safe. */
void bridge_free(Bridge *bridge);
