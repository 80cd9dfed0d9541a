/*
 * What the tests of the PostgreSQL driver share: the server, sessions of the driver, assertions on
 * tables. cmocka must be included before it. A failure ends the test.
 */
#pragma once

#include "base/cleanup.h"
#include "sinks/driver.h"
#include "tests/support/postgres.h"
#include "tests/support/sink-case.h"

extern TestPostgres *server; /* of the test program */
extern const SinkDriver *const driver;

/* Opens a session of the application "sluice shop/orders"; `password_file` may be NULL. */
SinkResult try_open(const char *uri, const char *password_file, SinkSession **ret_session, Error *error);
/* A session of the application "sluice shop/orders" on the server; `uri` NULL: the server's own. */
SinkSession *open_session_at(const char *uri);
SinkSession *open_session(void);
void cleanup_session(SinkSession **session);
#define SESSION _cleanup_(cleanup_session) SinkSession *session = open_session()
#define CASE(table, columns, files)                                                                                                        \
    _cleanup_(sink_case_deinit) SinkCase box;                                                                                              \
    sink_case_init(&box, (table), (columns), (files));                                                                                     \
    Error error = {0};                                                                                                                     \
    (void)error

/* Rows of one column with the numbers from 0, several blocks of them. */
void add_many(TextRows *rows, int count);
void assert_rows(const char *sql, const char *wanted);
void must(SinkResult result, const Error *error);
void prepare(SinkSession *session, SinkCase *box);
void import(SinkSession *session, SinkCase *box);

/* Starts the server, runs the group, stops the server; for main(). */
#define RUN_WITH_POSTGRES(tests)                                                                                                           \
    do {                                                                                                                                   \
        server = test_postgres_start();                                                                                                    \
        if (!server) {                                                                                                                     \
            (void)printf("no PostgreSQL binaries on this machine\n");                                                                      \
            return 77; /* meson: skipped */                                                                                                \
        }                                                                                                                                  \
        int failed = cmocka_run_group_tests(tests, NULL, NULL);                                                                            \
        test_postgres_stop(server);                                                                                                        \
        return failed;                                                                                                                     \
    } while (0)

/* Polls until the query gives the rows; false: not within half a minute. */
bool waits_for(const char *sql, const char *wanted);

/* Between one session and the server: the first COMMIT arrives, its answer does not, and the
 * session is cut. */
typedef struct CommitRelay CommitRelay;
CommitRelay *commit_relay_start(void);
const char *commit_relay_uri(const CommitRelay *relay);
void commit_relay_stop(CommitRelay *relay); /* after the session's end */
