/* clang-format off */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
/* clang-format on */

#include "base/cleanup.h"
#include "base/text.h"
#include "config/definition_parts.h"
#include "config/inference.h"
#include "config/source_kind.h"

static void json_drop(json_t **json) {
    json_decref(*json);
}

/* As the catalog keeps it: requests do not have `infer` yet. */
static Sink *stored_sink(const char *mapping, const char *more) {
    char text[4096];
    (void)snprintf(text, sizeof text, "{\"sinkId\":\"s\",\"name\":\"S\",\"table\":{\"tableId\":\"t\"%s,\"mapping\":%s}}", more, mapping);
    _cleanup_(json_drop) json_t *json = json_loads(text, 0, NULL);
    if (!json) fail_msg("%s", text);
    Error error = {0};
    Fault fault = {.error = &error, .is_stored = true};
    Node root = {.value = json};
    Sink *sink = NULL;
    if (sink_read(&fault, &root, false, NULL, &sink) != 0) fail_msg("%s: %s", text, error.text);
    return sink;
}

static Source *source_of(const char *text) {
    _cleanup_(json_drop) json_t *json = json_loads(text, 0, NULL);
    Source *source = NULL;
    Error error = {0};
    if (source_from_request(json, &source, &error) != 0) fail_msg("%s: %s", text, error.text);
    return source;
}

static Sink *complete_sink(const char *source_text, const char *mapping, const char *more) {
    _cleanup_(cleanup_source_unref) Source *source = source_of(source_text);
    Sink *sink = stored_sink(mapping, more);
    sink_complete(source, sink);
    return sink;
}

/* "_id _at a:integer _rest": the names, and the types of those that were inferred. */
static void assert_columns(const Sink *sink, const char *wanted) {
    _cleanup_(buffer_deinit) Buffer text = {0};
    for (size_t i = 0; i < sink->target.column_count; i++) {
        const Column *column = &sink->target.columns[i];
        buffer_printf(&text, "%s%s%s", i > 0 ? " " : "", column->name, column->primary_key ? "!" : "");
        if (column->inferred == COLUMN_INFERRED) buffer_printf(&text, ":%s", data_type_name(column->data_type));
        if (column->inferred == COLUMN_VARIANT) buffer_printf(&text, "~%s", data_type_name(column->data_type));
    }
    assert_string_equal(buffer_text(&text), wanted);
}

#define HTTP "{\"name\":\"s\"}"
#define NATS_SOURCE "{\"name\":\"s\",\"type\":\"nats\",\"nats\":{\"connection\":\"k\",\"stream\":\"S\"}}"
#define TOMBSTONES "{\"name\":\"s\",\"type\":\"kafka\",\"kafka\":{\"connection\":\"k\",\"topics\":[\"t\"],\"tombstones\":\"event\"}}"
#define KAFKA_SOURCE "{\"name\":\"s\",\"type\":\"kafka\",\"kafka\":{\"connection\":\"k\",\"topics\":[\"t\"]}}"

