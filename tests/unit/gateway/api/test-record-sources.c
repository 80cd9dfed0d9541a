/* Sources whose events are records of a broker, by the API: columns and templates that take meta
 * values, and dry runs that are given some. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "tests/unit/gateway/control/harness.h"

#define SOURCES "/v1/branches/default/sources"
#define SINK(id, columns)                                                                                                                  \
    "{\"sinkId\":\"" id "\",\"name\":\"" id "\",\"table\":{\"connection\":\"local\",\"tableId\":\"" id                                     \
    "\",\"mapping\":{\"columns\":[" columns "]}}}"
#define META(name, field) "{\"name\":\"" name "\",\"type\":\"meta\",\"field\":\"" field "\"}"
#define TEMPLATE(text) "{\"name\":\"x\",\"type\":\"template\",\"template\":{\"language\":\"jsonnet\",\"content\":\"" text "\"}}"

static int start(void **state) {
    (void)harness_setup(state);
    assert_string_equal(harness_task(*state, "POST", SOURCES, "{\"name\":\"h\"}", NULL), "success");
    assert_string_equal(harness_task(*state, "POST", SOURCES, "{\"name\":\"t\",\"type\":\"tap\"}", NULL), "success");
    assert_string_equal(harness_task(*state, "POST", SOURCES, "{\"name\":\"n\",\"type\":\"nap\"}", NULL), "success");
    return 0;
}

static void answers(Harness *harness, const char *path, const char *body, int status, const char *part) {
    json_t *answer;
    int got = harness_call(harness, "POST", path, body, &answer);
    _cleanup_free_ char *text = answer ? json_dumps(answer, JSON_COMPACT) : strdup("");
    if (got != status || !strstr(text, part)) fail_msg("%s %s: %d %s, not %d %s", path, body, got, text, status, part);
    json_decref(answer);
}

static void a_column_asks_for_what_the_source_has(void **state) {
    Harness *harness = *state;
    answers(harness, SOURCES "/t/sinks", SINK("a", META("c", "subject")), 400,
            "sources of type \\\"tap\\\" have topic, partition, offset, key, timestamp, bridge");
    answers(harness, SOURCES "/n/sinks", SINK("a", META("c", "offset")), 400,
            "sources of type \\\"nap\\\" have subject, stream, sequence, timestamp, bridge");
    answers(harness, SOURCES "/h/sinks", SINK("a", META("c", "topic")), 400,
            "its meta field is \\\"topic\\\", but sources of type \\\"http\\\" have no meta fields");
    assert_string_equal(harness_task(harness, "POST", SOURCES "/t/sinks", SINK("a", META("c", "offset")), NULL), "success");
    assert_string_equal(harness_task(harness, "POST", SOURCES "/n/sinks", SINK("b", META("c", "subject")), NULL), "success");
}

static void a_template_asks_for_what_the_source_has(void **state) {
    Harness *harness = *state;
    answers(harness, SOURCES "/t/sinks", SINK("a", TEMPLATE("1 +\\n Meta('subject')")), 400,
            "The template of column \\\"x\\\": line 2, column 8: \\\"subject\\\" is not there: sources of type \\\"tap\\\" have topic");
    answers(harness, SOURCES "/h/sinks", SINK("a", TEMPLATE("Meta('topic')")), 400,
            "line 1, column 1: \\\"Meta\\\" is not there: sources of type \\\"http\\\" have no meta fields");
    /* Something else of this name is the template's own. */
    assert_string_equal(harness_task(harness, "POST", SOURCES "/h/sinks", SINK("a", TEMPLATE("local Meta(x) = x; Meta(1)")), NULL),
                        "success");
    assert_string_equal(harness_task(harness, "POST", SOURCES "/t/sinks", SINK("b", TEMPLATE("Meta('topic')")), NULL), "success");
}

#define GIVEN "{\"topic\":\"a%26b\",\"partition\":0,\"offset\":17,\"key\":null,\"timestamp\":\"2026-11-30T10:00:00Z\"}"

static void a_dry_run_is_given_meta_values(void **state) {
    Harness *harness = *state;
    const char *sink = SINK(
        "k", META("t", "topic") "," META("o", "offset") "," META("k", "key") "," META("at", "timestamp") "," META("b", "bridge"));
    assert_string_equal(harness_task(harness, "POST", SOURCES "/t/sinks", sink, NULL), "success");
    answers(harness, SOURCES "/t/test?meta=" GIVEN, "{}", 200,
            "[{\"name\":\"t\",\"value\":\"a&b\"},{\"name\":\"o\",\"value\":\"17\"},{\"name\":\"k\",\"value\":null},"
            "{\"name\":\"at\",\"value\":\"2026-11-30T10:00:00Z\"},{\"name\":\"b\",\"value\":\"kafka:a&b:0:17\"}]");
    answers(harness, SOURCES "/t/test?meta={\"offset\":\"9223372036854775807\"}", "{}", 200, "\"9223372036854775807\"");
    answers(harness, SOURCES "/t/test", "{}", 200, "{\"name\":\"b\",\"value\":null}");
    answers(harness, SOURCES "/t/test?meta={}", "{}", 200, "{\"name\":\"b\",\"value\":null}");
    answers(harness, SOURCES "/t/test?meta=5", "{}", 400, "Parameter \\\"meta\\\" is a JSON object of meta fields.");
    answers(harness, SOURCES "/t/test?meta=", "{}", 400, "Parameter \\\"meta\\\" is a JSON object of meta fields.");
    answers(harness, SOURCES "/t/test?meta={\"offset\":1.5}", "{}", 400, "the value of \\\"offset\\\" must be a text or a whole number");
    answers(harness, SOURCES "/t/test?meta={\"offset\":-1}", "{}", 400, "\\\"-1\\\", which is not a whole number from 0");
    answers(harness, SOURCES "/t/test?meta={\"subject\":\"s\"}", "{}", 400, "there is no meta field \\\"subject\\\"");
    answers(harness, SOURCES "/t/test?meta={\"key\":\"a\",\"key\":\"b\"}", "{}", 400, "Parameter \\\"meta\\\"");
    answers(harness, SOURCES "/t/test?meta={\"key\":\"a\\u0000b\"}", "{}", 400, "Parameter \\\"meta\\\"");
    assert_string_equal(harness_task(harness, "POST", SOURCES "/h/sinks", SINK("b", "{\"name\":\"b\",\"type\":\"body\"}"), NULL),
                        "success");
    answers(harness, SOURCES "/h/test?meta={\"topic\":\"t\"}", "{}", 400, "sources of type \\\"http\\\" have no meta fields");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_column_asks_for_what_the_source_has, start, harness_teardown),
        cmocka_unit_test_setup_teardown(a_template_asks_for_what_the_source_has, start, harness_teardown),
        cmocka_unit_test_setup_teardown(a_dry_run_is_given_meta_values, start, harness_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
