/* The PostgreSQL driver behind PgBouncer with pool_mode=transaction: all clients take turns on one
 * server connection. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <errno.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/sinks/postgres-case.h"

static TestPooler *pooler;

/* Another client of the pooler, for one statement. free() */
static char *as_other_client(const char *sql) {
    PGconn *connection = PQconnectdb(pooler->uri);
    if (PQstatus(connection) != CONNECTION_OK) fail_msg("%s", PQerrorMessage(connection));
    PGresult *result = PQexec(connection, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) fail_msg("%s", PQerrorMessage(connection));
    char *cell = strdup(PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "");
    PQclear(result);
    PQfinish(connection);
    return cell;
}

static void assert_other_client(const char *sql, const char *wanted) {
    char *cell = as_other_client(sql);
    if (strcmp(cell, wanted) != 0) fail_msg("%s: \"%s\" instead of \"%s\"", sql, cell, wanted);
    free(cell);
}

/* Not those that PgBouncer itself carries from a client to its server connections (DateStyle,
 * TimeZone and a few others). */
static const char all_settings[] =
    "SELECT concat_ws(' ', current_setting('synchronous_commit'), current_setting('statement_timeout'), current_setting('lock_timeout'),"
    " current_setting('idle_in_transaction_session_timeout'), current_setting('client_connection_check_interval'),"
    " current_setting('client_min_messages'), current_setting('IntervalStyle'), current_setting('xmloption'))";

/* What the settings are while a row of the table is written. */
static void make_witness(const char *table) {
    char sql[1000];
    (void)snprintf(sql, sizeof sql,
                   "CREATE TABLE %s_seen (settings text); CREATE FUNCTION %s_look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                   " INSERT INTO %s_seen %s; RETURN NEW; END $$;"
                   "CREATE TRIGGER look BEFORE INSERT ON %s FOR EACH ROW EXECUTE FUNCTION %s_look()",
                   table, table, table, all_settings, table, table);
    test_postgres_sql(server, sql);
}

#define OURS "on 843750ms 10s 5min 5s error postgres content"
#define SET_THEIRS "SET synchronous_commit = off; SET IntervalStyle = sql_standard; SET xmloption = document"
#define THEIRS "off 0 0 0 0 notice sql_standard document"

static void leaves_nothing_behind(void **state) {
    free(as_other_client(SET_THEIRS));
    static const char *const columns[] = {"n:integer t:timestamp", "n:integer:key t:timestamp"};
    for (int i = 0; i < 3; i++) {
        _cleanup_(cleanup_session) SinkSession *session = open_session_at(pooler->uri);
        assert_other_client(all_settings, THEIRS);
        char name[16], sql[100];
        (void)snprintf(name, sizeof name, "pooled%d", i);
        CASE(name, columns[i > 0], 1);
        if (i == 2) box.target.table.strategy = STRATEGY_APPEND;
        prepare(session, &box);
        make_witness(name);
        assert_other_client(all_settings, THEIRS);
        ADD(&box.rows[0], "1", "2006-01-02T15:04:05.123456Z");
        ADD(&box.rows[0], "2", "2006-02-01T15:04:05.123456Z");
        import(session, &box);
        assert_other_client(all_settings, THEIRS);
        (void)snprintf(sql, sizeof sql, "SELECT DISTINCT settings FROM %s_seen", name);
        assert_rows(sql, OURS);
        (void)snprintf(sql, sizeof sql, "SELECT t AT TIME ZONE 'UTC' FROM %s ORDER BY n", name);
        assert_rows(sql, "2006-01-02 15:04:05.123456\n2006-02-01 15:04:05.123456");
        bool found = false;
        must(driver->look_up(session, &box.files[0].id, &found, &error), &error);
        assert_true(found);
        assert_other_client("SELECT count(*) FROM pg_class WHERE relname = 'sluice_rows'", "0");
        assert_other_client(
            "SELECT (SELECT count(*) FROM pg_prepared_statements) + (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')"
            " + (SELECT count(*) FROM pg_cursors WHERE is_holdable) + (SELECT count(*) FROM pg_listening_channels())",
            "0");
    }
    free(as_other_client("RESET ALL"));
}