static void the_base_columns_are_those_of_the_source(void **state) {
    Sink *sink = complete_sink(HTTP, "{\"infer\":{}}", "");
    assert_columns(sink, "_id _at _rest");
    assert_int_equal(sink->target.infer->depth, 1);
    assert_int_equal(sink->target.infer->max_columns, 200);
    assert_int_equal(sink->target.table.on_schema_drift, SCHEMA_DRIFT_EVOLVE);
    assert_int_equal(sink->target.table.strategy, STRATEGY_APPEND);
    sink_unref(sink);
    sink = complete_sink(HTTP, "{\"infer\":{},\"columns\":[{\"name\":\"x\",\"type\":\"body\"}]}", ",\"onSchemaDrift\":\"fail\"");
    assert_columns(sink, "_id _at x _rest");
    assert_int_equal(sink->target.table.on_schema_drift, SCHEMA_DRIFT_FAIL);
    _cleanup_(cleanup_source_unref) Source *source = source_of(HTTP);
    sink_complete(source, sink);
    assert_columns(sink, "_id _at x _rest");
    sink_unref(sink);
    sink = complete_sink(HTTP, "{\"infer\":{}}", ",\"strategy\":\"merge\"");
    assert_columns(sink, "_id! _at _rest");
    sink_unref(sink);
    sink = complete_sink(HTTP, "{\"infer\":{},\"columns\":[{\"name\":\"k\",\"type\":\"ip\",\"primaryKey\":true}]}", "");
    assert_columns(sink, "_id _at k! _rest");
    assert_int_equal(sink->target.table.strategy, STRATEGY_MERGE);
    sink_unref(sink);
    /* A declared one takes the place of the base column that it is. */
    sink = complete_sink(
        NATS_SOURCE,
        "{\"infer\":{},\"columns\":[{\"name\":\"x\",\"type\":\"body\"},{\"name\":\"_sequence\",\"type\":\"meta\","
        "\"field\":\"sequence\",\"dataType\":\"integer\",\"primaryKey\":true},{\"name\":\"_id\",\"type\":\"id\",\"mask\":\"hash\"}]}",
        "");
    assert_columns(sink, "_id _at _subject _sequence! x _rest");
    assert_int_equal(sink->target.columns[3].inferred, COLUMN_DECLARED);
    sink_unref(sink);
    sink = complete_sink(KAFKA_SOURCE, "{\"infer\":{}}", "");
    assert_columns(sink, "_id _at _topic _partition _offset _rest");
    sink_unref(sink);
    sink = complete_sink(NATS_SOURCE, "{\"infer\":{}}", "");
    assert_columns(sink, "_id _at _subject _sequence _rest");
    sink_unref(sink);
}

static void columns_are_added_before_the_rest(void **state) {
    Sink *sink = complete_sink(HTTP, "{\"infer\":{\"maxColumns\":6}}", "");
    const InferredColumn columns[] = {{.path = "a", .type = DATA_INTEGER, .name = "a"},
                                      {.path = "b", .type = DATA_JSON, .name = "b"},
                                      {.path = "a", .is_variant = true, .type = DATA_TEXT, .name = "a__v_text"},
                                      {.path = "c", .type = DATA_TEXT, .name = "c"}};
    assert_int_equal(inference_room(&sink->target), 3);
    assert_int_equal(inference_add(&sink->target, columns, 2), 2);
    assert_int_equal(inference_add(&sink->target, columns, 4), 1);
    assert_columns(sink, "_id _at a:integer b:json a__v_text~text _rest");
    assert_int_equal(inference_room(&sink->target), 0);
    assert_int_equal(inference_add(&sink->target, columns, 4), 0);
    assert_true(sink->target.columns[2].raw_string && !sink->target.columns[3].raw_string);
    sink_unref(sink);
}

static Sink *with_columns(const char *mapping) {
    Sink *sink = complete_sink(HTTP, mapping, "");
    const InferredColumn columns[] = {{.path = "a", .type = DATA_INTEGER, .name = "a"},
                                      {.path = "b.c", .type = DATA_TEXT, .name = "b__c"},
                                      {.path = "a", .is_variant = true, .type = DATA_TEXT, .name = "a__v_text"}};
    assert_int_equal(inference_add(&sink->target, columns, 3), 3);
    return sink;
}

static void what_was_inferred_is_stored_and_shown(void **state) {
    Sink *sink = with_columns("{\"infer\":{\"depth\":2,\"typeHints\":{\"b.c\":\"text\",\"d\":\"decimal\"},\"exclude\":[\"s\"]}}");
    assert_columns(sink, "_id _at a:integer b__c:text a__v_text~text _rest");
    sink_stamp(sink, 1, 5, "me", "");
    _cleanup_(json_drop) json_t *stored = sink_store(sink), *shown = sink_to_json(sink), *request = sink_request_form(sink);
    Sink *loaded = NULL;
    assert_int_equal(sink_load(stored, &loaded, NULL), 0);
    assert_columns(loaded, "_id _at a:integer b__c:text a__v_text~text _rest");
    assert_false(sink_target_differs(sink, loaded));
    assert_int_equal(loaded->target.infer->hint_count, 2);
    assert_string_equal(loaded->target.infer->hints[1].path, "d");
    assert_int_equal(loaded->target.infer->hints[1].type, DATA_DECIMAL);
    loaded->target.infer->hints[1].type = DATA_TEXT;
    assert_true(sink_target_differs(sink, loaded));
    sink_unref(loaded);
    json_t *mapping = json_object_get(json_object_get(shown, "table"), "mapping");
    assert_int_equal(json_array_size(json_object_get(mapping, "columns")), 6);
    assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(mapping, "columns"), 4), "inferred")), "variant");
    mapping = json_object_get(json_object_get(request, "table"), "mapping");
    assert_null(json_object_get(mapping, "columns"));
    assert_string_equal(json_string_value(json_object_get(json_object_get(json_object_get(mapping, "infer"), "typeHints"), "d")),
                        "decimal");
    Sink *copy = sink_copy(sink);
    assert_false(sink_target_differs(sink, copy));
    sink_unref(sink);
    assert_columns(copy, "_id _at a:integer b__c:text a__v_text~text _rest");
    _cleanup_(json_drop) json_t *target = sink_target_store(&copy->target);
    SinkTarget file = {0};
    assert_int_equal(sink_target_load(target, &file, NULL), 0);
    assert_int_equal(file.column_count, 6);
    sink_target_deinit(&file);
    sink_unref(copy);
}

