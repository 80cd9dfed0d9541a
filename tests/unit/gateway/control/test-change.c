#include "tests/unit/gateway/control/harness.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"

#define BRANCH "/v1/branches/default"
#define SOURCES BRANCH "/sources"
#define SOURCE SOURCES "/s"
#define SINKS SOURCE "/sinks"
#define SINK SINKS "/orders"
#define CONNECTION "/v1/branches/default/connections/local"

static void make_sink(Harness *harness) {
    assert_string_equal(harness_task(harness, "POST", SOURCES, "{\"name\":\"S\"}", NULL), "success");
    assert_string_equal(harness_task(harness, "POST", SINKS, harness_sink, NULL), "success");
}

static SnapshotSource *seen(const Harness *harness, size_t loop) {
    return snapshot_find(harness->held[loop], SPAN("s"));
}

static size_t sinks_seen(const Harness *harness) {
    SnapshotSource *source = seen(harness, 0);
    return source && source->plan ? plan_sink_count(source->plan) : 0;
}

static void turns(Harness *harness, unsigned count) {
    for (unsigned i = 0; i < count; i++) harness_turn(harness);
}

static void expect_answer(Harness *harness, const char *part) {
    ApiCall *call = harness_answer(harness);
    assert_non_null(call);
    if (!strstr(buffer_text(&call->response), part)) fail_msg("%s is not in %s", part, buffer_text(&call->response));
    api_call_free(call);
}

/* The task succeeds when every loop runs it, and not before. */
static void test_create(void **state) {
    Harness *harness = *state;
    make_sink(harness);
    assert_int_equal(harness->prepares, 1);
    assert_int_equal(harness->closes, 0);
    for (size_t i = 0; i < HARNESS_LOOPS; i++) {
        SnapshotSource *source = seen(harness, i);
        assert_non_null(source->plan);
        assert_int_equal(source->skipped_count, 0);
        assert_int_equal(plan_sink(source->plan, 0)->number, 1);
        assert_int_equal(plan_sink(source->plan, 0)->on_invalid, ON_INVALID_REJECT);
    }
    harness_stop(harness);
    harness_start(harness);
    assert_int_equal(sinks_seen(harness), 1);
}

static void test_fence(void **state) {
    Harness *harness = *state;
    make_sink(harness);
    harness->loops_stand = true;
    (void)harness_send(harness, "PATCH", SINK, "{\"table\":{\"tableId\":\"other\"}}", 50 * USEC_SECOND);
    turns(harness, 10);
    assert_null(harness_answer(harness));
    assert_int_equal(harness->defines, 2); /* stored, and known to the writer, but the fence stands */
    assert_int_equal(harness->closes, 0);
    harness->loops_stand = false;
    turns(harness, 5);
    expect_answer(harness, "\"success\"");
    assert_int_equal(harness->closes, 1);
    assert_int_equal(harness->last_closed, 1);
    assert_string_equal(plan_sink(seen(harness, 0)->plan, 0)->target.table.table_id, "other");
    assert_int_equal(plan_sink(seen(harness, 0)->plan, 0)->mapping_version, 2);

    /* What leaves table and mapping alone closes nothing. */
    assert_string_equal(harness_task(harness, "PATCH", SINK, "{\"description\":\"x\"}", NULL), "success");
    assert_int_equal(harness->closes, 1);
    assert_int_equal(plan_sink(seen(harness, 0)->plan, 0)->mapping_version, 2);
    assert_int_equal(plan_sink(seen(harness, 0)->plan, 0)->version.number, 3);
}

/* New events are refused first: the writer hears of the end when every loop has left the sink. */
static void test_withdraw(void **state) {
    Harness *harness = *state;
    make_sink(harness);
    harness->loops_stand = true;
    (void)harness_send(harness, "DELETE", SINK "?discard=true", NULL, 50 * USEC_SECOND);
    turns(harness, 10);
    assert_int_equal(harness->defines, 1);
    harness->loops_stand = false;
    turns(harness, 5);
    assert_int_equal(sinks_seen(harness), 0);
    assert_int_equal(harness->defines, 2);
    assert_true(harness->last_order.discard);
    assert_false(harness->last_order.import_now);
    expect_answer(harness, "\"discardedRows\":7");
    assert_int_equal(harness_call(harness, "GET", SINK, NULL, NULL), 404);
    assert_int_equal(harness_call(harness, "POST", SINKS, harness_sink, NULL), 409);

    assert_string_equal(harness_task(harness, "PUT", SINK "/undelete", NULL, NULL), "success");
    assert_int_equal(sinks_seen(harness), 1);
    assert_string_equal(harness_task(harness, "PUT", SINK "/disable", NULL, NULL), "success");
    assert_true(harness->last_order.import_now);
    assert_int_equal(sinks_seen(harness), 0);
    assert_int_equal(seen(harness, 0)->skipped_count, 1);
    assert_int_equal(seen(harness, 0)->skipped[0], 1);
    assert_string_equal(harness_task(harness, "PUT", SINK "/enable", NULL, NULL), "success");
    assert_int_equal(sinks_seen(harness), 1);
}

static void test_source_ends(void **state) {
    Harness *harness = *state;
    make_sink(harness);
    assert_string_equal(harness_task(harness, "PUT", SOURCE "/disable", NULL, NULL), "success");
    assert_true(seen(harness, 1)->source->disabled);
    assert_string_equal(harness_task(harness, "PUT", SOURCE "/enable", NULL, NULL), "success");
    assert_string_equal(harness_task(harness, "DELETE", SOURCE, NULL, NULL), "success");
    assert_null(seen(harness, 0));
    assert_int_equal(harness_call(harness, "GET", SINKS, NULL, NULL), 404);
    assert_int_equal(harness_call(harness, "POST", SOURCES, "{\"name\":\"S\"}", NULL), 409);
    assert_string_equal(harness_task(harness, "PUT", SOURCE "/undelete", NULL, NULL), "success");
    assert_int_equal(sinks_seen(harness), 1); /* its sinks come back with it */
    harness_stop(harness);
    harness_start(harness);
    assert_int_equal(sinks_seen(harness), 1);
}

