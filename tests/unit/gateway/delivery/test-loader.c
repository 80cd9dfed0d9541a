/* The pool of loaders with real threads and a destination that stands still until the test lets it
 * go on. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/text.h"
#include "gateway/delivery/load_job.h"
#include "gateway/delivery/loader.h"
#include "gateway/delivery/positions_job.h"
#include "tests/support/memory-files.h"

#define PATIENCE (30 * USEC_SECOND)

/* Under the lock. */
static struct Place {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned running[2], most[2]; /* by type of connection */
    unsigned sink_running[64], sink_max;
    unsigned connects, disconnects, prepares;
    bool go;         /* imports may end */
    bool hangs;      /* imports make no progress */
    bool until_told; /* imports end only when progress says so */
    SinkResult result;
    bool rejects;        /* the import stores one */
    bool questions_hang; /* claims and seeks end only when the patience is over, or with `go` */
    unsigned questions_running, seeks;
    bool seek_is_lost; /* the next one reads, and the session breaks */
} place = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

struct SinkSession {
    const Connection *connection;
    const SinkPatience *patience;
};

static SinkResult still_connect(const Connection *connection, const char *data_directory, const char *application_name,
                                const SinkPatience *patience, SinkSession **ret_session, Error *error) {
    *ret_session = calloc(1, sizeof **ret_session);
    (*ret_session)->connection = connection;
    (*ret_session)->patience = patience;
    (void)pthread_mutex_lock(&place.lock);
    place.connects++;
    (void)pthread_mutex_unlock(&place.lock);
    return SINK_DONE;
}

static void still_disconnect(SinkSession *session) {
    free(session);
    (void)pthread_mutex_lock(&place.lock);
    place.disconnects++;
    (void)pthread_mutex_unlock(&place.lock);
}

static SinkResult still_prepare(SinkSession *session, const SinkTarget *target, Error *error) {
    (void)pthread_mutex_lock(&place.lock);
    place.prepares++;
    (void)pthread_mutex_unlock(&place.lock);
    return SINK_DONE;
}

static void note_max(unsigned now, unsigned *most) {
    if (now > *most) *most = now;
}

static SinkResult still_import(SinkSession *session, ImportJob *job, Error *error) {
    unsigned type = session->connection->type == &connection_type_postgres;
    unsigned sink = (unsigned)strtoul(job->sink_label, NULL, 10);
    (void)pthread_mutex_lock(&place.lock);
    note_max(++place.running[type], &place.most[type]);
    note_max(++place.sink_running[sink], &place.sink_max);
    (void)pthread_cond_broadcast(&place.changed);
    bool told = false;
    if (!place.hangs) {
        (void)pthread_mutex_unlock(&place.lock);
        (void)job->progress(job->context, 1, false);
        (void)pthread_mutex_lock(&place.lock);
    }
    while (!place.go && !told) {
        if (place.until_told) {
            (void)pthread_mutex_unlock(&place.lock);
            told = job->progress(job->context, 7, false);
            (void)pthread_mutex_lock(&place.lock);
        } else {
            (void)pthread_cond_wait(&place.changed, &place.lock);
        }
    }
    place.running[type]--;
    place.sink_running[sink]--;
    SinkResult result = told ? SINK_RETRY : place.result;
    bool rejects = place.rejects;
    (void)pthread_cond_broadcast(&place.changed);
    (void)pthread_mutex_unlock(&place.lock);
    SinkReject reject = {.row = 3, .file = &job->files[0].id, .reason = "no", .csv = SPAN("x\n")};
    if (rejects && job->store_rejects(job->context, &reject, 1, error) != 0) return SINK_RETRY;
    job->rejected_rows = rejects;
    if (told) (void)error_set(error, -ECANCELED, "interrupted");
    return result;
}

static SinkResult still_inspect(SinkSession *session, const SinkTarget *target, TableInspection *ret_inspection, Error *error) {
    (void)session;
    (void)target;
    (void)error;
    *ret_inspection = (TableInspection){.creates = true};
    return SINK_DONE;
}

