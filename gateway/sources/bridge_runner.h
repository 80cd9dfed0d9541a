/*
 * Sources that read from a broker: one thread each, around a bridge (bridge.h). Of one kind of
 * source.
 *
 * A bridge's thread ends when its source is gone, or when it is drained. Its mailbox is there until
 * bridge_runner_free, so that what the writer, the loaders or the templates send back late has a
 * place: they must have stopped by then.
 */
#pragma once

#include "gateway/flow/source_runner.h"
#include "gateway/sources/bridge.h"

typedef struct BridgeThread BridgeThread;

typedef struct BridgeRunner {
    SourceRunner runner; /* first */
    BridgeOptions options;
    Mailbox *control; /* MESSAGE_DRAINED */
    BridgeThread *threads;
    bool drains;
} BridgeRunner;

/* The options are copied, but for their board. `control`: borrowed. */
void bridge_runner_init(BridgeRunner *runner, const SourceKind *kind, const BridgeOptions *options, Mailbox *control);
/* Ends all threads, after a drain or without one. Nothing else of it may be called from then on,
 * but bridge_runner_free. */
void bridge_runner_stop(BridgeRunner *runner);
/* Stops it first. All that a bridge asks has stopped. */
void bridge_runner_free(BridgeRunner *runner);
