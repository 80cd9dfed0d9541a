#include "gateway/api/router.h"
#include "gateway/api/survey.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/metrics.h"
#include "config/source_http.h"
#include "storage/rejects.h"
#include "tests/unit/gateway/control/harness.h"

#define SOURCES "/v1/branches/default/sources"
#define SINKS SOURCES "/s/sinks"

static int start(void **state) {
    (void)harness_setup(state);
    assert_string_equal(harness_task(*state, "POST", SOURCES, "{\"name\":\"S\"}", NULL), "success");
    return 0;
}

typedef struct Case {
    const char *method, *path, *body;
    int status;
    const char *part; /* of the answer */
} Case;

static void run_cases(Harness *harness, const Case *cases, size_t count) {
    for (size_t i = 0; i < count; i++) {
        json_t *answer;
        int status = harness_call(harness, cases[i].method, cases[i].path, cases[i].body, &answer);
        _cleanup_free_ char *text = answer ? json_dumps(answer, JSON_COMPACT) : strdup("");
        if (status != cases[i].status || (cases[i].part && !strstr(text, cases[i].part)))
            fail_msg("%s %s %s: %d %s", cases[i].method, cases[i].path, cases[i].body ? cases[i].body : "", status, text);
        if (status >= 400) {
            assert_int_equal(json_integer_value(json_object_get(answer, "statusCode")), status);
            assert_ptr_equal(strstr(json_string_value(json_object_get(answer, "error")), "stream.api."),
                             json_string_value(json_object_get(answer, "error")));
            assert_non_null(json_object_get(answer, "message"));
        }
        json_decref(answer);
    }
}
#define RUN(harness, cases) run_cases(harness, cases, sizeof(cases) / sizeof *(cases))

#define COLUMNS "\"mapping\":{\"columns\":[{\"name\":\"id\",\"type\":\"id\"}]}"
#define TABLE(id) "\"table\":{\"connection\":\"local\",\"tableId\":\"" id "\"," COLUMNS "}"
#define COLUMN(rest)                                                                                                                       \
    "{\"name\":\"X\",\"table\":{\"connection\":\"local\",\"tableId\":\"x\",\"mapping\":{\"columns\":[{\"name\":\"c\"," rest "}]}}}"

static void test_errors(void **state) {
    static const Case cases[] = {
        {"GET", "/v1/nothing", NULL, 404, "routeNotFound"},
        {"GET", "/", NULL, 404, "routeNotFound"},
        {"GET", "/v1/branches/default/sources/", NULL, 404, "routeNotFound"},
        {"GET", "/v1/branches/default/sources/s/nothing", NULL, 404, "routeNotFound"},
        {"GET", "/v1/branches/77/sources", NULL, 404, "branchNotFound"},
        {"GET", SOURCES "/t", NULL, 404, "sourceNotFound"},
        {"GET", SOURCES "/t/sinks", NULL, 404, "sourceNotFound"},
        {"GET", SINKS "/k", NULL, 404, "sinkNotFound"},
        {"DELETE", SINKS "/k", NULL, 404, "sinkNotFound"},
        {"PUT", SOURCES "/t/undelete", NULL, 404, "sourceNotFound"},
        {"PUT", SOURCES, NULL, 405, "methodNotAllowed"},
        {"TRACE", "/v1", NULL, 405, "GET"},
        {"GET", SOURCES "?limit=0", NULL, 400, "limit"},
        {"GET", SOURCES "?limit=101", NULL, 400, "limit"},
        {"GET", SOURCES "?limit=1x", NULL, 400, "limit"},
        {"GET", SOURCES "?limit=", NULL, 400, "limit"},
        {"GET", SOURCES "?other=1", NULL, 400, "other"},
        {"GET", SOURCES "?limit=1&limit=2", NULL, 400, "twice"},
        {"GET", SOURCES "?limit=%zz", NULL, 400, "well-formed"},
        {"GET", SOURCES "?limit=%00", NULL, 400, "well-formed"},
        {"DELETE", SOURCES "/s?discard=yes", NULL, 400, "discard"},
        {"POST", SOURCES, "{", 400, "not JSON"},
        {"POST", SOURCES, "", 400, "not JSON"},
        {"POST", SOURCES, "[]", 400, "badRequest"},
        {"POST", SOURCES, "{\"name\":\"a\",\"name\":\"b\"}", 400, "not JSON"},
        {"POST", SOURCES, "{}", 400, "name"},
        {"POST", SOURCES, "{\"name\":\"A\",\"colour\":1}", 400, "colour"},
        {"POST", SOURCES, "{\"name\":7}", 400, "name"},
        {"POST", SOURCES, "{\"name\":\"A\",\"type\":\"stream\"}", 400, "type"},
        {"POST", SOURCES, "{\"name\":\"S\"}", 409, "sourceAlreadyExists"},
        {"PATCH", SOURCES "/s", "{\"sourceId\":\"t\"}", 400, "sourceId"},
        {"PATCH", SOURCES "/s", "{\"disabled\":true}", 400, "disable"},
        {"PUT", SOURCES "/s/enable", "{\"a\":1}", 400, "\\\"a\\\""},
        {"POST", SINKS, "{\"name\":\"K\"}", 400, "table"},
        {"POST", SINKS, "{\"name\":\"K\",\"table\":{\"connection\":\"moon\",\"tableId\":\"t\"," COLUMNS "}}", 400, "\\\"local\\\""},
        {"POST", SINKS, COLUMN("\"type\":\"path\",\"path\":\"a[\""), 400, "path"},
        {"POST", SINKS, COLUMN("\"type\":\"path\",\"path\":\"a\",\"dataType\":\"integer\",\"defaultValue\":\"many\""), 400, "c"},
        {"POST", SINKS, COLUMN("\"type\":\"template\",\"template\":{\"language\":\"jsonnet\",\"content\":\"WRONG\"}"), 400,
         "line 1, column 7"},
        {"PATCH", SOURCES "/s/settings", "{\"settings\":[{\"key\":\"no\",\"value\":1}]}", 400, "no"},
        {"PATCH", SOURCES "/s/settings", "{\"settings\":[{\"key\":\"storage.level.target.import.trigger.count\",\"value\":0}]}", 400,
         "storage.level.target.import.trigger.count"},
        {"PATCH", SOURCES "/s/settings", "{\"setting\":[]}", 400, "setting"},
        {"PATCH", SOURCES "/s/settings", "{}", 400, "settings"},
    };
    RUN(*state, cases);
}