static SinkFault still_test(const Connection *connection, const char *data_directory, SinkTest *test, Error *error) {
    (void)data_directory, (void)error;
    (void)snprintf(test->version, sizeof test->version, "%s with %zu", connection->name, test->table_count);
    return test->fault = SINK_SOUND;
}

static SinkResult still_question(SinkSession *session, Error *error) {
    bool over = false;
    (void)pthread_mutex_lock(&place.lock);
    place.questions_running++;
    (void)pthread_cond_broadcast(&place.changed);
    while (place.questions_hang && !place.go && !over) {
        struct timespec turn;
        (void)clock_gettime(CLOCK_REALTIME, &turn);
        turn.tv_nsec += 10 * 1000 * 1000;
        turn.tv_sec += turn.tv_nsec / 1000000000;
        turn.tv_nsec %= 1000000000;
        (void)pthread_cond_timedwait(&place.changed, &place.lock, &turn);
        (void)pthread_mutex_unlock(&place.lock);
        over = sink_patience_is_over(session->patience);
        (void)pthread_mutex_lock(&place.lock);
    }
    place.questions_running--;
    (void)pthread_cond_broadcast(&place.changed);
    (void)pthread_mutex_unlock(&place.lock);
    if (!over) return SINK_DONE;
    (void)error_set(error, -ECANCELED, "the patience is over");
    return SINK_RETRY;
}

static SinkResult still_list(SinkSession *session, const SinkTarget *target, const char *group, Arena *arena, ListedPosition **ret_list,
                             size_t *ret_count, Error *error) {
    (void)session, (void)target, (void)error;
    *ret_list = arena_zalloc(arena, sizeof **ret_list);
    (*ret_list)[0] = (ListedPosition){.key = {.cluster = "c", .group = arena_copy(arena, span_of(group)), .topic = "u", .generation = 3}};
    *ret_count = 1;
    return SINK_DONE;
}

static SinkResult still_claim(SinkSession *session, ClaimJob *job, Error *error) {
    for (size_t i = 0; i < job->count; i++) job->claims[i].next = job->claims[i].start;
    return still_question(session, error);
}

/* The position is 7. */
static SinkResult still_seek(SinkSession *session, SeekJob *job, Error *error) {
    (void)pthread_mutex_lock(&place.lock);
    bool lost = place.seek_is_lost, known = job->positions[0].found && job->positions[0].read == 7;
    place.seek_is_lost = false;
    place.seeks++;
    (void)pthread_mutex_unlock(&place.lock);
    job->positions[0].found = true;
    job->positions[0].read = 7;
    if (lost) {
        (void)error_set(error, -ECONNRESET, "lost");
        return SINK_UNREACHABLE;
    }
    if (job->compare && !known) {
        (void)error_set(error, -EBUSY, "changed");
        return SINK_RETRY;
    }
    return still_question(session, error);
}

static const PositionsDriver still_positions = {.claim = still_claim, .seek = still_seek, .list = still_list};

/* As the drivers of the two types: one job at a time on a file, any number on a server. */
static const SinkDriver still_file = {.type = &connection_type_sqlite,
                                      .jobs_max = 1,
                                      .transactional = true,
                                      .keeps_ledger = true,
                                      .keeps_order = true,
                                      .connect = still_connect,
                                      .prepare = still_prepare,
                                      .inspect = still_inspect,
                                      .import = still_import,
                                      .disconnect = still_disconnect,
                                      .test = still_test};
static const SinkDriver still_server = {.type = &connection_type_postgres,
                                        .transactional = true,
                                        .keeps_ledger = true,
                                        .keeps_order = true,
                                        .positions = &still_positions,
                                        .connect = still_connect,
                                        .prepare = still_prepare,
                                        .inspect = still_inspect,
                                        .import = still_import,
                                        .disconnect = still_disconnect,
                                        .test = still_test};

