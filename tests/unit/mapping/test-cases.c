/* The cases in the folder tests/mapping, as far as they need no template: an event and a sink's columns -> the cells of the row, or the
 * status of the refused request. tests/mapping/README.md says how to add one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "mapping/plan.h"
#include "mapping/row.h"

static const char *folder;

static Span text_of(const json_t *string) {
    return (Span){json_string_value(string), json_string_length(string)};
}

static bool has_template(const json_t *columns) {
    size_t i;
    json_t *column;
    json_array_foreach(columns, i, column) {
        if (strcmp(json_string_value(json_object_get(column, "type")), "template") == 0) return true;
    }
    return false;
}

static Sink *sink_of(const char *name, json_t *columns) {
    json_t *body = json_pack("{s:s, s:s, s:s, s:{s:s, s:{s:O}}}", "sinkId", "sink", "name", "sink", "type", "table", "table", "tableId",
                             "in.t", "mapping", "columns", columns);
    assert_non_null(body);
    Sink *sink = NULL;
    Error error = {0};
    if (sink_from_request(body, true, &sink, &error) < 0) fail_msg("%s: %s", name, error.text);
    json_decref(body);
    return sink;
}

static void check_cells(const char *name, const json_t *cells, Span row) {
    RowReader reader = {.text = row};
    RowCell got[COLUMNS_A_SINK_MAX];
    size_t count = json_array_size(cells);
    assert_int_equal(row_size(row), row.size);
    if (row_read(&reader, got, count) != 0) fail_msg("%s: the row is not %zu cells: %.*s", name, count, (int)row.size, row.data);
    for (size_t i = 0; i < count; i++) {
        const json_t *cell = json_array_get(cells, i);
        if (json_is_null(cell) != got[i].is_null || (!got[i].is_null && !span_equal(text_of(cell), (Span){got[i].data, got[i].size})))
            fail_msg("%s: cell %zu is %.*s, not %s", name, i, (int)got[i].size, got[i].data,
                     json_is_null(cell) ? "NULL" : json_string_value(cell));
    }
    assert_int_equal(row_read(&reader, got, count), ROW_READ_END);
    row_reader_deinit(&reader);
}

static void run_case(const json_t *item, Mapper *mapper) {
    const char *name = json_string_value(json_object_get(item, "name"));
    assert_non_null(name);
    Sink *sink = sink_of(name, json_object_get(item, "columns"));
    Source source = {.source_id = (char *)"source"};
    Plan *plan;
    Error error = {0};
    if (plan_compile(&source, &sink, 1, &plan, &error) < 0) fail_msg("%s: %s", name, error.text);
    EventHeader headers[16];
    size_t header_count = 0;
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(item, "headers"), key, value) {
        assert_true(header_count < 16);
        headers[header_count++] = (EventHeader){span_of(key), text_of(value)};
    }
    Event event = {.body = text_of(json_object_get(item, "body")),
                   .kind = body_kind(text_of(json_object_get(item, "contentType"))),
                   .received = 1136214245000000,
                   .headers = headers,
                   .header_count = header_count};
    Buffer row = {0}, *rows = &row;
    MapFailure failure = {0};
    size_t failed = mapper_map(mapper, plan, &event, &rows, &failure);
    json_t *cells = json_object_get(item, "cells"), *status = json_object_get(item, "status");
    assert_true(!cells != !status);
    if (cells) {
        if (failed) fail_msg("%s: %s", name, failure.message);
        check_cells(name, cells, buffer_span(&row));
    } else {
        if (!failed) fail_msg("%s: was not refused: %.*s", name, (int)row.size, row.data);
        assert_int_equal(json_integer_value(status), failure.error == MAP_ROW_TOO_LARGE ? 413 : 422);
        assert_int_equal(row.size, 0);
        assert_true(strlen(failure.message) > 10);
    }
    buffer_deinit(&row);
    plan_unref(plan);
    sink_unref(sink);
}

static void every_case_holds(void **state) {
    DIR *files = opendir(folder);
    assert_non_null(files);
    Mapper *mapper = mapper_new(1536u << 10);
    size_t ran = 0, file_count = 0;
    for (struct dirent *file; (file = readdir(files));) {
        const char *dot = strrchr(file->d_name, '.');
        if (!dot || strcmp(dot, ".json") != 0) continue;
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, file->d_name);
        json_error_t error;
        json_t *cases = json_load_file(path, JSON_ALLOW_NUL, &error);
        if (!cases) fail_msg("%s:%d: %s", path, error.line, error.text);
        if (json_is_array(cases)) file_count++; /* event.json is an event */
        size_t i;
        json_t *item;
        json_array_foreach(cases, i, item) {
            if (has_template(json_object_get(item, "columns"))) continue;
            run_case(item, mapper);
            ran++;
        }
        json_decref(cases);
    }
    closedir(files);
    mapper_free(mapper);
    assert_true(file_count >= 6 && ran > 400);
}

int main(int argc, char **argv) {
    folder = argc > 1 ? argv[1] : "tests/mapping";
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_case_holds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
