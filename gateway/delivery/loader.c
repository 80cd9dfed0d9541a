#include "gateway/delivery/loader.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gateway/delivery/loader_parts.h"
#include "gateway/delivery/loader_run.h"

#define LOADERS_MAX 64   /* on one connection */
#define THREADS_MAX 1024 /* with those that each connection has of its own */
#define SESSION_IDLE (60 * USEC_SECOND)

/* ---- the end --------------------------------------------------------------------------------- */

static void refuse(LoadJob *job) {
    job->request.result = SINK_RETRY;
    (void)error_set(&job->request.error, -ECANCELED, "The gateway is shutting down.");
    request_answer(&job->request);
}

/* ---- the queue ------------------------------------------------------------------------------- */

/* What the running jobs are to one that would run. */
typedef struct Rivals {
    size_t here;    /* on its connection */
    size_t shared;  /* loaders that jobs beyond the first of their connection have */
    bool same_sink; /* an import of its sink runs */
    bool others;    /* one on its connection is no import */
    bool stalled;   /* one on its connection has made no progress for long */
} Rivals;

static Rivals find_rivals(const Loaders *loaders, const LoadJob *job) {
    Rivals rivals = {0};
    usec_t now = boot_now();
    for (size_t i = 0; i < loaders->count; i++) {
        const LoadJob *other = loaders->loaders[i].running;
        if (!other) continue;
        bool is_first = true;
        for (size_t k = 0; k < i && is_first; k++)
            is_first = !loaders->loaders[k].running || strcmp(loaders->loaders[k].running->connection, other->connection) != 0;
        rivals.shared += !is_first;
        rivals.same_sink = rivals.same_sink || (is_import(other) && is_import(job) && other->sink == job->sink);
        if (strcmp(other->connection, job->connection) != 0) continue;
        rivals.here++;
        rivals.others = rivals.others || !is_import(other);
        rivals.stalled = rivals.stalled || now - atomic_load(&loaders->loaders[i].progress_at) > STALLED;
    }
    return rivals;
}

static bool may_run(Loaders *loaders, const LoadJob *job) {
    const Connection *connection = connections_find(loaders->options.connections, job->connection);
    Rivals rivals = find_rivals(loaders, job);
    if (rivals.same_sink) return false;
    if (rivals.here == 0) return true;
    const SinkDriver *driver = connection ? driver_of(loaders, connection) : NULL;
    unsigned most = driver ? driver->jobs_max : 0;
    if (most > 0 && rivals.here >= most) return false;
    if (rivals.shared >= loaders->shared) return false;
    if (!is_import(job) && !rivals.others) return true; /* it is short, and imports may hang for reasons of their own */
    if (job->failed_before && rivals.shared + 1 >= loaders->shared) return false;
    return lane_of(loaders, job->connection)->answers && !rivals.stalled;
}

static bool holds(const Loader *loader, const Connection *connection) {
    for (size_t i = 0; i < SESSIONS_A_LOADER; i++)
        if (loader->holds[i] == connection) return true;
    return false;
}

/* An idle loader that has a session on the connection: it was woken as well, and saves the
 * destination another one. */
static bool suits_another(const Loader *loader, const LoadJob *job) {
    const Loaders *loaders = loader->loaders;
    const Connection *connection = connections_find(loaders->options.connections, job->connection);
    if (!connection || holds(loader, connection)) return false;
    for (size_t i = 0; i < loaders->count; i++)
        if (!loaders->loaders[i].running && holds(&loaders->loaders[i], connection)) return true;
    return false;
}

static LoadJob *take_oldest(Loader *loader, bool questions) {
    Loaders *loaders = loader->loaders;
    bool takes_tests = loader == &loaders->loaders[loaders->all - 1], takes_others = loader < &loaders->loaders[loaders->count];
    for (LoadJob **at = &loaders->first; *at; at = (LoadJob **)(void *)&(*at)->request.message.next) {
        LoadJob *job = *at;
        if (is_question(job) != questions) continue;
        if (is_test(job) ? !takes_tests : !takes_others || !may_run(loaders, job) || suits_another(loader, job)) continue;
        *at = (LoadJob *)job->request.message.next;
        if (!job->request.message.next) loaders->tail = at;
        return job;
    }
    return NULL;
}

