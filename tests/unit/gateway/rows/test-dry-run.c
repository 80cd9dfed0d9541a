/* Dry runs of sources whose events are records: what is given as meta values is in the rows, and is
 * what templates get. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "config/source_kind.h"
#include "gateway/rows/dry_run.h"
#include "mapping/meta.h"

static Source *source_of(const char *type) {
    Source *source;
    Error error = {0};
    json_t *body = json_pack("{s:s, s:s}", "name", "s", "type", type);
    if (source_from_request(body, &source, &error) < 0) fail_msg("%s", error.text);
    json_decref(body);
    return source;
}

static Plan *plan_of(const Source *source, const char *columns) {
    json_t *list = json_loads(columns, 0, NULL);
    assert_non_null(list);
    json_t *body = json_pack("{s:s, s:{s:s, s:{s:o}}}", "name", "k", "table", "tableId", "k", "mapping", "columns", list);
    Sink *sink = NULL;
    Plan *plan = NULL;
    Error error = {0};
    if (sink_from_request(body, false, &sink, &error) < 0 || plan_compile(source, &sink, 1, &plan, &error) < 0) fail_msg("%s", error.text);
    json_decref(body);
    sink_unref(sink);
    return plan;
}

static void keep_row(void *context, size_t event, const Sink *sink, const MapFailure *failure, Span row) {
    (void)event, (void)sink;
    if (failure) fail_msg("%s", failure->message);
    buffer_append_span(context, row);
}

static DryRun *run_of(Plan *plan, const char *body, const EventMeta *meta) {
    static UuidSource ids;
    DryRun *run;
    Error error = {0};
    DryRunRequest request = {.body = span_of(body),
                             .meta = meta,
                             .received = 1136214245000000,
                             .ids = &ids,
                             .events_max = 10,
                             .body_bytes = 1 << 20,
                             .event_bytes = 1 << 20,
                             .row_bytes = 1 << 20};
    if (dry_run_new(plan, FRAMING_LINES, &request, &run, &error) < 0) fail_msg("%s", error.text);
    return run;
}

static void each_event_has_what_is_given(void **state) {
    (void)state;
    Source *source = source_of("tap");
    Plan *plan = plan_of(source, "[{\"name\":\"b\",\"type\":\"meta\",\"field\":\"bridge\",\"primaryKey\":true},"
                                 "{\"name\":\"o\",\"type\":\"meta\",\"field\":\"offset\",\"dataType\":\"integer\"},"
                                 "{\"name\":\"k\",\"type\":\"meta\",\"field\":\"key\"},{\"name\":\"n\",\"type\":\"body\"}]");
    EventMeta meta = {.fields = source_meta_fields(source)};
    Error error = {0};
    char topic[] = "shop";
    assert_int_equal(event_meta_set(&meta, source, SPAN("topic"), span_of(topic), &error), 0);
    assert_int_equal(event_meta_set(&meta, source, SPAN("partition"), SPAN("0"), &error), 0);
    assert_int_equal(event_meta_set(&meta, source, SPAN("offset"), SPAN("5"), &error), 0);
    DryRun *run = run_of(plan, "1\n2\n", &meta);
    memset(topic, 0, sizeof topic); /* it is copied */
    Buffer rows = {0};
    assert_int_equal(dry_run_events(run), 2);
    for (size_t i = 0; i < 2; i++) dry_run_map(run, i, NULL, keep_row, &rows);
    assert_string_equal(buffer_text(&rows), "kafka:shop:0:5,5,,1\nkafka:shop:0:5,5,,2\n");
    buffer_deinit(&rows);
    dry_run_free(run);
    plan_unref(plan);
    source_unref(source);
}

static void templates_get_what_is_given(void **state) {
    (void)state;
    Source *source = source_of("nap");
    Plan *plan = plan_of(source,
                         "[{\"name\":\"x\",\"type\":\"template\",\"template\":{\"language\":\"jsonnet\",\"content\":\"Meta('stream')\"}}]");
    EventMeta meta = {.fields = source_meta_fields(source)};
    Error error = {0};
    assert_int_equal(event_meta_set(&meta, source, SPAN("stream"), SPAN("S"), &error), 0);
    DryRun *run = run_of(plan, "1\n2\n", &meta);
    TemplateBatch *batch = dry_run_batch(run, NULL, 1);
    assert_int_equal(batch->count, 2);
    for (size_t i = 0; i < 2; i++) {
        const EventMeta *got = batch->events[i].event.meta;
        assert_int_equal(got->fields, META_NATS);
        assert_true(span_equal(got->values[META_STREAM], SPAN("S")));
        assert_null(got->values[META_BRIDGE].data); /* of no sequence */
    }
    template_batch_free(batch);
    dry_run_free(run);
    plan_unref(plan);
    source_unref(source);
}

static void keep_row_or_refusal(void *context, size_t event, const Sink *sink, const MapFailure *failure, Span row) {
    if (!failure)
        keep_row(context, event, sink, NULL, row);
    else
        buffer_append_text(context, "refused\n");
}

static const char *const kind_of_values[] = {"json", "text", "bytes", "avro", "jsonSchema"};

/* What path columns and body columns give for one event. */
static void assert_mapped(Plan *plan, const char *text, RecordKind value, const char *expected) {
    BridgeSource bridge = {.value = value};
    UuidSource ids = {0};
    Error error = {0};
    DryRunRequest request = {.body = span_of(text),
                             .bridge = &bridge,
                             .content_type = SPAN("application/json"),
                             .ids = &ids,
                             .events_max = 10,
                             .body_bytes = 1000,
                             .event_bytes = 1000,
                             .row_bytes = 1 << 20};
    DryRun *run;
    if (dry_run_new(plan, FRAMING_SINGLE, &request, &run, &error) < 0) fail_msg("%s", error.text);
    Buffer rows = {0};
    assert_int_equal(dry_run_events(run), 1);
    dry_run_map(run, 0, NULL, keep_row_or_refusal, &rows);
    if (strcmp(buffer_text(&rows), expected) != 0) fail_msg("%s: %s, not %s", kind_of_values[value], buffer_text(&rows), expected);
    buffer_deinit(&rows);
    dry_run_free(run);
}

static void a_value_is_what_its_source_says(void **state) {
    (void)state;
    Source *source = source_of("tap");
    Plan *body = plan_of(source, "[{\"name\":\"b\",\"type\":\"body\"}]");
    Plan *path = plan_of(source, "[{\"name\":\"a\",\"type\":\"path\",\"path\":\"a\"}]");
    assert_mapped(body, "{\"a\":1}", RECORD_JSON, "\"{\"\"a\"\":1}\"\n");
    assert_mapped(body, "{\"a\":1}", RECORD_TEXT, "\"{\"\"a\"\":1}\"\n");
    assert_mapped(body, "ab\xff", RECORD_BYTES, "YWL/\n");
    assert_mapped(path, "{\"a\":1}", RECORD_JSON, "1\n");
    assert_mapped(path, "{\"a\":1}", RECORD_AVRO, "1\n");
    assert_mapped(path, "{\"a\":1}", RECORD_JSON_SCHEMA, "1\n");
    assert_mapped(path, "{\"a\":1}", RECORD_TEXT, "refused\n");
    assert_mapped(path, "{\"a\":1}", RECORD_BYTES, "refused\n");
    plan_unref(body);
    plan_unref(path);
    source_unref(source);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_event_has_what_is_given),
        cmocka_unit_test(templates_get_what_is_given),
        cmocka_unit_test(a_value_is_what_its_source_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