/* What becomes of the inferred columns when people change the rest: `now` is what a request would
 * give. */
static void assert_kept(const char *old_mapping, const char *now_mapping, const char *more, const char *wanted) {
    Sink *old = with_columns(old_mapping), *now = stored_sink(now_mapping, more);
    inference_keep(&old->target, &now->target);
    if (now->target.infer) {
        assert_columns(now, wanted);
        _cleanup_(cleanup_source_unref) Source *source = source_of(HTTP);
        sink_complete(source, now);
    }
    assert_columns(now, wanted);
    sink_unref(old);
    sink_unref(now);
}

static void inferred_columns_outlive_a_change(void **state) {
    const char *all = "_id _at a:integer b__c:text a__v_text~text _rest";
    assert_kept("{\"infer\":{\"depth\":2}}", "{\"infer\":{\"depth\":2}}", "", all);
    assert_kept("{\"infer\":{\"depth\":2}}", "{\"infer\":{\"depth\":2,\"maxColumns\":3}}", "", all); /* no column goes */
    assert_kept("{\"infer\":{\"depth\":2}}", "{\"infer\":{\"depth\":2}}", ",\"strategy\":\"merge\"",
                "_id! _at a:integer b__c:text a__v_text~text _rest");
    assert_kept("{\"infer\":{\"depth\":2}}", "{\"infer\":{\"depth\":2,\"exclude\":[\"b\"]}}", "", "_id _at a:integer a__v_text~text _rest");
    assert_kept("{\"infer\":{\"depth\":2}}", "{\"infer\":{\"depth\":2,\"exclude\":[\"[\\\"a\\\"]\"]}}", "", "_id _at b__c:text _rest");
    assert_kept("{\"infer\":{\"depth\":2}}", "{\"infer\":{\"depth\":2},\"columns\":[{\"name\":\"x\",\"type\":\"path\",\"path\":\"b.c\"}]}",
                "", "_id _at x a:integer a__v_text~text _rest");
    assert_kept("{\"infer\":{\"depth\":2}}", "{\"infer\":{\"depth\":2},\"columns\":[{\"name\":\"A\",\"type\":\"ip\"}]}", "",
                "_id _at A b__c:text a__v_text~text _rest");
    const char *declared_id = "{\"infer\":{\"depth\":2},\"columns\":[{\"name\":\"_id\",\"type\":\"id\",\"primaryKey\":true}]}";
    assert_kept("{\"infer\":{\"depth\":2}}", declared_id, "", "_id! _at a:integer b__c:text a__v_text~text _rest");
    assert_kept("{\"infer\":{\"depth\":2}}", "{\"infer\":{\"depth\":2}}", ",\"connection\":\"other\"",
                "_id _at _rest"); /* the names are those of a table */
    assert_kept("{\"infer\":{\"depth\":2}}", "{\"columns\":[{\"name\":\"x\",\"type\":\"ip\"}]}", "", "x");
}

