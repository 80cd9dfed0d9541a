/* The PostgreSQL driver with statements that take long: what counts as work, and where an import
 * ends. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <libpq-fe.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/thread.h"
#include "sinks/postgres_session.h"
#include "tests/unit/sinks/postgres-case.h"

#define SLOW_SECONDS "5"
#define PATIENCE (2 * USEC_SECOND)

static void make_slow_table(const char *name, const char *key, const char *work) {
    char sql[600];
    (void)snprintf(sql, sizeof sql,
                   "CREATE TABLE %s (n bigint %s);"
                   "CREATE OR REPLACE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS"
                   " $$ BEGIN IF NEW.n = 7 THEN %s; END IF; RETURN NEW; END $$;"
                   "CREATE TRIGGER slow BEFORE INSERT ON %s FOR EACH ROW EXECUTE FUNCTION linger();"
                   "GRANT INSERT, SELECT, UPDATE ON %s TO worker",
                   name, key, work, name, name);
    test_postgres_sql(server, sql);
}

static SinkSession *open_worker(void) {
    char uri[200];
    SinkSession *session = NULL;
    Error error = {0};
    (void)snprintf(uri, sizeof uri, "postgresql://worker@127.0.0.1:%d/postgres", server->port);
    must(try_open(uri, NULL, &session, &error), &error);
    return session;
}

/* A role without any right but those that an import needs, and with one session or without a limit
 * of them. */
static void make_worker(const char *limit) {
    char sql[400];
    (void)snprintf(sql, sizeof sql,
                   "DO $$ BEGIN CREATE ROLE worker LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
                   "ALTER ROLE worker CONNECTION LIMIT %s; GRANT USAGE ON SCHEMA sluice TO worker;"
                   "GRANT SELECT, INSERT, DELETE ON sluice.files TO worker",
                   limit);
    test_postgres_sql(server, sql);
}

static void make_ledger(void) {
    SESSION;
    CASE("for_its_ledger", "n:integer", 1);
    prepare(session, &box);
}

/* No row gets further for longer than the patience, and the server works: in COPY, in the merge,
 * and where it has no session left for a second look. */
static void a_slow_statement_is_work(void **state) {
    static const char *const columns[] = {"n:integer", "n:integer:key", "n:integer"};
    static const char *const names[] = {"slow_plain", "slow_keyed", "slow_alone"};
    make_ledger();
    for (int i = 0; i < 3; i++) {
        make_worker(i == 2 ? "1" : "-1");
        make_slow_table(names[i], i == 1 ? "PRIMARY KEY" : "", "PERFORM pg_sleep(" SLOW_SECONDS ")");
        _cleanup_(cleanup_session) SinkSession *session = open_worker();
        CASE(names[i], columns[i], 1);
        prepare(session, &box);
        add_many(&box.rows[0], 20);
        box.patience = PATIENCE;
        must(driver->import(session, sink_case_job(&box), &error), &error);
        assert_true(box.times_working > 0);
        char sql[80];
        (void)snprintf(sql, sizeof sql, "SELECT count(*) FROM %s", names[i]);
        assert_rows(sql, "20");
    }
    make_worker("-1");
}

/* All connections of the server are used up: the second session is refused with 53300, and the
 * server works on. */
static void a_full_server_is_at_work(void **state) {
    make_ledger();
    make_worker("-1");
    make_slow_table("crowded", "", "PERFORM pg_sleep(" SLOW_SECONDS ")");
    _cleanup_(cleanup_session) SinkSession *session = open_worker();
    CASE("crowded", "n:integer", 1);
    prepare(session, &box);
    add_many(&box.rows[0], 20);
    PGconn *crowd[100];
    size_t count = 0;
    char uri[200];
    (void)snprintf(uri, sizeof uri, "postgresql://worker@127.0.0.1:%d/postgres", server->port);
    for (; count < 100; count++) {
        crowd[count] = PQconnectdb(uri);
        if (PQstatus(crowd[count]) != CONNECTION_OK) break;
    }
    assert_in_range(count, 10, 99);
    assert_non_null(strstr(PQerrorMessage(crowd[count]), "remaining connection slots are reserved"));
    box.patience = PATIENCE;
    SinkResult result = driver->import(session, sink_case_job(&box), &error);
    for (size_t i = 0; i <= count; i++) PQfinish(crowd[i]);
    must(result, &error);
    assert_true(box.times_working > 0);
    assert_rows("SELECT count(*) FROM crowded", "20");
}

