/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "tests/unit/sinks/columns-cases.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "config/column_name.h"

#define SESSION _cleanup_(cleanup_session) SinkSession *session = open_session()
#define MOST 50

static Inference inference = {.depth = 1, .max_columns = 200};

static void begin_case(SinkCase *box, const char *columns) {
    run_sql("DROP TABLE IF EXISTS evolving");
    sink_case_init(box, "evolving", columns, 1);
    box->target.infer = &inference;
    box->columns[0].inferred = COLUMN_BASE;
}

/* "PATH:type", a variant as "PATH~type"; separated by spaces. */
static InferredColumn *columns_of(const char *text, size_t *ret_count) {
    char *copy = strdup(text), *rest = NULL;
    InferredColumn *columns = calloc(strlen(text) + 1, sizeof *columns);
    *ret_count = 0;
    for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        InferredColumn *column = &columns[(*ret_count)++];
        char *mark = strpbrk(word, ":~");
        column->is_variant = *mark == '~';
        *mark++ = 0;
        column->path = strdup(word);
        for (DataType type = 0; type < DATA_TYPE_COUNT; type++)
            if (strcmp(data_type_name(type), mark) == 0) column->type = type;
    }
    free(copy);
    return columns;
}

/* "PATH=name:type …" as it is answered. */
static void assert_named_up_to(SinkSession *session, SinkCase *box, size_t most, const char *wanted, const char *names) {
    ColumnsJob job = {.owner = {.sink_label = "shop/orders"}, .target = &box->target, .most = most};
    Error error = {0};
    InferredColumn *columns = columns_of(wanted, &job.wanted_count);
    job.wanted = columns;
    must(driver->columns(session, &job, &error), &error);
    _cleanup_(buffer_deinit) Buffer text = {0};
    for (size_t i = 0; i < job.count; i++)
        buffer_printf(&text, "%s%s%s%s:%s", i > 0 ? " " : "", job.columns[i].path, job.columns[i].is_variant ? "~" : "=",
                      job.columns[i].name, data_type_name(job.columns[i].type));
    inferred_columns_free(job.columns, job.count);
    inferred_columns_free(columns, job.wanted_count);
    assert_string_equal(buffer_text(&text), names);
}

static void assert_named(SinkSession *session, SinkCase *box, const char *wanted, const char *names) {
    assert_named_up_to(session, box, MOST, wanted, names);
}

static void fresh_case(SinkSession *session, SinkCase *box, const char *columns) {
    Error error = {0};
    begin_case(box, columns);
    assert_named(session, box, "", ""); /* the map is there */
    char sql[128];
    (void)snprintf(sql, sizeof sql, "DELETE FROM %s", map_table);
    run_sql(sql);
    must(driver->prepare(session, &box->target, &error), &error);
}
#define FRESH(columns)                                                                                                                     \
    SESSION;                                                                                                                               \
    _cleanup_(sink_case_deinit) SinkCase box;                                                                                              \
    fresh_case(session, &box, (columns))

static void columns_are_named_once_for_all(void **state) {
    FRESH("_id:text");
    assert_named(session, &box, "a:integer b:text", "a=a:integer b=b:text");
    /* Another node: what is there wins, also the type. */
    _cleanup_(cleanup_session) SinkSession *other = open_session();
    assert_named(other, &box, "b:json a:text c:json", "b=b:text a=a:integer c=c:json");
    assert_named(session, &box, "c:integer", "c=c:json");
    assert_rows("SELECT a, b, c FROM evolving", ""); /* and they are there */
}

static void names_that_collide_end_in_a_hash(void **state) {
    FRESH("_id:text Total:integer");
    assert_named(session, &box, "[\"a-b\"]:integer [\"a.b\"]:text", "[\"a-b\"]=a_b:integer [\"a.b\"]=a_b_68a4364b:text");
    assert_named(session, &box, "A_B:text", "A_B=a_b_6c1908f9:text");
    assert_named(session, &box, "total:integer", "total=total_11239872:integer"); /* of a declared column */
    assert_named(session, &box, "_id:text", "_id=_id_b6f7460b:text");
}