/* Columns that the new mapping makes no more leave the sink. */
static void a_mapping_that_is_less_deep_lets_columns_go(void **state) {
    const char *deep = "{\"infer\":{\"depth\":2}}";
    assert_kept(deep, "{\"infer\":{\"depth\":1}}", "", "_id _at a:integer a__v_text~text _rest");
    assert_kept(deep, "{\"infer\":{\"depth\":2},\"columns\":[{\"name\":\"x\",\"type\":\"path\",\"path\":\"b\",\"dataType\":\"json\"}]}", "",
                "_id _at x a:integer a__v_text~text _rest");
    assert_kept(deep, "{\"infer\":{\"depth\":2},\"columns\":[{\"name\":\"x\",\"type\":\"path\",\"path\":\"b.c.d\"}]}", "",
                "_id _at x a:integer b__c:text a__v_text~text _rest");
    Sink *sink = complete_sink(HTTP, "{\"infer\":{\"depth\":2},\"columns\":[{\"name\":\"x\",\"type\":\"path\",\"path\":\"b\"}]}", "");
    const InferredColumn late[] = {{.path = "b.c", .type = DATA_TEXT, .name = "b__c"}, /* from before the change */
                                   {.path = "d.e.f", .type = DATA_TEXT, .name = "d__e__f"},
                                   {.path = "[\"d.e.f\"]", .type = DATA_TEXT, .name = "d_e_f"}};
    assert_int_equal(inference_add(&sink->target, late, 3), 1);
    assert_columns(sink, "_id _at x d_e_f:text _rest");
    sink_unref(sink);
}

