/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "tests/unit/sinks/postgres-case.h"
#include "tests/support/send-all.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/thread.h"

TestPostgres *server;
const SinkDriver *const driver = &sink_driver_postgres;

SinkResult try_open(const char *uri, const char *password_file, SinkSession **ret_session, Error *error) {
    char name[] = "warehouse", *uri_copy = strdup(uri), *file_copy = password_file ? strdup(password_file) : NULL;
    char *values[] = {uri_copy, file_copy, NULL, NULL, NULL};
    Connection connection = {.name = name, .type = &connection_type_postgres, .values = values};
    SinkResult result = driver->connect(&connection, "/tmp", "sluice shop/orders", NULL, ret_session, error);
    free(uri_copy);
    free(file_copy);
    return result;
}

SinkSession *open_session_at(const char *uri) {
    SinkSession *session = NULL;
    Error error = {0};
    must(try_open(uri ? uri : server->uri, NULL, &session, &error), &error);
    return session;
}

SinkSession *open_session(void) {
    return open_session_at(NULL);
}

void cleanup_session(SinkSession **session) {
    driver->disconnect(*session);
}

void add_many(TextRows *rows, int count) {
    char number[16];
    for (int i = 0; i < count; i++) {
        (void)snprintf(number, sizeof number, "%d", i);
        ADD(rows, number);
    }
    rows->block_bytes = 2000;
}

void assert_rows(const char *sql, const char *wanted) {
    char *rows = test_postgres_rows(server, sql);
    assert_string_equal(rows, wanted);
    free(rows);
}

void must(SinkResult result, const Error *error) {
    if (result != SINK_DONE) fail_msg("result %d: %s", result, error->text);
}

void prepare(SinkSession *session, SinkCase *box) {
    Error error = {0};
    must(driver->prepare(session, &box->target, &error), &error);
}

void import(SinkSession *session, SinkCase *box) {
    Error error = {0};
    must(driver->import(session, sink_case_job(box), &error), &error);
}

bool waits_for(const char *what, const char *wanted) {
    for (usec_t end = clock_system()->boot(clock_system()) + 30 * USEC_SECOND; clock_system()->boot(clock_system()) < end;
         (void)usleep(10000)) {
        char *rows = test_postgres_rows(server, what);
        bool is_so = strcmp(rows, wanted) == 0;
        free(rows);
        if (is_so) return true;
    }
    return false;
}

struct CommitRelay {
    int listener;
    Thread thread;
    char uri[200];
};

static void *relay_run(void *context) {
    const CommitRelay *relay = context;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)server->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    _cleanup_close_ int client = accept4(relay->listener, NULL, NULL, SOCK_CLOEXEC);
    _cleanup_close_ int upstream = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client < 0 || connect(upstream, (struct sockaddr *)&address, sizeof address) != 0) return NULL;
    struct pollfd pollers[2] = {{.fd = client, .events = POLLIN}, {.fd = upstream, .events = POLLIN}};
    static char data[1 << 16];
    bool commits = false;
    while (poll(pollers, 2, 60000) > 0) {
        for (int i = 0; i < 2; i++) {
            if (pollers[i].revents == 0) continue;
            ssize_t n = recv(pollers[i].fd, data, sizeof data, 0);
            if (n <= 0 || (i == 1 && commits)) return NULL;
            if (i == 0 && memmem(data, (size_t)n, "COMMIT", 7)) commits = true;
            if (!send_all(pollers[1 - i].fd, data, (size_t)n)) return NULL;
        }
    }
    return NULL;
}

CommitRelay *commit_relay_start(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    CommitRelay *relay = calloc(1, sizeof *relay);
    assert_non_null(relay);
    relay->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(relay->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(relay->listener, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(listen(relay->listener, 5), 0);
    assert_int_equal(thread_start(&relay->thread, "relay", relay_run, relay, NULL), 0);
    (void)snprintf(relay->uri, sizeof relay->uri, "postgresql://postgres@127.0.0.1:%d/postgres?sslmode=disable", ntohs(address.sin_port));
    return relay;
}

const char *commit_relay_uri(const CommitRelay *relay) {
    return relay->uri;
}

void commit_relay_stop(CommitRelay *relay) {
    thread_join(&relay->thread);
    (void)close(relay->listener);
    free(relay);
}
