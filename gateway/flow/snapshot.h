/*
 * What the loops run: all sources with their compiled plans, immutable, reference counted. The
 * control thread makes a new one for each change and publishes it to every loop. When the last
 * reference to a generation goes, the control thread is told: then no loop runs it and no request
 * that was mapped with it is uncommitted. That is the fence that a definition change waits for.
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

/* One source as the loops see it; shared by all snapshots until it changes. */
typedef struct SnapshotSource {
    atomic_uint references;
    Source *source;
    Plan *plan;         /* NULL: no enabled sink */
    SinkGate **gates;   /* by index of the plan's sinks */
    bool *sync_wait;    /* by index of the plan's sinks */
    bool any_sync_wait; /* answer after the commit */
    uint32_t *skipped;  /* numbers of the sinks that are disabled, and not deleted */
    size_t skipped_count;
    SourceUsage *usage;        /* shared by all generations */
    Discoveries **discoveries; /* by index of the plan's sinks; shared by all generations. NULL: the sink does not infer */
    bool infers;               /* one of them does */
    bool tells;                /* events say more than their rows: a sink infers, or has defaults, which are counted */
} SnapshotSource;

/* Takes references on everything; copies `skipped`. `previous`: the source's last one, to share its
 * usage; NULL: none. */
SnapshotSource *snapshot_source_new(Source *source, Plan *plan, SinkGate *const *gates, const bool *sync_wait, const uint32_t *skipped,
                                    size_t skipped_count, const SnapshotSource *previous);
void snapshot_source_unref(SnapshotSource *source); /* NULL-safe */

/* `gone`: where MESSAGE_SNAPSHOT_GONE goes when the last reference is dropped. Takes references on
 * the sources; ids are unique. */
Snapshot *snapshot_new(uint64_t generation, SnapshotSource *const *sources, size_t count, Mailbox *gone);
Snapshot *snapshot_ref(Snapshot *snapshot);
void snapshot_unref(Snapshot *snapshot); /* any thread; NULL-safe */
/* Adds what a sink's events have discovered, and wakes the control thread when that was nothing
 * before. Any thread. */
void snapshot_discovered(const Snapshot *snapshot, const SnapshotSource *source, const MapDiscovery *found);
void snapshot_gone_free(SnapshotGone *message);
uint64_t snapshot_generation(const Snapshot *snapshot);
/* By sourceId; NULL: none. Constant-time in nothing: ids are not secret. */
SnapshotSource *snapshot_find(const Snapshot *snapshot, Span source_id);
/* All of them, in no order: `at` begins as 0; NULL: there is no more. */
SnapshotSource *snapshot_next(const Snapshot *snapshot, size_t *at);
