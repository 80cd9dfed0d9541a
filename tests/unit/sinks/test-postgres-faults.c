/* The PostgreSQL driver when the server, the network or the rights fail it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <arpa/inet.h>
#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/thread.h"
#include "sinks/postgres_session.h"
#include "tests/support/send-all.h"
#include "tests/unit/sinks/postgres-case.h"

static void terminate_backends(void) {
    test_postgres_sql(server, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'sluice shop/orders'");
}

static void at_third_block(void *context, uint64_t block) {
    if (block == 3) terminate_backends();
}

static void backend_killed_in_mid_copy(void **state) {
    static const char *const columns[] = {"n:integer", "n:integer:key"};
    for (int i = 0; i < 2; i++) {
        _cleanup_(cleanup_session) SinkSession *session = open_session();
        CASE(i == 0 ? "killed.plain" : "killed.keyed", columns[i], 1);
        prepare(session, &box);
        add_many(&box.rows[0], 5000);
        box.rows[0].at_block = at_third_block;
        SinkResult result = driver->import(session, sink_case_job(&box), &error);
        assert_true(result == SINK_RETRY || result == SINK_UNREACHABLE);
        assert_true(error.text[0] != '\0');
        assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_UNREACHABLE);
        driver->disconnect(session);
        session = open_session();
        must(driver->import(session, sink_case_job(&box), &error), &error);
        assert_false(box.files[0].already_imported);
        assert_rows(i == 0 ? "SELECT count(*) FROM killed.plain" : "SELECT count(*) FROM killed.keyed", "5000");
    }
}

static int store_and_kill(void *context, const SinkReject *rejects, size_t count, Error *error) {
    terminate_backends();
    return 0;
}

static void connection_lost_at_commit(void **state) {
    _cleanup_(cleanup_session) SinkSession *session = open_session();
    test_postgres_sql(server, "CREATE TABLE cut (n bigint CHECK (n <> 5))");
    CASE("cut", "n:integer", 1);
    prepare(session, &box);
    add_many(&box.rows[0], 100);
    ImportJob *job = sink_case_job(&box);
    int (*store)(void *, const SinkReject *, size_t, Error *) = job->store_rejects;
    job->store_rejects = store_and_kill;
    assert_int_equal(driver->import(session, job, &error), SINK_RETRY);
    assert_non_null(strstr(error.text, "unknown whether"));
    assert_int_equal(job->rejected_rows, 0);
    driver->disconnect(session);
    session = open_session();
    job->store_rejects = store;
    must(driver->import(session, sink_case_job(&box), &error), &error);
    assert_rows("SELECT count(*) FROM cut", "99");
}

static void server_down(void **state) {
    _cleanup_(cleanup_session) SinkSession *session = open_session();
    CASE("down", "n:integer", 1);
    prepare(session, &box);
    add_many(&box.rows[0], 10);
    test_postgres_kill(server);
    SinkResult result = driver->import(session, sink_case_job(&box), &error);
    assert_true(result == SINK_RETRY || result == SINK_UNREACHABLE);
    driver->disconnect(session);
    session = NULL;
    char uri[200];
    (void)snprintf(uri, sizeof uri, "postgresql://guarded:tell-nobody@127.0.0.1:%d/postgres", server->port);
    assert_int_equal(try_open(uri, NULL, &session, &error), SINK_UNREACHABLE);
    assert_non_null(strstr(error.text, "warehouse"));
    assert_null(strstr(error.text, "tell-nobody"));
    test_postgres_run(server);
    session = open_session();
    must(driver->import(session, sink_case_job(&box), &error), &error);
    assert_rows("SELECT count(*) FROM down", "10");
}

/* The session dies in silence, by the server's word, or with the server: found out before, or with
 * the first statement. */
static void sessions_that_died_while_idle(void **state) {
    for (int way = 0; way < 3; way++) {
        for (int call = 0; call < 3; call++) {
            _cleanup_(cleanup_session) SinkSession *session = open_session();
            CASE("idle", "n:integer", 1);
            prepare(session, &box);
            add_many(&box.rows[0], 10);
            if (way == 0) terminate_backends();
            if (way == 1) {
                test_postgres_kill(server);
                test_postgres_run(server);
            }
            /* What a firewall that forgot the connection does. */
            if (way == 2) assert_int_equal(shutdown(PQsocket(((PostgresSession *)(void *)session)->connection), SHUT_RDWR), 0);
            bool found;
            SinkResult result = call == 0   ? driver->prepare(session, &box.target, &error)
                                : call == 1 ? driver->import(session, sink_case_job(&box), &error)
                                            : driver->look_up(session, &box.files[0].id, &found, &error);
            assert_int_equal(result, SINK_RETRY);
            assert_int_equal(error.code, -ESTALE);
        }
    }
    /* A session of which nothing was heard yet is not stale. */
    _cleanup_(cleanup_session) SinkSession *session = open_session();
    CASE("idle", "n:integer", 1);
    terminate_backends();
    assert_int_equal(driver->prepare(session, &box.target, &error), SINK_UNREACHABLE);
    assert_int_not_equal(error.code, -ESTALE);
}