/* The oldest that may run, taken out; under the lock. Questions first. */
static LoadJob *take_job(Loader *loader) {
    LoadJob *job = take_oldest(loader, true);
    return job ? job : take_oldest(loader, false);
}

void loaders_post(Loaders *loaders, LoadJob *job) {
    check(job->connection && job->request.reply && job->request.result == 0);
    check(!is_import(job) || (job->file_count > 0 && job->sink > 0 && job->label));
    check(!is_test(job) || job->test);
    check(job->request.message.kind != MESSAGE_CLAIM || (job->claim_count > 0 && job->label));
    check(job->request.message.kind != MESSAGE_SWAP || (job->group && job->label));
    check(job->request.message.kind != MESSAGE_GROUP_POSITIONS || (job->group && job->label));
    check(job->request.message.kind != MESSAGE_SEEK || (job->position_count > 0 && job->label));
    check(job->request.message.kind != MESSAGE_COLUMNS || (job->wanted_count > 0 && job->label));
    check((job->request.message.kind != MESSAGE_LIST && job->request.message.kind != MESSAGE_ORIGIN) || (job->group && job->label));
    job->request.message.next = NULL;
    loaders_lock(loaders);
    bool refused = atomic_load(&loaders->phase) != LOADERS_RUN;
    if (!refused) {
        *loaders->tail = job;
        loaders->tail = (LoadJob **)(void *)&job->request.message.next;
        check(pthread_cond_broadcast(&loaders->changed) == 0);
    }
    loaders_unlock(loaders);
    if (refused) refuse(job);
}

/* ---- threads --------------------------------------------------------------------------------- */

static struct timespec idle_deadline(void) {
    struct timespec deadline;
    check(clock_gettime(CLOCK_MONOTONIC, &deadline) == 0);
    deadline.tv_sec += SESSION_IDLE / USEC_SECOND;
    return deadline;
}

/* Runs one job; the lock is held before and after. */
static bool run_next(Loader *loader) {
    Loaders *loaders = loader->loaders;
    LoadJob *job = take_job(loader);
    if (!job) return false;
    check(!loader->running && !loader->import);
    loader->running = job;
    atomic_store(&loader->progress_at, boot_now());
    /* Others may have left one of those that wait to this loader, which is idle no more. */
    if (loaders->first) check(pthread_cond_broadcast(&loaders->changed) == 0);
    loaders_unlock(loaders);
    loader_run(loader, job);
    check(job->request.result >= SINK_DONE && job->request.result <= SINK_UNREACHABLE);
    check(!loader->import);
    loaders_lock(loaders);
    check(loader->running == job);
    loader->running = NULL;
    for (size_t i = 0; i < SESSIONS_A_LOADER; i++) loader->holds[i] = loader->kept[i].connection;
    if (!is_test(job)) lane_of(loaders, job->connection)->answers = job->request.result != SINK_UNREACHABLE && !job->out_of_time;
    check(pthread_cond_broadcast(&loaders->changed) == 0);
    request_answer(&job->request);
    return true;
}

static void *run_thread(void *context) {
    Loader *loader = context;
    Loaders *loaders = loader->loaders;
    loaders_lock(loaders);
    while (!is_stopping(loaders)) {
        if (run_next(loader)) continue;
        struct timespec deadline = idle_deadline();
        int r = pthread_cond_timedwait(&loaders->changed, &loaders->lock, &deadline);
        check(r == 0 || r == ETIMEDOUT);
        if (r != ETIMEDOUT) continue;
        memset(loader->holds, 0, sizeof loader->holds);
        loaders_unlock(loaders);
        loader_drop_sessions(loader);
        loaders_lock(loaders);
    }
    loaders_unlock(loaders);
    loader_drop_sessions(loader);
    return NULL;
}