/* The table cannot be had: nothing changes. */
static void test_prepare_fails(void **state) {
    Harness *harness = *state;
    make_sink(harness);
    json_t *task;
    harness->prepare = SINK_REFUSED;
    harness->prepare_says = "column \"body\" is missing, column \"n\" is integer";
    assert_string_equal(harness_task(harness, "PATCH", SINK, "{\"table\":{\"tableId\":\"other\"}}", &task), "error");
    const char *says = json_string_value(json_object_get(task, "error"));
    assert_non_null(strstr(says, "column \"body\" is missing, column \"n\" is integer"));
    assert_true(json_is_null(json_object_get(task, "result")));
    json_decref(task);
    harness->prepare = SINK_UNREACHABLE;
    harness->prepare_says = "connection refused";
    assert_string_equal(harness_task(harness, "PATCH", SINK, "{\"table\":{\"tableId\":\"other\"}}", &task), "error");
    assert_non_null(strstr(json_string_value(json_object_get(task, "error")), "try again"));
    json_decref(task);
    harness->prepare = SINK_DONE;
    assert_int_equal(harness->defines, 1);
    json_t *sink;
    assert_int_equal(harness_call(harness, "GET", SINK, NULL, &sink), 200);
    assert_string_equal(json_string_value(json_object_get(json_object_get(sink, "table"), "tableId")), "orders");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(sink, "version"), "number")), 1);
    json_decref(sink);

    /* A sink that could not be made has taken a number for good. */
    harness->prepare = SINK_REFUSED;
    static const char *const other = "{\"name\":\"Other\",\"table\":{\"connection\":\"local\",\"tableId\":\"o2\",\"mapping\":{\"columns\":"
                                     "[{\"name\":\"id\",\"type\":\"id\"}]}}}";
    assert_string_equal(harness_task(harness, "POST", SINKS, other, NULL), "error");
    harness->prepare = SINK_DONE;
    assert_string_equal(harness_task(harness, "POST", SINKS, other, NULL), "success");
    assert_int_equal(plan_sink(seen(harness, 0)->plan, 1)->number, 3);
    assert_int_equal(plan_sink(seen(harness, 0)->plan, 1)->on_invalid, ON_INVALID_QUARANTINE);
}

/* The writer cannot store it: memory, and what the loops run, stay as they were. */
static void test_define_fails(void **state) {
    Harness *harness = *state;
    make_sink(harness);
    harness->define_result = -ENOSPC;
    assert_string_equal(harness_task(harness, "PATCH", SINK, "{\"table\":{\"tableId\":\"other\"}}", NULL), "error");
    assert_string_equal(plan_sink(seen(harness, 0)->plan, 0)->target.table.table_id, "orders");
    harness->define_result = -ENOSPC;
    assert_string_equal(harness_task(harness, "DELETE", SINK, NULL, NULL), "error");
    turns(harness, 5);
    assert_int_equal(sinks_seen(harness), 1); /* taken away, and shown again */
    assert_int_equal(harness_call(harness, "GET", SINK, NULL, NULL), 200);
    assert_string_equal(harness_task(harness, "DELETE", SINK, NULL, NULL), "success");
}

/* The changes of one source run one after another, those of others meanwhile. */
static void test_queue(void **state) {
    Harness *harness = *state;
    make_sink(harness);
    harness->loader_stands = true;
    (void)harness_send(harness, "PATCH", SINK, "{\"table\":{\"tableId\":\"other\"}}", 50 * USEC_SECOND);
    (void)harness_send(harness, "PATCH", SINK, "{\"description\":\"second\"}", 50 * USEC_SECOND);
    (void)harness_send(harness, "DELETE", SINK, NULL, 50 * USEC_SECOND);
    (void)harness_send(harness, "PATCH", SINK, "{\"description\":\"too late\"}", 50 * USEC_SECOND);
    (void)harness_send(harness, "POST", SOURCES, "{\"name\":\"T\"}", 50 * USEC_SECOND);
    turns(harness, 10);
    expect_answer(harness, "is being deleted");
    expect_answer(harness, "\"sourceId\":\"t\"");
    assert_null(harness_answer(harness));
    /* A table that is about to be taken is taken. */
    assert_int_equal(harness_call(harness, "POST", SOURCES "/t/sinks",
                                  "{\"name\":\"X\",\"table\":{\"connection\":\"local\",\"tableId\":\"other\",\"mapping\":{\"columns\":"
                                  "[{\"name\":\"id\",\"type\":\"id\"}]}}}",
                                  NULL),
                     409);
    harness->loader_stands = false;
    turns(harness, 30);
    expect_answer(harness, "\"version\":2");
    expect_answer(harness, "\"version\":3");
    expect_answer(harness, "\"sink.delete\"");
    assert_null(harness_answer(harness));
}

static void test_pending_create(void **state) {
    Harness *harness = *state;
    harness->writer_stands = true;
    assert_int_equal(harness_call(harness, "POST", SOURCES, "{\"name\":\"S\"}", NULL), 202);
    assert_int_equal(harness_call(harness, "POST", SOURCES, "{\"name\":\"S\"}", NULL), 409);
    harness->writer_stands = false;
    turns(harness, 5);
    harness->loader_stands = true;
    assert_int_equal(harness_call(harness, "POST", SINKS, harness_sink, NULL), 202);
    assert_int_equal(harness_call(harness, "POST", SINKS, harness_sink, NULL), 409);
    harness->loader_stands = false;
    turns(harness, 5);
    assert_int_equal(sinks_seen(harness), 1);
}

#define SINK_OF(ID, TABLE)                                                                                                                 \
    "{\"sinkId\":\"" ID "\",\"name\":\"X\",\"table\":{\"connection\":\"local\",\"tableId\":\"" TABLE                                       \
    "\",\"mapping\":{\"columns\":[{\"name\":\"id\",\"type\":\"id\"}]}}}"

static void expect_refusal(Harness *harness, const char *method, const char *path, const char *body, int status, const char *id) {
    json_t *answer;
    int is = harness_call(harness, method, path, body, &answer);
    const char *error = json_string_value(json_object_get(answer, "error"));
    if (is != status || !error || strcmp(error, id) != 0) fail_msg("%s %s: %d %s", method, path, is, error ? error : "");
    json_decref(answer);
}

/* Whatever kind of change is on its way: the names that it will create or delete, and the tables
 * that it will take, are known at once. */