/* What the server says unasked, as a notice or a changed parameter, is no reason to leave a
 * session. */
static void a_session_that_was_spoken_to(void **state) {
    SESSION;
    CASE("spoken_to", "n:integer", 1);
    prepare(session, &box);
    char *pid = test_postgres_rows(server, "SELECT pid FROM pg_stat_activity WHERE application_name = 'sluice shop/orders'");
    PGconn *connection = ((PostgresSession *)(void *)session)->connection;
    PQclear(PQexec(connection, "LISTEN anything"));
    test_postgres_sql(server, "NOTIFY anything, 'news'");
    struct pollfd poller = {.fd = PQsocket(connection), .events = POLLIN};
    assert_int_equal(poll(&poller, 1, 60000), 1);
    add_many(&box.rows[0], 10);
    import(session, &box);
    assert_rows("SELECT pid FROM pg_stat_activity WHERE application_name = 'sluice shop/orders'", pid);
    free(pid);
}

/* ---- a server whose operating system cannot tell that a client is gone ---- */

/*
 * Between the driver and the server: what arrives at `listener` goes on to the server, and each
 * value of client_connection_check_interval is made an invalid one of the same length. So the real
 * server refuses it with the code that it has for this where the system lacks it.
 */
typedef struct Relay {
    int listener, port;
    Thread thread;
    unsigned changed;
} Relay;

static void spoil(Relay *relay, char *data, size_t size) {
    static const char name[] = "client_connection_check_interval";
    char *end = data + size;
    for (char *at = data; (at = memmem(at, (size_t)(end - at), name, strlen(name)));) {
        at += strlen(name);
        char *value = memmem(at, (size_t)(end - at), "'5s'", 4);
        if (!value) return;
        value[2] = 'x';
        relay->changed++;
    }
}

/* One client, until one side ends. */
static void *relay_run(void *context) {
    Relay *relay = context;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)server->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    _cleanup_close_ int client = accept4(relay->listener, NULL, NULL, SOCK_CLOEXEC);
    _cleanup_close_ int upstream = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client < 0 || connect(upstream, (struct sockaddr *)&address, sizeof address) != 0) return NULL;
    struct pollfd pollers[2] = {{.fd = client, .events = POLLIN}, {.fd = upstream, .events = POLLIN}};
    static char data[1 << 16];
    while (poll(pollers, 2, 60000) > 0) {
        for (int i = 0; i < 2; i++) {
            if (pollers[i].revents == 0) continue;
            ssize_t n = recv(pollers[i].fd, data, sizeof data, 0);
            if (n <= 0) return NULL;
            if (i == 0) spoil(relay, data, (size_t)n);
            if (!send_all(pollers[1 - i].fd, data, (size_t)n)) return NULL;
        }
    }
    return NULL;
}

static void a_server_that_cannot_check_its_clients(void **state) {
    Relay relay = {0};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    _cleanup_close_ int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(listen(listener, 5), 0);
    relay.listener = listener;
    assert_int_equal(thread_start(&relay.thread, "relay", relay_run, &relay, NULL), 0);
    char uri[200];
    (void)snprintf(uri, sizeof uri, "postgresql://postgres@127.0.0.1:%d/postgres?sslmode=disable", ntohs(address.sin_port));
    SinkSession *session = NULL;
    CASE("unchecked", "n:integer", 1);
    must(try_open(uri, NULL, &session, &error), &error);
    SinkResult prepared = driver->prepare(session, &box.target, &error), imported = SINK_REFUSED;
    add_many(&box.rows[0], 10);
    if (prepared == SINK_DONE) imported = driver->import(session, sink_case_job(&box), &error);
    driver->disconnect(session);
    thread_join(&relay.thread);
    must(prepared, &error);
    must(imported, &error);
    assert_true(relay.changed > 0);
    assert_rows("SELECT count(*) FROM unchecked", "10");
}

static void write_password(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0 && fclose(file) == 0);
}

