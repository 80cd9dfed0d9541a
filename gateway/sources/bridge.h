/*
 * A bridge: a source that reads from a broker, as a state machine. bridge_step handles the messages
 * in its mailbox, reads records, and sends rows to the writer. A dedicated thread
 * (bridge_runner.h), a test or the simulation calls it. All its dependencies are passed in the
 * options; it has no globals.
 *
 *   bridge.c            messages, the client, changes of the definition, the end
 *   bridge_topics.c     the topics and partitions that exist, and assignments
 *   bridge_positions.c  where a sink continues with a partition: decisions without I/O
 *   bridge_claims.c     asks the writer and the destinations for their positions
 *   bridge_flow.c       records -> micro-batches -> Appends; when reading pauses
 *   bridge_acks.c       for a broker that keeps unacknowledged messages: replaces claims
 *   bridge_range.c      offsets that do not exist at the broker
 *   bridge_finish.c     `loop: false`: the source ends
 *   bridge_replace.c    tables that are replaced by each run
 *   bridge_seek.c       seeks and skips that an administrator requests
 *   bridge_status_make.c  its status for users; also the offsets that lag tools read
 *
 * docs/delivery.md describes the rules. All functions are called on one thread, unless stated
 * otherwise.
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
    Clock *clock; /* borrowed, like all other pointers here */
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
    const BridgeClientType *client; /* NULL: chosen by the source's definition */
    uint32_t project;
    /* limits from the program's options */
    size_t event_bytes, row_bytes, rows_bytes; /* rows_bytes: for all rows of a micro-batch */
} BridgeOptions;

/* Makes a bridge. `source` is part of the snapshot; the bridge takes a reference to the snapshot.
 * Copies the options. */
Bridge *bridge_new(const BridgeOptions *options, Snapshot *snapshot, const SnapshotSource *source);
/*
 * Returns the mailbox, which accepts MESSAGE_SNAPSHOT, MESSAGE_DRAIN, MESSAGE_BRIDGE_SEEK and
 * _SKIP, and the answers to the bridge's requests. It exists until bridge_free, so that late
 * answers can be delivered. Any thread may post to it.
 */
Mailbox *bridge_mailbox(Bridge *bridge);
/* Does one step of work, and waits for records for at most 100 ms. Returns how long the next step
 * can wait if no message arrives. */
usec_t bridge_step(Bridge *bridge);
/* Has the bridge ended? Its source was removed, or it was drained. It does no more work then. */
bool bridge_has_ended(const Bridge *bridge);
/* Are there no unanswered requests? A bridge that has ended can then be freed while other threads
 * run. */
bool bridge_is_owed_nothing(const Bridge *bridge);
/* Announces a message that the bridge should handle soon: a snapshot or the end. Calls that wait
 * for the broker return early until the bridge has handled it. Any thread. */
void bridge_expedite(Bridge *bridge);
/* Frees the bridge. No thread may post to its mailbox any more. The calling thread becomes the
 * owner of the mailbox, and drops the messages in it. NULL-safe. */
void bridge_free(Bridge *bridge);
