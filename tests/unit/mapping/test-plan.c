#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/source_bridge.h"
#include "config/source_kafka.h"
#include "config/source_kind.h"
#include "guard.h"
#include "mapping/meta.h"
#include "mapping/plan.h"
#include "mapping/row.h"

/* Definitions are made by hand here: column lists that end in a nameless one. The references are
 * never given back to the last. */
static Sink sink_with(const char *id, Column *columns) {
    Sink sink = {.references = 1, .sink_id = (char *)(uintptr_t)id, .target.columns = columns};
    while (columns[sink.target.column_count].name) sink.target.column_count++;
    return sink;
}

#define NAME(text) .name = (char *)(uintptr_t)(text)
#define PATH(text) .type = COLUMN_PATH, .path = (char *)(uintptr_t)(text)
#define TEMPLATE(text) .type = COLUMN_TEMPLATE, .template_text = (char *)(uintptr_t)(text)
#define MASK(text) .mask = (char *)(uintptr_t)(text)
#define DEFAULT(text) .default_value = (char *)(uintptr_t)(text)

typedef struct Run {
    Plan *plan;
    Mapper *mapper;
    Buffer rows[4];
    Buffer *row_list[4];
    MapFailure failures[4];
} Run;

static void run_start_of(Run *run, const Source *source, Sink *sinks, size_t count, size_t row_bytes_max) {
    *run = (Run){.mapper = mapper_new(row_bytes_max)};
    Sink *list[4];
    for (size_t i = 0; i < count; i++) list[i] = &sinks[i];
    for (size_t i = 0; i < 4; i++) run->row_list[i] = &run->rows[i];
    Error error = {0};
    if (plan_compile(source, list, count, &run->plan, &error) < 0) fail_msg("%s", error.text);
}