static void test_pending_names(void **state) {
    Harness *harness = *state;
    static const char manifest[] = "{\"name\":\"S\",\"sinks\":[" SINK_OF("a", "ta") "," SINK_OF("b", "tb") "]}";
    harness->loader_stands = true;
    assert_int_equal(harness_call(harness, "PUT", SOURCE "/manifest", manifest, NULL), 202);
    expect_refusal(harness, "POST", SOURCES, "{\"name\":\"S\"}", 409, "stream.api.sourceAlreadyExists");
    assert_int_equal(harness_call(harness, "POST", SOURCES, "{\"name\":\"T\"}", NULL), 202);
    turns(harness, 10);
    expect_refusal(harness, "POST", SOURCES "/t/sinks", SINK_OF("x", "tb"), 409, "stream.api.tableTaken");
    harness->loader_stands = false;
    turns(harness, 20);
    assert_int_equal(sinks_seen(harness), 2);

    /* Sinks of a manifest that waits behind another change of its source, and their tables. */
    static const char more[] = "{\"name\":\"S\",\"sinks\":[" SINK_OF("b", "tb") "," SINK_OF("c", "tc") "]}";
    harness->loader_stands = true;
    assert_int_equal(harness_call(harness, "PATCH", SINKS "/b", "{\"table\":{\"tableId\":\"tb2\"}}", NULL), 202);
    assert_int_equal(harness_call(harness, "PUT", SOURCE "/manifest?prune=true", more, NULL), 202);
    expect_refusal(harness, "POST", SINKS, SINK_OF("c", "td"), 409, "stream.api.sinkAlreadyExists");
    expect_refusal(harness, "POST", SOURCES "/t/sinks", SINK_OF("x", "tc"), 409, "stream.api.tableTaken");
    static const char *const gone[] = {"/pause", "/resume", "/disable", "/enable"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++) {
        char path[100];
        (void)snprintf(path, sizeof path, "%s%s", SINKS "/a", gone[i]);
        expect_refusal(harness, "PUT", path, NULL, 404, "stream.api.sinkNotFound");
    }
    expect_refusal(harness, "PATCH", SINKS "/a", "{\"description\":\"x\"}", 404, "stream.api.sinkNotFound");
    expect_refusal(harness, "PATCH", SINKS "/a/settings", "{\"settings\":[]}", 404, "stream.api.sinkNotFound");
    expect_refusal(harness, "DELETE", SINKS "/a", NULL, 404, "stream.api.sinkNotFound");
    expect_refusal(harness, "PUT", SOURCE "/manifest", manifest, 409, "stream.api.sinkAlreadyExists");

    /* The source, and with it everything of it, until it is asked back. */
    assert_int_equal(harness_call(harness, "DELETE", SOURCE, NULL, NULL), 202);
    expect_refusal(harness, "PATCH", SOURCE, "{\"name\":\"x\"}", 404, "stream.api.sourceNotFound");
    expect_refusal(harness, "DELETE", SOURCE, NULL, 404, "stream.api.sourceNotFound");
    expect_refusal(harness, "POST", SINKS, SINK_OF("z", "tz"), 404, "stream.api.sourceNotFound");
    expect_refusal(harness, "PUT", SINKS "/b/undelete", NULL, 404, "stream.api.sourceNotFound");
    expect_refusal(harness, "PUT", SOURCE "/manifest", more, 409, "stream.api.sourceAlreadyExists");
    assert_int_equal(harness_call(harness, "PUT", SOURCE "/undelete", NULL, NULL), 202);
    assert_int_equal(harness_call(harness, "PATCH", SINKS "/b", "{\"description\":\"x\"}", NULL), 202);
    harness->loader_stands = false;
    turns(harness, 50);
    assert_int_equal(sinks_seen(harness), 2);
    json_t *sink;
    assert_int_equal(harness_call(harness, "GET", SINKS "/b", NULL, &sink), 200);
    assert_string_equal(json_string_value(json_object_get(sink, "description")), "x");
    json_decref(sink);
}

/* Limits count what is on its way, too. */
static void test_pending_limits(void **state) {
    Harness *harness = *state;
    assert_string_equal(harness_task(harness, "POST", SOURCES, "{\"name\":\"S\"}", NULL), "success");
    harness->loader_stands = true;
    for (unsigned i = 0; i < SINKS_A_SOURCE_MAX; i++) {
        char body[200];
        (void)snprintf(body, sizeof body, SINK_OF("s%u", "t%u"), i, i);
        assert_int_equal(harness_call(harness, "POST", SINKS, body, NULL), 202);
    }
    expect_refusal(harness, "POST", SINKS, SINK_OF("more", "more"), 422, "stream.api.resourceLimitReached");
    harness->loader_stands = false;
    turns(harness, 200);
    assert_int_equal(sinks_seen(harness), SINKS_A_SOURCE_MAX);
    harness->loops_stand = true;
    assert_int_equal(harness_call(harness, "DELETE", SINKS "/s3", NULL, NULL), 202);
    assert_int_equal(harness_call(harness, "POST", SINKS, SINK_OF("more", "more"), NULL), 422); /* the deletion may fail */
    harness->loops_stand = false;
    turns(harness, 10);
    assert_string_equal(harness_task(harness, "POST", SINKS, SINK_OF("more", "more"), NULL), "success");

    harness->options.sources_max = 2;
    harness->writer_stands = true;
    assert_int_equal(harness_call(harness, "PUT", SOURCES "/t/manifest", "{\"name\":\"T\",\"sinks\":[]}", NULL), 202);
    expect_refusal(harness, "POST", SOURCES, "{\"name\":\"U\"}", 422, "stream.api.resourceLimitReached");
    harness->writer_stands = false;
    turns(harness, 10);
    assert_string_equal(harness_task(harness, "DELETE", SOURCE, NULL, NULL), "success");
    assert_string_equal(harness_task(harness, "POST", SOURCES, "{\"name\":\"U\"}", NULL), "success");
    assert_string_equal(harness_task(harness, "DELETE", SOURCES "/t", NULL, NULL), "success");
    harness->writer_stands = true;
    assert_int_equal(harness_call(harness, "PUT", SOURCES "/t/undelete", NULL, NULL), 202);
    expect_refusal(harness, "PUT", SOURCE "/undelete", NULL, 422, "stream.api.resourceLimitReached");
}

