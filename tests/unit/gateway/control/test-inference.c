#include "tests/unit/gateway/control/harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "gateway/control/change_parts.h"

#define SOURCES "/v1/branches/default/sources"
#define SINK SOURCES "/s/sinks/wide"

#define INFERRING(more) "{\"name\":\"Wide\",\"table\":{\"connection\":\"local\",\"tableId\":\"wide\",\"mapping\":{\"infer\":{" more "}}}}"

static void make_sink(Harness *harness, const char *sink) {
    assert_string_equal(harness_task(harness, "POST", SOURCES, "{\"name\":\"S\"}", NULL), "success");
    assert_string_equal(harness_task(harness, "POST", SOURCES "/s/sinks", sink, NULL), "success");
}

static void turns(Harness *harness, unsigned count) {
    for (unsigned i = 0; i < count; i++) harness_turn(harness);
}

/* Time passes, and what is due then is done. */
static void pass(Harness *harness, usec_t time) {
    harness->time_passed += time;
    turns(harness, 30);
}

static void discover(Harness *harness, const char *path, DataType type, bool is_variant) {
    const InferredColumn column = {.path = (char *)(uintptr_t)path, .type = type, .is_variant = is_variant};
    inference_discovered(harness->control, 1, &column, 1);
}

/* The columns of the sink as the API shows them, "_id _at a:integer _rest", and as the loops run it. */
static void assert_columns(Harness *harness, const char *wanted) {
    json_t *sink;
    assert_int_equal(harness_call(harness, "GET", SINK, NULL, &sink), 200);
    _cleanup_(buffer_deinit) Buffer text = {0};
    size_t i;
    json_t *column;
    json_t *columns = json_object_get(json_object_get(json_object_get(sink, "table"), "mapping"), "columns");
    json_array_foreach(columns, i, column) {
        const char *origin = json_string_value(json_object_get(column, "inferred"));
        buffer_printf(&text, "%s%s", i > 0 ? " " : "", json_string_value(json_object_get(column, "name")));
        const char *type = json_string_value(json_object_get(column, "dataType"));
        if (origin && strcmp(origin, "base") != 0) buffer_printf(&text, ":%s", type ? type : "text");
    }
    size_t count = json_array_size(columns);
    json_decref(sink);
    assert_string_equal(buffer_text(&text), wanted);
    SnapshotSource *source = snapshot_find(harness->held[0], SPAN("s"));
    assert_int_equal(plan_sink(source->plan, 0)->target.column_count, count);
}

static void fields_that_are_found_become_columns(void **state) {
    Harness *harness = *state;
    make_sink(harness, INFERRING(""));
    assert_columns(harness, "_id _at _rest");
    discover(harness, "b", DATA_INTEGER, false);
    discover(harness, "a", DATA_TIMESTAMP, false);
    discover(harness, "b", DATA_DECIMAL, false); /* widened before there is a column */
    turns(harness, 30);
    assert_int_equal(harness->namings, 0); /* they are gathered for a moment */
    unsigned closes = harness->closes;
    pass(harness, 300 * USEC_MS);
    assert_columns(harness, "_id _at b:decimal a:timestamp _rest");
    assert_int_equal(harness->namings, 1);
    assert_int_equal(harness->closes, closes + 1); /* rows of two mappings share no file */
    json_t *sink;
    assert_int_equal(harness_call(harness, "GET", SINK, NULL, &sink), 200);
    json_t *version = json_object_get(sink, "version");
    assert_int_equal(json_integer_value(json_object_get(version, "number")), 2);
    assert_string_equal(json_string_value(json_object_get(version, "by")), "inferred");
    json_decref(sink);
    discover(harness, "b", DATA_TEXT, true);
    discover(harness, "a", DATA_INTEGER, false); /* of a loop that has not seen the new version */
    pass(harness, 300 * USEC_MS);
    assert_columns(harness, "_id _at b:decimal a:timestamp b__v_text:text _rest");
    harness_stop(harness);
    harness_start(harness);
    assert_columns(harness, "_id _at b:decimal a:timestamp b__v_text:text _rest");
}

