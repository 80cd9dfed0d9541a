/*
 * A snapshot has all sources with their compiled plans, as the loops use them. It is immutable and
 * reference counted. The control thread makes a new one for each change and sends it to every loop.
 * When the last reference to a generation is dropped, the control thread gets a message. Then no
 * loop uses it, and no request that was mapped with it is uncommitted. A change of a definition
 * waits for this message.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mailbox.h"
#include "config/definition.h"
#include "gateway/flow/discoveries.h"
#include "gateway/flow/messages.h"
#include "gateway/flow/usage.h"
#include "mapping/plan.h"

/* One source as the loops use it; shared by all snapshots until it changes. */
typedef struct SnapshotSource {
    atomic_uint references;
    Source *source;
    Plan *plan;         /* NULL: no enabled sink */
    SinkGate **gates;   /* by index of the plan's sinks */
    bool *sync_wait;    /* by index of the plan's sinks */
    bool any_sync_wait; /* is there a sink for which the answer waits for the commit? */
    uint32_t *skipped;  /* numbers of the sinks that are disabled but not deleted */
    size_t skipped_count;
    SourceUsage *usage;        /* shared by all generations */
    Discoveries **discoveries; /* by index of the plan's sinks; shared by all generations. NULL: the sink does not infer */
    bool infers;               /* one of the sinks infers */
    bool tells;                /* more than rows is recorded of events: a sink infers, or has defaults, which are counted */
} SnapshotSource;

/* Makes a source of a snapshot. Takes references to everything, and copies `skipped`. `previous`:
 * the former one of this source, whose usage is shared, or NULL. */
SnapshotSource *snapshot_source_new(Source *source, Plan *plan, SinkGate *const *gates, const bool *sync_wait, const uint32_t *skipped,
                                    size_t skipped_count, const SnapshotSource *previous);
void snapshot_source_unref(SnapshotSource *source); /* NULL-safe */

/* Makes a snapshot. `gone`: mailbox for MESSAGE_SNAPSHOT_GONE when the last reference is dropped.
 * Takes references to the sources; their ids are unique. */
Snapshot *snapshot_new(uint64_t generation, SnapshotSource *const *sources, size_t count, Mailbox *gone);
Snapshot *snapshot_ref(Snapshot *snapshot);
void snapshot_unref(Snapshot *snapshot); /* any thread; NULL-safe */
/* Adds the new fields of a sink's events, and wakes the control thread if there were none before.
 * Any thread. */
void snapshot_discovered(const Snapshot *snapshot, const SnapshotSource *source, const MapDiscovery *found);
void snapshot_gone_free(SnapshotGone *message);
uint64_t snapshot_generation(const Snapshot *snapshot);
/* Finds a source by its sourceId; NULL if there is none. The time of the search depends on the id,
 * because ids are not secret. */
SnapshotSource *snapshot_find(const Snapshot *snapshot, Span source_id);
/* Returns all sources, in no order. Begin with *at 0; NULL if there are no more. */
SnapshotSource *snapshot_next(const Snapshot *snapshot, size_t *at);