static void run_start(Run *run, Sink *sinks, size_t count, size_t row_bytes_max) {
    run_start_of(run, &(Source){0}, sinks, count, row_bytes_max);
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

/* Headers of records are less tame than those of requests: any bytes, no value, no name, the same
 * name again and again. */
static void headers_of_records(void **state) {
    Column columns[] = {{NAME("h"), .type = COLUMN_HEADERS, .data_type = DATA_JSON_TEXT}, {0}};
    Sink sink = sink_with("s", columns);
    Run run;
    run_start(&run, &sink, 1, 1 << 20);
    EventHeader headers[] = {{SPAN("trace"), SPAN("1")},
                             {SPAN("Trace"), {0}},
                             {SPAN("trace"), SPAN("3")},
                             {SPAN("trace id"), SPAN("a b")},
                             {{0}, SPAN("no name")},
                             {SPAN("n"), SPAN("a\0b")},
                             {SPAN("x"), SPAN("\xff")},
                             {SPAN("gr\xc3\xb6\xc3\x9f"
                                   "e"),
                              SPAN("\xe2\x82\xac")},
                             {SPAN("trace"), SPAN("\"")}};
    assert_int_equal(run_map(&run, &(Event){.headers = headers, .header_count = sizeof headers / sizeof *headers}), 0);
    RowReader reader = {.text = buffer_span(&run.rows[0])};
    RowCell cell;
    assert_int_equal(row_read(&reader, &cell, 1), 0);
    const char expected[] = "{\"\":\"no name\",\"Gr\xc3\xb6\xc3\x9f"
                            "e\":\"\xe2\x82\xac\",\"N\":\"a\\u0000b\",\"Trace\":\"1, , 3, \\\"\","
                            "\"Trace id\":\"a b\",\"X\":\"\xc3\xbf\"}";
    if (cell.size != sizeof expected - 1 || memcmp(cell.data, expected, cell.size) != 0)
        fail_msg("%.*s, not %s", (int)cell.size, cell.data, expected);
    row_reader_deinit(&reader);
    run_end(&run);
}

static const SourceKind tap = {.name = "tap", .meta_fields = META_KAFKA};

/* What is equal in two sinks is made once; what is not, is not mixed up. */
static void meta_of_a_record(void **state) {
    Column columns[] = {{NAME("o"), .type = COLUMN_META, .meta_field = META_OFFSET, .data_type = DATA_INTEGER},
                        {NAME("k"), .type = COLUMN_META, .meta_field = META_KEY},
                        {NAME("t"), .type = COLUMN_META, .meta_field = META_TOPIC},
                        {NAME("day"), .type = COLUMN_META, .meta_field = META_TIMESTAMP, .data_type = DATA_DATE},
                        {0}};
    Column others[] = {{NAME("p"), .type = COLUMN_META, .meta_field = META_PARTITION, .data_type = DATA_INTEGER},
                       {NAME("k"), .type = COLUMN_META, .meta_field = META_KEY},
                       {NAME("t"), .type = COLUMN_META, .meta_field = META_TOPIC},
                       {NAME("b"), .type = COLUMN_META, .meta_field = META_BRIDGE, .primary_key = true},
                       {0}};
    Sink sinks[] = {sink_with("s", columns), sink_with("o", others)};
    Run run;
    run_start_of(&run, &(Source){.kind = &tap}, sinks, 2, 1 << 20);
    assert_int_equal(plan_needs(run.plan), PLAN_NEEDS_META);
    RecordMeta record = {0};
    record_meta_kafka(&record, SPAN("a,b"), 0, 3, 17, SPAN("\"k\""), 1136214245123);
    assert_int_equal(run_map(&run, &(Event){.meta = &record.meta}), 0);
    row_is(&run, 0, "17,\"\"\"k\"\"\",\"a,b\",2006-01-02\n");
    row_is(&run, 1, "3,\"\"\"k\"\"\",\"a,b\",\"kafka:a,b:3:17\"\n");
    buffer_clear(&run.rows[0]);
    buffer_clear(&run.rows[1]);
    record_meta_kafka(&record, SPAN("t"), 0, 0, 0, SPAN("\xff"), -1);
    assert_int_equal(run_map(&run, &(Event){.meta = &record.meta}), 2);
    assert_int_equal(run.failures[0].error, MAP_WRONG_TYPE);
    assert_string_equal(run.failures[0].column, "k");
    assert_string_equal(run.failures[0].message, "Column \"k\" of dataType text: \"\\xff\" is not UTF-8 text without NUL, use "
                                                 "\"dataType\": \"bytes\" for a column with such values.");
    record_meta_kafka(&record, SPAN("t"), 0, 0, 0, (Span){0}, -1);
    assert_int_equal(run_map(&run, &(Event){.meta = &record.meta}), 0);
    row_is(&run, 0, "0,,t,\n");
    buffer_clear(&run.rows[0]);
    assert_int_equal(run_map(&run, &(Event){0}), 1); /* an event without: all is NULL, and a key is not */
    row_is(&run, 0, ",,,\n");
    assert_string_equal(run.failures[1].column, "b");
    record_meta_deinit(&record);
    run_end(&run);
}

static void a_source_without_the_field_has_no_such_column(void **state) {
    Column columns[] = {{NAME("c"), .type = COLUMN_META, .meta_field = META_SUBJECT}, {0}};
    Sink sink = sink_with("s", columns), *list = &sink;
    Plan *plan;
    Error error = {0};
    assert_int_equal(plan_compile(&(Source){.kind = &tap}, &list, 1, &plan, &error), -EINVAL);
    assert_string_equal(error.text, "sink \"s\", column \"c\": its meta field is \"subject\", but sources of type \"tap\" have topic, "
                                    "partition, offset, key, timestamp, bridge");
    assert_int_equal(plan_compile(&(Source){.kind = &source_kind_http}, &list, 1, &plan, &error), -EINVAL);
    assert_non_null(strstr(error.text, "its meta field is \"subject\", but sources of type \"http\" have no meta fields"));
    columns[0].meta_field = META_OFFSET;
    columns[0].data_type = DATA_DATE;
    assert_int_equal(plan_compile(&(Source){.kind = &tap}, &list, 1, &plan, &error), -EINVAL);
    assert_non_null(strstr(error.text, "cannot be of dataType date"));
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

/* A worker that lost its senses may put anything there: what is JSON is a cell like any other, and
 * never more than one. */
static void white_space_around_a_result_goes(void **state) {
    Column columns[] = {{NAME("a"), TEMPLATE("1")},
                        {NAME("b"), TEMPLATE("2"), .data_type = DATA_NUMBER},
                        {NAME("c"), TEMPLATE("2"), .raw_string = true},
                        {0}};
    Sink sink = sink_with("s", columns);
    Run run;
    run_start(&run, &sink, 1, 1 << 20);
    TemplateResult results[] = {{.text = SPAN(" { } \n")}, {.text = SPAN("\t \"4.5\"\r")}};
    Event event = {.templates = results};
    assert_int_equal(run_map(&run, &event), 0);
    row_is(&run, 0, "{},4.5,4.5\n");
    results[1] = (TemplateResult){.text = SPAN(" \"1,2\n3\"")};
    assert_int_equal(run_map(&run, &event), 1);
    results[1] = (TemplateResult){.text = SPAN(" [1,2]")};
    assert_int_equal(run_map(&run, &event), 1);
    assert_int_equal(run.failures[0].error, MAP_WRONG_TYPE);
    assert_string_equal(run.failures[0].column, "b");
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
                {"Meta('key')", PLAN_NEEDS_META},
                {"Metadata + 'x.Meta_' + MyMeta", 0},
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
    assert_int_equal(run_map(&run, &(Event){.body = SPAN("{\"a\":1"), .kind = BODY_FORM}), 2);
    assert_string_equal(run.failures[0].message,
                        "Column \"a\": there is no value at path \"a\", and no defaultValue (the body was read as a form).");
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

static void paths_need_values_that_have_some(void **state) {
    static const BridgeKind bridge_kind = {0};
    static const SourceKind kind = {.name = "tap", .bridge = &bridge_kind};
    BridgeSource bridge = {0};
    Source source = {.kind = &kind, .part = &bridge};
    Column columns[] = {{NAME("o"), .type = COLUMN_BODY}, {NAME("a"), PATH("a")}, {0}};
    Sink sink = sink_with("k", columns), *list = &sink;
    for (bridge.value = RECORD_JSON; bridge.value <= RECORD_JSON_SCHEMA; bridge.value++) {
        bool has_paths = bridge.value != RECORD_TEXT && bridge.value != RECORD_BYTES;
        Plan *plan = NULL;
        Error error = {0};
        assert_int_equal(plan_compile(&source, &list, 1, &plan, &error), has_paths ? 0 : -EINVAL);
        if (has_paths)
            plan_unref(plan);
        else
            assert_non_null(strstr(error.text, "sink \"k\", column \"a\": its type is \"path\", but the \"value\" of the source is"));
    }
}

/* What an event says is shown in errors, but never raw: cut, and without control characters or half
 * sequences. */
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

/* ---- masks ---- */

static void masks_are_applied_to_what_a_cell_means(void **state) {
    Column columns[] = {{NAME("a"), PATH("a"), MASK("stars")},
                        {NAME("b"), PATH("a"), MASK("partial:1"), .raw_string = true},
                        {NAME("c"), PATH("c"), MASK("stars"), DEFAULT("none")},
                        {NAME("n"), PATH("n"), MASK("round:10"), .data_type = DATA_INTEGER},
                        {NAME("o"), PATH("o"), MASK("hash:plain"), .data_type = DATA_JSON},
                        {NAME("at"), .type = COLUMN_DATETIME, MASK("year_only"), .data_type = DATA_TIMESTAMP},
                        {NAME("day"), .type = COLUMN_DATETIME, MASK("month_year"), .data_type = DATA_DATE},
                        {NAME("id"), .type = COLUMN_ID, MASK("fixed:x, y")},
                        {NAME("ip"), .type = COLUMN_IP, MASK("redact")},
                        {0}};
    Sink sink = sink_with("s", columns);
    Run run;
    run_start(&run, &sink, 1, 1 << 20);
    assert_true(plan_drops_bodies(run.plan));
    Event event = {.body = SPAN("{\"a\":\"\\u00e9, \\\"b\",\"n\":44.0,\"o\":{ \"x\" : 1 }}"), .id = some_id, .received = 1136214245123999};
    assert_int_equal(run_map(&run, &event), 0);
    /* printf '{"x":1}' | sha256sum */
    row_is(&run, 0,
           "*****,\xc3\xa9***b,****,40,\"\"\"5041bf1f713df204784353e82f6a4a535931cb64f1f4b4a5aeaffcb720918b22\"\"\","
           "2006-01-01T00:00:00.000000Z,2006-01-01,\"x, y\",\n");
    buffer_clear(&run.rows[0]);
    event.body = SPAN("{\"a\":null,\"c\":null,\"n\":null,\"o\":null}");
    event.ip = SPAN("::1");
    assert_int_equal(run_map(&run, &event), 0);
    row_is(&run, 0, ",,,,,2006-01-01T00:00:00.000000Z,2006-01-01,\"x, y\",REDACTED\n");
    run_end(&run);
}

/* Whatever is wrong with an event: nothing of it is in the message, of a masked column or of one
 * beside it. */
static void failures_show_nothing_where_values_are_masked(void **state) {
    static const char *const bodies[] = {"{\"m\":\"hush\",\"n\":\"hush\",\"o\":1}",
                                         "{\"m\":\"hush\",\"n\":1,\"o\":\"hush\"}",
                                         "{\"m\":\"hush\\ud800\",\"n\":1,\"o\":1}",
                                         "{\"m\":\"hush\\u0000\",\"n\":1,\"o\":1}",
                                         "{\"m\":\"hush\",\"n\":1,\"o\":{\"hush\":\"hush\"}}",
                                         "{\"m\":\"hush\",\"n\":1,\"o\":\"hush\\ud800\"}",
                                         "{\"hush\":\"hush\"}",
                                         "{\"m\":\"hush",
                                         "hush"};
    Column columns[] = {{NAME("m"), PATH("m"), MASK("stars")},
                        {NAME("n"), PATH("n"), MASK("round:10"), .data_type = DATA_INTEGER},
                        {NAME("o"), PATH("o"), .data_type = DATA_INTEGER},
                        {NAME("t"), TEMPLATE("Body('m')")},
                        {0}};
    for (unsigned policy = BODY_POLICY_DROP; policy <= BODY_POLICY_KEEP; policy++) {
        Sink sink = sink_with("s", columns);
        Source source = {.body_policy = (BodyPolicy)policy};
        Run run;
        run_start_of(&run, &source, &sink, 1, 1 << 20);
        assert_int_equal(plan_drops_bodies(run.plan), policy == BODY_POLICY_DROP);
        for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
            for (unsigned kind = BODY_JSON; kind <= BODY_OTHER; kind++) {
                TemplateResult result = {.failed = true, .text = SPAN("RUNTIME ERROR: hush is not what it should be")};
                assert_int_equal(run_map(&run, &(Event){.body = span_of(bodies[i]), .kind = (BodyKind)kind, .templates = &result}), 1);
                bool of_masked = run.failures[0].column && strcmp(run.failures[0].column, "o") != 0 && run.failures[0].column[0] != 't';
                if (policy == BODY_POLICY_DROP || of_masked)
                    if (strstr(run.failures[0].message, "hush")) fail_msg("%s: %s", bodies[i], run.failures[0].message);
                assert_true(strlen(run.failures[0].message) > 10);
            }
        }
        TemplateResult result = {.failed = true, .text = SPAN("RUNTIME ERROR: hush")};
        Event event = {.body = SPAN("{\"m\":\"hush\",\"n\":1,\"o\":1}"), .templates = &result};
        assert_int_equal(run_map(&run, &event), 1);
        assert_int_equal(run.failures[0].error, MAP_TEMPLATE);
        assert_int_equal(strstr(run.failures[0].message, "hush") != NULL, policy == BODY_POLICY_KEEP);
        run_end(&run);
    }
}

static uint64_t random_state = 88172645463325252;
static uint32_t random_below(uint32_t limit) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 33) % limit;
}

