#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>

#include "guard.h"
#include "mapping/plan.h"
#include "mapping/row.h"

/* Definitions are made by hand here: column lists that end in a nameless one. The references are never given back to the last. */
static Sink sink_with(const char *id, Column *columns) {
    Sink sink = {.references = 1, .sink_id = (char *)(uintptr_t)id, .table.columns = columns};
    while (columns[sink.table.column_count].name) sink.table.column_count++;
    return sink;
}

#define NAME(text) .name = (char *)(uintptr_t)(text)
#define PATH(text) .type = COLUMN_PATH, .path = (char *)(uintptr_t)(text)
#define TEMPLATE(text) .type = COLUMN_TEMPLATE, .template_text = (char *)(uintptr_t)(text)
#define DEFAULT(text) .default_value = (char *)(uintptr_t)(text)

typedef struct Run {
    Plan *plan;
    Mapper *mapper;
    Buffer rows[4];
    Buffer *row_list[4];
    MapFailure failures[4];
} Run;

static void run_start(Run *run, Sink *sinks, size_t count, size_t row_bytes_most) {
    *run = (Run){.mapper = mapper_new(row_bytes_most)};
    Sink *list[4];
    for (size_t i = 0; i < count; i++) list[i] = &sinks[i];
    for (size_t i = 0; i < 4; i++) run->row_list[i] = &run->rows[i];
    Error error = {0};
    Source source = {0};
    if (plan_compile(&source, list, count, &run->plan, &error) < 0) fail_msg("%s", error.text);
}

static void run_end(Run *run) {
    plan_unref(run->plan);
    mapper_free(run->mapper);
    for (size_t i = 0; i < 4; i++) buffer_deinit(&run->rows[i]);
}

static size_t run_map(Run *run, const Event *event) {
    return mapper_map(run->mapper, run->plan, event, run->row_list, run->failures);
}

static void row_is(Run *run, size_t sink, const char *expected) {
    assert_string_equal(buffer_text(&run->rows[sink]), expected);
}

static const Uuid some_id = {{0x01, 0x8f, 0x3c, 0x2a, 0x00, 0x01, 0x70, 0x02, 0x80, 0x03, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f}};
#define SOME_ID "018f3c2a-0001-7002-8003-0a0b0c0d0e0f"

static void what_sluice_fills(void **state) {
    Column columns[] = {{NAME("id"), .type = COLUMN_ID},
                        {NAME("at"), .type = COLUMN_DATETIME},
                        {NAME("ts"), .type = COLUMN_DATETIME, .data_type = DATA_TIMESTAMP},
                        {NAME("day"), .type = COLUMN_DATETIME, .data_type = DATA_DATE},
                        {NAME("ip"), .type = COLUMN_IP},
                        {NAME("body"), .type = COLUMN_BODY},
                        {0}};
    Sink sink = sink_with("s", columns);
    Run run;
    run_start(&run, &sink, 1, 1 << 20);
    assert_int_equal(plan_needs(run.plan), PLAN_NEEDS_IP);
    Event event = {.body = SPAN("not JSON"), .id = some_id, .received = 1136214245123999, .ip = SPAN("2001:db8::1")};
    assert_int_equal(run_map(&run, &event), 0);
    row_is(&run, 0, SOME_ID ",2006-01-02T15:04:05.123Z,2006-01-02T15:04:05.123000Z,2006-01-02,2001:db8::1,not JSON\n");
    buffer_clear(&run.rows[0]);
    event.received += 86400 * USEC_SECOND;
    event.ip = (Span){0};
    event.body = (Span){0};
    assert_int_equal(run_map(&run, &event), 0);
    row_is(&run, 0, SOME_ID ",2006-01-03T15:04:05.123Z,2006-01-03T15:04:05.123000Z,2006-01-03,,\"\"\n");
    run_end(&run);
}

