#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"

static int clear(void **state) {
    failpoint_clear();
    return 0;
}

static void nothing_fails_unless_set(void **state) {
    assert_false(failpoint_hit("a"));
    assert_int_equal(failpoint_set("", NULL), 0);
    assert_false(failpoint_hit("a"));
}

static void error_fails_each_time_until_it_is_off(void **state) {
    assert_int_equal(failpoint_set("a=error", NULL), 0);
    assert_true(failpoint_hit("a"));
    assert_true(failpoint_hit("a"));
    assert_false(failpoint_hit("b"));
    assert_false(failpoint_hit("aa"));
    assert_int_equal(failpoint_set("b=error", NULL), 0);
    assert_true(failpoint_hit("a"));
    assert_true(failpoint_hit("b"));
    assert_int_equal(failpoint_set("a=off", NULL), 0);
    assert_false(failpoint_hit("a"));
    assert_true(failpoint_hit("b"));
}

static void a_passage_can_be_picked(void **state) {
    assert_int_equal(failpoint_set("a=error@3,b=wait:0@1", NULL), 0);
    assert_false(failpoint_hit("a"));
    assert_false(failpoint_hit("a"));
    assert_false(failpoint_hit("b"));
    assert_true(failpoint_hit("a"));
    assert_false(failpoint_hit("a"));
    assert_int_equal(failpoint_set("a=error@1", NULL), 0);
    assert_true(failpoint_hit("a"));
    assert_false(failpoint_hit("a"));
}

static void wait_waits_and_goes_on(void **state) {
    Clock *clock = clock_system();
    assert_int_equal(failpoint_set("a=wait:40", NULL), 0);
    usec_t before = clock->boot(clock);
    assert_false(failpoint_hit("a"));
    assert_true(clock->boot(clock) - before >= 39 * USEC_MS);
}

static void mistakes_are_named(void **state) {
    static const char *const wrong[] = {"a",         "=error",    "a=",
                                        "a=explode", "a=error@",  "a=error@0",
                                        "a=error@x", "a=wait",    "a=wait:",
                                        "a=wait:x",  "a=wait:-1", "a=error:1",
                                        "a=error,",  ",a=error",  "a=wait:9999999999",
                                        "a=crash:1", "a=Error",   "a=error@99999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        Error error = {0};
        assert_int_equal(failpoint_set(wrong[i], &error), -EINVAL);
        assert_non_null(strstr(error.text, "failpoint"));
    }
}

static void the_table_is_bounded(void **state) {
    char text[16] = "a?=error";
    for (int i = 0; i < 32; i++) {
        text[1] = (char)('A' + i);
        assert_int_equal(failpoint_set(text, NULL), 0);
    }
    assert_int_equal(failpoint_set("one-more=error", NULL), -ENOSPC);
}

static int status_of_child(void (*run)(void)) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        (void)close(STDERR_FILENO);
        run();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void crash(void) {
    (void)failpoint_set("a=crash@2", NULL);
    (void)failpoint_hit("a");
    (void)failpoint_hit("a");
}

static void crash_kills_at_once(void **state) {
    int status = status_of_child(crash);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
}

/* Runs before anything else has read the variable: the parent never used a failpoint. */
static void use_environment(void) {
    (void)setenv("SLUICE_FAILPOINTS", "x=off,a=error@1", 1);
    if (!failpoint_hit("a")) _exit(1);
    if (failpoint_hit("a") || failpoint_hit("x")) _exit(1);
}

static void use_wrong_environment(void) {
    (void)setenv("SLUICE_FAILPOINTS", "a=explode", 1);
    (void)failpoint_hit("b");
}

static void the_environment_is_read_at_first_use(void **state) {
    int status = status_of_child(use_environment);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    status = status_of_child(use_wrong_environment);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_environment_is_read_at_first_use), /* has to be the first */
        cmocka_unit_test_teardown(nothing_fails_unless_set, clear),
        cmocka_unit_test_teardown(error_fails_each_time_until_it_is_off, clear),
        cmocka_unit_test_teardown(a_passage_can_be_picked, clear),
        cmocka_unit_test_teardown(wait_waits_and_goes_on, clear),
        cmocka_unit_test_teardown(mistakes_are_named, clear),
        cmocka_unit_test_teardown(the_table_is_bounded, clear),
        cmocka_unit_test(crash_kills_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