enum { MANY_SINKS = 6, MANY_COLUMNS = 9 };

/* Sinks of one plan share what is equal in them; each must give what it gives alone: row, error,
 * column and message. */
static void sinks_together_give_what_each_gives_alone(void **state) {
    static const Column pool[] = {{.type = COLUMN_ID},
                                  {.type = COLUMN_ID, .data_type = DATA_BYTES},
                                  {.type = COLUMN_DATETIME},
                                  {.type = COLUMN_DATETIME, .data_type = DATA_DATE},
                                  {.type = COLUMN_DATETIME, .data_type = DATA_TIMESTAMP},
                                  {.type = COLUMN_IP},
                                  {.type = COLUMN_IP, .primary_key = true},
                                  {.type = COLUMN_BODY},
                                  {.type = COLUMN_HEADERS},
                                  {PATH("a"), .raw_string = true},
                                  {PATH("a")},
                                  {PATH("a"), .primary_key = true},
                                  {PATH("a"), DEFAULT("none, such")},
                                  {PATH("a"), DEFAULT("none, such"), .raw_string = true},
                                  {PATH("a"), DEFAULT("other"), .raw_string = true},
                                  {PATH("b"), .data_type = DATA_INTEGER},
                                  {PATH("b"), .data_type = DATA_DECIMAL},
                                  {PATH("b"), .data_type = DATA_TEXT},
                                  {PATH("c"), .data_type = DATA_JSON},
                                  {PATH("c[0]"), DEFAULT("0"), .raw_string = true},
                                  {PATH("a"), MASK("hash:plain")},
                                  {PATH("a"), MASK("stars")},
                                  {PATH("a"), MASK("stars"), .raw_string = true},
                                  {PATH("a"), MASK("stars"), DEFAULT("none, such")},
                                  {PATH("b"), MASK("round:10"), .data_type = DATA_INTEGER},
                                  {PATH("c"), MASK("md5"), .data_type = DATA_JSON},
                                  {.type = COLUMN_ID, MASK("md5")},
                                  {.type = COLUMN_DATETIME, MASK("year_only"), .data_type = DATA_DATE},
                                  {TEMPLATE("2"), MASK("redact")},
                                  {TEMPLATE("1")},
                                  {TEMPLATE("2"), .raw_string = true}};
    static const char *const bodies[] = {"{\"a\":\"x\",\"b\":1,\"c\":[1,2]}",
                                         "{\"a\":\"a text, with a comma\",\"b\":12345678901,\"c\":{\"d\" : \"e\"}}",
                                         "{\"a\":\"q \\\"q\\\" \\u00e9 is longer than a block or two of them\",\"b\":1.0,\"c\":[ \"\" ]}",
                                         "{\"a\":null,\"b\":-7,\"c\":[null]}",
                                         "{\"b\":\"no\",\"c\":[]}",
                                         "{\"a\":\"\\ud800\",\"b\":2,\"c\":true}",
                                         "{\"a\":\"\\u0000\",\"b\":2,\"c\":0}",
                                         "{\"a\":[ 1, 2 ],\"b\":null,\"c\":\"0123456789012345678901234567890123456789\"}",
                                         "{\"a\":",
                                         "a=1&b=2&c[]=3"};
    for (int round = 0; round < 1500; round++) {
        Column columns[MANY_SINKS][MANY_COLUMNS + 1] = {0};
        char names[MANY_SINKS][MANY_COLUMNS][16];
        Sink sinks[MANY_SINKS], *list[MANY_SINKS];
        size_t count = 1 + random_below(MANY_SINKS);
        for (size_t i = 0; i < count; i++) {
            size_t column_count = 1 + random_below(MANY_COLUMNS), copied = i && random_below(3) ? random_below((uint32_t)i) : i;
            for (size_t j = 0; j < column_count; j++) {
                columns[i][j] = pool[random_below(sizeof pool / sizeof *pool)];
                if (copied != i && columns[copied][j].name && random_below(8)) columns[i][j] = columns[copied][j];
                snprintf(names[i][j], sizeof names[i][j], "sink%zu_%zu", i, j);
                columns[i][j].name = names[i][j];
            }
            sinks[i] = sink_with("s", columns[i]);
            list[i] = &sinks[i];
        }
        size_t most = random_below(3) ? 1 << 20 : 20 + random_below(300);
        Source source = {.body_policy = BODY_POLICY_KEEP}; /* else a mask changes the messages of its neighbours */
        Plan *together, *alone[MANY_SINKS];
        assert_int_equal(plan_compile(&source, list, count, &together, NULL), 0);
        for (size_t i = 0; i < count; i++) assert_int_equal(plan_compile(&source, &list[i], 1, &alone[i], NULL), 0);
        Mapper *mapper = mapper_new(most), *other = mapper_new(most);
        Buffer rows[MANY_SINKS] = {0}, single = {0}, *row_list[MANY_SINKS], *single_list = &single;
        for (size_t i = 0; i < count; i++) row_list[i] = &rows[i];
        for (int turn = 0; turn < 6; turn++) {
            const char *body = bodies[random_below(sizeof bodies / sizeof *bodies)];
            EventHeader header = {SPAN("x"), SPAN("y")};
            Event event = {
                .body = span_of(body), .kind = *body == 'a' ? BODY_FORM : BODY_JSON, .id = some_id, .header_count = random_below(2)};
            event.received = 1136214245123999 + random_below(3) * USEC_MS;
            event.headers = &header;
            if (random_below(3)) event.ip = SPAN("192.0.2.1");
            /* Templates have other numbers in each plan. */
            TemplateResult results[2], own[2];
            const Span texts[] = {SPAN("\"t, \\n\""), SPAN("{\"k\": [1, 2]}"), SPAN("null"), SPAN("3"), SPAN("failed for a reason")};
            for (size_t i = 0; i < 2; i++) {
                uint32_t text = random_below(5);
                results[i] = (TemplateResult){.failed = text == 4, .text = texts[text]};
            }
            event.templates = own;
            for (size_t i = 0; i < plan_template_count(together); i++) own[i] = results[*plan_template(together, i) - '1'];
            MapFailure failures[MANY_SINKS];
            size_t sizes[MANY_SINKS], failed = 0;
            for (size_t i = 0; i < count; i++) sizes[i] = rows[i].size;
            size_t told = mapper_map(mapper, together, &event, row_list, failures);
            for (size_t i = 0; i < count; i++) {
                MapFailure failure;
                for (size_t j = 0; j < plan_template_count(alone[i]); j++) own[j] = results[*plan_template(alone[i], j) - '1'];
                buffer_clear(&single);
                failed += mapper_map(other, alone[i], &event, &single_list, &failure);
                assert_int_equal(failures[i].error, failure.error);
                assert_int_equal(rows[i].size - sizes[i], single.size);
                if (failure.error) {
                    assert_ptr_equal(failures[i].column, failure.column);
                    assert_string_equal(failures[i].message, failure.message);
                } else {
                    assert_memory_equal(rows[i].data + sizes[i], single.data, single.size);
                }
            }
            assert_int_equal(told, failed);
        }
        for (size_t i = 0; i < count; i++) {
            plan_unref(alone[i]);
            buffer_deinit(&rows[i]);
        }
        buffer_deinit(&single);
        plan_unref(together);
        mapper_free(mapper);
        mapper_free(other);
    }
}

