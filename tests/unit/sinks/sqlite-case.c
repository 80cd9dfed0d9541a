/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "tests/unit/sinks/sqlite-case.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char directory[64];
const SinkDriver *const driver = &sink_driver_sqlite;

int make_directory(void **state) {
    (void)snprintf(directory, sizeof directory, "/tmp/sluice-sqlite-XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

int remove_directory(void **state) {
    static const char *const names[] = {"tables.db", "tables.db-wal", "tables.db-shm"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        (void)unlink(path);
    }
    return rmdir(directory);
}

SinkResult try_open(const char *path, SinkSession **ret_session, Error *error) {
    char name[] = "local", *copy = strdup(path);
    char *values[] = {copy, NULL, NULL, NULL};
    Connection connection = {.name = name, .type = &connection_type_sqlite, .values = values};
    SinkResult result = driver->connect(&connection, directory, "sluice shop/orders", NULL, ret_session, error);
    free(copy);
    return result;
}

SinkSession *open_session(void) {
    SinkSession *session = NULL;
    Error error = {0};
    if (try_open("tables.db", &session, &error) != SINK_DONE) fail_msg("%s", error.text);
    return session;
}

void cleanup_session(SinkSession **session) {
    driver->disconnect(*session);
}
sqlite3 *open_user(void) {
    char path[128];
    sqlite3 *user = NULL;
    (void)snprintf(path, sizeof path, "%s/tables.db", directory);
    assert_int_equal(sqlite3_open(path, &user), SQLITE_OK);
    return user;
}

void sql(const char *text) {
    sqlite3 *user = open_user();
    char *words = NULL;
    if (sqlite3_exec(user, text, NULL, NULL, &words) != SQLITE_OK) fail_msg("%s: %s", text, words);
    (void)sqlite3_close(user);
}

char *rows_of(const char *query) {
    sqlite3 *user = open_user();
    sqlite3_stmt *statement = NULL;
    Buffer text = {0};
    if (sqlite3_prepare_v2(user, query, -1, &statement, NULL) != SQLITE_OK) fail_msg("%s: %s", query, sqlite3_errmsg(user));
    for (int row = 0; sqlite3_step(statement) == SQLITE_ROW; row++) {
        if (row > 0) buffer_append_byte(&text, '\n');
        for (int i = 0; i < sqlite3_column_count(statement); i++) {
            const char *cell = (const char *)sqlite3_column_text(statement, i);
            if (i > 0) buffer_append_byte(&text, '|');
            buffer_append_text(&text, cell ? cell : "NULL");
        }
    }
    (void)sqlite3_finalize(statement);
    (void)sqlite3_close(user);
    char *rows = strdup(buffer_text(&text));
    buffer_deinit(&text);
    assert_non_null(rows);
    return rows;
}

void assert_rows(const char *query, const char *wanted) {
    char *rows = rows_of(query);
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
