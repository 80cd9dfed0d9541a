#include "tests/unit/gateway/control/harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"

#define TASKS "/v1/tasks/"

static const char *text_of(const json_t *json, const char *key) {
    const char *text = json_string_value(json_object_get(json, key));
    return text ? text : "";
}

static char *task_path(const json_t *task) {
    char *path = NULL;
    assert_true(asprintf(&path, TASKS "%s", text_of(task, "taskId")) > 0);
    return path;
}

/* Without `Prefer: wait` the task is processing; then it ends, is stored, and is found in the
 * catalog, also after a restart. */
static void test_life(void **state) {
    Harness *harness = *state;
    json_t *task, *again;
    harness->writer_stands = true;
    assert_int_equal(harness_call(harness, "POST", "/v1/branches/default/sources", "{\"name\":\"S\"}", &task), 202);
    assert_string_equal(text_of(task, "status"), "processing");
    assert_true(json_is_false(json_object_get(task, "isFinished")));
    assert_true(json_is_null(json_object_get(task, "finishedAt")));
    assert_null(strchr(text_of(task, "taskId"), '/'));
    _cleanup_free_ char *path = task_path(task);
    assert_string_equal(text_of(task, "url"), path);
    json_decref(task);

    harness->writer_stands = false;
    for (unsigned i = 0; i < 10; i++) harness_turn(harness);
    assert_null(tasks_live(harness->control->tasks, path + strlen(TASKS))); /* memory has let go of it */
    assert_int_equal(harness_call(harness, "GET", path, NULL, &task), 200);
    assert_string_equal(text_of(task, "status"), "success");
    assert_true(json_is_true(json_object_get(task, "isFinished")));
    assert_string_equal(text_of(json_object_get(task, "outputs"), "sourceId"), "s");
    assert_string_equal(text_of(task, "result"), "The source is created.");

    harness_stop(harness);
    harness_start(harness);
    assert_int_equal(harness_call(harness, "GET", path, NULL, &again), 200);
    assert_true(json_equal(task, again));
    json_decref(task);
    json_decref(again);

    /* Of its own source only. */
    _cleanup_free_ char *of_source = NULL, *of_other = NULL;
    assert_true(asprintf(&of_source, "/v1/branches/default/sources/s/tasks/%s", path + strlen(TASKS)) > 0);
    assert_true(asprintf(&of_other, "/v1/branches/default/sources/t/tasks/%s", path + strlen(TASKS)) > 0);
    assert_int_equal(harness_call(harness, "GET", of_source, NULL, NULL), 200);
    assert_int_equal(harness_call(harness, "GET", of_other, NULL, NULL), 404);
    assert_int_equal(harness_call(harness, "GET", TASKS "nothing", NULL, NULL), 404);
    assert_int_equal(harness_call(harness, "GET", TASKS "01a1fece-3a35-76f2-ad67-aa8aff6ce42c", NULL, &again), 404);
    assert_string_equal(text_of(again, "error"), "stream.api.taskNotFound");
    json_decref(again);
}

/* Those who wait are answered when it ends; those whose wait is over, with the task as it is. */
static void test_wait(void **state) {
    Harness *harness = *state;
    json_t *task;
    harness->writer_stands = true;
    assert_int_equal(harness_call(harness, "POST", "/v1/branches/default/sources", "{\"name\":\"S\"}", &task), 202);
    _cleanup_free_ char *path = task_path(task);
    json_decref(task);
    (void)harness_send(harness, "GET", path, NULL, 10 * USEC_SECOND);
    (void)harness_send(harness, "GET", path, NULL, 40 * USEC_SECOND);
    for (unsigned i = 0; i < 5; i++) harness_turn(harness);
    assert_null(harness_answer(harness));

    harness->time_passed += 11 * USEC_SECOND;
    harness_turn(harness);
    ApiCall *first = harness_answer(harness);
    assert_non_null(first);
    assert_int_equal(first->status, 200);
    assert_non_null(strstr(buffer_text(&first->response), "\"processing\""));
    api_call_free(first);
    assert_null(harness_answer(harness));

    harness->writer_stands = false;
    for (unsigned i = 0; i < 5; i++) harness_turn(harness);
    ApiCall *second = harness_answer(harness);
    assert_non_null(second);
    assert_non_null(strstr(buffer_text(&second->response), "\"success\""));
    api_call_free(second);
}