/* 90,000 columns of which no two are equal, then as many that are: neither takes the square of
 * that. */
static void large_plans_are_made_and_run(void **state) {
    enum { SINKS = 300, COLUMNS = 300 };
    for (int equal = 0; equal < 2; equal++) {
        Sink *sinks = calloc(SINKS, sizeof *sinks), **list = calloc(SINKS, sizeof(Sink *));
        Column *columns = calloc((size_t)SINKS * (COLUMNS + 1), sizeof *columns);
        char(*texts)[8] = calloc((size_t)SINKS * (COLUMNS + 1), sizeof *texts);
        assert_true(sinks && list && columns && texts);
        for (size_t i = 0; i < SINKS; i++) {
            Column *own = columns + i * (COLUMNS + 1);
            for (size_t j = 0; j < COLUMNS; j++) {
                char *text = texts[i * COLUMNS + j];
                snprintf(text, sizeof *texts, "%zu", equal ? j : i * COLUMNS + j);
                own[j] = (Column){.name = text, PATH("k"), .default_value = text, .raw_string = true};
                if (j % 3 == 0) own[j] = (Column){.name = text, .type = COLUMN_TEMPLATE, .template_text = text};
            }
            sinks[i] = sink_with("s", own);
            list[i] = &sinks[i];
        }
        Source source = {0};
        Plan *plan;
        assert_int_equal(plan_compile(&source, list, SINKS, &plan, NULL), 0);
        assert_int_equal(plan_template_count(plan), equal ? COLUMNS / 3 : SINKS * COLUMNS / 3);
        TemplateResult *results = calloc(SINKS * COLUMNS, sizeof *results);
        Buffer *rows = calloc(SINKS, sizeof *rows), **row_list = calloc(SINKS, sizeof(Buffer *));
        MapFailure *failures = calloc(SINKS, sizeof *failures);
        assert_true(results && rows && row_list && failures);
        for (size_t i = 0; i < SINKS * COLUMNS; i++) results[i].text = SPAN("7");
        for (size_t i = 0; i < SINKS; i++) row_list[i] = &rows[i];
        Mapper *mapper = mapper_new(1 << 20);
        assert_int_equal(mapper_map(mapper, plan, &(Event){.body = SPAN("{}"), .templates = results}, row_list, failures), 0);
        for (size_t i = 0; i < SINKS; i++) {
            RowReader reader = {.text = buffer_span(&rows[i])};
            RowCell cells[COLUMNS];
            assert_int_equal(row_read(&reader, cells, COLUMNS), 0);
            for (size_t j = 0; j < COLUMNS; j++) {
                Span expected = j % 3 == 0 ? SPAN("7") : span_of(texts[i * COLUMNS + j]);
                assert_true(span_equal((Span){cells[j].data, cells[j].size}, expected));
            }
            row_reader_deinit(&reader);
            buffer_deinit(&rows[i]);
        }
        mapper_free(mapper);
        plan_unref(plan);
        free(results);
        free(rows);
        free(row_list);
        free(failures);
        free(sinks);
        free(list);
        free(columns);
        free(texts);
    }
}

