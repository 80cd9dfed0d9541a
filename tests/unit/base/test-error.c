#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"

static void set_returns_the_code_and_keeps_place_and_text(void **state) {
    Error error = {0};
    int line = __LINE__ + 1;
    assert_int_equal(error_set(&error, -ENOENT, "no %s", "file"), -ENOENT);
    assert_int_equal(error.code, -ENOENT);
    assert_int_equal(error.line, line);
    assert_string_equal(error.file, __FILE__);
    assert_string_equal(error.text, "no file");
}

static void nobody_has_to_listen(void **state) {
    assert_int_equal(error_set(NULL, -EPERM, "x"), -EPERM);
    assert_int_equal(error_prefix(NULL, "x"), -EIO);
}

static void a_failure_without_errno_is_still_one(void **state) {
    Error error = {0};
    assert_int_equal(error_set(&error, 0, "odd"), -EIO);
    assert_int_equal(error.code, -EIO);
}

static void prefix_adds_context(void **state) {
    Error error = {0};
    error_set(&error, -EACCES, "permission denied");
    assert_int_equal(error_prefix(&error, "cannot open %d", 7), -EACCES);
    assert_string_equal(error.text, "cannot open 7: permission denied");
    error_set(&error, -EINVAL, "again, %s", error.text);
    assert_string_equal(error.text, "again, cannot open 7: permission denied");
}

static void long_texts_are_cut_between_characters(void **state) {
    Error error = {0};
    char text[2000];
    for (size_t shift = 0; shift < 4; shift++) {
        memset(text, 'a', shift);
        for (size_t at = shift; at + 4 < sizeof text; at += 3) memcpy(text + at, "\xE2\x82\xAC", 4);
        error_set(&error, -EINVAL, "%s", text);
        size_t size = strlen(error.text);
        assert_in_range(size, sizeof error.text - 4, sizeof error.text - 1);
        assert_int_equal((size - shift) % 3, 0);
        error_prefix(&error, "ab");
        size = strlen(error.text);
        assert_in_range(size, sizeof error.text - 4, sizeof error.text - 1);
        assert_int_equal((size - shift - 4) % 3, 0);
    }
}

static void a_cut_keeps_whole_characters_at_the_edge(void **state) {
    Error error = {0};
    char text[sizeof error.text + 8];
    memset(text, 'a', sizeof text);
    memcpy(text + sizeof error.text - 4, "\xE2\x82\xAC!", 5);
    error_set(&error, -EINVAL, "%s", text);
    assert_int_equal(strlen(error.text), sizeof error.text - 1);
}

static void texts_stay_on_one_line(void **state) {
    Error error = {0};
    error_set(&error, -EINVAL, "a\nb\tc\033d");
    assert_string_equal(error.text, "a b c d");
}

static void a_bug_names_its_place_and_aborts(void **state) {
    int ends[2], status;
    char said[512] = "";
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        (void)signal(SIGABRT, SIG_DFL);
        (void)dup2(ends[1], STDERR_FILENO);
        bug_at("there.c", 42, "one == two");
    }
    (void)close(ends[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(read(ends[0], said, sizeof said - 1) > 0);
    (void)close(ends[0]);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(said, "there.c:42: bug: one == two"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_returns_the_code_and_keeps_place_and_text),
        cmocka_unit_test(nobody_has_to_listen),
        cmocka_unit_test(a_failure_without_errno_is_still_one),
        cmocka_unit_test(prefix_adds_context),
        cmocka_unit_test(long_texts_are_cut_between_characters),
        cmocka_unit_test(a_cut_keeps_whole_characters_at_the_edge),
        cmocka_unit_test(texts_stay_on_one_line),
        cmocka_unit_test(a_bug_names_its_place_and_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