static void test_tables(void **state) {
    Harness *harness = *state;
    assert_string_equal(harness_task(harness, "POST", SINKS, "{\"name\":\"K\"," TABLE("one") "}", NULL), "success");
    assert_string_equal(harness_task(harness, "POST", SINKS, "{\"name\":\"L\"," TABLE("two") "}", NULL), "success");
    static const Case cases[] = {
        {"POST", SINKS, "{\"name\":\"K\"," TABLE("three") "}", 409, "sinkAlreadyExists"},
        {"POST", SINKS, "{\"name\":\"M\"," TABLE("two") "}", 409, "s/l"},
        {"PATCH", SINKS "/k", "{\"table\":{\"tableId\":\"two\"}}", 409, "tableTaken"},
        {"PATCH", SINKS "/k", "{\"table\":{\"tableId\":\"TWO\"}}", 409, "tableTaken"}, /* one table for SQLite */
        {"PATCH", SINKS "/k", "{\"table\":{\"connection\":\"moon\"}}", 400, "moon"},
        {"GET", SINKS "?limit=1", NULL, 200, "\"page\":{\"limit\":1,\"totalCount\":2,\"afterId\":\"\",\"lastId\":\"k\"}"},
        {"GET", SINKS "?limit=1&afterId=k", NULL, 200, "\"lastId\":\"l\""},
        {"GET", SINKS "?afterId=l", NULL, 200, "\"sinks\":[]"},
        {"GET", SINKS "/l/statistics/total", NULL, 200, "\"target\":{\"recordsCount\":2"},
        {"DELETE", SINKS "/l/rejects", NULL, 200, "\"removed\":2"},
        {"DELETE", SINKS "/l/rejects?upToId=x", NULL, 400, "upToId"},
    };
    RUN(harness, cases);
    json_t *task;
    assert_string_equal(harness_task(harness, "POST", SINKS "/k/flush", NULL, &task), "success");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(task, "outputs"), "rows")), 3);
    assert_int_equal(harness->flushes, 1);
    json_decref(task);
    /* 20 sinks and no more. */
    for (int i = 0; i < SINKS_A_SOURCE_MAX - 2; i++) {
        _cleanup_free_ char *body = NULL;
        assert_true(asprintf(&body, "{\"name\":\"N%d\",\"table\":{\"connection\":\"local\",\"tableId\":\"n%d\"," COLUMNS "}}", i, i) > 0);
        assert_string_equal(harness_task(harness, "POST", SINKS, body, NULL), "success");
    }
    static const Case more[] = {{"POST", SINKS, "{\"name\":\"More\"," TABLE("more") "}", 422, "20 sinks"}};
    RUN(harness, more);
    harness->options.sources_max = 1;
    static const Case source[] = {{"POST", SOURCES, "{\"name\":\"More\"}", 422, "limits.sources"}};
    RUN(harness, source);
}