/* What cannot become a row is not copied to find that out. */
static void large_values_are_refused_in_little_memory(void **state) {
    enum { SIZE = 4 << 20, MOST = 256 << 10 };
    static const Column pool[] = {{NAME("c"), .type = COLUMN_BODY},
                                  {NAME("c"), .type = COLUMN_BODY, .data_type = DATA_BYTES},
                                  {NAME("c"), PATH("k")},
                                  {NAME("c"), PATH("k"), .raw_string = true},
                                  {NAME("c"), PATH("k"), .data_type = DATA_JSON}};
    char *body = malloc(SIZE + 1);
    assert_non_null(body);
    for (size_t i = 0; i < sizeof pool / sizeof *pool; i++) {
        for (int shape = 0; shape < 4; shape++) {
            static const struct {
                const char *start, *middle, *end;
            } shapes[] = {
                {"{\"k\":\"", "abc,", "\"}"}, {"{\"k\":\"", "\\n\\\"", "\"}"}, {"{\"k\":[0", " ,17", "]}"}, {"{\"k\":[", "    ", "]}"}};
            size_t size = 0;
            memcpy(body, shapes[shape].start, strlen(shapes[shape].start));
            for (size = strlen(shapes[shape].start); size < SIZE - 8; size += 4) memcpy(body + size, shapes[shape].middle, 4);
            memcpy(body + size, shapes[shape].end, strlen(shapes[shape].end) + 1);
            Column columns[] = {{NAME("id"), .type = COLUMN_ID}, pool[i], {0}};
            Sink sink = sink_with("s", columns);
            Run run;
            run_start(&run, &sink, 1, MOST);
            size_t failed = run_map(&run, &(Event){.body = {body, strlen(body)}});
            if (shape == 3 && pool[i].type == COLUMN_PATH) {
                assert_int_equal(failed, 0); /* [] is all that is left of it */
                assert_int_equal(run.rows[0].size, UUID_TEXT_SIZE + sizeof ",[]");
            } else {
                assert_int_equal(failed, 1);
                assert_int_equal(run.failures[0].error, MAP_ROW_TOO_LARGE);
                assert_string_equal(run.failures[0].column, "c");
            }
            assert_true(run.rows[0].capacity < 4 * MOST);
            run_end(&run);
        }
    }
    free(body);
}