/* The second session is refused for a reason that says nothing about the first one: no sign of
 * work, and the connection's fault. */
static void other_refusals_are_no_work(void **state) {
    static const char *const names[] = {"forbidden", "stopping"};
    static const char *const words[] = {"not permitted to log in", "shutting down"};
    for (int i = 0; i < 2; i++) {
        make_ledger();
        make_worker("-1");
        make_slow_table(names[i], "", "PERFORM pg_sleep(600)");
        _cleanup_(cleanup_session) SinkSession *session = open_worker();
        CASE(names[i], "n:integer", 1);
        prepare(session, &box);
        add_many(&box.rows[0], 20);
        if (i == 0) test_postgres_sql(server, "ALTER ROLE worker NOLOGIN");
        if (i == 1) assert_int_equal(kill(server->pid, SIGTERM), 0); /* waits for the sessions to end */
        box.patience = PATIENCE;
        box.most = 30 * USEC_SECOND;
        SinkResult result = driver->import(session, sink_case_job(&box), &error);
        if (i == 1) {
            test_postgres_kill(server);
            test_postgres_run(server);
        }
        test_postgres_sql(server, "ALTER ROLE worker LOGIN; SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                                  " WHERE usename = 'worker'");
        assert_int_equal(result, SINK_UNREACHABLE);
        if (!strstr(error.text, words[i])) fail_msg("%s", error.text);
        assert_int_equal(box.times_working, 0);
    }
}

static void *hold_row(void *context) {
    test_postgres_sql(server, "BEGIN; UPDATE held SET v = 'mine' WHERE n = 7; SELECT pg_sleep(" SLOW_SECONDS "); COMMIT");
    return NULL;
}

static void a_row_that_somebody_holds_is_waited_for(void **state) {
    SESSION;
    CASE("held", "n:integer:key v:text", 1);
    prepare(session, &box);
    test_postgres_sql(server, "INSERT INTO held VALUES (7, 'old')");
    for (int i = 0; i < 20; i++) {
        char number[16];
        (void)snprintf(number, sizeof number, "%d", i);
        ADD(&box.rows[0], number, "new");
    }
    Thread holder;
    assert_int_equal(thread_start(&holder, "holder", hold_row, NULL, NULL), 0);
    const char *held = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(" SLOW_SECONDS ")%' AND wait_event = 'PgSleep'";
    for (bool holds = false; !holds;) {
        char *rows = test_postgres_rows(server, held);
        holds = strcmp(rows, "1") == 0;
        free(rows);
    }
    box.patience = PATIENCE;
    SinkResult result = driver->import(session, sink_case_job(&box), &error);
    thread_join(&holder);
    must(result, &error);
    assert_rows("SELECT v FROM held WHERE n = 7", "new");
}

/* The postmaster and all that it made. */
static char *stopped_pids;

static void signal_server(int number) {
    char *pids = strdup(stopped_pids), *rest = NULL;
    assert_int_equal(kill(server->pid, number), 0);
    for (char *pid = strtok_r(pids, " ", &rest); pid; pid = strtok_r(NULL, " ", &rest)) (void)kill(atoi(pid), number);
    free(pids);
}

static void *stop_in_slow_statement(void *context) {
    const char *slow = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sluice shop/orders' AND wait_event = 'PgSleep'";
    for (bool sleeps = false; !sleeps;) {
        char *rows = test_postgres_rows(server, slow);
        sleeps = strcmp(rows, "0") != 0;
        free(rows);
    }
    stopped_pids = test_postgres_rows(server, "SELECT string_agg(pid::text, ' ') FROM pg_stat_activity WHERE pid <> pg_backend_pid()");
    signal_server(SIGSTOP);
    return NULL;
}

static void a_server_that_stops_in_a_slow_statement(void **state) {
    make_ledger();
    make_worker("-1");
    make_slow_table("stopped", "", "PERFORM pg_sleep(600)");
    _cleanup_(cleanup_session) SinkSession *session = open_worker();
    CASE("stopped", "n:integer", 1);
    prepare(session, &box);
    add_many(&box.rows[0], 20);
    box.patience = PATIENCE;
    Thread stopper;
    assert_int_equal(thread_start(&stopper, "stopper", stop_in_slow_statement, NULL, NULL), 0);
    usec_t began = clock_system()->boot(clock_system());
    SinkResult result = driver->import(session, sink_case_job(&box), &error);
    usec_t took = clock_system()->boot(clock_system()) - began;
    thread_join(&stopper);
    signal_server(SIGCONT);
    free(stopped_pids);
    assert_int_equal(result, SINK_UNREACHABLE);
    assert_non_null(strstr(error.text, "does not answer"));
    assert_true(took < 60 * USEC_SECOND);
    assert_true(box.job.proven_absent);
    test_postgres_sql(server, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'worker'");
}

/* A server that sends notices all the time, whatever the session asked for. `last`: for how many
 * seconds it is silent at the end. */
static void make_talkative_table(const char *name, const char *key, const char *last) {
    char sql[800];
    (void)snprintf(sql, sizeof sql,
                   "CREATE TABLE %s (n bigint %s);"
                   "CREATE OR REPLACE FUNCTION talk() RETURNS trigger LANGUAGE plpgsql SET client_min_messages = notice AS"
                   " $$ BEGIN RAISE NOTICE 'row'; PERFORM pg_sleep(0.05); RETURN NEW; END $$;"
                   "CREATE OR REPLACE FUNCTION rest() RETURNS trigger LANGUAGE plpgsql AS"
                   " $$ BEGIN PERFORM pg_sleep(%s); RETURN NULL; END $$;"
                   "CREATE TRIGGER talks BEFORE INSERT ON %s FOR EACH ROW EXECUTE FUNCTION talk();"
                   "CREATE TRIGGER rests AFTER INSERT ON %s FOR EACH STATEMENT EXECUTE FUNCTION rest();"
                   "GRANT INSERT, SELECT, UPDATE ON %s TO worker",
                   name, key, last, name, name, name);
    test_postgres_sql(server, sql);
}

static void notices_do_not_keep_an_import_from_its_end(void **state) {
    make_ledger();
    make_worker("-1");
    make_talkative_table("talkative", "PRIMARY KEY", "0");
    for (int way = 0; way < 2; way++) {
        _cleanup_(cleanup_session) SinkSession *session = open_worker();
        CASE("talkative", "n:integer:key", 1);
        prepare(session, &box);
        add_many(&box.rows[0], 800); /* 40 s */
        box.patience = PATIENCE;
        /* By the one who asks for the end, or by this side's limit. */
        if (way == 0) box.most = 2 * USEC_SECOND;
        if (way == 1) ((PostgresSession *)(void *)session)->statement_limit = 3 * USEC_SECOND;
        usec_t began = clock_system()->boot(clock_system());
        SinkResult result = driver->import(session, sink_case_job(&box), &error);
        assert_true(clock_system()->boot(clock_system()) - began < 20 * USEC_SECOND);
        assert_int_not_equal(result, SINK_DONE);
        assert_true(way == 1 || strstr(error.text, "interrupted"));
    }
    assert_rows("SELECT count(*) FROM talkative", "0");
}

static void silence_after_notices_is_work(void **state) {
    make_ledger();
    make_worker("-1");
    make_talkative_table("resting", "PRIMARY KEY", "1.5");
    _cleanup_(cleanup_session) SinkSession *session = open_worker();
    CASE("resting", "n:integer:key", 1);
    prepare(session, &box);
    add_many(&box.rows[0], 80); /* 4 s */
    box.patience = PATIENCE;
    must(driver->import(session, sink_case_job(&box), &error), &error);
    assert_true(box.times_working > 0);
    assert_rows("SELECT count(*) FROM resting", "80");
}

/* As --import-longest=30d asks: more milliseconds than PostgreSQL counts. */
static void a_limit_of_weeks(void **state) {
    SESSION;
    CASE("weeks", "n:integer", 1);
    prepare(session, &box);
    test_postgres_sql(server, "CREATE TABLE weeks_seen (t text); CREATE FUNCTION weeks_look() RETURNS trigger LANGUAGE plpgsql AS"
                              " $$ BEGIN INSERT INTO weeks_seen VALUES (current_setting('statement_timeout')); RETURN NEW; END $$;"
                              "CREATE TRIGGER look BEFORE INSERT ON weeks FOR EACH ROW EXECUTE FUNCTION weeks_look()");
    ADD(&box.rows[0], "1");
    ImportJob *job = sink_case_job(&box);
    job->longest = 30 * USEC_DAY;
    must(driver->import(session, job, &error), &error);
    assert_rows("SELECT t FROM weeks_seen", "2147483647ms");
}

static void an_import_ends_at_its_limit(void **state) {
    make_ledger();
    make_worker("-1");
    make_slow_table("limited", "", "PERFORM pg_sleep(600)");
    _cleanup_(cleanup_session) SinkSession *session = open_worker();
    CASE("limited", "n:integer", 1);
    prepare(session, &box);
    add_many(&box.rows[0], 20);
    box.patience = 60 * USEC_SECOND;
    ImportJob *job = sink_case_job(&box);
    job->longest = 3 * USEC_SECOND;
    assert_int_equal(driver->import(session, job, &error), SINK_RETRY);
    assert_true(job->took_too_long);
    assert_true(job->proven_absent);
    assert_non_null(strstr(error.text, "statement timeout"));
    test_postgres_sql(server, "ALTER TABLE limited DISABLE TRIGGER slow");
    must(driver->import(session, sink_case_job(&box), &error), &error);
    assert_rows("SELECT count(*) FROM limited", "20");
}

static void *lock_for_a_while(void *context) {
    test_postgres_sql(server, "DO $$ BEGIN LOCK TABLE locked; PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END $$");
    return NULL;
}

static void a_locked_table_is_found_out_soon(void **state) {
    SESSION;
    CASE("locked", "n:integer", 1);
    prepare(session, &box);
    add_many(&box.rows[0], 20);
    Thread holder;
    assert_int_equal(thread_start(&holder, "holder", lock_for_a_while, NULL, NULL), 0);
    const char *locked = "SELECT count(*) FROM pg_locks WHERE relation = 'locked'::regclass AND mode = 'AccessExclusiveLock' AND granted";
    for (bool holds = false; !holds;) {
        char *rows = test_postgres_rows(server, locked);
        holds = strcmp(rows, "1") == 0;
        free(rows);
    }
    usec_t began = clock_system()->boot(clock_system());
    assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_RETRY);
    assert_true(clock_system()->boot(clock_system()) - began < 9 * USEC_SECOND);
    assert_non_null(strstr(error.text, "55P03"));
    test_postgres_sql(server, "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'DO %LOCK TABLE locked%'"
                              " AND pid <> pg_backend_pid()");
    thread_join(&holder);
    must(driver->import(session, sink_case_job(&box), &error), &error);
    assert_rows("SELECT count(*) FROM locked", "20");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_statement_is_work),
        cmocka_unit_test(a_full_server_is_at_work),
        cmocka_unit_test(other_refusals_are_no_work),
        cmocka_unit_test(a_row_that_somebody_holds_is_waited_for),
        cmocka_unit_test(a_server_that_stops_in_a_slow_statement),
        cmocka_unit_test(notices_do_not_keep_an_import_from_its_end),
        cmocka_unit_test(silence_after_notices_is_work),
        cmocka_unit_test(a_limit_of_weeks),
        cmocka_unit_test(an_import_ends_at_its_limit),
        cmocka_unit_test(a_locked_table_is_found_out_soon),
    };
    RUN_WITH_POSTGRES(tests);
}
