#include "gateway/flow/bridge_status.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/error.h"

typedef struct CountedStatus {
    BridgeStatus status; /* first */
    atomic_uint references;
} CountedStatus;

struct BridgeBoard {
    atomic_uint references;
    pthread_mutex_t lock;
    BridgeStatus *status;
};

const char *bridge_state_name(BridgeState state) {
    static const char *const names[] = {
        [BRIDGE_STARTING] = "starting", [BRIDGE_RUNNING] = "running", [BRIDGE_WAITING] = "waiting",   [BRIDGE_PAUSED] = "paused",
        [BRIDGE_IDLE] = "idle",         [BRIDGE_STOPPED] = "stopped", [BRIDGE_FINISHED] = "finished",
    };
    check((size_t)state < sizeof names / sizeof *names);
    return names[state];
}

const char *bridge_run_state_name(BridgeRunState state) {
    static const char *const names[] = {
        [BRIDGE_RUN_NONE] = "none",
        [BRIDGE_RUN_OPEN] = "open",
        [BRIDGE_RUN_REPLACED] = "replaced",
        [BRIDGE_RUN_EMPTY] = "empty",
        [BRIDGE_RUN_SUPERSEDED] = "superseded",
    };
    check((size_t)state < sizeof names / sizeof *names);
    return names[state];
}

BridgeStatus *bridge_status_new(void) {
    CountedStatus *counted = calloc(1, sizeof *counted);
    check(counted);
    atomic_init(&counted->references, 1);
    return &counted->status;
}

BridgeStatus *bridge_status_ref(BridgeStatus *status) {
    unsigned before = atomic_fetch_add(&((CountedStatus *)status)->references, 1);
    check(before > 0);
    return status;
}

void bridge_status_unref(BridgeStatus *status) {
    if (!status) return;
    unsigned before = atomic_fetch_sub(&((CountedStatus *)status)->references, 1);
    check(before > 0);
    if (before > 1) return;
    arena_deinit(&status->arena);
    free(status);
}

BridgeBoard *bridge_board_new(void) {
    BridgeBoard *board = calloc(1, sizeof *board);
    check(board);
    atomic_init(&board->references, 1);
    check(pthread_mutex_init(&board->lock, NULL) == 0);
    return board;
}

BridgeBoard *bridge_board_ref(BridgeBoard *board) {
    unsigned before = atomic_fetch_add(&board->references, 1);
    check(before > 0);
    return board;
}

void bridge_board_unref(BridgeBoard *board) {
    if (!board) return;
    unsigned before = atomic_fetch_sub(&board->references, 1);
    check(before > 0);
    if (before > 1) return;
    bridge_status_unref(board->status);
    check(pthread_mutex_destroy(&board->lock) == 0);
    free(board);
}

void bridge_board_put(BridgeBoard *board, BridgeStatus *take_status) {
    check(take_status);
    check(pthread_mutex_lock(&board->lock) == 0);
    BridgeStatus *before = board->status;
    board->status = take_status;
    check(pthread_mutex_unlock(&board->lock) == 0);
    bridge_status_unref(before);
}

BridgeStatus *bridge_board_get(BridgeBoard *board) {
    check(pthread_mutex_lock(&board->lock) == 0);
    BridgeStatus *status = board->status ? bridge_status_ref(board->status) : NULL;
    check(pthread_mutex_unlock(&board->lock) == 0);
    return status;
}