/* ---- rows that delete ------------------------------------------------------------------------ */

static void an_event_may_delete_the_row_of_its_key(void **state) {
    static const struct {
        const char *equals, *body, *row, *plain;
    } cases[] = {
        {"d", "{\"k\":\"a\",\"v\":\"x,y\",\"n\":2,\"op\":\"c\"}", "a,\"x,y\",2,\n", "\"x,y\",a\n"},
        {"d", "{\"k\":\"a\",\"v\":\"x\",\"n\":2}", "a,x,2,\n", "x,a\n"},
        {"d", "{\"k\":\"a\",\"v\":null,\"n\":2,\"op\":null}", "a,,2,\n", ",a\n"},
        {"d", "{\"k\":\"a\",\"v\":\"x\",\"n\":3,\"op\":\"d\"}", "a,,3,d\n", "x,a\n"},
        {"d", "{\"k\":\"a\",\"n\":3,\"op\":\"\\u0064\"}", "a,,3,d\n", NULL}, /* the other sink needs the value */
        {"d", "{\"k\":\"a\",\"v\":\"x\",\"n\":3,\"op\":\"D\"}", "a,x,3,\n", "x,a\n"},
        {"d", "{\"k\":\"a\",\"v\":\"x\",\"n\":3,\"op\":[\"d\"]}", "a,x,3,\n", "x,a\n"},
        {"d", "{\"k\":\"a\",\"v\":\"x\",\"op\":\"d\"}", NULL, "x,a\n"}, /* which is newer? */
        {"d", "{\"v\":\"x\",\"n\":3,\"op\":\"d\"}", NULL, NULL},
        {"d", "{\"k\":null,\"v\":\"x\",\"n\":3,\"op\":\"d\"}", NULL, NULL},
        {"d", "", NULL, NULL},
        {"true", "{\"k\":\"a\",\"v\":\"x\",\"n\":3,\"op\":true}", "a,,3,d\n", "x,a\n"},
        {"true", "{\"k\":\"a\",\"v\":\"x\",\"n\":3,\"op\":\"true\"}", "a,,3,d\n", "x,a\n"},
        {"1", "{\"k\":\"a\",\"v\":\"x\",\"n\":3,\"op\":1}", "a,,3,d\n", "x,a\n"},
        {"1", "{\"k\":\"a\",\"v\":\"x\",\"n\":3,\"op\":1.0}", "a,x,3,\n", "x,a\n"},
        {"", "{\"k\":\"a\",\"v\":\"x\",\"n\":3,\"op\":\"\"}", "a,,3,d\n", "x,a\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Column columns[] = {{NAME("k"), PATH("k"), .raw_string = true, .primary_key = true},
                            {NAME("v"), PATH("v"), .raw_string = true},
                            {NAME("n"), PATH("n"), .data_type = DATA_INTEGER},
                            {0}};
        Column others[] = {
            {NAME("v"), PATH("v"), .raw_string = true}, {NAME("k"), PATH("k"), .raw_string = true, .primary_key = true}, {0}};
        Sink sinks[] = {sink_with("deletes", columns), sink_with("plain", others)};
        sinks[0].target.table = (TableTarget){
            .strategy = STRATEGY_MERGE,
            .newer_by = (char *)(uintptr_t) "n",
            .delete_on = {.path = (char *)(uintptr_t) "op", .equals = (char *)(uintptr_t)cases[i].equals}};
        Run run;
        run_start(&run, sinks, 2, 1 << 20);
        size_t failed = run_map(&run, &(Event){.body = span_of(cases[i].body)});
        assert_int_equal(failed, !cases[i].row + !cases[i].plain);
        row_is(&run, 0, cases[i].row ? cases[i].row : "");
        row_is(&run, 1, cases[i].plain ? cases[i].plain : "");
        assert_int_equal(run.failures[0].rows, cases[i].row != NULL);
        run_end(&run);
    }
}

