#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/thread.h"

typedef struct Seen {
    char name[16];
    bool usual_blocked;
    bool fault_blocked;
} Seen;

static void *look(void *context) {
    Seen *seen = context;
    sigset_t mask;
    (void)pthread_getname_np(pthread_self(), seen->name, sizeof seen->name);
    (void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
    seen->usual_blocked = sigismember(&mask, SIGTERM) && sigismember(&mask, SIGINT) && sigismember(&mask, SIGCHLD) &&
                          sigismember(&mask, SIGPIPE) && sigismember(&mask, SIGHUP);
    seen->fault_blocked = sigismember(&mask, SIGSEGV) || sigismember(&mask, SIGABRT);
    return NULL;
}

static void a_thread_has_its_name_and_gets_no_signals(void **state) {
    Thread thread;
    Seen seen = {0};
    Error error = {0};
    sigset_t before, after;
    (void)pthread_sigmask(SIG_SETMASK, NULL, &before);
    assert_int_equal(thread_start(&thread, "writer", look, &seen, &error), 0);
    thread_join(&thread);
    (void)pthread_sigmask(SIG_SETMASK, NULL, &after);
    assert_string_equal(seen.name, "writer");
    assert_true(seen.usual_blocked);
    assert_false(seen.fault_blocked);
    assert_int_equal(sigismember(&after, SIGTERM), sigismember(&before, SIGTERM));
}

static void a_long_name_is_cut(void **state) {
    Thread thread;
    Seen seen = {0};
    assert_int_equal(thread_start(&thread, "a-name-that-is-much-too-long", look, &seen, NULL), 0);
    thread_join(&thread);
    assert_string_equal(seen.name, "a-name-that-is-");
}

static void *touch(void *context) {
    check_on_thread(context);
    return NULL;
}

static void *bind_it(void *context) {
    thread_owner_bind(context);
    return touch(context);
}

static void an_owner_is_bound_at_first_use_and_can_be_bound_anew(void **state) {
    ThreadOwner owner = {0};
    Thread thread;
    check_on_thread(&owner);
    check_on_thread(&owner);
    assert_int_equal(thread_start(&thread, "other", bind_it, &owner, NULL), 0);
    thread_join(&thread);
    thread_owner_bind(&owner);
    check_on_thread(&owner);
}

static void another_thread_is_a_bug(void **state) {
    int status;
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        ThreadOwner owner = {0};
        Thread thread;
        (void)signal(SIGABRT, SIG_DFL);
        (void)close(STDERR_FILENO);
        check_on_thread(&owner);
        if (thread_start(&thread, "other", touch, &owner, NULL) == 0) thread_join(&thread);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thread_has_its_name_and_gets_no_signals),
        cmocka_unit_test(a_long_name_is_cut),
        cmocka_unit_test(an_owner_is_bound_at_first_use_and_can_be_bound_anew),
        cmocka_unit_test(another_thread_is_a_bug),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
