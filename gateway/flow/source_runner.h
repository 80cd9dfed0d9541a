/*
 * How the sources of one kind run: the half of a kind that has threads, beside the half that is
 * parsed and described (config/source_kind.h). The app makes one runner a kind and hands the list
 * to control, which knows no more of them than this. Runners live in gateway/sources/.
 *
 * Control shows each runner every snapshot, in order, from the second one on: those that run when
 * control begins are given the first one when they are made. Whoever runs a source keeps a
 * reference on the snapshot by which he does it and lets go of it when a newer one came and nothing
 * that was mapped with it is uncommitted any more: that is the fence (snapshot.h) by which a change
 * knows that it is through. A source that ends is disabled in the next snapshot, or not in it.
 *
 * A pause is shown of sources that read a broker only, which close their consumer then
 * (SnapshotSource.source->paused). What is sent to a source while it is paused is kept, and only
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
    /* Starts the sources of the kind that are new in the snapshot, changes those that differ and
     * stops those that are gone. Does not wait; takes references of its own. Control thread. */
    void (*show)(SourceRunner *runner, Snapshot *snapshot);
    /* Stops all: no new events, what has begun goes on until `until` (boot time) at most. Does not
     * wait: each of its threads posts MESSAGE_DRAINED to control at its end; their number is
     * returned. Control thread, at most once; nothing is shown after it. */
    size_t (*drain)(SourceRunner *runner, usec_t until);
    /* Of kinds that read from a broker, else NULL. Control thread. */
    /* A reference on the last status of a source, by its number; NULL: it does not run, or said
     * nothing yet. */
    BridgeStatus *(*status)(SourceRunner *runner, uint32_t source);
    /* Gives a request to who runs the source; it comes back. false: nobody does, and the caller has
     * it still. */
    bool (*ask)(SourceRunner *runner, uint32_t source, Request *take_request);
};

/* Asserts that each kind of source has a runner, and one only. `runners` ends with NULL. */
void source_runners_check(SourceRunner *const *runners);