static void a_tombstone_may_delete_the_row_of_its_key(void **state) {
    KafkaSource kafka = {.tombstones_are_events = true};
    Source source = {.kind = &source_kind_kafka, .part = &kafka};
    Column columns[] = {{NAME("k"), .type = COLUMN_META, .meta_field = META_KEY, .primary_key = true}, {NAME("v"), PATH("v")}, {0}};
    Column others[] = {
        {NAME("k"), .type = COLUMN_META, .meta_field = META_KEY, .primary_key = true}, {NAME("b"), .type = COLUMN_BODY}, {0}};
    Sink sinks[] = {sink_with("deletes", columns), sink_with("plain", others)}, *list = sinks;
    sinks[0].target.table = (TableTarget){.strategy = STRATEGY_MERGE, .delete_on.tombstone = true};
    Run run;
    RecordMeta meta = {0};
    run_start_of(&run, &source, sinks, 2, 1 << 20);
    record_meta_kafka(&meta, SPAN("t"), 0, 1, 2, SPAN("key"), 3);
    assert_int_equal(run_map(&run, &(Event){.body = SPAN("{\"v\":5}"), .meta = &meta.meta}), 0);
    assert_int_equal(run_map(&run, &(Event){.body = SPAN(""), .is_tombstone = true, .meta = &meta.meta}), 0);
    row_is(&run, 0, "key,5,\nkey,,d\n");
    row_is(&run, 1, "key,\"{\"\"v\"\":5}\"\nkey,\"\"\n");
    assert_int_equal(run_map(&run, &(Event){.body = SPAN(""), .meta = &meta.meta}), 1); /* a value of no bytes is no tombstone */
    /* A record without a key deletes nothing. */
    record_meta_kafka(&meta, SPAN("t"), 0, 1, 3, (Span){0}, 3);
    assert_int_equal(run_map(&run, &(Event){.body = SPAN(""), .is_tombstone = true, .meta = &meta.meta}), 2);
    assert_string_equal(run.failures[0].column, "k");
    run_end(&run);
    record_meta_deinit(&meta);
    kafka.tombstones_are_events = false;
    Plan *plan = NULL;
    Error error = {0};
    assert_int_equal(plan_compile(&source, &list, 1, &plan, &error), -EINVAL);
    assert_non_null(strstr(error.text, "sink \"deletes\", deleteOn: tombstone is true, which needs a source of type \"kafka\" with"));
}

static uint32_t uses_of(const Run *run, uint32_t sink, uint32_t column) {
    size_t count;
    const MapDefault *defaults = mapper_defaults(run->mapper, &count);
    uint32_t uses = 0;
    for (size_t i = 0; i < count; i++)
        if (defaults[i].sink == sink && defaults[i].column == column) uses += defaults[i].uses;
    return uses;
}