static const SinkDriver *driver_of(void *context, const ConnectionType *type) {
    return type == &connection_type_sqlite ? &still_file : &still_server;
}

/* ---- the pool -------------------------------------------------------------------------------- */

typedef struct Pool {
    Files *files;
    Mailbox *writer, *reply;
    Connections connections;
    Loaders *loaders;
} Pool;

static void start(Pool *pool, unsigned threads, usec_t import_timeout) {
    static Connection items[3] = {{.name = (char *)(uintptr_t) "file", .type = &connection_type_sqlite},
                                  {.name = (char *)(uintptr_t) "server", .type = &connection_type_postgres},
                                  {.name = (char *)(uintptr_t) "other", .type = &connection_type_postgres}};
    Error error = {0};
    pool->connections = (Connections){.items = items, .count = 3};
    pool->files = memory_files_new(NULL, NULL);
    pool->writer = mailbox_new(NULL, NULL);
    pool->reply = mailbox_new(NULL, NULL);
    LoadersOptions options = {.connections = &pool->connections,
                              .data_directory = "",
                              .files = pool->files,
                              .writer = pool->writer,
                              .threads = threads,
                              .import_timeout = import_timeout,
                              .bad_rows_max = 10,
                              .driver_of = driver_of};
    assert_int_equal(loaders_start(&options, &pool->loaders, &error), 0);
}

static void stop(Pool *pool) {
    loaders_free(pool->loaders);
    pool->loaders = NULL;
}

static void end(Pool *pool) {
    if (pool->loaders) stop(pool);
    files_free(pool->files);
    mailbox_free(pool->writer);
    mailbox_free(pool->reply);
}

static int reset(void **state) {
    log_setup((LogLevel)(LOG_ERROR + 1), 2);
    (void)pthread_mutex_lock(&place.lock);
    memset(place.running, 0, sizeof place.running);
    memset(place.most, 0, sizeof place.most);
    memset(place.sink_running, 0, sizeof place.sink_running);
    place.sink_max = place.connects = place.disconnects = place.prepares = 0;
    place.go = place.until_told = place.rejects = place.hangs = place.questions_hang = place.seek_is_lost = false;
    place.questions_running = place.seeks = 0;
    place.result = SINK_DONE;
    (void)pthread_mutex_unlock(&place.lock);
    return 0;
}

static void target_init(SinkTarget *target, const char *connection) {
    *target = (SinkTarget){.connection = text_copy(connection), .column_count = 1};
    target->table.table_id = text_copy("orders");
    target->columns = calloc(1, sizeof *target->columns);
    target->columns[0].name = text_copy("v");
    target->columns[0].type = COLUMN_BODY;
}

static const PartitionKey partition = {.cluster = "c", .group = "g", .topic = "t", .partition = 2};

static void post_claim(Pool *pool, const char *connection, uint32_t sink, Mailbox *reply) {
    SinkTarget target;
    target_init(&target, connection);
    const PositionClaim claim = {.key = partition, .topic_id = "id", .start = 5};
    loaders_post(pool->loaders, claim_job_new(&target, "1", sink, &claim, 1, false, reply, NULL));
    sink_target_deinit(&target);
}

static void post_seek(Pool *pool, const char *connection, int64_t known, bool compare) {
    SinkTarget target;
    target_init(&target, connection);
    const ImportPosition position = {.key = partition, .found = true, .read = known, .next = 9};
    loaders_post(pool->loaders, seek_job_new(&target, "1", 1, &position, 1, false, compare, pool->reply, NULL));
    sink_target_deinit(&target);
}

static void wait_questions(unsigned wanted) {
    struct timespec deadline;
    (void)clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += PATIENCE / USEC_SECOND;
    (void)pthread_mutex_lock(&place.lock);
    while (place.questions_running < wanted)
        if (pthread_cond_timedwait(&place.changed, &place.lock, &deadline) != 0) break;
    assert_int_equal(place.questions_running, wanted);
    (void)pthread_mutex_unlock(&place.lock);
}