static void test_settings(void **state) {
    Harness *harness = *state;
    make_sink(harness);
    assert_true(seen(harness, 0)->any_sync_wait);
    assert_string_equal(harness_task(harness, "PATCH", SOURCE "/settings",
                                     "{\"settings\":[{\"key\":\"storage.level.local.encoding.sync.wait\",\"value\":false}]}", NULL),
                        "success");
    assert_false(seen(harness, 0)->any_sync_wait);
    assert_false(harness->last_order.import_now); /* no import condition */
    assert_string_equal(harness_task(harness, "PATCH", SINK "/settings",
                                     "{\"settings\":[{\"key\":\"storage.level.target.import.trigger.count\",\"value\":5}]}", NULL),
                        "success");
    assert_true(harness->last_order.import_now);
    /* The sink's own value holds: its source's changes nothing for it. */
    assert_string_equal(harness_task(harness, "PATCH", SOURCE "/settings",
                                     "{\"settings\":[{\"key\":\"storage.level.target.import.trigger.count\",\"value\":9}]}", NULL),
                        "success");
    assert_false(harness->last_order.import_now);
    unsigned defines = harness->defines;
    assert_string_equal(harness_task(harness, "PATCH", SINK "/settings",
                                     "{\"settings\":[{\"key\":\"storage.level.target.import.trigger.count\",\"value\":5}]}", NULL),
                        "success");
    assert_int_equal(harness->defines, defines); /* nothing differs */
    harness_stop(harness);
    harness_start(harness);
    json_t *answer;
    assert_int_equal(harness_call(harness, "GET", SINK "/settings", NULL, &answer), 200);
    size_t i;
    json_t *item;
    bool found = false;
    json_array_foreach(json_object_get(answer, "settings"), i, item) {
        if (strcmp(json_string_value(json_object_get(item, "key")), "storage.level.target.import.trigger.count") != 0) continue;
        found = true;
        assert_int_equal(json_integer_value(json_object_get(item, "value")), 5);
        assert_true(json_is_true(json_object_get(item, "overwritten")));
    }
    assert_true(found);
    json_decref(answer);
}

/* Deleted definitions go after 7 days, and their ids can be given again; their numbers cannot. */
static void test_expiry(void **state) {
    Harness *harness = *state;
    make_sink(harness);
    assert_string_equal(harness_task(harness, "DELETE", SINK, NULL, NULL), "success");
    harness->time_passed += 6 * USEC_DAY;
    turns(harness, 10);
    assert_int_equal(harness_call(harness, "POST", SINKS, harness_sink, NULL), 409);
    harness->time_passed += 2 * USEC_DAY;
    turns(harness, 10);
    assert_string_equal(harness_task(harness, "POST", SINKS, harness_sink, NULL), "success");
    assert_int_equal(plan_sink(seen(harness, 0)->plan, 0)->number, 2);
}

/* Time that the gateway was off for, and a clock that is wrong, make no definition old. */
static void test_expiry_and_a_wrong_clock(void **state) {
    Harness *harness = *state;
    make_sink(harness);
    assert_string_equal(harness_task(harness, "DELETE", SINK, NULL, NULL), "success");
    static const usec_t jumps[] = {400 * USEC_DAY, -800 * USEC_DAY};
    for (size_t i = 0; i < 2; i++) {
        harness_stop(harness);
        harness->wall_jump += jumps[i];
        harness_start(harness);
        turns(harness, 10);
        assert_int_equal(harness_call(harness, "POST", SINKS, harness_sink, NULL), 409);
    }
    harness->time_passed += 8 * USEC_DAY; /* since it was deleted: that is stored */
    turns(harness, 10);
    assert_string_equal(harness_task(harness, "POST", SINKS, harness_sink, NULL), "success");
}

/* A pause is stored and told to the writer; no loop hears of it, and no fence is waited for. */
static void test_pause(void **state) {
    Harness *harness = *state;
    make_sink(harness);
    harness->loops_stand = true;
    uint64_t generation = harness->control->generation;
    assert_string_equal(harness_task(harness, "PUT", SINK "/pause", NULL, NULL), "success");
    assert_int_equal(harness->control->generation, generation);
    assert_true(harness->last_sink_paused);
    unsigned defines = harness->defines;
    assert_string_equal(harness_task(harness, "PUT", SINK "/pause", NULL, NULL), "success");
    assert_int_equal(harness->defines, defines); /* it is already */
    json_t *answer;
    assert_int_equal(harness_call(harness, "POST", SINK "/flush", NULL, &answer), 409);
    assert_string_equal(json_string_value(json_object_get(answer, "error")), "stream.api.paused");
    json_decref(answer);
    assert_int_equal(harness_call(harness, "GET", SINK "/statistics/total", NULL, &answer), 200);
    assert_string_equal(json_string_value(json_object_get(json_object_get(answer, "pausedBy"), "what")), "sink");
    json_decref(answer);
    assert_int_equal(harness_call(harness, "PATCH", SINK, "{\"paused\":null}", NULL), 400);

    harness_stop(harness);
    harness_start(harness);
    assert_int_equal(harness_call(harness, "GET", SINK, NULL, &answer), 200);
    assert_string_equal(json_string_value(json_object_get(json_object_get(answer, "paused"), "by")), "admin.token");
    json_decref(answer);
    assert_string_equal(harness_task(harness, "PATCH", SINK, "{\"description\":\"x\"}", NULL), "success");
    assert_int_equal(harness_call(harness, "POST", SINK "/flush", NULL, NULL), 409); /* no other change ends it */
    assert_string_equal(harness_task(harness, "PUT", SINK "/resume", NULL, NULL), "success");
    assert_false(harness->last_sink_paused);
    assert_int_equal(harness_call(harness, "POST", SINK "/flush", NULL, NULL), 202);
}

static void test_pause_of_a_source(void **state) {
    Harness *harness = *state;
    make_sink(harness);
    /* Of a deleted sink rows may wait: they follow its source, and its own pause has ended. */
    assert_string_equal(harness_task(harness, "PUT", SINK "/pause", NULL, NULL), "success");
    assert_string_equal(harness_task(harness, "DELETE", SINK, NULL, NULL), "success");
    assert_false(harness->last_sink_paused);
    assert_string_equal(harness_task(harness, "PUT", SOURCE "/pause", NULL, NULL), "success");
    assert_true(harness->last_source_paused);
    assert_true(harness->last_sink_deleted);
    assert_string_equal(harness_task(harness, "PUT", SINK "/undelete", NULL, NULL), "success");
    assert_int_equal(harness_call(harness, "POST", SINK "/flush", NULL, NULL), 409);
    assert_string_equal(harness_task(harness, "DELETE", SOURCE, NULL, NULL), "success");
    assert_false(harness->last_source_paused);
    assert_string_equal(harness_task(harness, "PUT", SOURCE "/undelete", NULL, NULL), "success");
    assert_int_equal(harness_call(harness, "POST", SINK "/flush", NULL, NULL), 202);
}

static void expect_result(Harness *harness, const char *method, const char *path, const char *wanted) {
    json_t *task;
    assert_string_equal(harness_task(harness, method, path, NULL, &task), "success");
    const char *result = json_string_value(json_object_get(task, "result"));
    if (!strstr(result, wanted)) fail_msg("%s, not %s", result, wanted);
    json_decref(task);
}

/* Who disables or deletes reads whether the rows that wait are imported now, and else what holds
 * them back. */
