#include "gateway/delivery/loader.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/thread.h"
#include "gateway/delivery/file_rows.h"

#define LOADERS_MOST 64   /* on one connection */
#define THREADS_MOST 1024 /* with those that each connection has of its own */
#define STALLED (2 * USEC_SECOND)
#define DRAIN_SILENCE USEC_SECOND /* what an import may be without progress when the loaders drain */
#define SESSIONS_A_LOADER 4
#define PREPARED_A_SESSION 32
#define SESSION_IDLE (60 * USEC_SECOND)

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
    Lane *lanes;   /* by connection; one more for names that are none */
};

/* ---- the end ------------------------------------------------------------------------------------------------------------------------- */

static bool is_stopping(const Loaders *loaders) {
    return atomic_load(&loaders->phase) == LOADERS_STOP;
}

static void refuse(LoadJob *job) {
    job->request.result = SINK_RETRY;
    (void)error_set(&job->request.error, -ECANCELED, "The gateway is shutting down.");
    request_answer(&job->request);
}

/* ---- the queue ----------------------------------------------------------------------------------------------------------------------- */

static void lock(Loaders *loaders) {
    check(pthread_mutex_lock(&loaders->lock) == 0);
}

static void unlock(Loaders *loaders) {
    check(pthread_mutex_unlock(&loaders->lock) == 0);
}

static const SinkDriver *driver_of(const Loaders *loaders, const Connection *connection) {
    const LoadersOptions *options = &loaders->options;
    return options->driver_of ? options->driver_of(options->driver_context, connection->type) : sink_driver_of(connection->type);
}

static usec_t boot_now(void) {
    return clock_system()->boot(clock_system());
}

static Lane *lane_of(const Loaders *loaders, const char *connection) {
    const Connections *connections = loaders->options.connections;
    const Connection *found = connections_find(connections, connection);
    return &loaders->lanes[found ? (size_t)(found - connections->items) : connections->count];
}

static bool is_import(const LoadJob *job) {
    return job->request.message.kind == MESSAGE_IMPORT;
}

static bool is_test(const LoadJob *job) {
    return job->request.message.kind == MESSAGE_TEST_CONNECTION;
}

/* What the running jobs are to one that would run. */
typedef struct Rivals {
    size_t here;    /* on its connection */
    size_t shared;  /* loaders that jobs beyond the first of their connection have */
    bool same_sink; /* an import of its sink runs */
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
        rivals.stalled = rivals.stalled || now - atomic_load(&loaders->loaders[i].progress_at) > STALLED;
    }
    return rivals;
}

static bool may_run(const Loaders *loaders, const LoadJob *job) {
    const Connection *connection = connections_find(loaders->options.connections, job->connection);
    Rivals rivals = find_rivals(loaders, job);
    if (rivals.same_sink) return false;
    if (rivals.here == 0) return true;
    unsigned most = connection ? driver_of(loaders, connection)->jobs_most : 0;
    if (most > 0 && rivals.here >= most) return false;
    if (rivals.shared >= loaders->shared) return false;
    if (!is_import(job)) return true; /* somebody waits for what the check of a table says */
    if (job->failed_before && rivals.shared + 1 >= loaders->shared) return false;
    return lane_of(loaders, job->connection)->answers && !rivals.stalled;
}

/* The job got further: others of its connection may start. */
static void note_progress(Loader *loader, bool is_first) {
    Loaders *loaders = loader->loaders;
    usec_t now = boot_now(), before = atomic_exchange(&loader->progress_at, now);
    if (!is_first && now - before <= STALLED) return;
    lock(loaders);
    lane_of(loaders, loader->running->connection)->answers = true;
    check(pthread_cond_broadcast(&loaders->changed) == 0);
    unlock(loaders);
}

static bool holds(const Loader *loader, const Connection *connection) {
    for (size_t i = 0; i < SESSIONS_A_LOADER; i++)
        if (loader->holds[i] == connection) return true;
    return false;
}

/* An idle loader that has a session on the connection: it was woken as well, and saves the destination another one. */
static bool suits_another(const Loader *loader, const LoadJob *job) {
    const Loaders *loaders = loader->loaders;
    const Connection *connection = connections_find(loaders->options.connections, job->connection);
    if (!connection || holds(loader, connection)) return false;
    for (size_t i = 0; i < loaders->count; i++)
        if (!loaders->loaders[i].running && holds(&loaders->loaders[i], connection)) return true;
    return false;
}