static void post_as(Pool *pool, int kind, const char *connection, uint32_t sink, bool failed_before) {
    LoadJob *job = load_job_new((MessageKind)kind, pool->reply, NULL);
    char label[16];
    (void)snprintf(label, sizeof label, "%u", sink);
    job->connection = strdup(connection);
    job->label = strdup(label);
    job->sink = sink;
    job->failed_before = failed_before;
    job->target.column_count = 1;
    job->target.columns = calloc(1, sizeof(Column));
    job->files = calloc(1, sizeof *job->files);
    job->file_count = 1;
    job->files[0].file.target = strdup("{}");
    job->files[0].file.label = strdup(label);
    loaders_post(pool->loaders, job);
}

static void post(Pool *pool, int kind, const char *connection, uint32_t sink) {
    post_as(pool, kind, connection, sink, false);
}

static void post_failed(Pool *pool, const char *connection, uint32_t sink) {
    post_as(pool, MESSAGE_IMPORT, connection, sink, true);
}

static unsigned collect(Pool *pool, unsigned wanted, SinkResult result, const char *words) {
    unsigned count = 0;
    while (count < wanted) {
        if (!mailbox_wait(pool->reply, PATIENCE)) return count;
        for (Message *message = mailbox_take(pool->reply), *next; message; message = next) {
            next = message->next;
            LoadJob *job = (LoadJob *)message;
            assert_int_equal(job->request.result, result);
            if (words) assert_non_null(strstr(job->request.error.text, words));
            load_job_free(job);
            count++;
        }
    }
    return count;
}

static void wait_at_least(unsigned file, unsigned server) {
    struct timespec deadline;
    (void)clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += PATIENCE / USEC_SECOND;
    (void)pthread_mutex_lock(&place.lock);
    while (place.running[0] < file || place.running[1] < server)
        if (pthread_cond_timedwait(&place.changed, &place.lock, &deadline) != 0) break;
    assert_true(place.running[0] >= file && place.running[1] >= server);
    (void)pthread_mutex_unlock(&place.lock);
}

static void wait_running(unsigned file, unsigned server) {
    wait_at_least(file, server);
    (void)pthread_mutex_lock(&place.lock);
    assert_int_equal(place.running[0], file);
    assert_int_equal(place.running[1], server);
    (void)pthread_mutex_unlock(&place.lock);
}

static void let_go(void) {
    (void)pthread_mutex_lock(&place.lock);
    place.go = true;
    (void)pthread_cond_broadcast(&place.changed);
    (void)pthread_mutex_unlock(&place.lock);
}

static void test_no_connection_takes_all_loaders(void **state) {
    Pool pool;
    start(&pool, 4, USEC_HOUR);
    for (uint32_t sink = 1; sink <= 20; sink++) post(&pool, MESSAGE_IMPORT, "server", sink);
    for (uint32_t sink = 21; sink <= 25; sink++) post(&pool, MESSAGE_IMPORT, "file", sink);
    wait_running(1, 4);
    let_go();
    assert_int_equal(collect(&pool, 25, SINK_DONE, NULL), 25);
    end(&pool);
    assert_int_equal(place.most[0], 1);
    assert_int_equal(place.most[1], 4);
    assert_true(place.connects <= 12); /* kept open: at most one a loader and connection */
    assert_int_equal(place.connects, place.disconnects);
}