static void passwords(void **state) {
    char path[] = "/tmp/sluice-password-XXXXXX", uri[200];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
    (void)snprintf(uri, sizeof uri, "postgresql://guarded@127.0.0.1:%d/postgres", server->port);
    SinkSession *session = NULL;
    Error error = {0};
    write_password(path, "correct horse\n");
    must(try_open(uri, path, &session, &error), &error);
    driver->disconnect(session);
    must(try_open(uri, path + strlen("/tmp/"), &session, &error), &error); /* relative to the data directory */
    driver->disconnect(session);
    write_password(path, "wrong zebra");
    assert_int_equal(try_open(uri, path, &session, &error), SINK_UNREACHABLE);
    assert_non_null(strstr(error.text, "password authentication failed"));
    assert_null(strstr(error.text, "zebra"));
    (void)unlink(path);
    assert_int_equal(try_open(uri, path, &session, &error), SINK_UNREACHABLE);
    assert_non_null(strstr(error.text, path));
    assert_int_equal(try_open("postgresql://u:top%zzsecret@h/d", NULL, &session, &error), SINK_REFUSED);
    assert_null(strstr(error.text, "secret"));
}

static void a_server_that_never_answers(void **state) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    _cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(listen(fd, 5), 0);
    char uri[200];
    (void)snprintf(uri, sizeof uri, "postgresql://u@127.0.0.1:%d/d?connect_timeout=1", ntohs(address.sin_port));
    SinkSession *session = NULL;
    Error error = {0};
    assert_int_equal(try_open(uri, NULL, &session, &error), SINK_UNREACHABLE);
    assert_non_null(strstr(error.text, "no answer within 1 s"));
}

static pid_t stopped_backend;

static void stop_backend_at_third_block(void *context, uint64_t block) {
    if (block != 3) return;
    char *pid = test_postgres_rows(server, "SELECT pid FROM pg_stat_activity WHERE application_name = 'sluice shop/orders'");
    stopped_backend = atoi(pid);
    free(pid);
    assert_true(stopped_backend > 1);
    assert_int_equal(kill(stopped_backend, SIGSTOP), 0);
}

static void a_server_that_hangs_in_mid_copy(void **state) {
    SESSION;
    CASE("hanging", "v:text", 1);
    prepare(session, &box);
    static char large[100001];
    memset(large, 'x', sizeof large - 1);
    for (int i = 0; i < 200; i++) ADD(&box.rows[0], large);
    box.rows[0].block_bytes = 1 << 17;
    box.rows[0].at_block = stop_backend_at_third_block;
    ((PostgresSession *)(void *)session)->silence_limit = 1500 * USEC_MS;
    ((PostgresSession *)(void *)session)->statement_limit = 1500 * USEC_MS;
    SinkResult result = driver->import(session, sink_case_job(&box), &error);
    assert_int_equal(kill(stopped_backend, SIGCONT), 0);
    assert_int_equal(result, SINK_UNREACHABLE);
    assert_non_null(strstr(error.text, "made no progress in time"));
    assert_true(box.progress_calls > 1); /* it is asked while it waits */
    assert_rows("SELECT count(*) FROM hanging", "0");
}

static void missing_rights(void **state) {
    test_postgres_sql(
        server, "CREATE ROLE poor LOGIN; CREATE SCHEMA poor; GRANT USAGE ON SCHEMA poor TO poor; CREATE TABLE poor.t (a text);"
                "DROP SCHEMA IF EXISTS sluice CASCADE; CREATE SCHEMA sluice; CREATE TABLE sluice.files (file_id uuid PRIMARY KEY, instance "
                "uuid NOT NULL,"
                " sink text NOT NULL, table_name text NOT NULL, first_row bigint NOT NULL, rows bigint NOT NULL, bytes bigint NOT NULL,"
                " checksum text NOT NULL, imported_at timestamptz NOT NULL DEFAULT now());"
                "GRANT USAGE ON SCHEMA sluice TO poor; GRANT SELECT, INSERT, DELETE ON sluice.files TO poor");
    char uri[200];
    (void)snprintf(uri, sizeof uri, "postgresql://poor@127.0.0.1:%d/postgres", server->port);
    _cleanup_(cleanup_session) SinkSession *session = NULL;
    CASE("poor.t", "a:text", 1);
    must(try_open(uri, NULL, &session, &error), &error);
    prepare(session, &box);
    ADD(&box.rows[0], "x");
    assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "permission denied for table t"));
    test_postgres_sql(server, "GRANT INSERT ON poor.t TO poor");
    must(driver->import(session, sink_case_job(&box), &error), &error);
    box.target.table.table_id = (char *)"poor.other";
    assert_int_equal(driver->prepare(session, &box.target, &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "permission denied for schema poor"));
    test_postgres_sql(server, "DROP TABLE poor.t");
    box.target.table.table_id = (char *)"poor.t";
    sink_case_next_file(&box, 0);
    ADD(&box.rows[0], "x");
    assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "does not exist"));
}

