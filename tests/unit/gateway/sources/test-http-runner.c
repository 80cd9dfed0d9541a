/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
/* clang-format on */

#include "base/cleanup.h"
#include "gateway/flow/messages.h"
#include "gateway/flow/source_runner.h"
#include "gateway/sources/http_runner.h"

#define LOOPS 3

static Mailbox *loops[LOOPS], *control;
static HttpRunner http;

static int set_up(void **state) {
    (void)state;
    control = mailbox_new(NULL, NULL);
    for (size_t i = 0; i < LOOPS; i++) loops[i] = mailbox_new(NULL, NULL);
    http_runner_init(&http, loops, LOOPS);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    for (size_t i = 0; i < LOOPS; i++) mailbox_free(loops[i]);
    mailbox_free(control);
    return 0;
}

static void each_loop_gets_a_snapshot_of_its_own(void **state) {
    (void)state;
    Snapshot *snapshot = snapshot_new(7, NULL, 0, control);
    http.runner.show(&http.runner, snapshot);
    snapshot_unref(snapshot);
    for (size_t i = 0; i < LOOPS; i++) {
        assert_null(mailbox_take(control)); /* somebody holds it */
        Message *message = mailbox_take(loops[i]);
        assert_non_null(message);
        assert_null(message->next);
        assert_int_equal(message->kind, MESSAGE_SNAPSHOT);
        SnapshotNews *news = (SnapshotNews *)message;
        assert_int_equal(snapshot_generation(news->snapshot), 7);
        snapshot_unref(news->snapshot);
        free(news);
    }
    Message *gone = mailbox_take(control);
    assert_non_null(gone);
    assert_int_equal(gone->kind, MESSAGE_SNAPSHOT_GONE);
    snapshot_gone_free((SnapshotGone *)gone);
}

static void all_loops_are_drained_and_counted(void **state) {
    (void)state;
    assert_int_equal(http.runner.drain(&http.runner, 123), LOOPS);
    for (size_t i = 0; i < LOOPS; i++) {
        Message *message = mailbox_take(loops[i]);
        assert_non_null(message);
        assert_int_equal(message->kind, MESSAGE_DRAIN);
        assert_int_equal(((Drain *)message)->until, 123);
        free(message);
    }
}

static bool complete(SourceRunner *const *runners) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)close(STDERR_FILENO);
        source_runners_check(runners);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void each_kind_has_one_runner(void **state) {
    (void)state;
    enum { KINDS_MAX = 8 };
    SourceRunner others[KINDS_MAX] = {0}, *runners[KINDS_MAX + 2] = {&http.runner};
    size_t count = 1;
    assert_ptr_equal(source_kinds[0], http.runner.kind);
    for (; source_kinds[count]; count++) {
        assert_true(count < KINDS_MAX);
        others[count] = (SourceRunner){.kind = source_kinds[count], .show = http.runner.show, .drain = http.runner.drain};
        runners[count] = &others[count];
    }
    assert_true(complete(runners));
    assert_false(complete(runners + 1));
    runners[count] = &http.runner;
    assert_false(complete(runners));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_loop_gets_a_snapshot_of_its_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(all_loops_are_drained_and_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(each_kind_has_one_runner, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