/* Positions: a claim, imports of runs with a plain and a keyed table, and what is done without
 * rows; nothing of it is left for the next client. */
static void positions_through_the_pooler(void **state) {
    free(as_other_client("RESET ALL"));
    for (int keyed = 0; keyed < 2; keyed++) {
        _cleanup_(cleanup_session) SinkSession *session = open_session_at(pooler->uri);
        CASE(keyed ? "placed_keyed" : "placed", keyed ? "n:integer:key v:text" : "n:integer v:text", 1);
        prepare(session, &box);
        PartitionKey key = {.cluster = "c", .group = "g", .topic = "t"};
        PositionClaim claim = {.key = key, .start = 5};
        ClaimJob claims = {.owner = {.sink_label = "shop/orders"}, .target = &box.target, .claims = &claim, .count = 1};
        must(driver->positions->claim(session, &claims, &error), &error);
        assert_int_equal(claim.next, 5);
        ImportPosition position = {.key = key};
        ImportRun runs[] = {{.first = 0, .next = 5, .first_row = 1, .rows = 1}, {.first = 5, .next = 9, .first_row = 2, .rows = 2}};
        ADD(&box.rows[0], "1", "x");
        ADD(&box.rows[0], "2", "x");
        ADD(&box.rows[0], "3", "x");
        for (int try = 0; try < 2; try++) {
            ImportJob *job = sink_case_job(&box);
            job->positions = &position;
            job->position_count = 1;
            job->files[0].runs = runs;
            job->files[0].run_count = 2;
            must(driver->import(session, job, &error), &error);
            assert_int_equal(box.files[0].left_out, 1);
            assert_int_equal(box.files[0].already_imported, try > 0);
            assert_int_equal(position.next, 9);
            assert_other_client(all_settings, "on 0 0 0 0 notice postgres content");
        }
        SeekJob seek = {.owner = claims.owner, .target = &box.target, .positions = &position, .count = 1};
        position.next = 20;
        must(driver->positions->seek(session, &seek, &error), &error);
        assert_other_client("SELECT next_offset FROM sluice.positions ORDER BY at DESC LIMIT 1", "20");
        assert_other_client("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", "0");
    }
    assert_rows("SELECT n FROM placed ORDER BY n", "2\n3");
    assert_rows("SELECT n FROM placed_keyed ORDER BY n", "2\n3");
}

/* Clients take turns between transactions, also after one that was rolled back. */
static void takes_turns_with_others(void **state) {
    _cleanup_(cleanup_session) SinkSession *session = open_session_at(pooler->uri);
    _cleanup_(cleanup_session) SinkSession *twin = open_session_at(pooler->uri);
    CASE("turns", "n:integer:key v:text", 1);
    prepare(session, &box);
    prepare(twin, &box);
    char number[16];
    for (int i = 0; i < 20; i++) {
        sink_case_next_file(&box, 0);
        for (int k = 0; k < 50; k++) {
            (void)snprintf(number, sizeof number, "%d", k);
            ADD(&box.rows[0], k == 17 ? NULL : number, "x");
        }
        box.store_fails = i % 5 == 4;
        SinkResult result = driver->import(i % 2 == 0 ? session : twin, sink_case_job(&box), &error);
        assert_int_equal(result, box.store_fails ? SINK_RETRY : SINK_DONE);
        assert_other_client("SELECT current_setting('statement_timeout')", "0");
    }
    assert_rows("SELECT count(*) FROM turns", "49");
}

/* The pooler lives on, and its server connection is dead: at most the kept session is given up, and
 * the next one works. */
static void the_server_restarts_behind_the_pooler(void **state) {
    _cleanup_(cleanup_session) SinkSession *session = open_session_at(pooler->uri);
    CASE("restarted", "n:integer", 1);
    prepare(session, &box);
    ADD(&box.rows[0], "1");
    import(session, &box);
    test_postgres_kill(server);
    test_postgres_run(server);
    sink_case_next_file(&box, 0);
    ADD(&box.rows[0], "2");
    SinkResult result = driver->import(session, sink_case_job(&box), &error);
    if (result != SINK_DONE) {
        assert_int_equal(result, SINK_RETRY);
        assert_int_equal(error.code, -ESTALE);
        driver->disconnect(session);
        session = open_session_at(pooler->uri);
        import(session, &box);
    }
    assert_rows("SELECT count(*) FROM restarted", "2");
}