static void variants_stand_behind_their_field(void **state) {
    FRESH("_id:text");
    assert_named(session, &box, "a~text", ""); /* its field has no column */
    assert_named(session, &box, "a:integer a~text a~json", "a=a:integer a~a__v_text:text a~a__v_json:json");
    assert_named(session, &box, "a__v_text:integer", "a__v_text=a__v_text_04d2b1a5:integer");
    assert_rows("SELECT a, a__v_text, a__v_json FROM evolving", "");
}

static void the_limit_holds_for_all_fields_of_the_table(void **state) {
    FRESH("_id:text");
    assert_named_up_to(session, &box, 2, "a:integer b:integer c:integer", "a=a:integer b=b:integer");
    assert_named_up_to(session, &box, 2, "c:integer b:text a~text", "b=b:integer");
    assert_named_up_to(session, &box, 3, "c:integer d:text", "c=c:integer");
}

static void columns_that_are_gone_leave_their_place_to_others(void **state) {
    FRESH("_id:text");
    assert_named_up_to(session, &box, 2, "a:integer b:integer c:text", "a=a:integer b=b:integer");
    run_sql("ALTER TABLE evolving DROP COLUMN a");
    assert_named_up_to(session, &box, 2, "c:text d:text", "c=c:text");
    assert_named_up_to(session, &box, 2, "a:text", "");                   /* there is no place for it any more */
    assert_named_up_to(session, &box, 3, "a:text d:text", "a=a:integer"); /* the table gets it again, as it was */
    assert_rows("SELECT a, b, c FROM evolving", "");
    /* What the sink has is made again: it counts. */
    run_sql("ALTER TABLE evolving DROP COLUMN a");
    _cleanup_(sink_case_deinit) SinkCase wide;
    sink_case_init(&wide, "evolving", "_id:text a:integer", 1);
    wide.target.infer = &inference;
    wide.columns[0].inferred = COLUMN_BASE;
    wide.columns[1].inferred = COLUMN_INFERRED;
    assert_named_up_to(session, &wide, 3, "d:text", "");
    assert_named_up_to(session, &box, 3, "d:text", "d=d:text");
}

static void a_column_that_is_there_is_taken_when_it_fits(void **state) {
    FRESH("_id:text");
    run_sql("ALTER TABLE evolving ADD COLUMN b text");
    assert_named(session, &box, "b:text", "b=b:text");
    assert_named(session, &box, "_id:boolean", "_id=_id_b6f7460b:boolean");
    run_sql(strchr(map_table, '.') ? "ALTER TABLE evolving ADD COLUMN total bytea" : "ALTER TABLE evolving ADD COLUMN total BLOB");
    assert_named(session, &box, "total:json", "total=total_11239872:json");
    if (!strchr(map_table, '.')) return;
    run_sql("ALTER TABLE evolving ADD COLUMN tags jsonb"); /* takes no text with U+0000, which a field's values may have */
    run_sql("ALTER TABLE evolving ADD COLUMN tags2 json");
    assert_named(session, &box, "tags:json tags2:json", "tags=tags_978c2f89:json tags2=tags2:json");
    assert_rows("SELECT data_type FROM information_schema.columns WHERE table_name = 'evolving' AND column_name = 'tags_978c2f89'", "json");
}

static void the_map_outlives_the_table(void **state) {
    FRESH("_id:text");
    Error error = {0};
    assert_named(session, &box, "a:integer", "a=a:integer");
    run_sql("DROP TABLE evolving");
    assert_named(session, &box, "a:text b:text", "a=a:integer b=b:text");
    must(driver->prepare(session, &box.target, &error), &error); /* the columns of the definition */
}

static void many_columns_come_at_once(void **state) {
    FRESH("_id:text");
    _cleanup_(buffer_deinit) Buffer wanted = {0}, names = {0};
    for (int i = 0; i < 997; i++) {
        buffer_printf(&wanted, "%sf%d:json", i > 0 ? " " : "", i);
        buffer_printf(&names, "%sf%d=f%d:json", i > 0 ? " " : "", i, i);
    }
    assert_named_up_to(session, &box, 997, buffer_text(&wanted), buffer_text(&names));
    assert_rows("SELECT count(f0), count(f996) FROM evolving", "0|0");
}