static void test_what_waits_is_told_while_paused(void **state) {
    Harness *harness = *state;
    make_sink(harness);
    expect_result(harness, "PUT", SINK "/disable", "; waiting rows are imported. The source has no");
    expect_result(harness, "PUT", SINK "/enable", "enabled");
    expect_result(harness, "PUT", SINK "/pause", "paused");
    expect_result(harness, "PUT", SINK "/disable", "; waiting rows are imported when the sink is resumed. The source has no");
    expect_result(harness, "PUT", SOURCE "/pause", "paused");
    expect_result(harness, "PUT", SINK "/enable", "enabled");
    expect_result(harness, "PUT", SINK "/disable", "imported when the sink and the source are resumed.");
    expect_result(harness, "DELETE", SINK, "The sink is deleted; waiting rows are imported when the source is resumed.");
    assert_true(harness->last_source_paused && !harness->last_sink_paused && harness->last_sink_deleted);
    expect_result(harness, "PUT", SINK "/undelete", "is restored");
    expect_result(harness, "PUT", SOURCE "/disable", "The source is disabled; waiting rows are imported when the source is resumed.");
    assert_int_equal(harness_call(harness, "PUT", CONNECTION "/pause", NULL, NULL), 200);
    expect_result(harness, "DELETE", SINK "?discard=true", "The sink is deleted, and the waiting rows are dropped.");
    expect_result(harness, "PUT", SINK "/undelete", "is restored");
    expect_result(harness, "DELETE", SINK, "imported when the source and connection \"local\" are resumed.");
    expect_result(harness, "PUT", SOURCE "/resume", "resumed");
    /* A deleted sink counts: its rows may wait. */
    expect_result(harness, "DELETE", SOURCE,
                  "waiting rows are imported, of sinks that are paused or have a paused connection when that is resumed.");
    expect_result(harness, "PUT", SOURCE "/undelete", "is restored");
    assert_int_equal(harness_call(harness, "PUT", CONNECTION "/resume", NULL, NULL), 200);
    expect_result(harness, "DELETE", SOURCE, "The source is deleted; waiting rows are imported.");
}

static void test_pause_of_a_connection(void **state) {
    Harness *harness = *state;
    make_sink(harness);
    json_t *answer;
    assert_int_equal(harness_call(harness, "PUT", BRANCH "/connections/nowhere/pause", NULL, NULL), 404);
    assert_int_equal(harness_call(harness, "PUT", BRANCH "/connections/local/pause", NULL, NULL), 200);
    harness_stop(harness);
    harness_start(harness);
    assert_int_equal(harness_call(harness, "GET", BRANCH "/connections", NULL, &answer), 200);
    json_t *paused = json_object_get(json_array_get(json_object_get(answer, "connections"), 0), "paused");
    assert_string_equal(json_string_value(json_object_get(paused, "by")), "admin.token");
    json_decref(answer);
    assert_int_equal(harness_call(harness, "POST", SINK "/flush", NULL, NULL), 409);
    assert_int_equal(harness_call(harness, "PUT", BRANCH "/connections/local/resume", NULL, &answer), 200);
    assert_null(json_object_get(answer, "paused"));
    json_decref(answer);
    assert_int_equal(harness_call(harness, "POST", SINK "/flush", NULL, NULL), 202);
    harness_stop(harness);
    harness_start(harness);
    assert_int_equal(harness_call(harness, "POST", SINK "/flush", NULL, NULL), 202);
}

/* The conditions are the writer's: a change of them compiles, publishes and fences nothing. */
static void test_conditions_need_no_fence(void **state) {
    Harness *harness = *state;
    make_sink(harness);
    harness->loops_stand = true;
    uint64_t generation = harness->control->generation;
    static const char *const changes[][2] = {
        {SINK "/settings", "{\"settings\":[{\"key\":\"storage.level.target.import.trigger.count\",\"value\":5}]}"},
        {SOURCE "/settings", "{\"settings\":[{\"key\":\"storage.level.staging.upload.trigger.count\",\"value\":6}]}"},
    };
    for (size_t i = 0; i < 2; i++) assert_string_equal(harness_task(harness, "PATCH", changes[i][0], changes[i][1], NULL), "success");
    assert_int_equal(harness->control->generation, generation);
    assert_int_equal(harness->defines, 3);
    /* The loops know who waits for the disk. */
    (void)harness_send(harness, "PATCH", SOURCE "/settings",
                       "{\"settings\":[{\"key\":\"storage.level.local.encoding.sync.wait\",\"value\":false}]}", 50 * USEC_SECOND);
    turns(harness, 10);
    assert_null(harness_answer(harness));
    harness->loops_stand = false;
    turns(harness, 5);
    expect_answer(harness, "\"success\"");
    assert_false(seen(harness, 0)->any_sync_wait);
}

/* While a template is being checked everything else is answered; the check's verdict, or the
 * shutdown, answers the call. */
static void test_template_checks_hold_nobody_up(void **state) {
    Harness *harness = *state;
    static const char body[] = "{\"name\":\"K\",\"table\":{\"tableId\":\"k\",\"mapping\":{\"columns\":["
                               "{\"name\":\"x\",\"type\":\"template\",\"template\":{\"language\":\"jsonnet\",\"content\":\"1\"}},"
                               "{\"name\":\"y\",\"type\":\"template\",\"template\":{\"language\":\"jsonnet\",\"content\":\"WRONG\"}},"
                               "{\"name\":\"z\",\"type\":\"template\",\"template\":{\"language\":\"jsonnet\",\"content\":\"3\"}}]}}}";
    assert_int_equal(harness_call(harness, "POST", "/v1/branches/default/sources", "{\"name\":\"S\"}", NULL), 202);
    harness->checks_stand = true;
    (void)harness_send(harness, "POST", "/v1/branches/default/sources/s/sinks", body, 0);
    (void)harness_send(harness, "POST", "/v1/branches/default/sources/s/sinks", body, 0);
    harness_turn(harness);
    assert_null(harness_answer(harness));
    assert_int_equal(harness_call(harness, "GET", "/v1/branches/default/sources", NULL, NULL), 200);
    harness->checks_stand = false;
    harness_turn(harness);
    harness_turn(harness);
    for (size_t i = 0; i < 2; i++) {
        ApiCall *call = harness_answer(harness);
        assert_non_null(call);
        assert_int_equal(call->status, 400);
        assert_non_null(strstr(buffer_text(&call->response), "column \\\"y\\\""));
        api_call_free(call);
    }
    harness->checks_stand = true;
    (void)harness_send(harness, "POST", "/v1/branches/default/sources/s/sinks", body, 0);
    harness_turn(harness);
    assert_null(harness_answer(harness));
    assert_false(control_drain_sources(harness->control, 0, 0)); /* the loops have not told yet */
    ApiCall *call = harness_answer(harness);
    assert_non_null(call);
    assert_int_equal(call->status, 503);
    api_call_free(call);
}

