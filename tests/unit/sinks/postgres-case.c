/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "tests/unit/sinks/postgres-case.h"

#include <stdlib.h>

TestPostgres *server;
const SinkDriver *const driver = &sink_driver_postgres;

SinkSession *open_session_at(const char *uri) {
    char name[] = "warehouse", *copy = strdup(uri ? uri : server->uri);
    char *values[] = {copy, NULL, NULL};
    Connection connection = {.name = name, .type = &connection_type_postgres, .values = values};
    SinkSession *session = NULL;
    Error error = {0};
    SinkResult result = driver->connect(&connection, "/tmp", "sluice shop/orders", &session, &error);
    free(copy);
    must(result, &error);
    return session;
}

SinkSession *open_session(void) {
    return open_session_at(NULL);
}

void cleanup_session(SinkSession **session) {
    driver->disconnect(*session);
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
    must(driver->prepare(session, &box->table, &error), &error);
}

void import(SinkSession *session, SinkCase *box) {
    Error error = {0};
    must(driver->import(session, sink_case_job(box), &error), &error);
}