static void test_tokens(void **state) {
    Harness *harness = *state;
    char admin[64];
    (void)strcpy(admin, harness->token);
    char reader[TOKEN_CHARACTERS + 1], operator[TOKEN_CHARACTERS + 1];
    (void)tokens_make(&harness->control->tokens, ROLE_READ, "reader", 0, reader);
    (void)tokens_make(&harness->control->tokens, ROLE_OPERATOR, "operator", 0, operator);

    char path[128];
    (void)snprintf(path, sizeof path, "%s/admin.token", harness->directory);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);

    static const char *const wrong[] = {"", "no", "012345678901234567890123456789012345678901234567"};
    for (size_t i = 0; i < 3; i++) {
        (void)strcpy(harness->token, wrong[i]);
        (void)harness_send(harness, "GET", SOURCES, NULL, 0);
        harness_turn(harness);
        ApiCall *call = harness_answer(harness);
        assert_int_equal(call->status, 401);
        assert_true(call->challenge);
        api_call_free(call);
        assert_int_equal(harness_call(harness, "GET", "/v1", NULL, NULL), 200);
        assert_int_equal(harness_call(harness, "GET", "/ready", NULL, NULL), 200);
        assert_int_equal(harness_call(harness, "GET", "/health-check", NULL, NULL), 200);
        assert_int_equal(harness_call(harness, "GET", "/metrics", NULL, NULL), 401);
        assert_int_equal(harness_call(harness, "GET", "/v1/nothing", NULL, NULL), 401); /* nobody learns what there is */
    }
    json_t *answer;
    (void)strcpy(harness->token, reader);
    assert_int_equal(harness_call(harness, "GET", SOURCES "/s", NULL, &answer), 200);
    assert_non_null(strstr(json_string_value(json_object_get(json_object_get(answer, "http"), "url")), "/stream/1/s/***"));
    json_decref(answer);
    static const Case reads[] = {
        {"GET", SOURCES, NULL, 200, "***"},
        {"POST", SOURCES, "{\"name\":\"A\"}", 403, "stream.api.forbidden"},
        {"PATCH", SOURCES "/s/settings", "{\"settings\":[]}", 403, "operator"},
        {"DELETE", SOURCES "/s", NULL, 403, "admin"},
        {"POST", SINKS "/k/flush", NULL, 403, "operator"},
        {"GET", SOURCES "/s/bridge", NULL, 404, "notABridge"},
        {"POST", SOURCES "/s/bridge/seek", "{\"to\":\"latest\"}", 403, "operator"},
        {"POST", SOURCES "/s/bridge/skip", "{\"topic\":\"t\",\"partition\":0,\"offset\":1}", 403, "operator"},
    };
    RUN(harness, reads);
    (void)strcpy(harness->token, operator);
    static const Case operates[] = {
        {"POST", SOURCES, "{\"name\":\"A\"}", 403, "admin"},
        {"PATCH", SOURCES "/s", "{\"name\":\"A\"}", 403, "admin"},
        {"PATCH", SOURCES "/s/settings", "{\"settings\":[]}", 202, "success"},
        {"POST", SOURCES "/s/bridge/seek", "{\"to\":\"latest\"}", 404, "notABridge"},
        {"POST", SOURCES "/s/bridge/skip", "{\"topic\":\"t\",\"partition\":0,\"offset\":1}", 404, "notABridge"},
    };
    RUN(harness, operates);
    assert_int_equal(harness_call(harness, "GET", SOURCES "/s", NULL, &answer), 200);
    const Source *source = harness->control->registry.sources[0]->source;
    assert_non_null(strstr(json_string_value(json_object_get(json_object_get(answer, "http"), "url")), source_http(source)->secret));
    json_decref(answer);

    /* The token of the first start is good after a restart, too. */
    (void)strcpy(harness->token, admin);
    harness_stop(harness);
    harness_start(harness);
    assert_string_equal(harness->token, admin);
    assert_int_equal(harness_call(harness, "GET", SOURCES, NULL, NULL), 200);
}

static int status_with(Harness *harness, const char *if_match, const char *body_type, const char *body, char **ret_text) {
    ApiCall *call = harness_send(harness, "PATCH", SOURCES "/s", body, 10 * USEC_SECOND);
    free(call->if_match);
    free(call->body_type);
    call->if_match = strdup(if_match);
    call->body_type = strdup(body_type);
    for (unsigned i = 0; i < 20; i++) harness_turn(harness);
    call = harness_answer(harness);
    assert_non_null(call);
    int status = call->status;
    if (ret_text) *ret_text = strdup(buffer_text(&call->response));
    api_call_free(call);
    return status;
}

