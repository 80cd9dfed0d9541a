/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>

#include "sinks/table_shape.h"
#include "tests/support/sink-case.h"

static const char *type_of(const Column *column) {
    return column->data_type == DATA_INTEGER ? "INT" : "TEXT";
}

static bool compatible(const SinkTarget *target, const Column *column, const FoundColumn *there) {
    return strcmp(type_of(column), there->type) == 0;
}

static const TypeRules exact = {.type_of = type_of, .compatible = compatible};
static const TypeRules loose = {.type_of = type_of, .compatible = compatible, .ignore_case = true};

static void order_and_case(void **state) {
    SinkCase box;
    sink_case_init(&box, "t", "a:text b:integer", 1);
    FoundTable found = {0};
    (void)found_table_add(&found, "B", "INT");
    (void)found_table_add(&found, "a", "TEXT");
    Error error = {0};
    assert_int_equal(sink_table_compare(&box.target, &found, &loose, NULL, &error), SINK_DONE);
    assert_int_equal(sink_table_compare(&box.target, &found, &exact, NULL, &error), SINK_REFUSED);
    assert_string_equal(error.text, "Table \"t\" differs from the sink: column \"b\" (INT) is missing.");
    bool missing[2] = {false};
    assert_int_equal(sink_table_compare(&box.target, &found, &exact, missing, &error), SINK_DONE);
    assert_false(missing[0]);
    assert_true(missing[1]);
    found_table_deinit(&found);
    sink_case_deinit(&box);
}

/* A difference of types names the data types that the table's column takes as it is. */
static void types(void **state) {
    SinkCase box;
    sink_case_init(&box, "t", "a:text b:integer c:integer", 1);
    box.columns[1].type = box.columns[2].type = COLUMN_PATH;
    FoundTable found = {0};
    (void)found_table_add(&found, "a", "TEXT");
    (void)found_table_add(&found, "b", "TEXT");
    (void)found_table_add(&found, "c", "DATE");
    Error error = {0};
    assert_int_equal(sink_table_compare(&box.target, &found, &exact, NULL, &error), SINK_REFUSED);
    assert_string_equal(error.text, "Table \"t\" differs from the sink: column \"b\" is TEXT and should be INT, or the sink's dataType"
                                    " text, number, decimal, boolean, timestamp, date, json, bytes, uuid or jsonText;"
                                    " column \"c\" is DATE and should be INT.");
    found_table_deinit(&found);
    sink_case_deinit(&box);
}

static void keys(void **state) {
    SinkCase box;
    sink_case_init(&box, "t", "a:text:key b:integer", 1);
    FoundTable found = {0};
    (void)found_table_add(&found, "a", "TEXT");
    found_table_add(&found, "b", "INT")->is_primary_key = true;
    Error error = {0};
    assert_int_equal(sink_table_compare(&box.target, &found, &exact, NULL, &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "column \"a\" is not part of the table's primary key"));
    assert_non_null(strstr(error.text, "column \"b\" is part of the table's primary key, but not of the sink's"));
    found_table_deinit(&found);
    /* A key cannot be added to a table that is there. */
    bool missing[2] = {false};
    assert_int_equal(sink_table_compare(&box.target, &found, &exact, missing, &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "column \"a\" (TEXT) is missing"));
    sink_case_deinit(&box);
}

static void what_is_left_out(void **state) {
    static const struct {
        const char *found, *differences;
        bool lacks[4];
    } cases[] = {
        {"k n r", NULL, {false, false, true, false}},
        {"k n r a", NULL, {false, false, false, false}},
        {"n r a", "column \"k\" (TEXT) is missing", {true, false, false, false}},
        {"k r a", "column \"n\" (TEXT) is missing", {false, true, false, false}},
        {"k n a", "column \"r\" (TEXT) is missing", {false, false, false, true}},
        {"other", "it has none of the sink's columns", {true, true, true, true}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        SinkCase box;
        FoundTable found = {0};
        TableInspection inspection = {0};
        Error error = {0};
        sink_case_init(&box, "t", "k:text:key n:text a:text r:text", 1);
        box.target.table.newer_by = box.columns[1].name;
        box.columns[3].type = COLUMN_REST;
        char words[16], *rest = NULL;
        (void)snprintf(words, sizeof words, "%s", cases[i].found);
        for (char *name = strtok_r(words, " ", &rest); name; name = strtok_r(NULL, " ", &rest))
            found_table_add(&found, name, "TEXT")->is_primary_key = *name == 'k';
        box.target.table.on_schema_drift = SCHEMA_DRIFT_IGNORE;
        SinkResult result = sink_table_inspect(&box.target, &found, &exact, &inspection, &error);
        assert_int_equal(result, cases[i].differences ? SINK_REFUSED : SINK_DONE);
        if (cases[i].differences && !strstr(error.text, cases[i].differences)) fail_msg("case %zu: %s", i, error.text);
        assert_memory_equal(inspection.lacks, cases[i].lacks, sizeof cases[i].lacks);
        assert_null(inspection.adds);
        table_inspection_deinit(&inspection);
        found_table_deinit(&found);
        sink_case_deinit(&box);
    }
}

static void many_differences_are_counted(void **state) {
    SinkCase box;
    char columns[1000] = "", one[16];
    for (int i = 0; i < 60; i++) {
        (void)snprintf(one, sizeof one, "c%d:text ", i);
        (void)strcat(columns, one);
    }
    sink_case_init(&box, "t", columns, 1);
    FoundTable found = {0};
    Error error = {0};
    assert_int_equal(sink_table_compare(&box.target, &found, &exact, NULL, &error), SINK_REFUSED);
    unsigned named = 0, left_out = 0;
    for (const char *at = error.text; (at = strstr(at, "is missing")); at++) named++;
    assert_int_equal(sscanf(strstr(error.text, "; and "), "; and %u more", &left_out), 1);
    assert_int_equal(named + left_out, 60);
    sink_case_deinit(&box);
}

static void sql_text(void **state) {
    SinkCase box;
    sink_case_init(&box, "t", "a\"b:text:key n:integer:key v:text", 1);
    Buffer sql = {0};
    sql_put_definition(&sql, &box.target, &exact);
    assert_string_equal(buffer_text(&sql), "\"a\"\"b\" TEXT NOT NULL, \"n\" INT NOT NULL, \"v\" TEXT, PRIMARY KEY (\"a\"\"b\", \"n\")");
    assert_true(sink_table_has_key(&box.target));
    assert_false(sink_table_is_all_key(&box.target));
    buffer_deinit(&sql);
    sink_case_deinit(&box);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_and_case),
        cmocka_unit_test(types),
        cmocka_unit_test(keys),
        cmocka_unit_test(what_is_left_out),
        cmocka_unit_test(many_differences_are_counted),
        cmocka_unit_test(sql_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
