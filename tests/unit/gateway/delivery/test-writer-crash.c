/* The process is killed at a failpoint while it does what takes days in a whole gateway: a file
 * expires or is divided, or what is retained is removed. A process of its own works on real files
 * and is killed. Then this process starts on what it left. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/failpoint.h"
#include "base/files.h"
#include "tests/unit/gateway/delivery/fixture.h"

#define NEVER (20 * USEC_HOUR) /* an import interval that no test reaches */
#define ROWS 24
#define LATER (60 * USEC_DAY) /* longer than any crash course takes */

static int count_file(void *context, const char *name, const FileInfo *info) {
    *(unsigned *)context += !info->is_directory;
    return 0;
}

static unsigned files_in(Fixture *fixture, const char *folder) {
    unsigned count = 0;
    assert_int_equal(fixture->files->list(fixture->files, folder, count_file, &count, NULL), 0);
    return count;
}

static void append_file(Fixture *fixture) {
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_append(fixture, 1, "row", ROWS, 20);
    fixture_close(fixture, 1, CLOSE_CHANGE);
    fixture_run(fixture);
}

/* ---- what is going on when it is killed ---- */

static void divide(Fixture *fixture) {
    fixture->fast_rows = 5;
    append_file(fixture);
}

static void expire(Fixture *fixture) {
    fixture->result = SINK_RETRY;
    append_file(fixture);
    fixture_live(fixture, 8 * USEC_DAY);
}

static void remove_copies(Fixture *fixture) {
    expire(fixture);
    fixture_live(fixture, 31 * USEC_DAY);
}

static void remove_packs(Fixture *fixture) {
    append_file(fixture);
    fixture_live(fixture, 3 * USEC_HOUR);
}

/* ---- what must be there afterwards ---- */

static void all_arrive(Fixture *fixture) {
    fixture_live(fixture, USEC_DAY);
    assert_int_equal(fixture->arrived, ROWS);
    for (unsigned i = 0; i < ROWS; i++) {
        char row[16];
        (void)snprintf(row, sizeof row, "row-%u,", i);
        assert_true(fixture_has(fixture, row));
    }
    assert_int_equal(fixture_statistics(fixture, 1).totals.dropped_rows, 0);
    assert_int_equal(files_in(fixture, "staging/expired"), 0);
}

/* Its rows were imported by the process that was killed, or are in the copy. */
static void nothing_is_left(Fixture *fixture) {
    fixture_live(fixture, USEC_DAY);
    assert_int_equal(fixture->arrived, 0);
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 0);
    fixture_live(fixture, LATER); /* the retention of copies and orphans starts again */
    assert_int_equal(files_in(fixture, "staging"), 0);
    assert_int_equal(files_in(fixture, "staging/orphans"), 0);
    assert_int_equal(files_in(fixture, "staging/expired"), 0);
}

/* The copy exists, but the ledger does not know it: the file waits on, and the copy is kept as one
 * that somebody put there. */
static void all_arrive_beside_a_copy(Fixture *fixture) {
    fixture_live(fixture, USEC_DAY);
    assert_int_equal(fixture->arrived, ROWS);
    assert_int_equal(fixture_statistics(fixture, 1).totals.dropped_rows, 0);
    assert_int_equal(files_in(fixture, "staging/expired"), 1);
}

static const struct {
    const char *failpoint;
    void (*before)(Fixture *fixture);
    void (*after)(Fixture *fixture);
} cases[] = {
    {"stager.before-divide", divide, all_arrive},
    {"divide.before-record", divide, all_arrive},
    {"expiry.before-sync", expire, all_arrive},
    {"expiry.before-rename", expire, all_arrive},
    {"expiry.after-rename", expire, all_arrive_beside_a_copy},
    {"expiry.before-record", expire, all_arrive_beside_a_copy},
    {"retained.before-unlink", remove_packs, nothing_is_left},
    {"retained.before-copies", remove_copies, nothing_is_left},
};

static void crash_at(Fixture *fixture, const char *failpoint, void (*course)(Fixture *fixture)) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char text[64];
        (void)snprintf(text, sizeof text, "%s=crash", failpoint);
        fixture_start(fixture);
        if (failpoint_set(text, NULL) == 0) course(fixture);
        _exit(1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) fail_msg("%s was not reached", failpoint);
}

static void test_killed_at_failpoints(void **state) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        void *made = NULL;
        assert_int_equal(fixture_setup(&made), 0);
        Fixture *fixture = made;
        fixture_use_real_files(fixture);
        crash_at(fixture, cases[i].failpoint, cases[i].before);
        fixture_pass(fixture, LATER);
        fixture_start(fixture);
        fixture_define(fixture, 1, false, 1000, NEVER);
        cases[i].after(fixture);
        (void)fixture_teardown(&made);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_killed_at_failpoints)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