static void expect_error(Harness *harness, int status, const char *id) {
    ApiCall *call = harness_answer(harness);
    assert_non_null(call);
    if (call->status != status || !strstr(buffer_text(&call->response), id)) fail_msg("%d %s", call->status, buffer_text(&call->response));
    assert_true(status != 503 || call->retry_after > 0);
    api_call_free(call);
}

/* The time of a check is bounded, and so is the number of those that wait; what was checked before
 * is not checked again. */
static void test_template_checks_are_bounded(void **state) {
    Harness *harness = *state;
    static const char body[] = "{\"name\":\"K\",\"table\":{\"tableId\":\"k\",\"mapping\":{\"columns\":["
                               "{\"name\":\"x\",\"type\":\"template\",\"template\":{\"language\":\"jsonnet\",\"content\":\"1\"}},"
                               "{\"name\":\"y\",\"type\":\"template\",\"template\":{\"language\":\"jsonnet\",\"content\":\"1\"}},"
                               "{\"name\":\"z\",\"type\":\"template\",\"template\":{\"language\":\"jsonnet\",\"content\":\"'SLOW'\"}}]}}}";
    assert_string_equal(harness_task(harness, "POST", SOURCES, "{\"name\":\"S\"}", NULL), "success");
    (void)harness_send(harness, "POST", SINKS, body, 0);
    turns(harness, 3);
    expect_error(harness, 503, "stream.api.templateCheckTimeout");
    assert_int_equal(harness->checked_templates, 2);
    (void)harness_send(harness, "POST", SINKS, body, 0);
    turns(harness, 3);
    expect_error(harness, 503, "stream.api.templateCheckTimeout");
    assert_int_equal(harness->checked_templates, 3);

    harness->checks_stand = true;
    for (unsigned i = 0; i < 100; i++) (void)harness_send(harness, "POST", SINKS, body, 0);
    harness_turn(harness);
    size_t refused = 0;
    for (ApiCall *call; (call = harness_answer(harness)); refused++) {
        assert_int_equal(call->status, 503);
        assert_non_null(strstr(buffer_text(&call->response), "stream.api.overloaded"));
        api_call_free(call);
    }
    assert_in_range(refused, 1, 99);
    harness->checks_stand = false;
    turns(harness, 3);
    for (size_t i = refused; i < 100; i++) expect_error(harness, 503, "stream.api.templateCheckTimeout");
    assert_null(harness_answer(harness));
}

#define MANIFEST SOURCE "/manifest"
#define MANIFEST_SINK(ID, TABLE, MORE)                                                                                                     \
    "{\"sinkId\":\"" ID "\",\"table\":{\"connection\":\"local\",\"tableId\":\"" TABLE "\",\"mapping\":{\"columns\":"                       \
    "[{\"name\":\"id\",\"type\":\"id\"}]}}" MORE "}"
#define COUNT_SETTING(VALUE) "{\"storage.level.target.import.trigger.count\":" VALUE "}"

static const char *action_of(const json_t *plan, size_t sink) {
    return json_string_value(json_object_get(json_array_get(json_object_get(plan, "sinks"), sink), "action"));
}

static json_t *outputs_of(Harness *harness, const char *path, const char *body, const char *wanted) {
    json_t *task;
    assert_string_equal(harness_task(harness, "PUT", path, body, &task), wanted);
    json_t *outputs = json_incref(json_object_get(task, "outputs"));
    json_decref(task);
    return outputs;
}

/* A source, two sinks and their settings are one transaction and one snapshot; an equal manifest is
 * none. */
static void test_manifest(void **state) {
    Harness *harness = *state;
    static const char both[] = "{\"name\":\"S\",\"settings\":" COUNT_SETTING("9") ",\"sinks\":[" MANIFEST_SINK(
        "a", "ta", "") "," MANIFEST_SINK("b", "tb", ",\"settings\":" COUNT_SETTING("7")) "]}";
    uint64_t generation = harness->control->generation;
    json_t *plan = outputs_of(harness, MANIFEST, both, "success");
    assert_string_equal(json_string_value(json_object_get(json_object_get(plan, "source"), "action")), "create");
    assert_string_equal(action_of(plan, 1), "create");
    json_decref(plan);
    assert_int_equal(harness->defines, 1);
    assert_int_equal(harness->prepares, 2);
    assert_int_equal(harness->control->generation, generation + 1);
    assert_int_equal(sinks_seen(harness), 2);
    assert_int_equal(plan_sink(seen(harness, 0)->plan, 0)->on_invalid, ON_INVALID_REJECT);
    assert_int_equal(plan_sink(seen(harness, 0)->plan, 1)->on_invalid, ON_INVALID_QUARANTINE);
    assert_int_equal(plan_sink(seen(harness, 0)->plan, 1)->version.number, 1);

    plan = outputs_of(harness, MANIFEST, both, "success");
    assert_string_equal(json_string_value(json_object_get(json_object_get(plan, "source"), "action")), "unchanged");
    assert_string_equal(action_of(plan, 0), "unchanged");
    json_decref(plan);
    assert_int_equal(harness->defines, 1);
    assert_int_equal(harness->prepares, 2);

    /* A condition alone: nothing for the loops. A sink that is not named stays. */
    plan = outputs_of(harness, MANIFEST,
                      "{\"name\":\"S\",\"settings\":" COUNT_SETTING("9") ",\"sinks\":[" MANIFEST_SINK(
                          "b", "tb", ",\"settings\":" COUNT_SETTING("8")) "]}",
                      "success");
    assert_string_equal(action_of(plan, 0), "update");
    json_decref(plan);
    assert_int_equal(harness->defines, 2);
    assert_int_equal(harness->control->generation, generation + 1);
    assert_true(harness->last_order.import_now);
    assert_int_equal(sinks_seen(harness), 2);

    /* What goes, what comes and what changes goes at once. */
    plan = outputs_of(harness, MANIFEST "?prune=true",
                      "{\"name\":\"S\",\"sinks\":[" MANIFEST_SINK("b", "other", "") "," MANIFEST_SINK("c", "tc", "") "]}", "success");
    assert_string_equal(action_of(plan, 0), "delete");
    assert_string_equal(action_of(plan, 1), "update");
    assert_string_equal(action_of(plan, 2), "create");
    json_decref(plan);
    assert_int_equal(harness->defines, 3);
    assert_int_equal(harness->control->generation, generation + 2);
    assert_int_equal(harness->closes, 2);
    assert_int_equal(sinks_seen(harness), 2);
    assert_int_equal(harness_call(harness, "GET", SINKS "/a", NULL, NULL), 404);

    harness_stop(harness);
    harness_start(harness);
    assert_int_equal(sinks_seen(harness), 2);
    assert_string_equal(plan_sink(seen(harness, 0)->plan, 0)->target.table.table_id, "other");
    assert_int_equal(plan_sink(seen(harness, 0)->plan, 1)->number, 3);
}

