/*
 * What the tests of the SQLite driver share: a folder for each test, sessions of the driver,
 * assertions on tables. cmocka must be included before it. A failure ends the test.
 */
#pragma once

#include "base/cleanup.h"
#include "sinks/driver.h"
#include "tests/support/sink-case.h"

typedef struct sqlite3 sqlite3;

extern char directory[64]; /* of the test; tables.db is there */
extern const SinkDriver *const driver;

/* Setup and teardown of a test. */
int make_directory(void **state);
int remove_directory(void **state);
SinkResult try_open(const char *path, SinkSession **ret_session, Error *error);
SinkSession *open_session(void);
void cleanup_session(SinkSession **session);
#define SESSION _cleanup_(cleanup_session) SinkSession *session = open_session()
#define CASE(table, columns, files)                                                                                                        \
    _cleanup_(sink_case_deinit) SinkCase box;                                                                                              \
    sink_case_init(&box, (table), (columns), (files));                                                                                     \
    Error error = {0};                                                                                                                     \
    (void)error

/* A user of the file: an ordinary connection. */
sqlite3 *open_user(void);
void sql(const char *text);
/* Cells separated by '|', rows by '\n'; free(). */
char *rows_of(const char *query);
void assert_rows(const char *query, const char *wanted);
void must(SinkResult result, const Error *error);
void prepare(SinkSession *session, SinkCase *box);
void import(SinkSession *session, SinkCase *box);