static void headers_are_one_object(void **state) {
    Column columns[] = {{NAME("h"), .type = COLUMN_HEADERS, .data_type = DATA_JSON}, {0}};
    Sink sink = sink_with("s", columns);
    Run run;
    run_start(&run, &sink, 1, 1 << 20);
    assert_int_equal(plan_needs(run.plan), PLAN_NEEDS_HEADERS);
    EventHeader headers[] = {
        {SPAN("x-b"), SPAN("2")},       {SPAN("CONTENT-TYPE"), SPAN("a/b; c=\"d\"")}, {SPAN("X-A"), SPAN("1")},     {SPAN("X-B"), SPAN("")},
        {SPAN("x-B"), SPAN("t\tab\\")}, {SPAN("x-latin"), SPAN("caf\xe9")},           {SPAN("x"), SPAN("\xc3\xa9")}};
    Event event = {.headers = headers, .header_count = 7};
    assert_int_equal(run_map(&run, &event), 0);
    RowReader reader = {.text = buffer_span(&run.rows[0])};
    RowCell cell;
    assert_int_equal(row_read(&reader, &cell, 1), 0);
    const char expected[] =
        "{\"Content-Type\":\"a/b; c=\\\"d\\\"\",\"X\":\"\xc3\xa9\",\"X-A\":\"1\",\"X-B\":\"2, , t\\tab\\\\\",\"X-Latin\":\"caf\xc3\xa9\"}";
    assert_int_equal(cell.size, sizeof expected - 1);
    assert_memory_equal(cell.data, expected, cell.size);
    row_reader_deinit(&reader);
    buffer_clear(&run.rows[0]);
    assert_int_equal(run_map(&run, &(Event){0}), 0);
    row_is(&run, 0, "{}\n");
    /* Many headers take the other way of sorting. */
    EventHeader many[300];
    char names[300][8];
    for (size_t i = 0; i < 300; i++) {
        snprintf(names[i], sizeof names[i], "n%03d", (int)(i * 7 % 150));
        many[i] = (EventHeader){span_of(names[i]), SPAN("v")};
    }
    buffer_clear(&run.rows[0]);
    assert_int_equal(run_map(&run, &(Event){.headers = many, .header_count = 300}), 0);
    assert_non_null(strstr(buffer_text(&run.rows[0]), "\"{\"\"N000\"\":\"\"v, v\"\",\"\"N001\"\":"));
    assert_non_null(strstr(buffer_text(&run.rows[0]), ",\"\"N149\"\":\"\"v, v\"\"}\""));
    run_end(&run);
}

static void templates_give_cells(void **state) {
    Column columns[] = {{NAME("a"), TEMPLATE("Body('x')")},
                        {NAME("b"), TEMPLATE("Body('x')"), .raw_string = true},
                        {NAME("c"), TEMPLATE("Header('h')"), .data_type = DATA_INTEGER},
                        {NAME("d"), TEMPLATE("{}")},
                        {0}};
    Sink sink = sink_with("s", columns);
    Run run;
    run_start(&run, &sink, 1, 1 << 20);
    assert_int_equal(plan_template_count(run.plan), 3);
    assert_string_equal(plan_template(run.plan, 1), "Header('h')");
    assert_int_equal(plan_needs(run.plan), PLAN_NEEDS_JSON | PLAN_NEEDS_HEADERS);
    TemplateResult results[] = {{.text = SPAN("\"x\\ny\"")}, {.text = SPAN("\"42.0\"")}, {.text = SPAN("{\"z\": [1, 2]}")}};
    Event event = {.body = SPAN("not JSON: the mapper does not look"), .templates = results};
    assert_int_equal(run_map(&run, &event), 0);
    row_is(&run, 0, "\"\"\"x\\ny\"\"\",\"x\ny\",42,\"{\"\"z\"\":[1,2]}\"\n");
    buffer_clear(&run.rows[0]);
    results[1] = (TemplateResult){.text = SPAN("null")};
    assert_int_equal(run_map(&run, &event), 0);
    row_is(&run, 0, "\"\"\"x\\ny\"\"\",\"x\ny\",,\"{\"\"z\"\":[1,2]}\"\n");
    buffer_clear(&run.rows[0]);
    results[2] = (TemplateResult){.failed = true, .text = SPAN("no field\n\"q\" \xff")};
    assert_int_equal(run_map(&run, &event), 1);
    assert_int_equal(run.failures[0].error, MAP_TEMPLATE);
    assert_string_equal(run.failures[0].column, "d");
    assert_string_equal(run.failures[0].message, "Column \"d\": no field\\x0a\"q\" \\xff");
    results[2] = (TemplateResult){.text = SPAN("{")};
    assert_int_equal(run_map(&run, &event), 1);
    assert_int_equal(run.failures[0].error, MAP_TEMPLATE);
    results[2] = (TemplateResult){.text = SPAN("1")};
    results[0] = (TemplateResult){.text = SPAN("\"\\ud800\"")};
    assert_int_equal(run_map(&run, &event), 1);
    assert_int_equal(run.failures[0].error, MAP_WRONG_TYPE);
    assert_string_equal(run.failures[0].column, "b");
    assert_int_equal(run.rows[0].size, 0);
    run_end(&run);
}