static void wrong_inferences_are_refused(void **state) {
    static const struct {
        const char *mapping, *says;
    } cases[] = {
        {"{\"infer\":{\"depth\":6}}", "Field \"table.mapping.infer.depth\" must be 1 to 5, not 6"},
        {"{\"infer\":{\"maxColumns\":1001}}", "must be 1 to 1000"},
        {"{\"infer\":{\"typeHints\":{\"a\":\"number\"}}}", "Field \"table.mapping.infer.typeHints.a\" must be one of"},
        {"{\"infer\":{\"typeHints\":{\"\":\"text\"}}}", "must have 1 to 1024 bytes, not 0"},
        {"{\"infer\":{\"typeHints\":[]}}", "must be an object, not an array"},
        {"{\"infer\":{\"exclude\":[\"a\",\"a\"]}}", "is a duplicate of item 0"},
        {"{\"infer\":{\"deep\":1}}", "is not known here"},
        {"{\"infer\":{},\"columns\":[{\"name\":\"_REST\",\"type\":\"body\"}]}", "is \"_REST\", a column that \"infer\" creates"},
        {"{\"infer\":{},\"columns\":[{\"name\":\"_offset\",\"type\":\"meta\",\"field\":\"partition\",\"dataType\":\"integer\"}]}",
         "is \"_offset\", a column that \"infer\" creates, and that has other contents"},
        {"{\"infer\":{},\"columns\":[{\"name\":\"r\",\"type\":\"rest\",\"dataType\":\"json\"}]}",
         "is \"rest\", a column that only Sluice creates"},
        {"{}", "needs \"columns\""},
        {"{\"columns\":[]}", "must have 1 to 100 items, not 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[1024];
        (void)snprintf(text, sizeof text, "{\"sinkId\":\"s\",\"table\":{\"tableId\":\"t\",\"mapping\":%s}}", cases[i].mapping);
        _cleanup_(json_drop) json_t *json = json_loads(text, 0, NULL);
        Error error = {0};
        Fault fault = {.error = &error, .is_stored = true};
        Node root = {.value = json};
        Sink *sink = NULL;
        assert_int_equal(sink_read(&fault, &root, false, NULL, &sink), -EINVAL);
        if (!strstr(error.text, cases[i].says)) fail_msg("%s: %s", text, error.text);
    }
}

/* What the definition of a sink of that source is refused for; "": nothing. */
static void assert_wrong(const char *source_text, const char *mapping, const char *more, const char *says) {
    char text[4096];
    _cleanup_(cleanup_source_unref) Source *source = source_of(source_text);
    (void)snprintf(text, sizeof text, "{\"sinkId\":\"s\",\"table\":{\"tableId\":\"t\"%s,\"mapping\":%s}}", more, mapping);
    _cleanup_(json_drop) json_t *json = json_loads(text, 0, NULL);
    Error error = {0};
    Sink *sink = NULL;
    if (!json) fail_msg("%s", text);
    Fault fault = {.error = &error};
    Node root = {.value = json};
    int r = sink_from_request(json, false, &sink, &error);
    if (r == 0) r = sink_suits(&fault, &root, source, sink);
    if (!strstr(error.text, says) || (r == 0) != !*says) fail_msg("%s: %s", text, error.text);
    if (r == 0) { /* as it is stored, it can be read again */
        sink_complete(source, sink);
        sink_stamp(sink, 1, 5, "me", "");
        _cleanup_(json_drop) json_t *stored = sink_store(sink);
        Sink *loaded = NULL;
        if (sink_load(stored, &loaded, &error) != 0) fail_msg("%s: %s", text, error.text);
        assert_false(sink_target_differs(sink, loaded));
        sink_unref(loaded);
    }
    sink_unref(sink);
}

static void the_columns_before_any_is_inferred_must_fit(void **state) {
    const char *one = "{\"infer\":{\"maxColumns\":3},\"columns\":[{\"name\":\"x\",\"type\":\"ip\"}]}";
    assert_wrong(HTTP, "{\"infer\":{\"maxColumns\":1}}", "", "\"table.mapping.infer.maxColumns\" must be at least 3, not 1");
    assert_wrong(HTTP, "{\"infer\":{\"maxColumns\":3}}", "", "");
    assert_wrong(HTTP, one, "", "must be at least 4, not 3");
    assert_wrong(KAFKA_SOURCE, "{\"infer\":{\"maxColumns\":3}}", "", "must be at least 6, not 3");
}

static void the_newer_row_is_told_by_a_base_column_too(void **state) {
    const char *keyed = "{\"infer\":{},\"columns\":[{\"name\":\"k\",\"type\":\"meta\",\"field\":\"key\",\"primaryKey\":true}]}";
    const char *http = "{\"infer\":{},\"columns\":[{\"name\":\"k\",\"type\":\"path\",\"path\":\"k\",\"primaryKey\":true}]}";
    assert_wrong(KAFKA_SOURCE, keyed, ",\"mergeIf\":{\"newerBy\":\"_offset\"}", "");
    assert_wrong(TOMBSTONES, keyed, ",\"mergeIf\":{\"newerBy\":\"_offset\"},\"deleteOn\":{\"tombstone\":true}", "");
    assert_wrong(HTTP, http, ",\"mergeIf\":{\"newerBy\":\"_at\"}", "");
    assert_wrong(HTTP, http, ",\"mergeIf\":{\"newerBy\":\"_offset\"}",
                 "\"table.mergeIf.newerBy\" is \"_offset\", a column that sources of this type do not have");
    assert_wrong(HTTP, http, ",\"mergeIf\":{\"newerBy\":\"_rest\"}", "is \"_rest\", which is neither a declared column");
    assert_wrong(HTTP, http, ",\"mergeIf\":{\"newerBy\":\"updated\"}", "does not exist for the first rows, so declare it");
    assert_wrong(HTTP, "{\"infer\":{}}", ",\"strategy\":\"merge\",\"mergeIf\":{\"newerBy\":\"_id\"}",
                 "is \"_id\", which is neither a declared column");
    assert_wrong(TOMBSTONES, "{\"infer\":{}}", ",\"strategy\":\"merge\",\"deleteOn\":{\"tombstone\":true}", "needs a primary key");
}

static void requests_do_not_hold_what_was_inferred(void **state) {
    _cleanup_(json_drop) json_t *json = json_loads(
        "{\"sinkId\":\"s\",\"table\":{\"tableId\":\"t\",\"mapping\":{\"columns\":[{\"name\":\"_rest\",\"type\":\"rest\","
        "\"dataType\":\"json\",\"inferred\":\"base\"},{\"name\":\"x\",\"type\":\"ip\"}]}}}",
        0, NULL);
    Sink *sink = NULL;
    assert_int_equal(sink_from_request(json, false, &sink, NULL), 0);
    assert_columns(sink, "x");
    sink_unref(sink);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_base_columns_are_those_of_the_source),    cmocka_unit_test(columns_are_added_before_the_rest),
        cmocka_unit_test(what_was_inferred_is_stored_and_shown),       cmocka_unit_test(inferred_columns_outlive_a_change),
        cmocka_unit_test(a_mapping_that_is_less_deep_lets_columns_go), cmocka_unit_test(wrong_inferences_are_refused),
        cmocka_unit_test(the_columns_before_any_is_inferred_must_fit), cmocka_unit_test(the_newer_row_is_told_by_a_base_column_too),
        cmocka_unit_test(requests_do_not_hold_what_was_inferred),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
