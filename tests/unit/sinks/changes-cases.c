/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "tests/unit/sinks/changes-cases.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

enum { ROUNDS_MAX = 12 };

const char *changes_statements(const Error *error) {
    const char *sql = strstr(error->text, "BEGIN; ");
    if (!sql) sql = strstr(error->text, "ALTER TABLE");
    if (!sql) fail_msg("no statement in: %s", error->text);
    size_t size = strlen(error->text);
    if (size >= sizeof error->text - 1 || error->text[size - 1] != ';') fail_msg("not a whole statement at the end of: %s", error->text);
    return sql;
}

static const char *value_of(DataType type) {
    switch (type) {
    case DATA_BOOLEAN: return "true";
    case DATA_TIMESTAMP: return "2026-01-31T12:00:00.000000Z";
    case DATA_DATE: return "2026-01-31";
    case DATA_UUID: return "01890a5d-ac96-774b-bcce-b302099a8057";
    case DATA_BYTES: return "\\x00ff";
    case DATA_TEXT:
    case DATA_INTEGER:
    case DATA_NUMBER:
    case DATA_DECIMAL:
    case DATA_JSON:
    case DATA_JSON_TEXT: return "7";
    }
    unreachable();
}

void changes_import(const SinkDriver *driver, SinkSession *session, SinkCase *box) {
    const char *cells[COLUMNS_A_SINK_MAX];
    Error error = {0};
    for (size_t i = 0; i < box->target.column_count; i++) cells[i] = value_of(box->columns[i].data_type);
    text_rows_add(&box->rows[0], cells);
    if (driver->import(session, sink_case_job(box), &error) != SINK_DONE) fail_msg("%s", error.text);
    if (box->reject_count > 0) fail_msg("a reject of \"%s\"", box->target.table.table_id);
}

static void run_case(const ChangesPlace *place, SinkSession *session, const ChangesCase *one) {
    _cleanup_(sink_case_deinit) SinkCase box;
    char text[4000];
    sink_case_init(&box, place->table_id, one->columns, 1);
    (void)snprintf(text, sizeof text, "CREATE TABLE %s %s", place->name, one->definition);
    place->sql(text);
    if (one->row) {
        (void)snprintf(text, sizeof text, "INSERT INTO %s %s", place->name, one->row);
        place->sql(text);
    }
    Error error = {0};
    int rounds = 0;
    bool seen = !one->changes;
    while (place->driver->prepare(session, &box.target, &error) == SINK_REFUSED) {
        const char *sql = changes_statements(&error);
        seen = seen || strstr(sql, one->changes);
        if (rounds++ == ROUNDS_MAX) fail_msg("still refused: %s", error.text);
        place->sql(sql);
        error = (Error){0};
    }
    if (error.code < 0) fail_msg("%s: %s", one->definition, error.text);
    if (rounds == 0) fail_msg("was not refused: %s", one->definition);
    if (!seen) fail_msg("%s: no statement has \"%s\"", one->definition, one->changes);
    if (one->row) {
        _cleanup_free_ char *rows = place->rows(place->kept);
        assert_string_equal(rows, "1");
    }
    changes_import(place->driver, session, &box);
    place->clean();
}

void changes_run(const ChangesPlace *place, SinkSession *session, const ChangesCase *cases, size_t count) {
    for (size_t i = 0; i < count; i++) run_case(place, session, &cases[i]);
}
