/* The inside of the loaders, shared by loader.c (the queue, the threads, the end) and loader_run.c
 * (one job at a destination). */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/array.h"
#include "base/thread.h"
#include "gateway/delivery/loader_options.h"

#define STALLED (2 * USEC_SECOND)
#define SESSIONS_A_LOADER 4
#define PREPARED_A_SESSION 32

/* An open connection that a loader keeps for its next job. */
typedef struct Kept {
    const Connection *connection; /* NULL: free */
    const SinkDriver *driver;
    SinkSession *session;
    uint64_t used;                         /* the loader's job counter at its last use */
    uint64_t prepared[PREPARED_A_SESSION]; /* tables that were checked through it */
    size_t prepared_count;
} Kept;

typedef struct Loader {
    Loaders *loaders;
    SinkPatience patience; /* of all that it asks of a driver */
    Thread thread;
    ThreadOwner owner; /* the thread, or the caller of loaders_step */
    bool started;
    Mailbox *mailbox; /* stored rejects come back here */
    Kept kept[SESSIONS_A_LOADER];
    uint64_t jobs;
    const struct ImportContext *import;         /* its own thread: what runs is past the checks of its table; NULL: nothing */
    LoadJob *running;                           /* under the lock */
    const Connection *holds[SESSIONS_A_LOADER]; /* under the lock: what `kept` was between the last jobs */
    _Atomic(usec_t) progress_at;                /* boot: of the running job's last progress; its own thread writes it */
} Loader;

/* What is known of a connection; under the lock. */
typedef struct Lane {
    bool answers; /* since it could last not be reached, a job got further there */
} Lane;

typedef enum LoadersPhase { LOADERS_RUN, LOADERS_DRAIN, LOADERS_STOP } LoadersPhase;

struct Loaders {
    LoadersOptions options;
    _Atomic(LoadersPhase) phase; /* changed under the lock, and only forward */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    LoadJob *first, **tail; /* under the lock: jobs that wait, linked by message.next */
    Loader *loaders;
    size_t count;  /* at least 1: without threads the caller is the only one. With threads there is one more behind them, for tests */
    size_t all;    /* with that */
    size_t shared; /* of those: not kept for the first job of a connection */
    Lane *lanes;   /* by the number of the connection, and before that one for names that are none */
    size_t lane_count;
};

static inline bool is_stopping(const Loaders *loaders) {
    return atomic_load(&loaders->phase) == LOADERS_STOP;
}

static inline void loaders_lock(Loaders *loaders) {
    check(pthread_mutex_lock(&loaders->lock) == 0);
}

static inline void loaders_unlock(Loaders *loaders) {
    check(pthread_mutex_unlock(&loaders->lock) == 0);
}

static inline const SinkDriver *driver_of(const Loaders *loaders, const Connection *connection) {
    const LoadersOptions *options = &loaders->options;
    return options->driver_of ? options->driver_of(options->driver_context, connection->type) : sink_driver_of(connection->type);
}

static inline usec_t boot_now(void) {
    return clock_system()->boot(clock_system());
}

/* Connections may be declared while it runs. */
static inline Lane *lane_of(Loaders *loaders, const char *connection) {
    const Connections *connections = loaders->options.connections;
    const Connection *found = connections_find(connections, connection);
    size_t number = found ? 1 + connections_number(connections, found) : 0;
    if (number >= loaders->lane_count) {
        loaders->lanes = array_extend_to(loaders->lanes, number + 1, sizeof *loaders->lanes);
        memset(loaders->lanes + loaders->lane_count, 0, (number + 1 - loaders->lane_count) * sizeof *loaders->lanes);
        loaders->lane_count = number + 1;
    }
    return &loaders->lanes[number];
}

static inline bool is_import(const LoadJob *job) {
    return job->request.message.kind == MESSAGE_IMPORT;
}

/* Somebody waits for what the destination says, so it goes before imports. */
static inline bool is_question(const LoadJob *job) {
    int kind = job->request.message.kind;
    return kind == MESSAGE_PREPARE || kind == MESSAGE_CLAIM || kind == MESSAGE_SEEK || kind == MESSAGE_LIST || kind == MESSAGE_ORIGIN ||
           kind == MESSAGE_GROUP_POSITIONS || kind == MESSAGE_COLUMNS;
}

static inline bool is_test(const LoadJob *job) {
    return job->request.message.kind == MESSAGE_TEST_CONNECTION;
}
