#include "tests/unit/gateway/control/harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "gateway/control/change_parts.h"
#include "gateway/control/nameless.h"
#include "storage/catalog.h"

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

/* The columns of the sink as the API shows them, "_id _at a:integer _rest", and as the loops run
 * it. */
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

/* The statistics' answer about fields that get no column, compact. */
static void assert_nameless(Harness *harness, const char *wanted) {
    json_t *statistics;
    assert_int_equal(harness_call(harness, "GET", SINK "/statistics/total", NULL, &statistics), 200);
    char *text = json_dumps(json_object_get(statistics, "fieldsWithoutColumn"), JSON_COMPACT);
    assert_string_equal(text ? text : "none", wanted);
    free(text);
    json_decref(statistics);
}

static void fields_that_get_no_name_are_not_asked_for_again(void **state) {
    Harness *harness = *state;
    make_sink(harness, INFERRING(""));
    assert_nameless(harness, "{\"count\":0,\"first\":[]}");
    harness->nameless = "a";
    for (int i = 0; i < 100; i++) {
        discover(harness, "a", DATA_TEXT, false); /* of each event that comes */
        pass(harness, 300 * USEC_MS);
    }
    assert_int_equal(harness->namings, 1);
    assert_nameless(harness, "{\"count\":1,\"first\":[{\"path\":\"a\",\"why\":\"noRoom\"}]}");
    discover(harness, "b", DATA_TEXT, false);
    pass(harness, 2 * USEC_SECOND);
    assert_columns(harness, "_id _at b:text _rest"); /* others get theirs */
    assert_int_equal(harness->namings, 2);
    discover(harness, "b", DATA_INTEGER, true);
    discover(harness, "a", DATA_TEXT, false);
    pass(harness, 2 * USEC_SECOND);
    assert_int_equal(harness->namings, 3);
    /* Some time there may be a place for it. */
    harness->nameless = NULL;
    harness->time_passed += 600 * USEC_SECOND;
    discover(harness, "a", DATA_TEXT, false);
    pass(harness, 2 * USEC_SECOND);
    assert_columns(harness, "_id _at b:text b__v_integer:integer a:text _rest");
    assert_nameless(harness, "{\"count\":0,\"first\":[]}");
}

static void a_change_of_the_sink_asks_again(void **state) {
    Harness *harness = *state;
    make_sink(harness, INFERRING(""));
    harness->nameless = "a";
    discover(harness, "a", DATA_TEXT, false);
    pass(harness, 300 * USEC_MS);
    assert_int_equal(harness->namings, 1);
    harness->nameless = NULL;
    assert_string_equal(harness_task(harness, "PATCH", SINK, "{\"table\":{\"mapping\":{\"infer\":{\"maxColumns\":300}}}}", NULL),
                        "success");
    discover(harness, "a", DATA_TEXT, false);
    pass(harness, 300 * USEC_MS);
    assert_columns(harness, "_id _at a:text _rest");
}

static void a_field_whose_name_is_declared_for_another_is_shown(void **state) {
    Harness *harness = *state;
    make_sink(harness, "{\"name\":\"Wide\",\"table\":{\"connection\":\"local\",\"tableId\":\"wide\",\"mapping\":{\"infer\":{},"
                       "\"columns\":[{\"name\":\"A\",\"type\":\"path\",\"path\":\"other\",\"optional\":true}]}}}");
    for (int i = 0; i < 100; i++) {
        discover(harness, "a", DATA_TEXT, false); /* the map of the table, which this sink did not make, calls it so */
        discover(harness, "b", DATA_TEXT, false);
        pass(harness, 300 * USEC_MS);
    }
    assert_int_equal(harness->namings, 1);
    assert_columns(harness, "_id _at A b:text _rest");
    assert_nameless(harness, "{\"count\":1,\"first\":[{\"path\":\"a\",\"why\":\"taken\"}]}");
}

static void a_change_that_fails_is_tried_less_and_less(void **state) {
    Harness *harness = *state;
    make_sink(harness, INFERRING(""));
    harness->prepare = SINK_REFUSED;
    for (int i = 0; i < 200; i++) {
        discover(harness, "a", DATA_TEXT, false);
        pass(harness, 300 * USEC_MS);
    }
    assert_true(harness->namings > 3 && harness->namings < 9); /* in a minute */
    harness->prepare = SINK_DONE;
    pass(harness, 61 * USEC_SECOND);
    assert_columns(harness, "_id _at a:text _rest");
}