bool loaders_step(Loaders *loaders) {
    loaders_lock(loaders);
    bool ran = run_next(&loaders->loaders[0]);
    loaders_unlock(loaders);
    return ran;
}

int loaders_start(const LoadersOptions *options, Loaders **ret_loaders, Error *error) {
    Loaders *loaders = calloc(1, sizeof *loaders);
    check(loaders);
    loaders->options = *options;
    loaders->tail = &loaders->first;
    pthread_condattr_t attributes;
    check(pthread_mutex_init(&loaders->lock, NULL) == 0);
    check(pthread_condattr_init(&attributes) == 0);
    check(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    check(pthread_cond_init(&loaders->changed, &attributes) == 0);
    check(pthread_condattr_destroy(&attributes) == 0);
    size_t threads = options->threads == 0 ? 1 : options->threads < LOADERS_MAX ? options->threads : LOADERS_MAX;
    loaders->shared = threads - 1;
    size_t connections = connections_total(options->connections);
    loaders->count = loaders->shared + (options->threads > 0 && connections > 1 ? connections : 1);
    if (loaders->count > THREADS_MAX) loaders->count = THREADS_MAX;
    loaders->all = loaders->count + (options->threads > 0);
    loaders->loaders = calloc(loaders->all, sizeof *loaders->loaders);
    check(loaders->loaders);
    for (size_t i = 0; i < loaders->all; i++) {
        loaders->loaders[i].loaders = loaders;
        loaders->loaders[i].patience = (SinkPatience){.is_over = loader_patience_is_over, .context = &loaders->loaders[i]};
        loaders->loaders[i].mailbox = mailbox_new(NULL, NULL);
    }
    for (size_t i = 0; i < loaders->all && options->threads > 0; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "loader %u", (unsigned)i % 10000);
        int r = thread_start(&loaders->loaders[i].thread, name, run_thread, &loaders->loaders[i], error);
        if (r < 0) {
            loaders_free(loaders);
            return r;
        }
        loaders->loaders[i].started = true;
    }
    *ret_loaders = loaders;
    return 0;
}

/* Later phases only. */
static void enter_phase(Loaders *loaders, LoadersPhase phase) {
    loaders_lock(loaders);
    check(phase != LOADERS_RUN);
    if (atomic_load(&loaders->phase) < phase) atomic_store(&loaders->phase, phase);
    LoadJob *waiting = loaders->first;
    loaders->first = NULL;
    loaders->tail = &loaders->first;
    check(pthread_cond_broadcast(&loaders->changed) == 0);
    loaders_unlock(loaders);
    for (LoadJob *job = waiting, *next; job; job = next) {
        next = (LoadJob *)job->request.message.next;
        refuse(job);
    }
}

void loaders_drain(Loaders *loaders) {
    enter_phase(loaders, LOADERS_DRAIN);
}

void loaders_stop(Loaders *loaders) {
    if (!loaders) return;
    enter_phase(loaders, LOADERS_STOP);
    for (size_t i = 0; i < loaders->all; i++) {
        Loader *loader = &loaders->loaders[i];
        if (loader->started) thread_join(&loader->thread);
        loader->started = false;
        loader_drop_sessions(loader); /* of a caller without threads */
    }
}

void loaders_free(Loaders *loaders) {
    if (!loaders) return;
    loaders_stop(loaders);
    check(!loaders->first);
    for (size_t i = 0; i < loaders->all; i++) check(!loaders->loaders[i].running && !loaders->loaders[i].started);
    for (size_t i = 0; i < loaders->all; i++) mailbox_free(loaders->loaders[i].mailbox);
    check(pthread_cond_destroy(&loaders->changed) == 0);
    check(pthread_mutex_destroy(&loaders->lock) == 0);
    free(loaders->loaders);
    free(loaders->lanes);
    free(loaders);
}