/* The oldest that may run, taken out; under the lock. */
static LoadJob *take_job(Loader *loader) {
    Loaders *loaders = loader->loaders;
    bool takes_tests = loader == &loaders->loaders[loaders->all - 1], takes_others = loader < &loaders->loaders[loaders->count];
    for (LoadJob **at = &loaders->first; *at; at = (LoadJob **)(void *)&(*at)->request.message.next) {
        LoadJob *job = *at;
        if (is_test(job) ? !takes_tests : !takes_others || !may_run(loaders, job) || suits_another(loader, job)) continue;
        *at = (LoadJob *)job->request.message.next;
        if (!job->request.message.next) loaders->tail = at;
        return job;
    }
    return NULL;
}

void loaders_post(Loaders *loaders, LoadJob *job) {
    check(job->connection && job->request.reply && job->request.result == 0);
    check(!is_import(job) || (job->file_count > 0 && job->sink > 0 && job->label));
    check(!is_test(job) || job->test);
    job->request.message.next = NULL;
    lock(loaders);
    bool refused = atomic_load(&loaders->phase) != LOADERS_RUN;
    if (!refused) {
        *loaders->tail = job;
        loaders->tail = (LoadJob **)(void *)&job->request.message.next;
        check(pthread_cond_broadcast(&loaders->changed) == 0);
    }
    unlock(loaders);
    if (refused) refuse(job);
}

/* ---- sessions ------------------------------------------------------------------------------------------------------------------------ */

static void drop_session(Kept *kept) {
    if (!kept->connection) return;
    check(kept->driver && kept->session);
    kept->driver->disconnect(kept->session);
    *kept = (Kept){0};
}

static void drop_sessions(Loader *loader) {
    for (size_t i = 0; i < SESSIONS_A_LOADER; i++) drop_session(&loader->kept[i]);
}

/* *ret_fresh: it was opened for this job. */
static SinkResult find_session(Loader *loader, LoadJob *job, Kept **ret_kept, bool *ret_fresh) {
    const LoadersOptions *options = &loader->loaders->options;
    const Connection *connection = connections_find(options->connections, job->connection);
    if (!connection) {
        (void)error_set(&job->request.error, -ENOENT, "There is no connection \"%s\" in the configuration.", job->connection);
        return SINK_REFUSED;
    }
    Kept *oldest = &loader->kept[0];
    for (size_t i = 0; i < SESSIONS_A_LOADER; i++) {
        Kept *kept = &loader->kept[i];
        if (kept->connection == connection) {
            kept->used = ++loader->jobs;
            *ret_kept = kept;
            *ret_fresh = false;
            return SINK_DONE;
        }
        if (kept->used < oldest->used) oldest = kept;
    }
    drop_session(oldest);
    const SinkDriver *driver = driver_of(loader->loaders, connection);
    check(driver->transactional && driver->keeps_ledger && driver->keeps_order);
    char name[256];
    (void)snprintf(name, sizeof name, "sluice %s", job->label);
    SinkSession *session;
    SinkResult result = driver->connect(connection, options->data_directory, name, &loader->patience, &session, &job->request.error);
    if (result != SINK_DONE) {
        expansions_hide(connection->expansions, &job->request.error);
        return result;
    }
    *oldest = (Kept){.connection = connection, .driver = driver, .session = session, .used = ++loader->jobs};
    *ret_kept = oldest;
    *ret_fresh = true;
    return SINK_DONE;
}

/* ---- imports ------------------------------------------------------------------------------------------------------------------------- */

typedef struct ImportContext {
    Loader *loader;
    LoadJob *job;
    const ImportFile *files;
    uint64_t rows_done;
    usec_t began; /* boot */
    usec_t since; /* boot: the last sign of progress */
    bool got_further;
    const char *out_of_time; /* why it was interrupted for time; NULL: it was not */
} ImportContext;

/* Of a Loader: see SinkPatience. Its own thread. */
static bool patience_is_over(void *context) {
    const Loader *loader = context;
    check_on_thread(&loader->owner);
    switch (atomic_load(&loader->loaders->phase)) {
    case LOADERS_RUN: return false;
    case LOADERS_DRAIN: return !loader->import || boot_now() - loader->import->since > DRAIN_SILENCE;
    case LOADERS_STOP: return true;
    }
    unreachable();
}