/* A sink of the plan that is shown. */
static void expect_sink(Harness *harness, size_t index, const char *id, uint32_t number, const char *table) {
    const Sink *sink = plan_sink(seen(harness, 0)->plan, index);
    assert_string_equal(sink->sink_id, id);
    assert_int_equal(sink->number, number);
    assert_string_equal(sink_target_name(&sink->target), table);
}

static void apply_sinks(Harness *harness, const char *sinks) {
    char body[2000];
    (void)snprintf(body, sizeof body, "{\"sinks\":[%s]}", sinks);
    json_decref(outputs_of(harness, MANIFEST "?prune=true", body, "success"));
}

static void expect_taken(Harness *harness, const char *query, const char *body, const char *wanted) {
    char path[200];
    json_t *answer;
    (void)snprintf(path, sizeof path, "%s%s", MANIFEST, query);
    assert_int_equal(harness_call(harness, "PUT", path, body, &answer), 409);
    assert_string_equal(json_string_value(json_object_get(answer, "error")), "stream.api.tableTaken");
    const char *says = json_string_value(json_object_get(answer, "message"));
    if (!strstr(says, wanted)) fail_msg("%s", says);
    json_decref(answer);
}

#define KEYED_SINK(ID, TABLE)                                                                                                              \
    "{\"sinkId\":\"" ID "\",\"table\":{\"connection\":\"local\",\"tableId\":\"" TABLE "\",\"mapping\":{\"columns\":"                       \
    "[{\"name\":\"id\",\"type\":\"id\",\"primaryKey\":true}]}}}"

/* The sink that has a table keeps its number, whatever it is called from now on: its rows and
 * positions are the same one's, and nothing of it is closed. */
static void test_a_table_goes_to_another_sink(void **state) {
    Harness *harness = *state;
    apply_sinks(harness, KEYED_SINK("a", "ta") "," KEYED_SINK("b", "tb"));
    json_t *task;
    assert_string_equal(harness_task(harness, "PUT", SINKS "/a/pause", NULL, &task), "success");
    json_decref(task);
    unsigned closes = harness->closes, defines = harness->defines;

    expect_taken(harness, "", "{\"sinks\":[" KEYED_SINK("c", "ta") "]}", "With --prune (prune=true) sink \"c\" goes on in its place.");
    json_t *plan = outputs_of(harness, MANIFEST "?prune=true", "{\"sinks\":[" KEYED_SINK("c", "ta") "," KEYED_SINK("b", "tb") "]}",
                              "success");
    const json_t *entry = json_array_get(json_object_get(plan, "sinks"), 0);
    assert_string_equal(action_of(plan, 0), "update");
    assert_string_equal(json_string_value(json_object_get(entry, "renamedFrom")), "a");
    assert_int_equal(json_array_size(json_object_get(plan, "sinks")), 2);
    json_decref(plan);
    assert_int_equal(harness->defines, defines + 1);
    assert_int_equal(harness->closes, closes);
    expect_sink(harness, 0, "c", 1, "ta");
    assert_true(plan_sink(seen(harness, 0)->plan, 0)->paused.at != 0);
    assert_int_equal(harness_call(harness, "GET", SINKS "/a", NULL, NULL), 404);

    /* The ids of two sinks change places, in both directions and also after a start. */
    for (int i = 0; i < 2; i++) {
        apply_sinks(harness, KEYED_SINK("b", "ta") "," KEYED_SINK("c", "tb"));
        expect_sink(harness, 0, "b", 1, "ta");
        expect_sink(harness, 1, "c", 2, "tb");
        apply_sinks(harness, KEYED_SINK("c", "ta") "," KEYED_SINK("b", "tb"));
        expect_sink(harness, 0, "c", 1, "ta");
        expect_sink(harness, 1, "b", 2, "tb");
        harness_stop(harness);
        harness_start(harness);
        expect_sink(harness, 0, "c", 1, "ta");
    }
    assert_int_equal(harness->closes, closes);

    /* One after the other: b gets the table of c, and a new one that of b. */
    apply_sinks(harness, KEYED_SINK("b", "ta") "," KEYED_SINK("d", "tb"));
    expect_sink(harness, 0, "b", 1, "ta");
    expect_sink(harness, 1, "d", 2, "tb");
    apply_sinks(harness, KEYED_SINK("a", "ta") "," KEYED_SINK("b", "tb"));
    expect_sink(harness, 0, "a", 1, "ta");
    expect_sink(harness, 1, "b", 2, "tb");

    /* A table that would have two owners with rows that wait. */
    expect_taken(harness, "?prune=true", "{\"sinks\":[" KEYED_SINK("a", "tb") "," KEYED_SINK("b", "tn") "]}",
                 "First apply a manifest in which only \"b\" changes");
    expect_taken(harness, "?prune=true", "{\"sinks\":[" KEYED_SINK("a", "tb") "]}", "First apply a manifest in which only \"b\" changes");
    expect_taken(harness, "?prune=true", "{\"sinks\":[" KEYED_SINK("n", "ta") "," KEYED_SINK("m", "ta") "]}", "already");
    apply_sinks(harness, MANIFEST_SINK("e", "te", "") "," MANIFEST_SINK("f", "tf", ""));
    apply_sinks(harness, MANIFEST_SINK("e", "tf", "") "," MANIFEST_SINK("f", "tn", "")); /* without a key the order does not matter */
    expect_sink(harness, 0, "e", 3, "tf");
    /* The id of a deleted sink is kept. */
    json_t *answer;
    assert_int_equal(harness_call(harness, "PUT", MANIFEST "?prune=true", "{\"sinks\":[" KEYED_SINK("a", "tf") "]}", &answer), 409);
    assert_non_null(strstr(json_string_value(json_object_get(answer, "message")), "undelete"));
    json_decref(answer);
}

/* The second table, or the disk, says no: nothing is there, also after a restart, but the first
 * table, which the error names. */