/* Two servers from which nothing comes back have a loader each, and the file goes on. */
static void test_connections_that_hang_leave_loaders_to_others(void **state) {
    Pool pool;
    start(&pool, 4, USEC_HOUR);
    place.hangs = true;
    for (uint32_t sink = 1; sink <= 10; sink++) post(&pool, MESSAGE_IMPORT, "server", sink);
    for (uint32_t sink = 11; sink <= 20; sink++) post(&pool, MESSAGE_IMPORT, "other", sink);
    wait_running(0, 2);
    for (uint32_t sink = 21; sink <= 25; sink++) post(&pool, MESSAGE_IMPORT, "file", sink);
    wait_running(1, 2);
    post(&pool, MESSAGE_PREPARE, "server", 1); /* what somebody waits for finds a loader */
    assert_int_equal(collect(&pool, 1, SINK_DONE, NULL), 1);
    let_go();
    assert_int_equal(collect(&pool, 25, SINK_DONE, NULL), 25);
    end(&pool);
}

/* Jobs of sinks that failed before are many, and stand still; one of another sink finds a
 * loader. */
static void test_sinks_that_fail_leave_a_loader_to_others(void **state) {
    Pool pool;
    start(&pool, 3, USEC_HOUR);
    for (uint32_t sink = 1; sink <= 10; sink++) post_failed(&pool, "server", sink);
    wait_running(0, 2);
    post(&pool, MESSAGE_IMPORT, "server", 20);
    wait_running(0, 3);
    let_go();
    assert_int_equal(collect(&pool, 11, SINK_DONE, NULL), 11);
    end(&pool);
}

static void test_a_sink_has_one_import_at_a_time(void **state) {
    Pool pool;
    start(&pool, 4, USEC_HOUR);
    for (unsigned i = 0; i < 6; i++) post(&pool, MESSAGE_IMPORT, "server", 5);
    post(&pool, MESSAGE_IMPORT, "server", 6);
    wait_running(0, 2);
    let_go();
    assert_int_equal(collect(&pool, 7, SINK_DONE, NULL), 7);
    end(&pool);
    assert_int_equal(place.sink_max, 1);
}

static void test_a_failed_job_costs_its_connection(void **state) {
    Pool pool;
    start(&pool, 1, USEC_HOUR);
    place.go = true;
    place.result = SINK_RETRY;
    post(&pool, MESSAGE_IMPORT, "server", 1);
    assert_int_equal(collect(&pool, 1, SINK_RETRY, NULL), 1);
    place.result = SINK_DONE;
    for (unsigned i = 0; i < 3; i++) {
        post(&pool, MESSAGE_IMPORT, "server", 1);
        assert_int_equal(collect(&pool, 1, SINK_DONE, NULL), 1);
    }
    assert_int_equal(place.connects, 2);
    assert_int_equal(place.prepares, 2); /* a table is looked at once a connection */
    post(&pool, MESSAGE_PREPARE, "server", 1);
    assert_int_equal(collect(&pool, 1, SINK_DONE, NULL), 1);
    assert_int_equal(place.prepares, 3);
    post(&pool, MESSAGE_IMPORT, "nowhere", 1);
    assert_int_equal(collect(&pool, 1, SINK_REFUSED, "nowhere"), 1);
    end(&pool);
    assert_int_equal(place.connects, place.disconnects);
}

static void test_without_progress_an_import_is_interrupted(void **state) {
    Pool pool;
    start(&pool, 2, 20 * USEC_MS);
    place.until_told = true;
    post(&pool, MESSAGE_IMPORT, "server", 1);
    assert_int_equal(collect(&pool, 1, SINK_RETRY, "No progress"), 1);
    end(&pool);
}

static void test_stop_interrupts_and_sends_back(void **state) {
    Pool pool;
    start(&pool, 2, USEC_HOUR);
    place.until_told = true;
    for (uint32_t sink = 1; sink <= 5; sink++) post(&pool, MESSAGE_IMPORT, "server", sink);
    wait_at_least(0, 1);
    stop(&pool);
    assert_int_equal(collect(&pool, 5, SINK_RETRY, NULL), 5);
    end(&pool);
}