static void test_preconditions(void **state) {
    Harness *harness = *state;
    const char *json = "application/json";
    assert_int_equal(status_with(harness, "\"2\"", json, "{\"description\":\"a\"}", NULL), 409);
    _cleanup_free_ char *text = NULL;
    assert_int_equal(status_with(harness, "\"1\"", json, "{\"description\":\"a\"}", &text), 202);
    assert_non_null(strstr(text, "\"version\":2"));
    assert_int_equal(status_with(harness, "1", json, "{\"description\":\"b\"}", NULL), 409);
    assert_int_equal(status_with(harness, "2", json, "{\"description\":\"b\"}", NULL), 202);
    assert_int_equal(status_with(harness, "*", json, "{\"description\":\"c\"}", NULL), 202);
    assert_int_equal(status_with(harness, "x", json, "{}", NULL), 400);
    assert_int_equal(status_with(harness, "\"1", json, "{}", NULL), 400);
    assert_int_equal(status_with(harness, "0", json, "{}", NULL), 400);
    /* Two at once with one version: the second learns it from its task. */
    for (int i = 0; i < 2; i++) {
        ApiCall *call = harness_send(harness, "PATCH", SOURCES "/s", i ? "{\"description\":\"y\"}" : "{\"description\":\"x\"}",
                                     USEC_SECOND);
        free(call->if_match);
        call->if_match = strdup("4");
    }
    for (unsigned i = 0; i < 20; i++) harness_turn(harness);
    ApiCall *first = harness_answer(harness), *second = harness_answer(harness);
    assert_non_null(strstr(buffer_text(&first->response), "\"success\""));
    assert_non_null(strstr(buffer_text(&second->response), "The version is 5, not 4"));
    api_call_free(first);
    api_call_free(second);

    assert_int_equal(status_with(harness, "", "text/plain", "{}", NULL), 415);
    assert_int_equal(status_with(harness, "", "application/x-www-form-urlencoded", "{}", NULL), 415);
    assert_int_equal(status_with(harness, "", "application/merge-patch+json; charset=utf-8", "{}", NULL), 202);
    assert_int_equal(status_with(harness, "", "", "{}", NULL), 202);
    char *large = malloc(API_BODY_BYTES_MAX + 2);
    memset(large, ' ', API_BODY_BYTES_MAX + 1);
    large[API_BODY_BYTES_MAX + 1] = '\0';
    assert_int_equal(status_with(harness, "", json, large, NULL), 413);
    free(large);
}

