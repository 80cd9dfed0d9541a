/* Claims and seeks through the loaders, at a real SQLite file and a real PostgreSQL server. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/text.h"
#include "gateway/delivery/load_job.h"
#include "gateway/delivery/loader.h"
#include "gateway/delivery/positions_job.h"
#include "tests/support/memory-files.h"
#include "tests/support/postgres.h"

#define PATIENCE (60 * USEC_SECOND)

static TestPostgres *server;
static char directory[64];

typedef struct Pool {
    Files *files;
    Mailbox *writer, *bridge;
    Connections connections;
    Connection items[2];
    char *values[2][5];
    Loaders *loaders;
} Pool;

static void start(Pool *pool) {
    *pool = (Pool){0};
    Error error = {0};
    pool->values[0][0] = text_copy("tables.db");
    pool->values[1][0] = text_copy(server ? server->uri : "postgresql://127.0.0.1:1/none");
    pool->items[0] = (Connection){.name = text_copy("local"), .type = &connection_type_sqlite, .values = pool->values[0]};
    pool->items[1] = (Connection){.name = text_copy("warehouse"), .type = &connection_type_postgres, .values = pool->values[1]};
    pool->connections = (Connections){.items = pool->items, .count = 2};
    pool->files = memory_files_new(NULL, NULL);
    pool->writer = mailbox_new(NULL, NULL);
    pool->bridge = mailbox_new(NULL, NULL);
    LoadersOptions options = {.connections = &pool->connections,
                              .data_directory = directory,
                              .files = pool->files,
                              .instance = {.bytes = {0x22}},
                              .writer = pool->writer,
                              .threads = 3,
                              .import_timeout = USEC_MINUTE,
                              .bad_rows_max = 10};
    assert_int_equal(loaders_start(&options, &pool->loaders, &error), 0);
}

static void end(Pool *pool) {
    loaders_free(pool->loaders);
    files_free(pool->files);
    mailbox_free(pool->writer);
    mailbox_free(pool->bridge);
    for (size_t i = 0; i < 2; i++) {
        free(pool->items[i].name);
        free(pool->values[i][0]);
    }
}

static SinkTarget target_of(const char *connection, const char *table) {
    SinkTarget target = {.connection = text_copy(connection), .column_count = 1};
    target.table.table_id = text_copy(table);
    target.columns = calloc(1, sizeof *target.columns);
    assert_non_null(target.columns);
    target.columns[0].name = text_copy("v");
    target.columns[0].type = COLUMN_BODY;
    return target;
}

static LoadJob *run(Pool *pool, LoadJob *job, int result) {
    loaders_post(pool->loaders, job);
    assert_true(mailbox_wait(pool->bridge, PATIENCE));
    assert_ptr_equal(mailbox_take(pool->bridge), &job->request.message);
    if (job->request.result != result) fail_msg("result %d: %s", job->request.result, job->request.error.text);
    if (result == SINK_DONE) assert_int_equal(job->request.error.code, 0);
    return job;
}

static PartitionKey key_of(const char *topic, uint32_t generation, int32_t partition) {
    return (PartitionKey){.cluster = "c", .group = "g", .topic = topic, .generation = generation, .partition = partition};
}

static LoadJob *claim(Pool *pool, const SinkTarget *target, const PositionClaim *claims, size_t count) {
    return run(pool, claim_job_new(target, "shop/orders", 1, claims, count, false, pool->bridge, pool), SINK_DONE);
}

static LoadJob *seek(Pool *pool, const SinkTarget *target, const ImportPosition *position, bool backwards, bool compare, int result) {
    return run(pool, seek_job_new(target, "shop/orders", 1, position, 1, backwards, compare, pool->bridge, pool), result);
}

/* Is there a table of this name? */
static bool has_table(const char *connection, const char *table) {
    char sql[200];
    bool has;
    if (strcmp(connection, "local") != 0) {
        (void)snprintf(sql, sizeof sql, "SELECT count(*) FROM pg_tables WHERE tablename = '%s'", table);
        char *rows = test_postgres_rows(server, sql);
        has = strcmp(rows, "0") != 0;
        free(rows);
        return has;
    }
    char path[128];
    sqlite3 *database;
    (void)snprintf(path, sizeof path, "%s/tables.db", directory);
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    has = sqlite3_table_column_metadata(database, "main", table, NULL, NULL, NULL, NULL, NULL, NULL) == SQLITE_OK;
    (void)sqlite3_close(database);
    return has;
}

static const char *const connections[] = {"local", "warehouse"};
static size_t connection_count(void) {
    return server ? 2 : 1;
}