static void test_rejects_are_stored_before_the_import_ends(void **state) {
    Pool pool;
    start(&pool, 2, USEC_HOUR);
    place.go = place.rejects = true;
    for (int result = 0; result >= -ENOSPC; result -= ENOSPC) {
        post(&pool, MESSAGE_IMPORT, "server", 1);
        assert_true(mailbox_wait(pool.writer, PATIENCE));
        PendingRejects *pending = (PendingRejects *)mailbox_take(pool.writer);
        assert_int_equal(pending->request.message.kind, MESSAGE_PENDING_REJECTS);
        assert_int_equal(pending->count, 1);
        assert_int_equal(pending->file_count, 1);
        assert_int_equal(pending->rejects[0].row, 3);
        assert_null(mailbox_take(pool.reply)); /* it waits for the writer */
        pending->request.result = result;
        if (result < 0) (void)error_set(&pending->request.error, result, "rejectsFull");
        request_answer(&pending->request);
        assert_int_equal(collect(&pool, 1, result == 0 ? SINK_DONE : SINK_RETRY, result == 0 ? NULL : "rejectsFull"), 1);
    }
    end(&pool);
}

static void post_test(Pool *pool, const char *connection) {
    LoadJob *job = load_job_new(MESSAGE_TEST_CONNECTION, pool->reply, NULL);
    job->connection = strdup(connection);
    job->label = strdup("test");
    job->test = calloc(1, sizeof *job->test);
    job->tables = calloc(1, sizeof *job->tables);
    assert_true(job->test && job->tables);
    job->tables[job->table_count++] = strdup("orders");
    loaders_post(pool->loaders, job);
}

/* Imports hang in all loaders, also in those that each connection has of its own. */
static void test_connections_are_tested_while_imports_hang(void **state) {
    Pool pool = {0};
    start(&pool, 2, USEC_HOUR);
    place.until_told = true;
    for (uint32_t sink = 1; sink <= 4; sink++) post(&pool, MESSAGE_IMPORT, sink == 1 ? "file" : sink == 2 ? "other" : "server", sink);
    wait_at_least(0, 1);
    wait_at_least(1, 3);
    static const char *const names[] = {"server", "file", "server"};
    for (size_t i = 0; i < 3; i++) {
        post_test(&pool, names[i]);
        assert_true(mailbox_wait(pool.reply, PATIENCE));
        LoadJob *job = (LoadJob *)mailbox_take(pool.reply);
        assert_int_equal(job->request.message.kind, MESSAGE_TEST_CONNECTION);
        assert_int_equal(job->request.result, SINK_DONE);
        char wanted[32];
        (void)snprintf(wanted, sizeof wanted, "%s with 1", names[i]);
        assert_string_equal(job->test->version, wanted);
        assert_null(job->request.message.next);
        load_job_free(job);
    }
    post_test(&pool, "nowhere");
    assert_int_equal(collect(&pool, 1, SINK_REFUSED, "no connection \"nowhere\""), 1);
    loaders_stop(pool.loaders);
    assert_int_equal(collect(&pool, 4, SINK_RETRY, NULL), 4);
    post_test(&pool, "server");
    assert_int_equal(collect(&pool, 1, SINK_RETRY, "shutting down"), 1);
    end(&pool);
}

/* One loader has idle sessions on both connections, so the others leave both jobs to it. It takes
 * one, which hangs: the other job runs too. */
static void test_a_job_that_was_left_to_a_busy_loader_runs_at_once(void **state) {
    for (unsigned round = 0; round < 1000; round++) {
        Pool pool;
        (void)reset(NULL);
        start(&pool, 1, USEC_HOUR);
        place.go = true;
        post(&pool, MESSAGE_IMPORT, "server", 1);
        assert_int_equal(collect(&pool, 1, SINK_DONE, NULL), 1);
        post(&pool, MESSAGE_IMPORT, "file", 2);
        assert_int_equal(collect(&pool, 1, SINK_DONE, NULL), 1);
        (void)pthread_mutex_lock(&place.lock);
        place.go = false;
        place.hangs = true;
        (void)pthread_mutex_unlock(&place.lock);
        post(&pool, MESSAGE_IMPORT, "server", 1);
        post(&pool, MESSAGE_IMPORT, "file", 2);
        wait_at_least(1, 1);
        let_go();
        assert_int_equal(collect(&pool, 2, SINK_DONE, NULL), 2);
        end(&pool);
    }
}