static void changes_are_limited(void **state) {
    Harness *harness = *state;
    make_sink(harness, INFERRING(""));
    unsigned defines = harness->defines;
    for (int i = 0; i < 100; i++) {
        char path[16];
        (void)snprintf(path, sizeof path, "f%d", i);
        discover(harness, path, DATA_TEXT, false);
        pass(harness, 300 * USEC_MS);
    }
    assert_int_equal(harness->namings, 10); /* in 30 s */
    assert_true(harness->defines < defines + 100);
    pass(harness, 31 * USEC_SECOND);
    assert_int_equal(harness->namings, 11); /* all that was found meanwhile, at once */
    SnapshotSource *source = snapshot_find(harness->held[0], SPAN("s"));
    assert_int_equal(plan_sink(source->plan, 0)->target.column_count, 103);
}

static void a_sink_has_no_more_columns_than_it_may(void **state) {
    Harness *harness = *state;
    make_sink(harness, INFERRING("\"maxColumns\":5"));
    for (int i = 0; i < 5000; i++) {
        char path[16];
        (void)snprintf(path, sizeof path, "f%d", i);
        discover(harness, path, DATA_TEXT, false);
    }
    pass(harness, 300 * USEC_MS);
    assert_columns(harness, "_id _at f0:text f1:text _rest");
    unsigned namings = harness->namings;
    discover(harness, "more", DATA_TEXT, false);
    pass(harness, 300 * USEC_MS);
    pass(harness, 300 * USEC_MS);
    assert_int_equal(harness->namings, namings); /* nobody is asked for what cannot be */
}

static void a_destination_that_is_down_is_asked_again(void **state) {
    Harness *harness = *state;
    make_sink(harness, INFERRING(""));
    harness->naming = SINK_UNREACHABLE;
    discover(harness, "a", DATA_TEXT, false);
    for (int i = 0; i < 100; i++) pass(harness, 300 * USEC_MS);
    assert_true(harness->namings > 3 && harness->namings < 8);
    assert_columns(harness, "_id _at _rest");
    harness->naming = SINK_DONE;
    pass(harness, 61 * USEC_SECOND);
    assert_columns(harness, "_id _at a:text _rest");
    /* The table cannot grow: the sink stays as it is, and is tried again. */
    harness->prepare = SINK_REFUSED;
    discover(harness, "b", DATA_TEXT, false);
    pass(harness, 300 * USEC_MS);
    assert_columns(harness, "_id _at a:text _rest");
    harness->prepare = SINK_DONE;
    pass(harness, 300 * USEC_MS);
    assert_columns(harness, "_id _at a:text b:text _rest");
}

static void people_change_the_sink_meanwhile(void **state) {
    Harness *harness = *state;
    make_sink(harness, INFERRING(""));
    discover(harness, "a", DATA_TEXT, false);
    pass(harness, 300 * USEC_MS);
    assert_string_equal(harness_task(harness, "PATCH", SINK, "{\"description\":\"d\"}", NULL), "success");
    assert_columns(harness, "_id _at a:text _rest");
    assert_string_equal(harness_task(harness, "PATCH", SINK, "{\"table\":{\"mapping\":{\"infer\":{\"exclude\":[\"a\"]}}}}", NULL),
                        "success");
    assert_columns(harness, "_id _at _rest");
    discover(harness, "b", DATA_TEXT, false);
    pass(harness, 300 * USEC_MS);
    assert_columns(harness, "_id _at b:text _rest");
    /* The names are those of the table. */
    assert_string_equal(harness_task(harness, "PATCH", SINK, "{\"table\":{\"tableId\":\"other\"}}", NULL), "success");
    assert_columns(harness, "_id _at _rest");
    assert_string_equal(harness_task(harness, "DELETE", SINK, NULL, NULL), "success");
    discover(harness, "d", DATA_TEXT, false);
    pass(harness, 300 * USEC_MS);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fields_that_are_found_become_columns, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(changes_are_limited, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(a_sink_has_no_more_columns_than_it_may, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(a_destination_that_is_down_is_asked_again, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(people_change_the_sink_meanwhile, harness_setup, harness_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