/* The sink's table is not there, nor that of positions: the claim makes the latter alone. */
static void test_a_claim_makes_positions_and_reads_them_back(void **state) {
    for (size_t i = 0; i < connection_count(); i++) {
        Pool pool;
        start(&pool);
        SinkTarget target = target_of(connections[i], "claimed");
        /* In any order. */
        const PositionClaim claims[] = {{.key = key_of("u", 0, 0), .start = 30, .topic_id = "made in May"},
                                        {.key = key_of("t", 0, 10), .start = 20},
                                        {.key = key_of("t", 0, 2), .start = 10}};
        LoadJob *job = claim(&pool, &target, claims, 3);
        assert_ptr_equal(job->request.context, &pool);
        assert_int_equal(job->claim_count, 3);
        assert_int_equal(claim_job_find(job, "t", 2)->next, 10);
        assert_int_equal(claim_job_find(job, "t", 10)->next, 20);
        assert_int_equal(claim_job_find(job, "u", 0)->next, 30);
        assert_false(claim_job_find(job, "u", 0)->was_there);
        assert_int_equal(job->listed_count, 0);
        load_job_free(job);
        assert_false(has_table(connections[i], "claimed"));
        LoadJob *listed = run(&pool, list_job_new(&target, "shop/orders", 1, "g", pool.bridge, &pool), SINK_DONE);
        assert_int_equal(listed->listed_count, 3);
        assert_string_equal(listed->listed[2].key.topic, "u");
        assert_int_equal(listed->listed[2].next, 30);
        load_job_free(listed);
        listed = run(&pool, list_job_new(&target, "shop/orders", 1, "others", pool.bridge, &pool), SINK_DONE);
        assert_int_equal(listed->listed_count, 0);
        load_job_free(listed);
        /* What is there wins; a partition that came later begins at the earliest offset. */
        const PositionClaim later[] = {{.key = key_of("t", 0, 2), .start = 99},
                                       {.key = key_of("t", 0, 3), .start = 99, .earliest = 4},
                                       {.key = key_of("u", 0, 0), .start = 99}};
        job = claim(&pool, &target, later, 3);
        assert_int_equal(claim_job_find(job, "t", 2)->next, 10);
        assert_true(claim_job_find(job, "t", 2)->was_there);
        assert_int_equal(claim_job_find(job, "t", 3)->next, 4);
        assert_int_equal(job->listed_count, 3);
        assert_string_equal(claim_job_listed(job, "u")->topic_id, "made in May");
        assert_null(claim_job_listed(job, "t")->topic_id);
        load_job_free(job);
        sink_target_deinit(&target);
        end(&pool);
    }
}

static void test_a_seek_sets_positions(void **state) {
    for (size_t i = 0; i < connection_count(); i++) {
        Pool pool;
        start(&pool);
        SinkTarget target = target_of(connections[i], "sought");
        ImportPosition position = {.key = key_of("t", 0, 0), .next = 50};
        LoadJob *job = seek(&pool, &target, &position, false, false, SINK_DONE); /* there was none */
        assert_false(job->positions[0].found);
        load_job_free(job);
        position.next = 40;
        job = seek(&pool, &target, &position, false, false, SINK_REFUSED);
        assert_int_equal(job->request.error.code, -ERANGE);
        assert_int_equal(seek_job_find(job, &position.key)->read, 50);
        load_job_free(job);
        position.found = true;
        position.read = 49;
        position.next = 60;
        job = seek(&pool, &target, &position, false, true, SINK_RETRY);
        assert_int_equal(job->request.error.code, -EBUSY);
        assert_int_equal(seek_job_find(job, &position.key)->read, 50);
        load_job_free(job);
        position.read = 50;
        load_job_free(seek(&pool, &target, &position, false, true, SINK_DONE));
        position.next = 1;
        load_job_free(seek(&pool, &target, &position, true, false, SINK_DONE));
        const PositionClaim claims[] = {{.key = key_of("t", 0, 0), .start = 99}};
        job = claim(&pool, &target, claims, 1);
        assert_int_equal(job->claims[0].next, 1);
        load_job_free(job);
        sink_target_deinit(&target);
        end(&pool);
    }
}