/* Nothing that is sent makes it fall over. */
static void test_hostile(void **state) {
    Harness *harness = *state;
    _cleanup_(buffer_deinit) Buffer body = {0};
    for (int i = 0; i < 100000; i++) buffer_append_text(&body, "{\"a\":");
    assert_int_equal(harness_call(harness, "POST", SOURCES, buffer_text(&body), NULL), 400);
    buffer_clear(&body);
    buffer_append_text(&body, "{\"name\":\"A\",\"x\":");
    for (int i = 0; i < 1000; i++) buffer_append_text(&body, "[");
    for (int i = 0; i < 1000; i++) buffer_append_text(&body, "]");
    buffer_append_text(&body, "}");
    assert_int_equal(harness_call(harness, "POST", SOURCES, buffer_text(&body), NULL), 400);
    buffer_clear(&body);
    for (int i = 0; i < 1500; i++) buffer_append_text(&body, "{\"table\":");
    buffer_append_text(&body, "1");
    for (int i = 0; i < 1500; i++) buffer_append_text(&body, "}");
    assert_int_equal(harness_call(harness, "PATCH", SOURCES "/s", buffer_text(&body), NULL), 400);
    static const Case cases[] = {
        {"GET", SOURCES "/\xff\xfe", NULL, 404, NULL},
        {"GET", "/v1/tasks/../../etc", NULL, 404, NULL},
        {"POST", SOURCES, "{\"name\":\"\\u0000\"}", 400, NULL},
        {"POST", SOURCES, "{\"\xff\":1}", 400, NULL},
        {"POST", SOURCES, "{\"name\":\"\xc3\"}", 400, NULL},
        {"GET", SOURCES "?afterId=\xff", NULL, 400, NULL},
        {"\xff", SOURCES, NULL, 405, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int status = harness_call(harness, cases[i].method, cases[i].path, cases[i].body, NULL);
        if (status != cases[i].status) fail_msg("case %zu: %d", i, status);
    }
}

static void test_dry_run(void **state) {
    Harness *harness = *state;
    static const Case none[] = {{"POST", SOURCES "/s/test", "{\"n\":1}", 200, "\"tables\":[]"}};
    RUN(harness, none);
    assert_string_equal(harness_task(harness, "POST", SINKS,
                                     "{\"name\":\"K\",\"table\":{\"connection\":\"local\",\"tableId\":\"k\",\"mapping\":{\"columns\":"
                                     "[{\"name\":\"n\",\"type\":\"path\",\"path\":\"n\"},{\"name\":\"b\",\"type\":\"body\"}]}}}",
                                     NULL),
                        "success");
    static const Case plain[] = {
        {"POST", SOURCES "/s/test", "{\"n\":1}", 200,
         "{\"sinkId\":\"k\",\"tableId\":\"k\",\"rows\":[{\"columns\":[{\"name\":\"n\",\"value\":\"1\"},{\"name\":\"b\",\"value\":\"{"
         "\\\"n\\\":1}\"}]}]}"},
        {"POST", SOURCES "/s/test", "{\"n\":null}", 200, "{\"name\":\"n\",\"value\":null}"},
        {"POST", SOURCES "/s/test", "{}", 422, "\\\"n\\\""},
        {"POST", SOURCES "/s/test", "no", 422, "unprocessableContent"},
    };
    RUN(harness, plain);
    /* With a template, the events go to the workers and come back. */
    assert_string_equal(
        harness_task(harness, "POST", SINKS,
                     "{\"name\":\"T\",\"table\":{\"connection\":\"local\",\"tableId\":\"t\",\"mapping\":{\"columns\":"
                     "[{\"name\":\"x\",\"type\":\"template\",\"template\":{\"language\":\"jsonnet\",\"content\":\"1\"}}]}}}",
                     NULL),
        "success");
    static const Case templates[] = {{"POST", SOURCES "/s/test", "{\"n\":1}", 200, "{\"name\":\"x\",\"value\":\"42\"}"}};
    RUN(harness, templates);

    /* Those that wait for their templates are bounded, and hold nobody up. */
    harness->templates_stand = true;
    for (int i = 0; i < 64; i++) (void)harness_send(harness, "POST", SOURCES "/s/test", "{\"n\":1}", 0);
    harness_turn(harness);
    assert_null(harness_answer(harness));
    static const Case others[] = {{"GET", SOURCES, NULL, 200, "\"sources\""}, {"POST", SOURCES "/s/test", "{\"n\":1}", 503, "overloaded"}};
    RUN(harness, others);
    harness->templates_stand = false;
    harness_turn(harness);
    harness_turn(harness);
    size_t answered = 0;
    for (ApiCall *call; (call = harness_answer(harness)); answered++) {
        assert_int_equal(call->status, 200);
        api_call_free(call);
    }
    assert_int_equal(answered, 64);
    RUN(harness, templates);
}

static void test_rejects(void **state) {
    Harness *harness = *state;
    assert_string_equal(harness_task(harness, "POST", SINKS, "{\"name\":\"K\"," TABLE("one") "}", NULL), "success");
    Error error = {0};
    Txn *txn;
    assert_int_equal(txn_begin_write(harness->environment, &txn, &error), 0);
    for (unsigned i = 0; i < 4; i++) {
        Reject reject = {
            .sink = 1,
            .at = 1700000000000000,
            .dropped = i == 3,
            .event_bytes = i == 3 ? 77 : 0,
            .column = SPAN("c"),
            .reason = SPAN("no value"),
            .content_type = SPAN("text/plain"),
            .data = i == 1 ? (Span){.data = "\xff\x00\x01", .size = 3} : SPAN("{\"a\":1}"),
            .mapping_version = 1,
        };
        assert_int_equal(rejects_add(txn, &reject, &error), 0);
    }
    assert_int_equal(txn_commit(txn, &error), 0);
    static const Case cases[] = {
        {"GET", SINKS "/k/rejects?limit=2", NULL, 200, "\"page\":{\"limit\":2,\"totalCount\":4,\"afterId\":\"\",\"lastId\":\"2\"}"},
        {"GET", SINKS "/k/rejects", NULL, 200, "\"event\":\"{\\\"a\\\":1}\""},
        {"GET", SINKS "/k/rejects", NULL, 200, "\"eventBase64\":\"/wAB\""},
        {"GET", SINKS "/k/rejects?afterId=2", NULL, 200, "\"lastId\":\"4\""},
        {"GET", SINKS "/k/rejects?afterId=3", NULL, 200, "\"event\":null,\"eventBytes\":77,\"eventDropped\":\"the source masks values"},
        {"GET", SINKS "/k/rejects?afterId=x", NULL, 400, "afterId"},
        {"GET", SINKS "/k/rejects?format=xml", NULL, 400, "format"},
    };
    RUN(harness, cases);
    (void)harness_send(harness, "GET", SINKS "/k/rejects?format=ndjson", NULL, 0);
    harness_turn(harness);
    ApiCall *call = harness_answer(harness);
    assert_string_equal(call->content_type, "application/x-ndjson");
    size_t lines = 0;
    for (size_t i = 0; i < call->response.size; i++) lines += call->response.data[i] == '\n';
    assert_int_equal(lines, 4);
    api_call_free(call);
}

static void test_ready(void **state) {
    Harness *harness = *state;
    static const Case over[] = {{"GET", "/ready", NULL, 503, "overloaded"}}, broken[] = {{"GET", "/ready", NULL, 503, "broken"}};
    atomic_store(&harness->usage.intake_stopped, true);
    RUN(harness, over);
    atomic_store(&harness->usage.broken, true);
    RUN(harness, broken);
    atomic_store(&harness->usage.broken, false);
    atomic_store(&harness->usage.intake_stopped, false);
    assert_int_equal(harness_call(harness, "HEAD", "/ready", NULL, NULL), 200);
    static const Case connections[] = {{"GET", "/v1/branches/default/connections", NULL, 200, "\"name\":\"local\""}};
    RUN(harness, connections);
}

#define BRANCH "/v1/branches/default"

/* The text that a request without JSON is answered with; free(). */
static char *text_of(Harness *harness, const char *path) {
    (void)harness_send(harness, "GET", path, NULL, 0);
    ApiCall *call = NULL;
    for (int turns = 0; turns < 100 && !call; turns++) {
        harness_turn(harness);
        call = harness_answer(harness);
    }
    assert_non_null(call);
    assert_int_equal(call->status, 200);
    char *text = strndup(buffer_text(&call->response), call->response.size);
    api_call_free(call);
    return text;
}

static void test_connection_tests(void **state) {
    Harness *harness = *state;
    assert_string_equal(harness_task(harness, "POST", SINKS, "{\"name\":\"K\"," TABLE("one") "}", NULL), "success");
    assert_string_equal(harness_task(harness, "POST", SINKS, "{\"name\":\"L\"," TABLE("two") "}", NULL), "success");
    assert_string_equal(harness_task(harness, "DELETE", SINKS "/l", NULL, NULL), "success");
    static const Case sound[] = {
        {"POST", BRANCH "/connections/local/test", NULL, 200, "\"ok\":true,\"fault\":null,\"message\":null"},
        {"POST", BRANCH "/connections/moon/test", NULL, 404, "connectionNotFound"},
        {"GET", BRANCH "/connections/local/test", NULL, 405, "POST"},
    };
    RUN(harness, sound);
    assert_int_equal(harness->tested_tables, 1); /* not that of a deleted sink */
    harness->fault = SINK_FAULT_RIGHTS;
    harness->prepare_says = "No right\xff here.";
    static const Case faulty[] = {
        {"POST", BRANCH "/connections/local/test", NULL, 200, "\"ok\":false,\"fault\":\"rights\",\"message\":\"No right? here.\""},
    };
    RUN(harness, faulty);
}

static void test_connection_tests_are_bounded(void **state) {
    Harness *harness = *state;
    harness->loader_stands = true;
    for (int i = 0; i < 64; i++) (void)harness_send(harness, "POST", BRANCH "/connections/local/test", NULL, 0);
    harness_turn(harness);
    assert_null(harness_answer(harness)); /* they wait for the loader, and control goes on */
    static const Case others[] = {
        {"GET", SOURCES, NULL, 200, "\"sources\""},
        {"POST", BRANCH "/connections/local/test", NULL, 503, "overloaded"},
    };
    RUN(harness, others);
    harness->loader_stands = false;
    int answered = 0;
    for (int turns = 0; turns < 10; turns++) {
        harness_turn(harness);
        for (ApiCall *call; (call = harness_answer(harness)); answered++) {
            assert_int_equal(call->status, 200);
            api_call_free(call);
        }
    }
    assert_int_equal(answered, 64);
    static const Case again[] = {{"POST", BRANCH "/connections/local/test", NULL, 200, "\"ok\":true"}};
    RUN(harness, again);
}

/* ---- surveys of many sinks ------------------------------------------------------------------- */

typedef struct Census {
    Survey survey; /* first */
    size_t seen, ended;
    bool complete;
    size_t *dropped; /* of the test */
} Census;

static void census_see(Survey *survey, size_t index, const SinkStatistics *statistics) {
    Census *census = (Census *)survey;
    assert_int_equal(index, census->seen++);
    assert_int_equal(statistics->totals.imported.rows, survey->sinks[index]); /* as the harness answers */
}

static void census_end(Control *control, Survey *survey, bool complete) {
    (void)control;
    Census *census = (Census *)survey;
    census->ended++;
    census->complete = complete;
    api_call_answer(steal(survey->pending.call), complete ? 200 : 503, json_pack("{s:I}", "seen", (json_int_t)census->seen));
}

static void census_drop(Survey *survey) {
    Census *census = (Census *)survey;
    assert_int_equal(census->ended, 1);
    (*census->dropped)++;
}

static void take_census(Harness *harness, size_t count, size_t *dropped) {
    ApiRequest request = {.control = harness->control, .view = control_view(harness->control), .call = calloc(1, sizeof(ApiCall))};
    Census *census = survey_new(sizeof *census, census_see, census_end, census_drop);
    assert_non_null(request.call);
    request.call->reply = harness->client;
    census->dropped = dropped;
    census->survey.count = count;
    census->survey.sinks = calloc(count + 1, sizeof *census->survey.sinks);
    assert_non_null(census->survey.sinks);
    for (size_t i = 0; i < count; i++) census->survey.sinks[i] = (uint32_t)(1000 + i);
    survey_start(&request, &census->survey);
}

static void expect_census(Harness *harness, int status, size_t seen) {
    ApiCall *call = NULL;
    for (int turns = 0; turns < 100 && !call; turns++) {
        harness_turn(harness);
        call = harness_answer(harness);
    }
    assert_non_null(call);
    assert_int_equal(call->status, status);
    char wanted[40];
    (void)snprintf(wanted, sizeof wanted, "{\"seen\":%zu}\n", seen);
    assert_string_equal(buffer_text(&call->response), wanted);
    api_call_free(call);
}

static void test_many_sinks_are_asked_for_in_portions(void **state) {
    Harness *harness = *state;
    size_t dropped = 0;
    static const size_t counts[] = {0, 1, 500, 501, 1234};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        take_census(harness, counts[i], &dropped);
        expect_census(harness, 200, counts[i]);
        assert_int_equal(dropped, i + 1);
    }
    assert_int_equal(harness->largest_query, 500);
}