/* The pool has no room for the session that looks whether the server works. */
static void a_slow_statement_in_a_full_pool(void **state) {
    test_postgres_sql(server, "CREATE TABLE slow_pooled (n bigint); CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS"
                              " $$ BEGIN PERFORM pg_sleep(5); RETURN NEW; END $$;"
                              "CREATE TRIGGER slow BEFORE INSERT ON slow_pooled FOR EACH ROW EXECUTE FUNCTION linger()");
    _cleanup_(cleanup_session) SinkSession *session = open_session_at(pooler->uri);
    CASE("slow_pooled", "n:integer", 1);
    prepare(session, &box);
    ADD(&box.rows[0], "1");
    box.patience = 2 * USEC_SECOND;
    import(session, &box);
    assert_rows("SELECT count(*) FROM slow_pooled", "1");
}

static int stop_pooler(void **state) {
    test_pooler_stop(pooler);
    return 0;
}

static int start_pooler(void **state) {
    pooler = test_pooler_start(server);
    return pooler ? 0 : -1;
}

/* A run of a table that is replaced: its claim, its import and its swap, each perhaps on another
 * server connection. */
static void a_run_through_the_pooler(void **state) {
    free(as_other_client(SET_THEIRS));
    _cleanup_(cleanup_session) SinkSession *session = open_session_at(pooler->uri);
    CASE("swapped", "n:integer v:text", 1);
    prepare(session, &box);
    test_postgres_sql(server, "INSERT INTO swapped (n, v) VALUES (7, 'old')");
    box.target.table.strategy = STRATEGY_REPLACE;
    PartitionKey key = {.cluster = "c", .group = "g#5", .topic = "t"};
    PositionClaim claim = {.key = key};
    ClaimJob claims = {.owner = {.sink_label = "shop/orders"}, .target = &box.target, .claims = &claim, .count = 1};
    must(driver->positions->claim(session, &claims, &error), &error);
    assert_int_equal(claims.state, RUN_OPEN);
    ImportPosition position = {.key = key};
    ImportRun run = {.first = 0, .next = 2, .first_row = 1, .rows = 2};
    ADD(&box.rows[0], "1", "x");
    ADD(&box.rows[0], "2", "y");
    ImportJob *job = sink_case_job(&box);
    job->positions = &position;
    job->position_count = 1;
    job->files[0].runs = &run;
    job->files[0].run_count = 1;
    must(driver->import(session, job, &error), &error);
    assert_rows("SELECT v FROM swapped", "old");
    SwapLimit limit = {.key = key, .limit = 2};
    for (int try = 0; try < 2; try++) {
        SwapJob swap = {.owner = claims.owner, .target = &box.target, .group = "g#5", .limits = &limit, .limit_count = 1};
        must(driver->positions->swap(session, &swap, &error), &error);
        assert_int_equal(swap.outcome, try == 0 ? SWAP_REPLACED : SWAP_DONE_BEFORE);
        assert_rows("SELECT n, v FROM swapped ORDER BY n", "1|x\n2|y");
    }
    assert_other_client("SELECT count(*) FROM pg_class WHERE relname = 'swapped__replace'", "0");
    assert_other_client(all_settings, THEIRS);
    assert_other_client("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", "0");
    free(as_other_client("RESET ALL"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leaves_nothing_behind),    cmocka_unit_test(positions_through_the_pooler),
        cmocka_unit_test(takes_turns_with_others),  cmocka_unit_test(the_server_restarts_behind_the_pooler),
        cmocka_unit_test(a_run_through_the_pooler), cmocka_unit_test(a_slow_statement_in_a_full_pool),
    };
    if (access("/usr/sbin/pgbouncer", X_OK) != 0 && access("/usr/bin/pgbouncer", X_OK) != 0) {
        (void)printf("no PgBouncer on this machine\n");
        return 77; /* meson: skipped */
    }
    server = test_postgres_start();
    if (!server) {
        (void)printf("no PostgreSQL binaries on this machine\n");
        return 77;
    }
    int failed = cmocka_run_group_tests(tests, start_pooler, stop_pooler);
    test_postgres_stop(server);
    return failed;
}