/* Lists, copies and removes all of a group; a claim that keeps from making the first ones. */
static void test_all_positions_of_a_group(void **state) {
    for (size_t i = 0; i < connection_count(); i++) {
        Pool pool;
        start(&pool);
        SinkTarget target = target_of(connections[i], "all"), other = target_of(connections[i], "all_other");
        const PositionClaim claims[] = {{.key = key_of("t", 0, 0), .start = 3}, {.key = key_of("t", 0, 1), .start = 4}};
        LoadJob *job = run(&pool, claim_job_new(&target, "shop/orders", 1, claims, 2, true, pool.bridge, NULL), SINK_DONE);
        assert_false(job->claimed);
        load_job_free(job);
        job = run(&pool, list_job_new(&target, "shop/orders", 1, "g", pool.bridge, NULL), SINK_DONE);
        assert_int_equal(job->listed_count, 0);
        load_job_free(job);
        load_job_free(claim(&pool, &target, claims, 2));
        job = run(&pool, claim_job_new(&target, "shop/orders", 1, claims, 2, true, pool.bridge, NULL), SINK_DONE);
        assert_true(job->claimed);
        assert_int_equal(claim_job_find(job, "t", 1)->next, 4);
        load_job_free(job);
        job = run(&pool, copy_job_new(&target, &other, "shop/orders", 1, "g", pool.bridge, NULL), SINK_DONE);
        assert_int_equal(job->changed, 2);
        load_job_free(job);
        job = run(&pool, remove_job_new(&target, "shop/orders", 1, "g", pool.bridge, NULL), SINK_DONE);
        assert_int_equal(job->changed, 2);
        assert_int_equal(job->listed_count, 0);
        load_job_free(job);
        job = run(&pool, list_job_new(&other, "shop/orders", 1, "g", pool.bridge, NULL), SINK_DONE);
        assert_int_equal(job->listed_count, 2);
        assert_int_equal(job->listed[1].next, 4);
        load_job_free(job);
        sink_target_deinit(&target);
        sink_target_deinit(&other);
        end(&pool);
    }
}

/* A topic that was made anew: who does not know it gets the positions of the highest generation. */
static void test_a_claim_finds_the_generation(void **state) {
    for (size_t i = 0; i < connection_count(); i++) {
        Pool pool;
        start(&pool);
        SinkTarget target = target_of(connections[i], "anew");
        const PositionClaim first[] = {{.key = key_of("a", 0, 0), .start = 5, .topic_id = "1"},
                                       {.key = key_of("b", 0, 0), .start = 6},
                                       {.key = key_of("ab", 0, 0), .start = 7}};
        load_job_free(claim(&pool, &target, first, 3));
        const PositionClaim anew[] = {{.key = key_of("a", 2, 1), .topic_id = "2"}, {.key = key_of("a", 2, 0), .topic_id = "2"}};
        LoadJob *job = claim(&pool, &target, anew, 2);
        assert_int_equal(claim_job_find(job, "a", 0)->next, 0);
        assert_string_equal(claim_job_listed(job, "a")->topic_id, "1");
        load_job_free(job);
        const PositionClaim again[] = {
            {.key = key_of("b", 0, 0)}, {.key = key_of("ab", 0, 0)}, {.key = key_of("a", 0, 0)}, {.key = key_of("a", 0, 1)}};
        job = claim(&pool, &target, again, 4);
        for (size_t k = 0; k < job->claim_count; k++) assert_true(job->claims[k].was_there);
        assert_int_equal(claim_job_find(job, "a", 1)->key.generation, 2);
        assert_int_equal(claim_job_find(job, "ab", 0)->key.generation, 0);
        assert_int_equal(claim_job_find(job, "ab", 0)->next, 7);
        assert_int_equal(claim_job_listed(job, "a")->key.generation, 2);
        assert_string_equal(claim_job_listed(job, "a")->topic_id, "2");
        assert_int_equal(job->listed_count, 5);
        load_job_free(job);
        sink_target_deinit(&target);
        end(&pool);
    }
}

/* The rows of a run replace those of the table: the answers of the claim and of the swap come back
 * with the jobs. */
