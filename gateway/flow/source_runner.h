/*
 * A source runner runs the sources of one kind. It is the part of a kind that has threads; the
 * other part is parsed and described (config/source_kind.h). The app makes one runner per kind and
 * gives the list to control, which knows nothing else about them. Runners are in gateway/sources/.
 *
 * Control gives each snapshot to each runner, in order, from the second one on. Runners that run
 * when control begins get the first one when they are made. A runner keeps a reference to the
 * snapshot that it uses. It drops the reference when a newer one came and nothing that was mapped
 * with the old one is uncommitted any more. A change waits for this (snapshot.h). A source that
 * ends is disabled in the next snapshot, or not in it.
 *
 * Only sources that read a broker are told about a pause: they close their consumer
 * (SnapshotSource.source->paused). Events that are sent to a paused source are kept, and only
 * imports wait.
 */
#pragma once

#include <stddef.h>

#include "base/clock.h"
#include "config/source_kind.h"
#include "gateway/flow/bridge_status.h"
#include "gateway/flow/snapshot.h"

typedef struct SourceRunner SourceRunner;

struct SourceRunner {
    const SourceKind *kind;
    /* Starts the sources of the kind that are new in the snapshot, changes those that differ, and
     * stops those that are not in it. Does not wait; takes its own references. Control thread. */
    void (*show)(SourceRunner *runner, Snapshot *snapshot);
    /* Stops all sources: they take no new events, and finish what they have begun until `until`
     * (boot time) at most. Does not wait: each thread posts MESSAGE_DRAINED to control at its end.
     * Returns the number of these threads. Control thread, at most once, and after the last
     * snapshot. */
    size_t (*drain)(SourceRunner *runner, usec_t until);
    /* For kinds that read a broker, otherwise NULL. Control thread. */
    /* Returns a reference to the last status of a source, by its number. NULL if it does not run,
     * or has no status yet. */
    BridgeStatus *(*status)(SourceRunner *runner, uint32_t source);
    /* Gives a request to the thread that runs the source; it comes back. Returns false if no thread
     * does; then the caller still owns the request. */
    bool (*ask)(SourceRunner *runner, uint32_t source, Request *take_request);
};

/* Checks that each kind of source has exactly one runner. NULL ends `runners`. */
void source_runners_check(SourceRunner *const *runners);