static void *prepare_in_thread(void *context) {
    SinkSession *session = open_session();
    CASE("racing.table", "a:text:key b:integer", 1);
    SinkResult result = driver->prepare(session, &box.target, &error);
    if (result != SINK_DONE) (void)fprintf(stderr, "racing: %s\n", error.text);
    *(SinkResult *)context = result;
    driver->disconnect(session);
    return NULL;
}

static void concurrent_creators(void **state) {
    enum { CREATORS = 6 };
    for (int turn = 0; turn < 3; turn++) {
        test_postgres_sql(server, "DROP SCHEMA IF EXISTS sluice CASCADE; DROP SCHEMA IF EXISTS racing CASCADE");
        Thread threads[CREATORS];
        SinkResult results[CREATORS];
        for (int i = 0; i < CREATORS; i++) assert_int_equal(thread_start(&threads[i], "creator", prepare_in_thread, &results[i], NULL), 0);
        for (int i = 0; i < CREATORS; i++) thread_join(&threads[i]);
        for (int i = 0; i < CREATORS; i++) assert_int_equal(results[i], SINK_DONE);
    }
}

/* The same file from two sessions at once (an old one that is not dead yet): the rows are there
 * once. */
static SinkCase twins[2];

static void *import_in_thread(void *context) {
    SinkSession *session = open_session();
    SinkCase *box = context;
    Error error = {0};
    SinkResult result = driver->import(session, sink_case_job(box), &error);
    box->interrupt_at = (uint64_t)result; /* for the main thread */
    driver->disconnect(session);
    return NULL;
}

static void one_file_from_two_sessions(void **state) {
    for (size_t i = 0; i < 2; i++) {
        sink_case_init(&twins[i], "twins", "n:integer", 1);
        add_many(&twins[i].rows[0], 3000);
    }
    twins[1].files[0].id = twins[0].files[0].id;
    SinkSession *session = open_session();
    prepare(session, &twins[0]);
    driver->disconnect(session);
    Thread threads[2];
    for (size_t i = 0; i < 2; i++) assert_int_equal(thread_start(&threads[i], "twin", import_in_thread, &twins[i], NULL), 0);
    for (size_t i = 0; i < 2; i++) thread_join(&threads[i]);
    for (size_t i = 0; i < 2; i++) assert_int_equal(twins[i].interrupt_at, SINK_DONE);
    assert_true(twins[0].files[0].already_imported != twins[1].files[0].already_imported);
    assert_rows("SELECT count(*) FROM twins", "3000");
    for (size_t i = 0; i < 2; i++) sink_case_deinit(&twins[i]);
}

static void rows_that_cannot_be_read(void **state) {
    _cleanup_(cleanup_session) SinkSession *session = open_session();
    CASE("unreadable", "n:integer", 1);
    prepare(session, &box);
    add_many(&box.rows[0], 5000);
    box.rows[0].fail_at_block = 3;
    assert_int_equal(driver->import(session, sink_case_job(&box), &error), SINK_RETRY);
    assert_non_null(strstr(error.text, "block 3 is damaged"));
    driver->disconnect(session);
    session = open_session();
    ImportJob *job = sink_case_job(&box);
    job->files[0].rows++;
    assert_int_equal(driver->import(session, job, &error), SINK_RETRY);
    assert_non_null(strstr(error.text, "should have 5001 rows"));
    assert_rows("SELECT count(*) FROM unreadable", "0");
    must(driver->import(session, sink_case_job(&box), &error), &error);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backend_killed_in_mid_copy),
        cmocka_unit_test(connection_lost_at_commit),
        cmocka_unit_test(server_down),
        cmocka_unit_test(sessions_that_died_while_idle),
        cmocka_unit_test(a_session_that_was_spoken_to),
        cmocka_unit_test(a_server_that_cannot_check_its_clients),
        cmocka_unit_test(passwords),
        cmocka_unit_test(a_server_that_never_answers),
        cmocka_unit_test(a_server_that_hangs_in_mid_copy),
        cmocka_unit_test(missing_rights),
        cmocka_unit_test(concurrent_creators),
        cmocka_unit_test(one_file_from_two_sessions),
        cmocka_unit_test(rows_that_cannot_be_read),
    };
    RUN_WITH_POSTGRES(tests);
}