/* The disk hangs between two portions: the answer comes at once, and what the writer says later is
 * for nobody. */
static void test_the_disk_hangs_between_portions(void **state) {
    Harness *harness = *state;
    size_t dropped = 0;
    take_census(harness, 1234, &dropped);
    harness_turn(harness);
    harness->writer_stands = true;
    harness_turn(harness);
    assert_null(harness_answer(harness));
    harness->usage.stall_limit = USEC_SECOND;
    atomic_store(&harness->usage.busy_since, 1);
    harness_turn(harness);
    ApiCall *call = harness_answer(harness);
    assert_non_null(call);
    assert_int_equal(call->status, 503);
    api_call_free(call);
    assert_int_equal(dropped, 0); /* the writer still fills its arrays */
    harness->writer_stands = false;
    atomic_store(&harness->usage.busy_since, 0);
    for (int turns = 0; turns < 10; turns++) harness_turn(harness);
    assert_int_equal(dropped, 1);
    assert_null(harness_answer(harness));
}

static void test_status(void **state) {
    Harness *harness = *state;
    static const Case well[] = {
        {"GET", BRANCH "/status", NULL, 200, "\"ready\":true,\"notReady\":null"},
        {"GET", BRANCH "/status", NULL, 200, "\"sourcesCount\":1,\"sinksCount\":0"},
        {"GET", BRANCH "/status", NULL, 200, "\"failing\":false,\"lastError\":null"},
    };
    RUN(harness, well);
    harness->connections_fail = true;
    atomic_store(&harness->usage.intake_stopped, true);
    static const Case ill[] = {
        {"GET", BRANCH "/status", NULL, 200, "\"ready\":false,\"notReady\":{\"error\":\"stream.api.overloaded\""},
        {"GET", BRANCH "/status", NULL, 200, "\"failing\":true,\"lastError\":\"nobody there\""},
        {"GET", BRANCH "/connections", NULL, 200, "\"failing\":true,\"lastError\":\"nobody there\""},
    };
    RUN(harness, ill);
    _cleanup_free_ char *text = text_of(harness, "/metrics");
    assert_non_null(strstr(text, "\nsluice_connection_up{connection=\"local\"} 0\n"));
}