static LoadJob *take(Mailbox *mailbox, int kind) {
    assert_true(mailbox_wait(mailbox, PATIENCE));
    LoadJob *job = (LoadJob *)mailbox_take(mailbox);
    assert_int_equal(job->request.message.kind, kind);
    assert_null(job->request.message.next);
    return job;
}

/* It hangs on its own loader, so that the claim has a shared one. It comes back to a mailbox of its
 * own. */
static void test_a_claim_does_not_wait_for_an_import_of_its_sink(void **state) {
    Pool pool;
    start(&pool, 2, USEC_HOUR);
    Mailbox *bridge = mailbox_new(NULL, NULL);
    place.hangs = true;
    post(&pool, MESSAGE_IMPORT, "server", 1);
    wait_running(0, 1);
    post_claim(&pool, "server", 1, bridge);
    LoadJob *job = take(bridge, MESSAGE_CLAIM);
    assert_int_equal(job->request.result, SINK_DONE);
    assert_int_equal(claim_job_find(job, "t", 2)->next, 5);
    assert_string_equal(claim_job_find(job, "t", 2)->topic_id, "id");
    assert_null(claim_job_find(job, "t", 3));
    assert_null(claim_job_listed(job, "t"));
    assert_int_equal(claim_job_listed(job, "u")->key.generation, 3);
    load_job_free(job);
    assert_null(mailbox_take(pool.reply));
    let_go();
    assert_int_equal(collect(&pool, 1, SINK_DONE, NULL), 1);
    mailbox_free(bridge);
    end(&pool);
}

/* Many claims at a server from which nothing comes back: they have its own loader, and those of the
 * others are left. */
static void test_claims_that_hang_leave_loaders_to_others(void **state) {
    Pool pool;
    start(&pool, 4, USEC_HOUR);
    place.questions_hang = true;
    for (uint32_t sink = 1; sink <= 10; sink++) post_claim(&pool, "server", sink, pool.reply);
    wait_questions(1);
    for (uint32_t sink = 11; sink <= 20; sink++) post(&pool, MESSAGE_IMPORT, "other", sink);
    wait_running(0, 4);
    for (uint32_t sink = 21; sink <= 25; sink++) post(&pool, MESSAGE_IMPORT, "file", sink);
    wait_running(1, 4);
    wait_questions(1);
    let_go();
    assert_int_equal(collect(&pool, 25, SINK_DONE, NULL), 25);
    end(&pool);
}

/* One that runs ends at the drain, also without an answer; those that wait come back. */
static void test_claims_and_seeks_end_at_the_drain(void **state) {
    Pool pool;
    start(&pool, 2, USEC_HOUR);
    place.questions_hang = true;
    post_claim(&pool, "server", 1, pool.reply);
    wait_questions(1);
    post_seek(&pool, "server", 7, true);
    post_claim(&pool, "server", 2, pool.reply);
    loaders_drain(pool.loaders);
    assert_int_equal(collect(&pool, 3, SINK_RETRY, NULL), 3);
    post_claim(&pool, "server", 3, pool.reply);
    assert_int_equal(collect(&pool, 1, SINK_RETRY, "shutting down"), 1);
    end(&pool);
}

