/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "tests/unit/sinks/postgres-case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