static void test_a_swap_of_a_run(void **state) {
    for (size_t i = 0; i < connection_count(); i++) {
        Pool pool;
        start(&pool);
        SinkTarget target = target_of(connections[i], "swapped");
        target.table.strategy = STRATEGY_REPLACE;
        char *group = run_group("g", 1764000000000), *earlier = run_group("g", 1763999999999);
        PositionClaim claims[] = {{.key = key_of("t", 0, 1), .earliest = 4}, {.key = key_of("t", 0, 0)}};
        claims[0].key.group = claims[1].key.group = group;
        LoadJob *job = claim(&pool, &target, claims, 2);
        assert_int_equal(job->run_state, RUN_OPEN);
        assert_int_equal(claim_job_find(job, "t", 1)->next, 4);
        load_job_free(job);
        assert_true(has_table(connections[i], "swapped") && has_table(connections[i], "swapped__replace"));
        SwapLimit limits[] = {{.key = claims[0].key, .limit = 5}, {.key = claims[1].key, .limit = 0}};
        static const struct {
            int64_t limit;
            bool allow_empty;
            SwapOutcome outcome;
        } steps[] = {{5, true, SWAP_NOT_COMPLETE}, {4, false, SWAP_EMPTY}, {4, true, SWAP_REPLACED}, {4, false, SWAP_DONE_BEFORE}};
        for (size_t k = 0; k < sizeof steps / sizeof steps[0]; k++) {
            limits[0].limit = steps[k].limit;
            job = swap_job_new(&target, "shop/orders", 1, group, limits, 2, steps[k].allow_empty, pool.bridge, &pool);
            assert_ptr_equal(run(&pool, job, SINK_DONE)->request.context, &pool);
            assert_int_equal(job->swap_outcome, steps[k].outcome);
            assert_int_equal(job->rows, 0);
            load_job_free(job);
        }
        assert_false(has_table(connections[i], "swapped__replace"));
        job = claim(&pool, &target, claims, 2);
        assert_int_equal(job->run_state, RUN_DONE);
        load_job_free(job);
        claims[0].key.group = claims[1].key.group = earlier;
        job = claim(&pool, &target, claims, 2);
        assert_int_equal(job->run_state, RUN_SUPERSEDED);
        assert_int_equal(job->later_run, 1764000000000);
        load_job_free(job);
        job = run(&pool, swap_job_new(&target, "shop/orders", 1, earlier, NULL, 0, true, pool.bridge, NULL), SINK_DONE);
        assert_int_equal(job->swap_outcome, SWAP_SUPERSEDED);
        assert_int_equal(job->later_run, 1764000000000);
        load_job_free(job);
        free(group);
        free(earlier);
        sink_target_deinit(&target);
        end(&pool);
    }
}

/* The server was restarted: the session that a loader kept is dead, and the claim is done on
 * another one. */
static void test_a_claim_after_a_restart_of_the_server(void **state) {
    if (!server) skip();
    Pool pool;
    start(&pool);
    SinkTarget target = target_of("warehouse", "restarted");
    const PositionClaim claims[] = {{.key = key_of("t", 0, 0), .start = 3}};
    load_job_free(claim(&pool, &target, claims, 1));
    test_postgres_kill(server);
    test_postgres_run(server);
    LoadJob *job = claim(&pool, &target, claims, 1);
    assert_true(job->claims[0].was_there);
    assert_int_equal(job->claims[0].next, 3);
    load_job_free(job);
    sink_target_deinit(&target);
    end(&pool);
}

/* A server that takes the connection and says nothing: others are not delayed, and the claim ends
 * at the drain. */
static void test_a_claim_at_a_silent_server(void **state) {
    Pool pool;
    start(&pool);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    free(pool.values[1][0]);
    assert_true(asprintf(&pool.values[1][0], "postgresql://127.0.0.1:%d/none", ntohs(address.sin_port)) > 0);
    SinkTarget silent = target_of("warehouse", "silent"), target = target_of("local", "silent");
    const PositionClaim claims[] = {{.key = key_of("t", 0, 0), .start = 3}};
    for (uint32_t sink = 1; sink <= 8; sink++)
        loaders_post(pool.loaders, claim_job_new(&silent, "shop/orders", sink, claims, 1, false, pool.bridge, NULL));
    load_job_free(claim(&pool, &target, claims, 1));
    load_job_free(claim(&pool, &target, claims, 1));
    loaders_drain(pool.loaders);
    for (unsigned count = 0; count < 8;) {
        assert_true(mailbox_wait(pool.bridge, PATIENCE));
        for (Message *message = mailbox_take(pool.bridge), *next; message; message = next, count++) {
            next = message->next;
            LoadJob *job = (LoadJob *)message;
            assert_int_equal(job->request.result, SINK_RETRY);
            assert_int_equal(job->request.error.code, -ECANCELED);
            request_drop(&job->request); /* as of a bridge that has ended */
        }
    }
    sink_target_deinit(&silent);
    sink_target_deinit(&target);
    end(&pool);
    (void)close(listener);
}

static int set_up(void **state) {
    log_setup((LogLevel)(LOG_ERROR + 1), 2);
    (void)snprintf(directory, sizeof directory, "/tmp/sluice-loader-XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static int tear_down(void **state) {
    static const char *const names[] = {"tables.db", "tables.db-wal", "tables.db-shm"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        (void)unlink(path);
    }
    return rmdir(directory);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_a_claim_makes_positions_and_reads_them_back),
        TEST(test_a_seek_sets_positions),
        TEST(test_a_claim_finds_the_generation),
        TEST(test_all_positions_of_a_group),
        TEST(test_a_swap_of_a_run),
        TEST(test_a_claim_after_a_restart_of_the_server),
        TEST(test_a_claim_at_a_silent_server),
    };
    server = test_postgres_start();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_postgres_stop(server);
    return failed;
}
