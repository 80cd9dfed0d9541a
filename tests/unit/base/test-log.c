#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

/* What the log writes between capture_start and capture_end. */
static FILE *captured;
static int saved_stderr;

static void capture_start(void) {
    captured = tmpfile();
    assert_non_null(captured);
    saved_stderr = dup(STDERR_FILENO);
    (void)dup2(fileno(captured), STDERR_FILENO);
}

static char *capture_end(void) {
    static char text[200000];
    (void)dup2(saved_stderr, STDERR_FILENO);
    (void)close(saved_stderr);
    rewind(captured);
    size_t size = fread(text, 1, sizeof text - 1, captured);
    text[size] = '\0';
    (void)fclose(captured);
    return text;
}

static int count_lines(const char *text) {
    int count = 0;
    for (; (text = strchr(text, '\n')); text++) count++;
    return count;
}

static void json_lines_are_escaped(void **state) {
    log_setup(LOG_DEBUG, 1);
    capture_start();
    log_warning("quote \" back \\ line \n nul-ish \x01 del \x7F c1 \xC2\x9B euro \xE2\x82\xAC bad \xFF\xC0\x80\xED\xA0\x80 end");
    char *text = capture_end();
    assert_int_equal(count_lines(text), 1);
    assert_non_null(strstr(text, "\"level\":\"warning\",\"at\":\""));
    assert_non_null(strstr(text, "test-log.c:"));
    assert_null(strstr(text, "../"));
    assert_non_null(
        strstr(text, "\"message\":\"quote \\\" back \\\\ line \\u000a nul-ish \\u0001 del \\u007f c1 \\u009b euro \xE2\x82\xAC bad "));
    /* one U+FFFD a byte: FF, C0 80, ED A0 80 */
    assert_non_null(strstr(text, "bad \xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD end\"}\n"));
    assert_memory_equal(text, "{\"time\":\"2", 10);
}

static void text_lines_keep_terminals_safe(void **state) {
    log_setup(LOG_DEBUG, 2);
    capture_start();
    log_error("red \033[31m \"as is\"");
    char *text = capture_end();
    assert_non_null(strstr(text, " error   red \\u001b[31m \"as is\"  ["));
    assert_null(strchr(text, '\033'));
}

static void without_a_terminal_it_is_json(void **state) {
    log_setup(LOG_DEBUG, 0);
    capture_start();
    log_info("x");
    assert_int_equal(capture_end()[0], '{');
}

static void lower_levels_are_left_out(void **state) {
    log_setup(LOG_WARNING, 1);
    capture_start();
    log_debug("one");
    log_info("two");
    log_warning("three");
    log_error("four");
    assert_int_equal(count_lines(capture_end()), 2);
}

static void long_messages_are_cut(void **state) {
    static char message[20000];
    memset(message, 'm', sizeof message - 1);
    log_setup(LOG_DEBUG, 1);
    capture_start();
    log_info("%s", message);
    char *text = capture_end();
    assert_int_equal(count_lines(text), 1);
    assert_in_range(strlen(text), 4000, 4400);
}

static void log_one(int number) {
    log_info("same place %d", number);
}

static void repeated_lines_are_limited_and_counted(void **state) {
    log_setup(LOG_DEBUG, 1);
    Clock *clock = clock_system();
    capture_start();
    for (int i = 0; i < 500; i++) log_one(i);
    usec_t deadline = clock->boot(clock) + 10 * USEC_SECOND;
    log_info("another place is not limited");
    /* Once the second is over, the next line of any place tells; these are too few to be limited
     * themselves. */
    for (off_t before = 0; clock->boot(clock) < deadline;) {
        off_t size = lseek(fileno(captured), 0, SEEK_END);
        if (before && size - before > 200) break; /* two lines at once: the note and ours */
        before = size;
        (void)usleep(150000);
        log_info("any");
    }
    char *text = capture_end();
    assert_non_null(strstr(text, "same place 0\""));
    assert_non_null(strstr(text, "same place 9\""));
    assert_null(strstr(text, "same place 10\""));
    assert_non_null(strstr(text, "another place"));
    assert_non_null(strstr(text, "\"left_out\":490}"));
}

static void a_failure_tells_where_it_came_from(void **state) {
    Error error = {0};
    log_setup(LOG_DEBUG, 1);
    error_set_at(&error, "../../storage/pack.c", 77, -EIO, "the disk is gone");
    capture_start();
    errno = ENOENT;
    log_failure(LOG_ERROR, "cannot stage", &error);
    assert_int_equal(errno, ENOENT);
    log_failure(LOG_ERROR, "cannot say", NULL);
    char *text = capture_end();
    assert_non_null(strstr(text, "\"at\":\"storage/pack.c:77\",\"message\":\"cannot stage: the disk is gone\""));
    assert_non_null(strstr(text, "cannot say: no reason was given"));
}

static void the_thread_writes_all_before_the_end(void **state) {
    log_setup(LOG_DEBUG, 1);
    capture_start();
    assert_int_equal(log_start(NULL), 0);
    log_info("first");
    log_flush();
    log_info("second");
    log_stop();
    log_info("third");
    char *text = capture_end();
    assert_int_equal(count_lines(text), 3);
    assert_true(strstr(text, "first") < strstr(text, "second") && strstr(text, "second") < strstr(text, "third"));
}

/* A child whose stderr is a small pipe; it logs `lines`, then has a bug. Returns how it ended. */
static int logs_and_has_a_bug(int ends[2], int lines) {
    int status;
    assert_int_equal(pipe(ends), 0);
    assert_true(fcntl(ends[1], F_SETPIPE_SZ, 16384) > 0);
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        (void)signal(SIGABRT, SIG_DFL);
        (void)dup2(ends[1], STDERR_FILENO);
        (void)close(ends[0]);
        log_setup(LOG_DEBUG, 1);
        if (log_start(NULL) < 0) _exit(1);
        static const char *const files[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"};
        for (int i = 0; i < lines; i++) log_at(LOG_INFO, files[i / 10 % 10], i / 100, "%1000d", i); /* places enough for the limit */
        bug_at("there.c", 42, "one == two");
    }
    (void)close(ends[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void a_bug_comes_behind_the_lines_before_it(void **state) {
    int ends[2];
    char text[8192];
    int status = logs_and_has_a_bug(ends, 2);
    ssize_t size = read(ends[0], text, sizeof text - 1);
    assert_true(size > 0);
    text[size] = '\0';
    (void)close(ends[0]);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_int_equal(count_lines(text), 3);
    const char *bug = strstr(text, "there.c:42: bug: one == two\n");
    assert_non_null(bug);
    assert_string_equal(bug, "there.c:42: bug: one == two\n");
}

static void a_bug_ends_the_process_though_nobody_reads(void **state) {
    int ends[2];
    int status = logs_and_has_a_bug(ends, 500); /* more than pipe and buffer hold */
    (void)close(ends[0]);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_lines_are_escaped),
        cmocka_unit_test(text_lines_keep_terminals_safe),
        cmocka_unit_test(without_a_terminal_it_is_json),
        cmocka_unit_test(lower_levels_are_left_out),
        cmocka_unit_test(long_messages_are_cut),
        cmocka_unit_test(repeated_lines_are_limited_and_counted),
        cmocka_unit_test(a_failure_tells_where_it_came_from),
        cmocka_unit_test(the_thread_writes_all_before_the_end),
        cmocka_unit_test(a_bug_comes_behind_the_lines_before_it),
        cmocka_unit_test(a_bug_ends_the_process_though_nobody_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