/* No wait is longer than a minute. */
static void test_longest_wait(void **state) {
    Harness *harness = *state;
    harness->writer_stands = true;
    (void)harness_send(harness, "POST", "/v1/branches/default/sources", "{\"name\":\"S\"}", 3600 * USEC_SECOND);
    harness_turn(harness);
    assert_null(harness_answer(harness));
    harness->time_passed += 61 * USEC_SECOND;
    harness_turn(harness);
    ApiCall *call = harness_answer(harness);
    assert_non_null(call);
    assert_int_equal(call->status, 202);
    assert_non_null(call->location);
    api_call_free(call);
}

/* 7 days: then it is forgotten, and younger ones are not. */
static void test_expiry(void **state) {
    Harness *harness = *state;
    json_t *task;
    assert_string_equal(harness_task(harness, "POST", "/v1/branches/default/sources", "{\"name\":\"Old\"}", &task), "success");
    _cleanup_free_ char *old = task_path(task);
    json_decref(task);
    harness->time_passed += 6 * USEC_DAY;
    assert_string_equal(harness_task(harness, "POST", "/v1/branches/default/sources", "{\"name\":\"Young\"}", &task), "success");
    _cleanup_free_ char *young = task_path(task);
    json_decref(task);
    for (unsigned i = 0; i < 10; i++) harness_turn(harness);
    assert_int_equal(harness_call(harness, "GET", old, NULL, NULL), 200);

    harness->time_passed += 2 * USEC_DAY;
    for (unsigned i = 0; i < 10; i++) harness_turn(harness);
    assert_int_equal(harness_call(harness, "GET", old, NULL, NULL), 404);
    assert_int_equal(harness_call(harness, "GET", young, NULL, NULL), 200);
}

/* Only what the gateway ran for makes it old: no clock that is wrong, no time that it was off. */
static void test_expiry_and_a_wrong_clock(void **state) {
    Harness *harness = *state;
    json_t *task;
    assert_string_equal(harness_task(harness, "POST", "/v1/branches/default/sources", "{\"name\":\"Kept\"}", &task), "success");
    _cleanup_free_ char *kept = task_path(task);
    json_decref(task);
    harness_stop(harness);
    harness->wall_jump += 400 * USEC_DAY;
    harness_start(harness);
    for (unsigned i = 0; i < 10; i++) harness_turn(harness);
    assert_int_equal(harness_call(harness, "GET", kept, NULL, NULL), 200);
    harness->time_passed += 2 * USEC_HOUR;
    harness->wall_jump -= 800 * USEC_DAY;
    for (unsigned i = 0; i < 10; i++) harness_turn(harness);
    assert_int_equal(harness_call(harness, "GET", kept, NULL, NULL), 200);
    harness->time_passed += 8 * USEC_DAY;
    for (unsigned i = 0; i < 10; i++) harness_turn(harness);
    assert_int_equal(harness_call(harness, "GET", kept, NULL, NULL), 404);
}

/* Shutdown: nobody is left waiting, new requests are refused. */
static void test_drain(void **state) {
    Harness *harness = *state;
    harness->writer_stands = true;
    (void)harness_send(harness, "POST", "/v1/branches/default/sources", "{\"name\":\"S\"}", 30 * USEC_SECOND);
    harness_turn(harness);
    assert_null(harness_answer(harness));
    assert_false(control_drain_sources(harness->control, 77, 0)); /* the loops have not told yet */
    ApiCall *call = harness_answer(harness);
    assert_non_null(call);
    assert_int_equal(call->status, 202);
    api_call_free(call);
    assert_int_equal(harness_call(harness, "GET", "/v1/branches/default/sources", NULL, NULL), 503);
    assert_int_equal(harness_call(harness, "GET", "/ready", NULL, NULL), 503);
    assert_int_equal(harness_call(harness, "GET", "/health-check", NULL, NULL), 200);
    for (size_t i = 0; i < HARNESS_LOOPS; i++) assert_int_equal(harness->drain_until[i], 77);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_life, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_wait, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_longest_wait, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_expiry, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_expiry_and_a_wrong_clock, harness_setup, harness_teardown),
        cmocka_unit_test_setup_teardown(test_drain, harness_setup, harness_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