typedef struct Stored {
    size_t count, bytes, largest;
} Stored;

static int add_stored(void *context, Span key, Span document, Error *error) {
    (void)key, (void)error;
    Stored *stored = context;
    stored->count++;
    stored->bytes += document.size;
    if (document.size > stored->largest) stored->largest = document.size;
    return 0;
}

#define CHANGES 40
#define FIELDS_A_CHANGE 20

/* Each version had all columns of those before it. */
static void versions_take_no_more_room_than_the_columns(void **state) {
    Harness *harness = *state;
    make_sink(harness, INFERRING("\"maxColumns\":1000"));
    char path[901];
    memset(path, 'x', sizeof path - 1);
    path[900] = 0;
    for (int change = 0; change < CHANGES; change++) {
        for (int i = 0; i < FIELDS_A_CHANGE; i++) {
            (void)snprintf(path, sizeof path, "f%d_%d_", change, i);
            path[strlen(path)] = 'x';
            discover(harness, path, DATA_TEXT, false);
        }
        pass(harness, 61 * USEC_SECOND);
    }
    assert_string_equal(harness_task(harness, "PATCH", SINK, "{\"description\":\"d\"}", NULL), "success");
    SnapshotSource *source = snapshot_find(harness->held[0], SPAN("s"));
    assert_int_equal(plan_sink(source->plan, 0)->target.column_count, 3 + CHANGES * FIELDS_A_CHANGE);
    Stored stored = {0};
    Txn *txn;
    Error error = {0};
    Environment *environment = control_view(harness->control)->environment;
    assert_int_equal(txn_begin_read(environment, &txn, &error), 0);
    assert_int_equal(catalog_visit(txn, CATALOG_VERSIONS, SPAN("k"), add_stored, &stored, &error), 0);
    txn_abort(txn);
    print_message("%zu versions, %zu bytes, the largest has %zu\n", stored.count, stored.bytes, stored.largest);
    assert_true(stored.count > CHANGES);
    assert_true(stored.largest > CHANGES * FIELDS_A_CHANGE * 900);
    assert_true(stored.bytes < stored.largest + 2000 * stored.count);
    /* What there is now is what is read at the next start. */
    harness_stop(harness);
    harness_start(harness);
    source = snapshot_find(harness->held[0], SPAN("s"));
    assert_int_equal(plan_sink(source->plan, 0)->target.column_count, 3 + CHANGES * FIELDS_A_CHANGE);
}

static void nameless_fields_are_bounded(void **state) {
    (void)state;
    Nameless nameless = {0};
    for (unsigned i = 0; i < 3 * NAMELESS_MAX; i++) {
        char path[16];
        (void)snprintf(path, sizeof path, "f%u", i);
        const InferredColumn column = {.path = path, .type = DATA_TEXT};
        assert_true(nameless_add(&nameless, &column, NAMELESS_NO_ROOM, i));
        assert_false(nameless_add(&nameless, &column, NAMELESS_NO_ROOM, i));
        assert_true(nameless_has(&nameless, &column, i));
        assert_false(nameless_has(&nameless, &column, i + NAMELESS_FOR));
        const InferredColumn variant = {.path = path, .type = DATA_TEXT, .is_variant = true};
        assert_false(nameless_has(&nameless, &variant, i));
    }
    assert_int_equal(nameless.count, NAMELESS_MAX);
    const InferredColumn first = {.path = (char *)(uintptr_t) "f0"}, last = {.path = (char *)(uintptr_t) "f5999"};
    assert_false(nameless_has(&nameless, &first, 0));
    nameless_remove(&nameless, &last);
    nameless_remove(&nameless, &first);
    assert_int_equal(nameless.count, NAMELESS_MAX - 1);
    json_t *json = nameless_json(&nameless);
    assert_int_equal(json_array_size(json_object_get(json, "first")), NAMELESS_SHOWN);
    json_decref(json);
    nameless_deinit(&nameless);
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
        cmocka_unit_test_setup_teardown(fields_that_get_no_name_are_not_asked_for_again, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(a_change_of_the_sink_asks_again, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(a_field_whose_name_is_declared_for_another_is_shown, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(a_change_that_fails_is_tried_less_and_less, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(versions_take_no_more_room_than_the_columns, harness_setup, harness_teardown),
        cmocka_unit_test(nameless_fields_are_bounded),
        cmocka_unit_test_setup_teardown(people_change_the_sink_meanwhile, harness_setup, harness_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