static void what_templates_need(void **state) {
    static const struct {
        const char *text;
        unsigned needs;
    } rows[] = {{"1", 0},
                {"BodyStr()", 0},
                {"Body ()", PLAN_NEEDS_JSON},
                {"local b = Body; b('x')", PLAN_NEEDS_JSON},
                {"local Bodyguard = 1, myBody = 2; Bodyguard", 0},
                {"HeaderStr()", PLAN_NEEDS_HEADERS},
                {"Header('x') + Ip() + Body().a", PLAN_NEEDS_HEADERS | PLAN_NEEDS_IP | PLAN_NEEDS_JSON},
                {"Ip", PLAN_NEEDS_IP},
                {"Zip + Ips", 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Column columns[] = {{NAME("t"), TEMPLATE(rows[i].text)}, {0}};
        Sink sink = sink_with("s", columns);
        Run run;
        run_start(&run, &sink, 1, 100);
        assert_int_equal(plan_needs(run.plan), rows[i].needs);
        run_end(&run);
    }
}

static void a_sink_that_fails_leaves_the_others_alone(void **state) {
    Column first[] = {{NAME("a"), PATH("a")}, {NAME("b"), PATH("b"), .data_type = DATA_INTEGER}, {0}};
    Column second[] = {{NAME("b"), PATH("b"), .raw_string = true}, {0}};
    Column third[] = {{NAME("body"), .type = COLUMN_BODY}, {0}};
    Sink sinks[] = {sink_with("one", first), sink_with("two", second), sink_with("three", third)};
    Run run;
    run_start(&run, sinks, 3, 1 << 20);
    assert_int_equal(plan_sink_count(run.plan), 3);
    assert_string_equal(plan_sink(run.plan, 1)->sink_id, "two");
    buffer_append_text(&run.rows[0], "before\n");
    assert_int_equal(run_map(&run, &(Event){.body = SPAN("{\"a\":1,\"b\":\"x\"}")}), 1);
    assert_int_equal(run.failures[0].error, MAP_WRONG_TYPE);
    assert_string_equal(run.failures[0].column, "b");
    assert_string_equal(run.failures[0].message, "Column \"b\" of dataType integer: \"x\" is not an integer.");
    assert_int_equal(run.failures[1].error, MAP_OK);
    row_is(&run, 0, "before\n");
    row_is(&run, 1, "x\n");
    row_is(&run, 2, "\"{\"\"a\"\":1,\"\"b\"\":\"\"x\"\"}\"\n");
    assert_int_equal(run_map(&run, &(Event){.body = SPAN("{\"a\":1,\"b\"")}), 2);
    assert_int_equal(run.failures[0].error, MAP_NOT_JSON);
    assert_null(run.failures[0].column);
    assert_string_equal(run.failures[1].message, "The body is not JSON at byte 10: expected \":\".");
    assert_int_equal(run.failures[2].error, MAP_OK);
    assert_int_equal(run_map(&run, &(Event){.body = SPAN("{}"), .kind = BODY_OTHER}), 2);
    assert_int_equal(run.failures[0].error, MAP_NOT_JSON);
    assert_int_equal(run_map(&run, &(Event){.body = SPAN("a=%"), .kind = BODY_FORM}), 2);
    assert_non_null(strstr(run.failures[0].message, "not a form at byte 2"));
    assert_int_equal(run_map(&run, &(Event){.body = SPAN("{\"b\":1}")}), 1);
    assert_int_equal(run.failures[0].error, MAP_MISSING);
    assert_string_equal(run.failures[0].message, "Column \"a\": there is no value at path \"a\", and no defaultValue.");
    assert_int_equal(run_map(&run, &(Event){.body = SPAN("\xff")}), 3);
    assert_int_equal(run.failures[2].error, MAP_WRONG_TYPE);
    assert_non_null(strstr(run.failures[2].message, "\"dataType\": \"bytes\""));
    row_is(&run, 0, "before\n");
    run_end(&run);
}

static void rows_have_a_limit(void **state) {
    Column columns[] = {{NAME("a"), PATH("a"), .raw_string = true},
                        {NAME("b"), PATH("b"), .raw_string = true},
                        {NAME("c"), PATH("a"), .raw_string = true},
                        {0}};
    Sink sink = sink_with("s", columns);
    Run run;
    run_start(&run, &sink, 1, 12); /* with the newline */
    assert_int_equal(run_map(&run, &(Event){.body = SPAN("{\"a\":\"123\",\"b\":\"123\"}")}), 0);
    row_is(&run, 0, "123,123,123\n");
    assert_int_equal(run_map(&run, &(Event){.body = SPAN("{\"a\":\"123\",\"b\":\"1234\"}")}), 1);
    assert_int_equal(run.failures[0].error, MAP_ROW_TOO_LARGE);
    assert_string_equal(run.failures[0].column, "c");
    assert_int_equal(run_map(&run, &(Event){.body = SPAN("{\"a\":\"123456789012345\"}")}), 1);
    assert_string_equal(run.failures[0].column, "a");
    row_is(&run, 0, "123,123,123\n");
    run_end(&run);
}

static void keys_are_never_null(void **state) {
    Column columns[] = {{NAME("k"), PATH("k"), .primary_key = true}, {NAME("ip"), .type = COLUMN_IP, .primary_key = true}, {0}};
    Sink sink = sink_with("s", columns);
    Run run;
    run_start(&run, &sink, 1, 1 << 20);
    assert_int_equal(run_map(&run, &(Event){.body = SPAN("{\"k\":null}"), .ip = SPAN("::1")}), 1);
    assert_int_equal(run.failures[0].error, MAP_WRONG_TYPE);
    assert_string_equal(run.failures[0].column, "k");
    assert_int_equal(run_map(&run, &(Event){.body = SPAN("{\"k\":1}")}), 1);
    assert_string_equal(run.failures[0].column, "ip");
    assert_int_equal(run_map(&run, &(Event){.body = SPAN("{\"k\":1}"), .ip = SPAN("::1")}), 0);
    row_is(&run, 0, "1,::1\n");
    run_end(&run);
}

static void refused_plan(Column column, const char *what) {
    Column columns[] = {{NAME("ok"), .type = COLUMN_ID}, column, {0}};
    Sink sink = sink_with("my-sink", columns), *list = &sink;
    Source source = {0};
    Plan *plan = NULL;
    Error error = {0};
    assert_int_equal(plan_compile(&source, &list, 1, &plan, &error), -EINVAL);
    assert_null(plan);
    if (!strstr(error.text, what) || !strstr(error.text, "my-sink") || !strstr(error.text, "\"bad\"")) fail_msg("%s", error.text);
    assert_int_equal(sink.references, 1);
    assert_int_equal(plan_compile(&source, &list, 1, &plan, NULL), -EINVAL);
}

static void wrong_columns_are_refused(void **state) {
    refused_plan((Column){NAME("bad"), PATH("a..b")}, "path \"a..b\": a step is missing at byte 2");
    refused_plan((Column){NAME("bad"), PATH("a"), DEFAULT("x"), .data_type = DATA_INTEGER}, "defaultValue \"x\" is not an integer");
    refused_plan((Column){NAME("bad"), PATH("a"), DEFAULT("{"), .data_type = DATA_JSON, .raw_string = true},
                 "defaultValue \"{\" is not JSON");
    refused_plan((Column){NAME("bad"), PATH("a"), DEFAULT("\xff")}, "UTF-8");
    refused_plan((Column){NAME("bad"), .type = COLUMN_ID, .data_type = DATA_INTEGER}, "integer");
    refused_plan((Column){NAME("bad"), .type = COLUMN_IP, .data_type = DATA_JSON}, "json");
    refused_plan((Column){NAME("bad"), .type = COLUMN_HEADERS, .data_type = DATA_DATE}, "date");
    refused_plan((Column){NAME("bad"), .type = COLUMN_DATETIME, .data_type = DATA_BOOLEAN}, "boolean");
}

/* What an event says is shown in errors, but never raw: cut, and without control characters or half sequences. */
static void failures_are_text(void **state) {
    Column columns[] = {{NAME("b"), .type = COLUMN_BODY, .data_type = DATA_INTEGER}, {0}};
    Sink sink = sink_with("s", columns);
    Run run;
    run_start(&run, &sink, 1, 1 << 20);
    char body[400];
    for (size_t size = 0; size < sizeof body; size++) {
        for (size_t i = 0; i < size; i++) body[i] = "\n\xf0\x9f\x98\x80\x01\xff"[(i + size) % 7];
        assert_int_equal(run_map(&run, &(Event){.body = {body, size}}), 1);
        size_t length = strlen(run.failures[0].message);
        assert_true(length > 20 && length < sizeof run.failures[0].message);
        for (const char *p = run.failures[0].message, *end = p + length; p < end;) {
            assert_true((unsigned char)*p >= 0x20);
            size_t step = 1;
            if ((unsigned char)*p >= 0x80) {
                assert_true((unsigned char)*p == 0xf0 && end - p >= 4);
                step = 4;
            }
            p += step;
        }
    }
    run_end(&run);
}

/* Any document that is cut off anywhere, at the end of its page. */
static void events_are_read_inside_their_bounds(void **state) {
    static const char document[] =
        "{\"a\":\"x\\u00e9y, \\\"z\\\"\",\"b\":{\"c\" : [1, 2.50, {\"d\":null}]},\"e\":\"2006-01-02T15:04:05Z\"}";
    static const char form[] = "a=x%C3%A9y&b[c][]=1&b[c][]=2&e=2006-01-02T15:04:05Z";
    Column columns[] = {{NAME("a"), PATH("a"), .raw_string = true, DEFAULT("none")},
                        {NAME("b"), PATH("b"), DEFAULT("none")},
                        {NAME("c"), PATH("b.c[1]"), DEFAULT("none")},
                        {NAME("e"), PATH("e"), DEFAULT("2000-01-01T00:00:00Z"), .data_type = DATA_TIMESTAMP},
                        {NAME("body"), .type = COLUMN_BODY},
                        {0}};
    Sink sink = sink_with("s", columns);
    Run run;
    run_start(&run, &sink, 1, 1 << 20);
    Guard guard = guard_new(256);
    for (size_t size = 0; size < sizeof document; size++) {
        buffer_clear(&run.rows[0]);
        size_t failed = run_map(&run, &(Event){.body = guard_place(&guard, document, size)});
        assert_int_equal(failed, size < sizeof document - 1);
    }
    RowReader reader = {.text = buffer_span(&run.rows[0])};
    RowCell cells[5];
    assert_int_equal(row_read(&reader, cells, 5), 0);
    assert_memory_equal(cells[0].data, "x\xc3\xa9y, \"z\"", 9);
    assert_memory_equal(cells[1].data, "{\"c\":[1,2.50,{\"d\":null}]}", 25);
    assert_memory_equal(cells[2].data, "2.50", 4);
    assert_memory_equal(cells[3].data, "2006-01-02T15:04:05.000000Z", 27);
    assert_int_equal(cells[4].size, sizeof document - 1);
    row_reader_deinit(&reader);
    for (size_t size = 0; size < sizeof form; size++)
        (void)run_map(&run, &(Event){.body = guard_place(&guard, form, size), .kind = BODY_FORM});
    guard_free(&guard);
    run_end(&run);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_sluice_fills),
        cmocka_unit_test(headers_are_one_object),
        cmocka_unit_test(templates_give_cells),
        cmocka_unit_test(what_templates_need),
        cmocka_unit_test(a_sink_that_fails_leaves_the_others_alone),
        cmocka_unit_test(rows_have_a_limit),
        cmocka_unit_test(keys_are_never_null),
        cmocka_unit_test(wrong_columns_are_refused),
        cmocka_unit_test(failures_are_text),
        cmocka_unit_test(events_are_read_inside_their_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