static void a_damaged_map_is_refused(void **state) {
    FRESH("_id:text");
    char sql[300];
    (void)snprintf(
        sql, sizeof sql,
        "INSERT INTO %s (table_name, path, variant, column_name, data_type, sink, instance) SELECT %s, 'x', '', 'x', 'number', 's',"
        " '00000000-0000-0000-0000-000000000000'",
        map_table, strchr(map_table, '.') ? "'public.evolving'" : "'evolving'");
    run_sql(sql);
    ColumnsJob job = {.owner = {.sink_label = "shop/orders"}, .target = &box.target, .most = MOST};
    Error error = {0};
    assert_int_equal(driver->columns(session, &job, &error), SINK_REFUSED);
    assert_non_null(strstr(error.text, "\"x\" that Sluice did not write"));
}

/* Imports one row: "KEY VALUE …", by the columns of the target. */
static void import_row(SinkSession *session, SinkCase *box, const char *const *cells) {
    Error error = {0};
    sink_case_next_file(box, 0);
    text_rows_add(&box->rows[0], cells);
    must(driver->import(session, sink_case_job(box), &error), &error);
}

static void a_row_that_replaces_another_leaves_nothing_of_it(void **state) {
    SESSION;
    _cleanup_(sink_case_deinit) SinkCase box, wide;
    fresh_case(session, &box, "k:text:key v:text");
    box.target.table.strategy = STRATEGY_MERGE;
    import_row(session, &box, (const char *const[]){"1", "old"}); /* no field has a column yet */
    run_sql("ALTER TABLE evolving ADD COLUMN other text");        /* somebody's */
    assert_named(session, &box, "a:text B:integer", "a=a:text B=b:integer");
    /* A sink that has the columns, of this node or of another one. */
    sink_case_init(&wide, "evolving", "k:text:key v:text a:text b:integer", 1);
    wide.target.infer = &inference;
    wide.target.table.strategy = STRATEGY_MERGE;
    import_row(session, &wide, (const char *const[]){"1", "wide", "x", "7"});
    import_row(session, &wide, (const char *const[]){"2", "wide", "y", "8"});
    run_sql("UPDATE evolving SET other = 'mine'");
    /* One that does not have them: its values of the fields are in _rest. */
    import_row(session, &box, (const char *const[]){"1", "late"});
    assert_rows("SELECT k, v, coalesce(a, '-'), coalesce(b, -1), other FROM evolving ORDER BY k", "1|late|-|-1|mine\n2|wide|y|8|mine");
    /* A column that somebody dropped is left alone. */
    run_sql("ALTER TABLE evolving DROP COLUMN a");
    import_row(session, &box, (const char *const[]){"2", "late"});
    assert_rows("SELECT k, v, coalesce(b, -1), other FROM evolving ORDER BY k", "1|late|-1|mine\n2|late|-1|mine");
}

int run_columns_cases(int (*setup)(void **state), int (*teardown)(void **state)) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(columns_are_named_once_for_all, setup, teardown),
        cmocka_unit_test_setup_teardown(names_that_collide_end_in_a_hash, setup, teardown),
        cmocka_unit_test_setup_teardown(variants_stand_behind_their_field, setup, teardown),
        cmocka_unit_test_setup_teardown(the_limit_holds_for_all_fields_of_the_table, setup, teardown),
        cmocka_unit_test_setup_teardown(columns_that_are_gone_leave_their_place_to_others, setup, teardown),
        cmocka_unit_test_setup_teardown(a_column_that_is_there_is_taken_when_it_fits, setup, teardown),
        cmocka_unit_test_setup_teardown(the_map_outlives_the_table, setup, teardown),
        cmocka_unit_test_setup_teardown(many_columns_come_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_row_that_replaces_another_leaves_nothing_of_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_map_is_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
