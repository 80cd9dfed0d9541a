#include "gateway/sources/bridge_runner.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/thread.h"

/* Who ends a thread: it tells control that it is drained only when it was asked before it ended. */
typedef enum BridgeLife { BRIDGE_LIVES, BRIDGE_DRAINS, BRIDGE_GONE } BridgeLife;

struct BridgeThread {
    BridgeThread *next;
    uint32_t source; /* number */
    Bridge *bridge;
    BridgeBoard *board;
    Mailbox *control;
    Thread thread;
    bool started; /* and not joined */
    _Atomic(BridgeLife) life;
    atomic_bool ended; /* its bridge does nothing any more; its source, if it is there again, gets another one */
};

/* ---- a thread -------------------------------------------------------------------------------- */

static void *run(void *context) {
    BridgeThread *thread = context;
    BridgeLife expected = BRIDGE_LIVES;
    for (;;) {
        usec_t sleep = bridge_step(thread->bridge);
        if (bridge_has_ended(thread->bridge)) {
            atomic_store(&thread->ended, true);
            if (atomic_load(&thread->life) == BRIDGE_DRAINS) break;
            /* Its source is gone: what it asked for comes back first, so that it can be freed while
             * others run. */
            if (bridge_is_owed_nothing(thread->bridge) && atomic_compare_exchange_strong(&thread->life, &expected, BRIDGE_GONE)) {
                (void)bridge_step(thread->bridge); /* who posts to it after this sees that it is gone */
                return NULL;
            }
            expected = BRIDGE_LIVES;
        }
        if (sleep > 0) (void)mailbox_wait(bridge_mailbox(thread->bridge), sleep);
    }
    Drained *drained = calloc(1, sizeof *drained);
    check(drained);
    drained->message.kind = MESSAGE_DRAINED;
    mailbox_post(thread->control, &drained->message);
    return NULL;
}

static void join(BridgeThread *thread) {
    if (!thread->started) return;
    thread_join(&thread->thread);
    thread->started = false;
}

static void thread_free(BridgeThread *thread) {
    check(!thread->started);
    bridge_free(thread->bridge);
    bridge_board_unref(thread->board);
    free(thread);
}

static void begin(BridgeRunner *runner, Snapshot *snapshot, const SnapshotSource *source) {
    BridgeThread *thread = calloc(1, sizeof *thread);
    check(thread);
    Error error = {0};
    thread->source = source->source->number;
    thread->board = bridge_board_new();
    thread->control = runner->control;
    BridgeOptions options = runner->options;
    options.board = thread->board;
    thread->bridge = bridge_new(&options, snapshot, source);
    atomic_init(&thread->life, BRIDGE_LIVES);
    int r = thread_start(&thread->thread, "bridge", run, thread, &error);
    if (r < 0) { /* the next snapshot tries again */
        log_failure(LOG_ERROR, "a source cannot be read", &error);
        thread_free(thread);
        return;
    }
    thread->started = true;
    thread->next = runner->threads;
    runner->threads = thread;
}

/* ---- the runner ------------------------------------------------------------------------------ */

static BridgeThread *find(const BridgeRunner *runner, uint32_t source) {
    for (BridgeThread *thread = runner->threads; thread; thread = thread->next)
        if (thread->source == source && !atomic_load(&thread->ended)) return thread;
    return NULL;
}

/* Frees those whose source is gone. */
static void reap(BridgeRunner *runner) {
    for (BridgeThread **link = &runner->threads; *link;) {
        BridgeThread *thread = *link;
        if (atomic_load(&thread->life) != BRIDGE_GONE) {
            link = &thread->next;
            continue;
        }
        *link = thread->next;
        join(thread);
        thread_free(thread);
    }
}

static void show(SourceRunner *of, Snapshot *snapshot) {
    BridgeRunner *runner = (BridgeRunner *)of;
    if (runner->drains) return; /* a change that was on its way: they end with what they run */
    reap(runner);
    for (BridgeThread *thread = runner->threads; thread; thread = thread->next) {
        SnapshotNews *news = calloc(1, sizeof *news);
        check(news);
        news->message.kind = MESSAGE_SNAPSHOT;
        news->snapshot = snapshot_ref(snapshot);
        bridge_expedite(thread->bridge); /* somebody may wait for it to be run */
        mailbox_post(bridge_mailbox(thread->bridge), &news->message);
    }
    size_t at = 0;
    for (const SnapshotSource *source; (source = snapshot_next(snapshot, &at));) {
        if (source->source->kind != of->kind || source->source->disabled || source->source->deleted != 0) continue;
        if (!find(runner, source->source->number)) begin(runner, snapshot, source);
    }
}

static size_t drain(SourceRunner *of, usec_t until) {
    BridgeRunner *runner = (BridgeRunner *)of;
    size_t count = 0;
    check(!runner->drains);
    runner->drains = true;
    for (BridgeThread *thread = runner->threads; thread; thread = thread->next) {
        BridgeLife expected = BRIDGE_LIVES;
        if (!atomic_compare_exchange_strong(&thread->life, &expected, BRIDGE_DRAINS)) continue;
        bridge_expedite(thread->bridge);
        drain_post(bridge_mailbox(thread->bridge), until);
        count++;
    }
    return count;
}

static BridgeStatus *status(SourceRunner *of, uint32_t source) {
    const BridgeThread *thread = find((BridgeRunner *)of, source);
    return thread ? bridge_board_get(thread->board) : NULL;
}

static bool ask(SourceRunner *of, uint32_t source, Request *take_request) {
    BridgeRunner *runner = (BridgeRunner *)of;
    const BridgeThread *thread = find(runner, source);
    if (!thread || runner->drains) return false;
    mailbox_post(bridge_mailbox(thread->bridge), &take_request->message);
    if (atomic_load(&thread->life) == BRIDGE_GONE) reap(runner); /* it looks into its mailbox no more: the request comes back now */
    return true;
}

void bridge_runner_init(BridgeRunner *runner, const SourceKind *kind, const BridgeOptions *options, Mailbox *control) {
    *runner = (BridgeRunner){
        .runner = {.kind = kind, .show = show, .drain = drain, .status = status, .ask = ask},
        .options = *options,
        .control = control,
    };
}

void bridge_runner_stop(BridgeRunner *runner) {
    if (!runner->runner.show) return; /* it was never made */
    if (!runner->drains) (void)drain(&runner->runner, 0);
    for (BridgeThread *thread = runner->threads; thread; thread = thread->next) join(thread);
}

void bridge_runner_free(BridgeRunner *runner) {
    bridge_runner_stop(runner);
    while (runner->threads) {
        BridgeThread *thread = runner->threads;
        runner->threads = thread->next;
        thread_free(thread);
    }
}