static void uses_of_defaults_are_counted(void **state) {
    Column one[] = {{NAME("a"), PATH("a"), DEFAULT("x")},
                    {NAME("n"), PATH("n"), DEFAULT("0"), .data_type = DATA_INTEGER},
                    {NAME("o"), PATH("o"), .optional = true},
                    {0}};
    Column two[] = {{NAME("a"), PATH("a"), DEFAULT("x")}, /* these cells are copied */
                    {NAME("n"), PATH("n"), DEFAULT("0"), .data_type = DATA_INTEGER},
                    {NAME("must"), PATH("must")},
                    {0}};
    Column three[] = {{NAME("v"), PATH("i.v"), DEFAULT("x")}, {NAME("a"), PATH("a"), DEFAULT("x")}, {0}};
    Sink sinks[] = {sink_with("one", one), sink_with("two", two), sink_with("three", three)};
    sinks[2].target.explode = (char *)(uintptr_t) "i";
    Run run;
    run_start(&run, sinks, 3, 1 << 20);
    assert_true(plan_has_defaults(run.plan));
    for (int round = 0; round < 2; round++) {
        assert_int_equal(run_map(&run, &(Event){.body = SPAN("{\"must\":1,\"i\":[{},{\"v\":1},{}]}")}), 0);
        for (uint32_t column = 0; column < 3; column++) assert_int_equal(uses_of(&run, 0, column), 1);
        for (uint32_t column = 0; column < 2; column++) assert_int_equal(uses_of(&run, 1, column), 1);
        assert_int_equal(uses_of(&run, 1, 2), 0);
        assert_int_equal(uses_of(&run, 2, 0), 2);
        assert_int_equal(uses_of(&run, 2, 1), 3);
        assert_int_equal(run_map(&run, &(Event){.body = SPAN("{\"a\":1,\"n\":null,\"o\":2,\"must\":1,\"i\":[]}")}), 0);
        size_t count;
        (void)mapper_defaults(run.mapper, &count);
        assert_int_equal(count, 0);
    }
    /* A plan without any, and a larger one: the mapper is that of a thread, which has many. */
    Column none[] = {{NAME("a"), PATH("a")}, {0}};
    Sink plain = sink_with("plain", none), *list[] = {&plain};
    Plan *plan = NULL;
    assert_int_equal(plan_compile(&(Source){0}, list, 1, &plan, NULL), 0);
    assert_false(plan_has_defaults(plan));
    assert_int_equal(run_map(&run, &(Event){.body = SPAN("{\"must\":1,\"i\":[{}]}")}), 0);
    assert_int_equal(mapper_map(run.mapper, plan, &(Event){.body = SPAN("{\"a\":1}")}, run.row_list, run.failures), 0);
    size_t count;
    (void)mapper_defaults(run.mapper, &count);
    assert_int_equal(count, 0);
    plan_unref(plan);
    run_end(&run);
}

static void an_element_may_delete_the_row_of_its_key(void **state) {
    Column columns[] = {{NAME("k"), PATH("i.k"), .raw_string = true, .primary_key = true}, {NAME("v"), PATH("i.v")}, {0}};
    Sink sink = sink_with("s", columns);
    sink.target.explode = (char *)(uintptr_t) "i";
    sink.target.table = (TableTarget){.strategy = STRATEGY_MERGE,
                                      .delete_on = {.path = (char *)(uintptr_t) "i.gone", .equals = (char *)(uintptr_t) "true"}};
    Run run;
    run_start(&run, &sink, 1, 1 << 20);
    assert_int_equal(
        run_map(&run, &(Event){.body = SPAN("{\"i\":[{\"k\":\"a\",\"v\":1},{\"k\":\"b\",\"gone\":true},{\"k\":\"c\",\"v\":2}]}")}), 0);
    row_is(&run, 0, "a,1,\nb,,d\nc,2,\n");
    assert_int_equal(run.failures[0].rows, 3);
    run_end(&run);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_sluice_fills),
        cmocka_unit_test(meta_of_a_record),
        cmocka_unit_test(a_source_without_the_field_has_no_such_column),
        cmocka_unit_test(headers_are_one_object),
        cmocka_unit_test(headers_of_records),
        cmocka_unit_test(templates_give_cells),
        cmocka_unit_test(white_space_around_a_result_goes),
        cmocka_unit_test(what_templates_need),
        cmocka_unit_test(a_sink_that_fails_leaves_the_others_alone),
        cmocka_unit_test(rows_have_a_limit),
        cmocka_unit_test(keys_are_never_null),
        cmocka_unit_test(sinks_together_give_what_each_gives_alone),
        cmocka_unit_test(large_plans_are_made_and_run),
        cmocka_unit_test(large_values_are_refused_in_little_memory),
        cmocka_unit_test(masks_are_applied_to_what_a_cell_means),
        cmocka_unit_test(failures_show_nothing_where_values_are_masked),
        cmocka_unit_test(wrong_columns_are_refused),
        cmocka_unit_test(paths_need_values_that_have_some),
        cmocka_unit_test(failures_are_text),
        cmocka_unit_test(an_event_may_delete_the_row_of_its_key),
        cmocka_unit_test(a_tombstone_may_delete_the_row_of_its_key),
        cmocka_unit_test(uses_of_defaults_are_counted),
        cmocka_unit_test(an_element_may_delete_the_row_of_its_key),
        cmocka_unit_test(events_are_read_inside_their_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