/* What the writer says while its disk hangs and nothing is lent: that nothing is known, at once. */
static void test_status_while_the_disk_hangs(void **state) {
    Harness *harness = *state;
    harness->writer_stands = true;
    (void)harness_send(harness, "GET", BRANCH "/status", NULL, 0); /* on its way when the disk begins to hang */
    harness_turn(harness);
    assert_null(harness_answer(harness));
    harness->usage.stall_limit = USEC_SECOND;
    atomic_store(&harness->usage.busy_since, 1);
    harness_turn(harness);
    ApiCall *call = harness_answer(harness);
    assert_non_null(call);
    assert_non_null(strstr(buffer_text(&call->response), "\"disk\":null"));
    api_call_free(call);
    static const Case stalled[] = {
        {"GET", BRANCH "/status", NULL, 200, "stream.api.diskStalled"},
        {"GET", BRANCH "/aggregation/sources", NULL, 503, "diskStalled"},
    };
    RUN(harness, stalled);
    _cleanup_free_ char *text = text_of(harness, "/metrics");
    assert_non_null(strstr(text, "\nsluice_sources 1\n"));
    assert_null(strstr(text, "sluice_sink_rows"));
    atomic_store(&harness->usage.busy_since, 0);
}

static void test_aggregation(void **state) {
    Harness *harness = *state;
    for (int i = 0; i < 3; i++) {
        _cleanup_free_ char *body = NULL;
        assert_true(asprintf(&body, "{\"name\":\"K%d\",\"table\":{\"connection\":\"local\",\"tableId\":\"t%d\"," COLUMNS "}}", i, i) > 0);
        assert_string_equal(harness_task(harness, "POST", SINKS, body, NULL), "success");
    }
    assert_string_equal(harness_task(harness, "POST", SOURCES, "{\"name\":\"T\"}", NULL), "success");
    assert_string_equal(harness_task(harness, "DELETE", SINKS "/k0", NULL, NULL), "success");
    assert_string_equal(harness_task(harness, "PUT", SINKS "/k1/pause", NULL, NULL), "success");
    static const Case pages[] = {
        {"GET", BRANCH "/aggregation/sources?limit=1", NULL, 200, "\"totalCount\":2,\"afterId\":\"\",\"lastId\":\"s\""},
        {"GET", BRANCH "/aggregation/sources?limit=1&afterId=s", NULL, 200,
         "\"sourceId\":\"t\",\"name\":\"T\",\"type\":\"http\",\"sinks\":[]"},
        {"GET", BRANCH "/aggregation/sources?limit=0", NULL, 400, "limit"},
    };
    RUN(harness, pages);
    json_t *answer;
    assert_int_equal(harness_call(harness, "GET", BRANCH "/aggregation/sources", NULL, &answer), 200);
    json_t *sinks = json_object_get(json_array_get(json_object_get(answer, "sources"), 0), "sinks");
    assert_int_equal(json_array_size(sinks), 2);
    for (size_t i = 0; i < 2; i++) { /* the harness says the sink's number: the statistics are those of this sink */
        json_t *statistics = json_object_get(json_array_get(sinks, i), "statistics");
        json_t *target = json_object_get(json_object_get(statistics, "levels"), "target");
        assert_int_equal(json_integer_value(json_object_get(target, "recordsCount")), 2 + i);
        const char *what = json_string_value(json_object_get(json_object_get(statistics, "pausedBy"), "what"));
        assert_true(i == 0 ? what && strcmp(what, "sink") == 0 : !what);
    }
    json_decref(answer);
}