static void test_manifest_fails_as_a_whole(void **state) {
    Harness *harness = *state;
    static const char both[] = "{\"sinks\":[" MANIFEST_SINK("a", "ta", "") "," MANIFEST_SINK("b", "tb", "") "]}";
    harness->refused_table = "tb";
    harness->prepare_says = "column \"id\" is missing";
    json_t *task;
    assert_string_equal(harness_task(harness, "PUT", MANIFEST, both, &task), "error");
    const char *says = json_string_value(json_object_get(task, "error"));
    assert_non_null(strstr(says, "column \"id\" is missing"));
    assert_non_null(strstr(says, "stays: table \"ta\" of connection \"local\"."));
    json_decref(task);
    harness->refused_table = NULL;
    harness->define_result = -ENOSPC;
    assert_string_equal(harness_task(harness, "PUT", MANIFEST, both, &task), "error");
    assert_non_null(strstr(json_string_value(json_object_get(task, "error")), "table \"ta\""));
    json_decref(task);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(harness_call(harness, "GET", SOURCE, NULL, NULL), 404);
        assert_null(seen(harness, 0));
        harness_stop(harness);
        harness_start(harness);
    }
    assert_string_equal(harness_task(harness, "PUT", MANIFEST, both, NULL), "success");

    /* Of a source that is there, nothing changes. */
    harness->define_result = -ENOSPC;
    assert_string_equal(
        harness_task(harness, "PUT", MANIFEST "?prune=true", "{\"name\":\"New\",\"sinks\":[" MANIFEST_SINK("c", "tc", "") "]}", NULL),
        "error");
    assert_int_equal(sinks_seen(harness), 2);
    assert_int_equal(harness_call(harness, "GET", SINKS "/c", NULL, NULL), 404);
    assert_int_equal(harness_call(harness, "GET", SINKS "/a", NULL, NULL), 200);
}

static void test_manifest_is_checked_first(void **state) {
    Harness *harness = *state;
    static const struct {
        const char *body;
        int status;
    } wrong[] = {
        {"{\"sinks\":[" MANIFEST_SINK("a", "t", "") "," MANIFEST_SINK("b", "t", "") "]}", 409}, /* one table */
        {"{\"sinks\":[" MANIFEST_SINK("a", "t", "") "," MANIFEST_SINK("a", "u", "") "]}", 400}, /* one id */
        {"{\"sourceId\":\"other\"}", 400},
        {"{\"kind\":\"sauce\"}", 400},
        {"{\"colour\":1}", 400},
        {"{\"sinks\":[" MANIFEST_SINK("a", "t", ",\"settings\":" COUNT_SETTING("0")) "]}", 400},
        {"{\"sinks\":[" MANIFEST_SINK("a", "t", ",\"colour\":1") "]}", 400},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        json_t *answer;
        int status = harness_call(harness, "PUT", MANIFEST, wrong[i].body, &answer);
        if (status != wrong[i].status) fail_msg("%s: %d %s", wrong[i].body, status, json_string_value(json_object_get(answer, "message")));
        json_decref(answer);
    }
    assert_int_equal(harness->defines, 0);
    assert_int_equal(harness->prepares, 0);
    make_sink(harness);
    assert_string_equal(harness_task(harness, "DELETE", SINK, NULL, NULL), "success");
    assert_int_equal(harness_call(harness, "PUT", MANIFEST, "{\"sinks\":[" MANIFEST_SINK("orders", "orders", "") "]}", NULL), 409);
    assert_string_equal(harness_task(harness, "DELETE", SOURCE, NULL, NULL), "success");
    assert_int_equal(harness_call(harness, "PUT", MANIFEST, "{}", NULL), 409);
}

/* The plan, and nothing else. */
static void test_manifest_dry_run(void **state) {
    Harness *harness = *state;
    make_sink(harness);
    unsigned defines = harness->defines, prepares = harness->prepares;
    uint64_t generation = harness->control->generation;
    harness->known_table = "orders";
    harness->refused_table = "wrong";
    harness->prepare_says = "column \"id\" is missing";
    json_t *plan;
    assert_int_equal(
        harness_call(harness, "PUT", MANIFEST "?dryRun=true&prune=true",
                     "{\"name\":\"New\",\"sinks\":[{\"sinkId\":\"orders\",\"name\":\"Orders\",\"table\":{\"connection\":\"local\","
                     "\"tableId\":\"orders\","
                     "\"mapping\":{\"columns\":[{\"name\":\"id\",\"type\":\"id\"},{\"name\":\"body\",\"type\":\"body\"}]}}}," MANIFEST_SINK(
                         "b", "tb", "") "," MANIFEST_SINK("w", "wrong", "") "]}",
                     &plan),
        200);
    assert_true(json_is_true(json_object_get(plan, "dryRun")));
    assert_true(json_is_false(json_object_get(plan, "canBeApplied")));
    json_t *source = json_object_get(plan, "source"), *sinks = json_object_get(plan, "sinks");
    assert_string_equal(json_string_value(json_object_get(source, "action")), "update");
    assert_string_equal(json_string_value(json_array_get(json_object_get(source, "fields"), 0)), "name");
    static const char *const wanted[][2] = {{"unchanged", "unchanged"}, {"create", "create"}, {"create", "refused"}};
    for (size_t i = 0; i < 3; i++) {
        json_t *table = json_object_get(json_array_get(sinks, i), "table");
        assert_string_equal(action_of(plan, i), wanted[i][0]);
        assert_string_equal(json_string_value(json_object_get(table, "action")), wanted[i][1]);
    }
    const char *says = json_string_value(json_object_get(json_object_get(json_array_get(sinks, 2), "table"), "message"));
    assert_non_null(strstr(says, "column \"id\" is missing"));
    json_decref(plan);
    assert_int_equal(harness->defines, defines);
    assert_int_equal(harness->prepares, prepares);
    assert_int_equal(harness->inspections, 3);
    assert_int_equal(harness->control->generation, generation);
    assert_null(harness->control->changes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_create, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_fence, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_withdraw, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_source_ends, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_prepare_fails, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_define_fails, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_queue, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_pending_create, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_pending_names, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_pending_limits, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_settings, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_expiry, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_expiry_and_a_wrong_clock, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_pause, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_pause_of_a_source, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_what_waits_is_told_while_paused, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_pause_of_a_connection, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_conditions_need_no_fence, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_template_checks_hold_nobody_up, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_template_checks_are_bounded, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_manifest, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_a_table_goes_to_another_sink, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_manifest_fails_as_a_whole, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_manifest_is_checked_first, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_manifest_dry_run, harness_setup, harness_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