static LoadFile *find_file(LoadJob *job, const Uuid *id) {
    for (size_t i = 0; i < job->file_count; i++)
        if (uuid_equal(&job->files[i].file.id, id)) return &job->files[i];
    return NULL;
}

static int store_rejects(void *context, const SinkReject *rejects, size_t count, Error *error) {
    ImportContext *import = context;
    Loader *loader = import->loader;
    const LoadersOptions *options = &loader->loaders->options;
    Uuid *files = calloc(import->job->file_count, sizeof *files);
    check(files);
    PendingRejects message = {.request.message.kind = MESSAGE_PENDING_REJECTS,
                              .request.reply = loader->mailbox,
                              .sink = import->job->sink,
                              .files = files,
                              .rejects = rejects,
                              .count = count};
    for (size_t i = 0; i < import->job->file_count; i++)
        if (!import->files[i].already_imported) files[message.file_count++] = import->files[i].id;
    mailbox_post(options->writer, &message.request.message);
    while (!mailbox_take(loader->mailbox)) {
        if (options->pump) {
            options->pump(options->pump_context);
        } else {
            (void)mailbox_wait(loader->mailbox, USEC_NEVER);
        }
    }
    free(files);
    if (message.request.result < 0)
        return error_set(error, message.request.result, "the refused rows cannot be kept: %s", message.request.error.text);
    if (count > 0) import->job->rejects_pending = true; /* for another try of this job */
    for (size_t i = 0; i < count; i++) {
        LoadFile *file = find_file(import->job, rejects[i].file);
        check(file);
        file->rejected_rows++;
    }
    return 0;
}

static bool progress(void *context, uint64_t rows_done, bool working) {
    ImportContext *import = context;
    const Loaders *loaders = import->loader->loaders;
    const LoadersOptions *options = &loaders->options;
    if (is_stopping(loaders)) return true;
    usec_t now = boot_now();
    if (working || rows_done != import->rows_done) {
        note_progress(import->loader, !import->got_further);
        import->got_further = true;
        import->since = now;
    }
    import->rows_done = rows_done;
    if (now - import->since > options->import_timeout)
        import->out_of_time = "No progress within the time limit of imports (import-timeout)";
    if (options->import_longest > 0 && now - import->began > options->import_longest)
        import->out_of_time = "It took longer than an import may (import-longest)";
    return import->out_of_time;
}

static SinkResult prepare(Kept *kept, const SinkTarget *target, uint64_t digest, Error *error) {
    for (size_t i = 0; i < kept->prepared_count; i++)
        if (kept->prepared[i] == digest) return SINK_DONE;
    SinkResult result = kept->driver->prepare(kept->session, target, error);
    if (result != SINK_DONE) return result;
    if (kept->prepared_count == PREPARED_A_SESSION) kept->prepared_count = 0;
    kept->prepared[kept->prepared_count++] = digest;
    return SINK_DONE;
}

static SinkResult prepare_asked(Kept *kept, LoadJob *job) {
    SinkResult result = kept->driver->inspect(kept->session, &job->target, &job->inspection, &job->request.error);
    return result == SINK_DONE && !job->inspects ? kept->driver->prepare(kept->session, &job->target, &job->request.error) : result;
}

/*
 * If damage ended the reading of the file, all of its damaged slices are found now. The file was entered anew by this try, so none of its rows are
 * at the destination.
 */
static bool find_damage(Loader *loader, LoadFile *file, FileRows *rows) {
    const Loaders *loaders = loader->loaders;
    SinkRows *reader = file_rows_reader(rows);
    if (file_rows_damaged(rows) < 0) return false;
    file->slice_damaged = calloc(file->slice_count, sizeof *file->slice_damaged);
    check(file->slice_damaged);
    for (ptrdiff_t slice; (slice = file_rows_damaged(rows)) >= 0;) {
        file->slice_damaged[slice] = true;
        file_rows_skip(rows, (size_t)slice);
        Span csv;
        uint64_t first, count;
        int r = reader->seek(reader, file->slices[slice].first_row, NULL);
        while (r == 0 && !is_stopping(loaders)) {
            r = reader->block(reader, &csv, &first, &count, NULL);
            note_progress(loader, false);
        }
    }
    return true;
}

static void note_swallowed(const LoadJob *job, uint64_t rows) {
    if (rows == 0) return;
    metrics_add(METRIC_ROWS_SWALLOWED, rows);
    log_warning("%" PRIu64 " rows of %s were not stored by a trigger of the table %s", rows, job->label, job->target.table.table_id);
}