static void test_every_family_has_a_series(void **state) {
    Harness *harness = *state;
    static const char body[] = "{\"name\":\"K\",\"table\":{\"connection\":\"local\",\"tableId\":\"k\"," COLUMNS "}}";
    assert_string_equal(harness_task(harness, "POST", SINKS, body, NULL), "success");
    _cleanup_free_ char *text = text_of(harness, "/metrics");
    for (MetricFamily family = 0; family < FAMILY_COUNT_; family++) {
        const MetricFamilyInfo *info = metrics_family(family);
        if (info->scope == SCOPE_BRIDGE) continue; /* test-bridge.c */
        _cleanup_free_ char *head = NULL;
        assert_true(asprintf(&head, "\n# TYPE %s %s\n%s%c", info->name, info->type, info->name, info->labels[0] ? '{' : ' ') > 0);
        const char *first = strstr(text, head);
        if (!first) fail_msg("no series of %s", info->name);
        assert_null(strstr(first + 1, head));
    }
}

static void test_metrics_have_a_bound(void **state) {
    Harness *harness = *state;
    for (int i = 0; i < 4; i++) {
        _cleanup_free_ char *body = NULL;
        /* The ids descend: which sinks have series of their own goes by age. */
        assert_true(asprintf(&body, "{\"name\":\"K%d\",\"table\":{\"connection\":\"local\",\"tableId\":\"t%d\"," COLUMNS "}}", 9 - i, i) >
                    0);
        assert_string_equal(harness_task(harness, "POST", SINKS, body, NULL), "success");
    }
    _cleanup_free_ char *all = text_of(harness, "/metrics");
    assert_non_null(strstr(all, "\nsluice_sink_rows{source=\"s\",sink=\"k6\",level=\"target\"} 4\n"));
    assert_null(strstr(all, "(other)"));
    harness->options.metrics_sinks = 2;
    _cleanup_free_ char *some = text_of(harness, "/metrics");
    assert_non_null(strstr(some, "\nsluice_sink_rows{source=\"s\",sink=\"k9\",level=\"target\"} 1\n"));
    assert_non_null(strstr(some, "\nsluice_sink_rows{source=\"s\",sink=\"k8\",level=\"target\"} 2\n"));
    assert_null(strstr(some, "sink=\"k7\""));
    assert_non_null(strstr(some, "\nsluice_sink_rows{source=\"(other)\",sink=\"(other)\",level=\"target\"} 7\n"));
    assert_non_null(strstr(some, "\nsluice_sink_rejects_total{source=\"s\",sink=\"k9\",kind=\"event\"} 0\n"));
    assert_string_equal(harness_task(harness, "DELETE", SINKS "/k9", NULL, NULL), "success");
    _cleanup_free_ char *less = text_of(harness, "/metrics");
    assert_null(strstr(less, "sink=\"k9\""));
    assert_non_null(strstr(less, "sink=\"k7\""));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_errors, start, harness_teardown),
        cmocka_unit_test_setup_teardown(test_tables, start, harness_teardown),
        cmocka_unit_test_setup_teardown(test_tokens, start, harness_teardown),
        cmocka_unit_test_setup_teardown(test_preconditions, start, harness_teardown),
        cmocka_unit_test_setup_teardown(test_hostile, start, harness_teardown),
        cmocka_unit_test_setup_teardown(test_dry_run, start, harness_teardown),
        cmocka_unit_test_setup_teardown(test_rejects, start, harness_teardown),
        cmocka_unit_test_setup_teardown(test_ready, start, harness_teardown),
        cmocka_unit_test_setup_teardown(test_connection_tests, start, harness_teardown),
        cmocka_unit_test_setup_teardown(test_connection_tests_are_bounded, start, harness_teardown),
        cmocka_unit_test_setup_teardown(test_many_sinks_are_asked_for_in_portions, start, harness_teardown),
        cmocka_unit_test_setup_teardown(test_the_disk_hangs_between_portions, start, harness_teardown),
        cmocka_unit_test_setup_teardown(test_status, start, harness_teardown),
        cmocka_unit_test_setup_teardown(test_status_while_the_disk_hangs, start, harness_teardown),
        cmocka_unit_test_setup_teardown(test_aggregation, start, harness_teardown),
        cmocka_unit_test_setup_teardown(test_every_family_has_a_series, start, harness_teardown),
        cmocka_unit_test_setup_teardown(test_metrics_have_a_bound, start, harness_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