/* A file takes one job at a time: what somebody waits for is the next one. */
static void test_questions_go_before_imports(void **state) {
    Pool pool;
    start(&pool, 2, USEC_HOUR);
    place.hangs = true;
    post(&pool, MESSAGE_IMPORT, "file", 1);
    wait_running(1, 0);
    post(&pool, MESSAGE_IMPORT, "file", 2);
    post(&pool, MESSAGE_IMPORT, "file", 3);
    post(&pool, MESSAGE_PREPARE, "file", 4);
    let_go();
    static const uint32_t order[] = {1, 4, 2, 3};
    for (size_t at = 0; at < 4;) {
        assert_true(mailbox_wait(pool.reply, PATIENCE));
        for (Message *message = mailbox_take(pool.reply), *next; message; message = next, at++) {
            next = message->next;
            assert_true(at < 4);
            assert_int_equal(((LoadJob *)message)->sink, order[at]);
            load_job_free((LoadJob *)message);
        }
    }
    end(&pool);
}

/* The session that was kept broke after it had read: what the seek compares with is what it was
 * given. */
static void test_a_seek_is_tried_again_as_it_was_given(void **state) {
    Pool pool;
    start(&pool, 1, USEC_HOUR);
    for (unsigned round = 0; round < 2; round++) {
        post_claim(&pool, "server", 1, pool.reply);
        assert_int_equal(collect(&pool, 1, SINK_DONE, NULL), 1);
        (void)pthread_mutex_lock(&place.lock);
        place.seek_is_lost = true;
        place.seeks = 0;
        (void)pthread_mutex_unlock(&place.lock);
        post_seek(&pool, "server", round == 0 ? 7 : 6, true);
        LoadJob *job = take(pool.reply, MESSAGE_SEEK);
        assert_int_equal(job->request.result, round == 0 ? SINK_DONE : SINK_RETRY);
        if (round == 1) assert_int_equal(job->request.error.code, -EBUSY);
        assert_int_equal(seek_job_find(job, &partition)->read, 7);
        assert_int_equal(place.seeks, 2);
        load_job_free(job);
    }
    /* Lost for good: the job says nothing about what is there. */
    post_seek(&pool, "server", 6, true); /* the session is kept no more, so this one is lost at once */
    assert_int_equal(collect(&pool, 1, SINK_RETRY, "changed"), 1);
    place.seek_is_lost = true;
    post_seek(&pool, "server", 6, false);
    LoadJob *job = take(pool.reply, MESSAGE_SEEK);
    assert_int_equal(job->request.result, SINK_UNREACHABLE);
    assert_int_equal(job->positions[0].read, 6);
    load_job_free(job);
    end(&pool);
}

static void test_a_connection_without_positions_refuses_claims(void **state) {
    Pool pool;
    start(&pool, 1, USEC_HOUR);
    post_claim(&pool, "file", 1, pool.reply);
    assert_int_equal(collect(&pool, 1, SINK_REFUSED, "cannot store positions"), 1);
    post_seek(&pool, "file", 7, true);
    assert_int_equal(collect(&pool, 1, SINK_REFUSED, "cannot store positions"), 1);
    post_claim(&pool, "nowhere", 1, pool.reply);
    assert_int_equal(collect(&pool, 1, SINK_REFUSED, "nowhere"), 1);
    end(&pool);
}

#define TEST(name) cmocka_unit_test_setup(name, reset)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_no_connection_takes_all_loaders),
        TEST(test_connections_that_hang_leave_loaders_to_others),
        TEST(test_sinks_that_fail_leave_a_loader_to_others),
        TEST(test_a_sink_has_one_import_at_a_time),
        TEST(test_a_failed_job_costs_its_connection),
        TEST(test_without_progress_an_import_is_interrupted),
        TEST(test_stop_interrupts_and_sends_back),
        TEST(test_rejects_are_stored_before_the_import_ends),
        TEST(test_connections_are_tested_while_imports_hang),
        TEST(test_a_job_that_was_left_to_a_busy_loader_runs_at_once),
        TEST(test_a_claim_does_not_wait_for_an_import_of_its_sink),
        TEST(test_claims_that_hang_leave_loaders_to_others),
        TEST(test_claims_and_seeks_end_at_the_drain),
        TEST(test_questions_go_before_imports),
        TEST(test_a_seek_is_tried_again_as_it_was_given),
        TEST(test_a_connection_without_positions_refuses_claims),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