/* One try at the destination. */
static SinkResult import_once(Loader *loader, Kept *kept, LoadJob *job, ImportFile *files, FileRows **rows, Error *error) {
    const LoadersOptions *options = &loader->loaders->options;
    ImportContext context = {.loader = loader, .job = job, .files = files, .began = boot_now(), .since = boot_now()};
    for (size_t i = 0; i < job->file_count; i++) {
        const FileRecord *file = &job->files[i].file;
        uint64_t bytes;
        job->files[i].rejected_rows = 0;
        files[i] = (ImportFile){.id = file->id,
                                .first_row = file->first_row,
                                .bytes = file->bytes,
                                .damaged_rows = file->damaged_rows,
                                .checksum = file->checksum,
                                .reader = file_rows_reader(rows[i])};
        file_rows_size(rows[i], &files[i].rows, &bytes);
        check(files[i].rows <= file->rows);
        check(i == 0 || file->first_row >= job->files[i - 1].file.first_row + job->files[i - 1].file.rows); /* in row order */
    }
    ImportJob import = {
        .instance = options->instance,
        .sink_label = job->label,
        .target = &job->target,
        .files = files,
        .file_count = job->file_count,
        .settled = job->settled,
        .settled_count = job->settled_count,
        .bad_rows_most = options->bad_rows_most,
        .store_none = job->rejects_pending,
        .store_rejects = store_rejects,
        .progress = progress,
        .context = &context,
        .patience = options->import_timeout,
        .longest = options->import_longest,
    };
    check(!loader->import);
    loader->import = &context;
    SinkResult result = kept->driver->import(kept->session, &import, error);
    loader->import = NULL;
    check(!(result == SINK_DONE && import.took_too_long));
    if (result != SINK_DONE && context.out_of_time) (void)error_prefix(error, "%s", context.out_of_time);
    job->out_of_time = result != SINK_DONE && (context.out_of_time || import.took_too_long);
    job->proven_absent = result != SINK_DONE && import.proven_absent;
    if (result == SINK_DONE) {
        note_swallowed(job, import.swallowed_rows);
        (void)failpoint_hit("loader.after-import"); /* a crash here finds the file in the destination's ledger */
        job->rejected_rows = import.rejected_rows;
        for (size_t i = 0; i < job->file_count; i++) {
            uint64_t readable, bytes;
            file_rows_size(rows[i], &readable, &bytes);
            job->files[i].already_imported = files[i].already_imported;
            if (!files[i].already_imported) continue;
            check(files[i].rows >= readable);
            job->files[i].found_rows = files[i].rows - readable;
        }
    }
    return result;
}

static SinkResult import_with(Loader *loader, Kept *kept, LoadJob *job) {
    uint64_t digest = checksum_of(job->files[0].file.target, strlen(job->files[0].file.target));
    SinkResult result = prepare(kept, &job->target, digest, &job->request.error);
    if (result != SINK_DONE) return result;

    ImportFile *files = calloc(job->file_count, sizeof *files);
    FileRows **rows = calloc(job->file_count, sizeof(FileRows *));
    check(files && rows);
    for (size_t i = 0; i < job->file_count; i++)
        rows[i] = file_rows_new(loader->loaders->options.files, job->files[i].slices, job->files[i].slice_count, job->target.column_count);
    result = import_once(loader, kept, job, files, rows, &job->request.error);
    for (size_t i = 0; i < job->file_count && result != SINK_DONE; i++)
        if (find_damage(loader, &job->files[i], rows[i])) job->found_damage = true;
    if (job->found_damage) {
        log_failure(LOG_WARNING, "a staging file is damaged; importing without the damaged rows", &job->request.error);
        job->out_of_time = false;
        result = SINK_RETRY;
    }
    for (size_t i = 0; i < job->file_count; i++) file_rows_free(rows[i]);
    free(rows);
    free(files);
    return result;
}

/*
 * Did only the session fail that was kept from an earlier job? It may have died while it was idle (the server was restarted, a firewall forgot
 * it), and every loader may keep such a one. A server that stays silent costs a time limit, once: -ETIMEDOUT. -ESTALE: see sinks/driver.h.
 */
static bool is_worth_another_session(const Loader *loader, const LoadJob *job, bool fresh) {
    if (atomic_load(&loader->loaders->phase) != LOADERS_RUN) return false;
    if (job->request.result == SINK_RETRY) return job->request.error.code == -ESTALE;
    return job->request.result == SINK_UNREACHABLE && !fresh && job->request.error.code != -ETIMEDOUT;
}

static void test_connection(const Loader *loader, LoadJob *job) {
    const Loaders *loaders = loader->loaders;
    const Connection *connection = connections_find(loaders->options.connections, job->connection);
    if (!connection) {
        (void)error_set(&job->request.error, -ENOENT, "There is no connection \"%s\" in the configuration.", job->connection);
        job->request.result = SINK_REFUSED;
        return;
    }
    job->test->tables = (const char *const *)job->tables;
    job->test->table_count = job->table_count;
    job->test->patience = &loader->patience;
    SinkFault fault = driver_of(loaders, connection)->test(connection, loaders->options.data_directory, job->test, &job->request.error);
    check(fault == job->test->fault);
    job->test->patience = NULL;
    if (fault != SINK_SOUND) expansions_hide(connection->expansions, &job->request.error);
    job->request.result = SINK_DONE;
}

static void run(Loader *loader, LoadJob *job) {
    check_on_thread(&loader->owner);
    if (is_test(job)) {
        test_connection(loader, job);
        return;
    }
    for (unsigned tries = 0; tries < 2; tries++) {
        Kept *kept = NULL;
        bool fresh = false;
        job->request.error = (Error){0};
        job->request.result = (int)find_session(loader, job, &kept, &fresh);
        if (job->request.result != SINK_DONE) return;
        if (job->request.message.kind == MESSAGE_PREPARE) {
            job->request.result = (int)prepare_asked(kept, job);
        } else {
            job->request.result = (int)import_with(loader, kept, job);
        }
        if (job->request.result == SINK_DONE) return;
        /* Whatever went wrong, the next job begins on a fresh connection and looks at its table again. */
        drop_session(kept);
        if (!is_worth_another_session(loader, job, fresh)) return;
    }
}

/* ---- threads ------------------------------------------------------------------------------------------------------------------------- */

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
    unlock(loaders);
    run(loader, job);
    check(job->request.result >= SINK_DONE && job->request.result <= SINK_UNREACHABLE);
    check(!loader->import);
    lock(loaders);
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
    lock(loaders);
    while (!is_stopping(loaders)) {
        if (run_next(loader)) continue;
        struct timespec deadline = idle_deadline();
        int r = pthread_cond_timedwait(&loaders->changed, &loaders->lock, &deadline);
        check(r == 0 || r == ETIMEDOUT);
        if (r != ETIMEDOUT) continue;
        memset(loader->holds, 0, sizeof loader->holds);
        unlock(loaders);
        drop_sessions(loader);
        lock(loaders);
    }
    unlock(loaders);
    drop_sessions(loader);
    return NULL;
}

bool loaders_step(Loaders *loaders) {
    lock(loaders);
    bool ran = run_next(&loaders->loaders[0]);
    unlock(loaders);
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
    size_t threads = options->threads == 0 ? 1 : options->threads < LOADERS_MOST ? options->threads : LOADERS_MOST;
    loaders->shared = threads - 1;
    loaders->count = loaders->shared + (options->threads > 0 && options->connections->count > 1 ? options->connections->count : 1);
    if (loaders->count > THREADS_MOST) loaders->count = THREADS_MOST;
    loaders->lanes = calloc(options->connections->count + 1, sizeof *loaders->lanes);
    check(loaders->lanes);
    loaders->all = loaders->count + (options->threads > 0);
    loaders->loaders = calloc(loaders->all, sizeof *loaders->loaders);
    check(loaders->loaders);
    for (size_t i = 0; i < loaders->all; i++) {
        loaders->loaders[i].loaders = loaders;
        loaders->loaders[i].patience = (SinkPatience){.is_over = patience_is_over, .context = &loaders->loaders[i]};
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
    lock(loaders);
    check(phase != LOADERS_RUN);
    if (atomic_load(&loaders->phase) < phase) atomic_store(&loaders->phase, phase);
    LoadJob *waiting = loaders->first;
    loaders->first = NULL;
    loaders->tail = &loaders->first;
    check(pthread_cond_broadcast(&loaders->changed) == 0);
    unlock(loaders);
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
        drop_sessions(loader); /* of a caller without threads */
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
