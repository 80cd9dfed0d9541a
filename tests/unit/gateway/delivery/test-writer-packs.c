/* Staging files that are away, cannot be read or are given up. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/failpoint.h"
#include "storage/ledger.h"
#include "storage/pack.h"
#include "tests/support/memory-files.h"
#include "tests/unit/gateway/delivery/fixture.h"

#define NEVER (20 * USEC_HOUR) /* an import interval that no test reaches */
#define AWAY "away.pack"

/* The oldest pack of staging/; "" when there is none. */
static int find_pack(void *context, const char *name, const FileInfo *info) {
    char *path = context;
    size_t size = strlen(name);
    if (info->is_directory || size < 5 || strcmp(name + size - 5, ".pack") != 0) return 0;
    if (path[0] && strcmp(path + strlen("staging/"), name) < 0) return 0;
    (void)snprintf(path, 128, "staging/%s", name);
    return 0;
}

static void oldest_pack(Fixture *fixture, char path[static 128]) {
    path[0] = 0;
    assert_int_equal(fixture->files->list(fixture->files, "staging", find_pack, path, NULL), 0);
}

static void move(Fixture *fixture, const char *from, const char *to) {
    assert_int_equal(fixture->files->rename(fixture->files, from, to, NULL), 0);
}

static void verify(Fixture *fixture, uint64_t staged_row) {
    Txn *txn;
    Error error = {0};
    assert_int_equal(txn_begin_read(fixture->environment, &txn, NULL), 0);
    if (ledger_verify(txn, 1, staged_row, &error) != 0 || ledger_verify_packs(txn, &error) != 0) fail_msg("%s", error.text);
    txn_abort(txn);
}

/* Two files of 10 rows wait, each in a pack of its own; the path of the first one's pack. */
static void make_two_files(Fixture *fixture, char pack[static 128]) {
    fixture->result = SINK_RETRY;
    fixture_define(fixture, 1, false, 10, NEVER);
    fixture_append(fixture, 1, "first", 10, 20);
    fixture_run(fixture);
    oldest_pack(fixture, pack);
    assert_true(pack[0]);
    fixture_append(fixture, 1, "second", 10, 20);
    fixture_close(fixture, 1, CLOSE_CHANGE);
    fixture_run(fixture);
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 2);
    fixture->result = SINK_DONE;
}

static void pass_tries(Fixture *fixture) {
    for (unsigned i = 0; i < 30; i++) {
        fixture_pass(fixture, 10 * USEC_MINUTE);
        fixture_run(fixture);
    }
}

static void test_a_pack_that_is_away_costs_only_time(void **state) {
    Fixture *fixture = *state;
    char pack[128];
    make_two_files(fixture, pack);
    move(fixture, pack, AWAY);
    fixture_close(fixture, 1, CLOSE_FLUSH);
    fixture_run(fixture);
    assert_int_equal(fixture->close_result, -ECANCELED); /* never success without the rows */
    pass_tries(fixture);
    SinkStatistics statistics = fixture_statistics(fixture, 1);
    assert_int_equal(statistics.totals.dropped_rows, 0);
    assert_int_equal(statistics.files_waiting, 1); /* the other one passed */
    assert_non_null(strstr(statistics.last_error, "cannot be read from their staging file"));
    assert_int_equal(fixture->arrived, 10);

    move(fixture, AWAY, pack);
    pass_tries(fixture);
    assert_int_equal(fixture->arrived, 20);
    assert_true(fixture_has(fixture, "first-9"));
    assert_int_equal(fixture_statistics(fixture, 1).totals.dropped_rows, 0);
    verify(fixture, 21);
}

/* What the file system answers is no damage, and neither is a file that ends too early: its rest
 * may come back. */
static void test_what_cannot_be_read_is_no_damage(void **state) {
    Fixture *fixture = *state;
    static const struct {
        MemoryFilesCall call;
        int code;
    } faults[] = {{MEMORY_FILES_OPEN, EACCES}, {MEMORY_FILES_OPEN, ENOENT},  {MEMORY_FILES_OPEN, EIO},
                  {MEMORY_FILES_READ, EIO},    {MEMORY_FILES_READ, ENODATA}, {MEMORY_FILES_READ, ESTALE}};
    char pack[128];
    make_two_files(fixture, pack);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        memory_files_fail_call(fixture->files, faults[i].call, 1, faults[i].code, true);
        fixture_close(fixture, 1, CLOSE_FLUSH);
        fixture_run(fixture);
        assert_int_equal(fixture->close_result, -ECANCELED);
        memory_files_fail(fixture->files, 0, 0, false);
        memory_files_fail_call(fixture->files, faults[i].call, 0, 0, false);
    }
    assert_int_equal(fixture->arrived, 0);
    assert_int_equal(fixture_statistics(fixture, 1).totals.dropped_rows, 0);
    pass_tries(fixture);
    assert_int_equal(fixture->arrived, 20);
}

static void cut_off(Fixture *fixture, const char *pack, uint64_t bytes) {
    Files *files = fixture->files;
    File *from, *to;
    char *text = malloc((size_t)bytes);
    move(fixture, pack, AWAY);
    assert_int_equal(files->open(files, AWAY, &from, NULL), 0);
    assert_int_equal(files->read(files, from, 0, text, (size_t)bytes, NULL), 0);
    files->close(files, from);
    assert_int_equal(files->create(files, pack, 0600, &to, NULL), 0);
    assert_int_equal(files->append(files, to, (Span){.data = text, .size = (size_t)bytes}, NULL), 0);
    files->close(files, to);
    free(text);
}

static void test_a_pack_that_is_cut_off_waits_for_its_rest(void **state) {
    Fixture *fixture = *state;
    char pack[128];
    make_two_files(fixture, pack);
    cut_off(fixture, pack, 100);
    pass_tries(fixture);
    assert_int_equal(fixture->arrived, 10);
    assert_int_equal(fixture_statistics(fixture, 1).totals.dropped_rows, 0);
    move(fixture, AWAY, pack);
    pass_tries(fixture);
    assert_int_equal(fixture->arrived, 20);
}

static int start(Fixture *fixture, Error *error) {
    EnvironmentOptions environment = {.path = fixture->directory, .map_bytes = fixture->map_bytes, .no_sync = true};
    Writer *writer;
    Mailbox *stager = mailbox_new(NULL, NULL);
    assert_int_equal(environment_open(&environment, &fixture->environment, NULL), 0);
    WriterOptions options = fixture->options;
    options.environment = fixture->environment;
    options.stager = stager;
    int r = writer_open(&options, &writer, error);
    if (r == 0) writer_abandon(writer);
    mailbox_free(stager);
    environment_close(fixture->environment);
    return r;
}

typedef struct Report {
    unsigned calls;
    uint64_t rows, first_row;
    char label[64];
} Report;

static void note(void *context, const GivenUp *given_up) {
    Report *report = context;
    report->calls++;
    report->rows += given_up->rows;
    report->first_row = given_up->first_row;
    assert_true(given_up->first_time > 0 && given_up->last_time >= given_up->first_time);
    (void)snprintf(report->label, sizeof report->label, "%s", given_up->label);
}

/* As when the file system of staging/ is not mounted at a start. */
static void test_a_start_without_packs_is_refused(void **state) {
    Fixture *fixture = *state;
    char pack[128];
    Error error = {0};
    make_two_files(fixture, pack);
    fixture_stop(fixture, true);
    uint64_t calls = memory_files_calls_of(fixture->files, MEMORY_FILES_MAKE_DIRECTORY);
    move(fixture, "staging", "unmounted");
    for (unsigned i = 0; i < 3; i++) {
        error = (Error){0};
        assert_int_equal(start(fixture, &error), -EILSEQ);
        assert_non_null(strstr(error.text, "2 staging files with 20 rows"));
        assert_non_null(strstr(error.text, "source/sink1"));
        assert_non_null(strstr(error.text, "--give-up-missing-packs"));
    }
    FileInfo info;
    assert_int_equal(fixture->files->info(fixture->files, "staging", &info, NULL), -ENOENT); /* nothing was made in its place */
    assert_int_equal(memory_files_calls_of(fixture->files, MEMORY_FILES_MAKE_DIRECTORY), calls);
    /* A folder that may not be looked into is no missing pack either, whatever an admin says. */
    move(fixture, "unmounted", "staging");
    fixture->options.give_up_missing = true;
    memory_files_fail_call(fixture->files, MEMORY_FILES_INFO, 1, EACCES, true);
    assert_int_equal(start(fixture, &error), -EACCES);
    memory_files_fail_call(fixture->files, MEMORY_FILES_INFO, 0, 0, false);
    fixture->options.give_up_missing = false;

    fixture_start(fixture);
    fixture_define(fixture, 1, false, 10, NEVER);
    pass_tries(fixture);
    assert_int_equal(fixture->arrived, 20);
    assert_int_equal(fixture_statistics(fixture, 1).totals.dropped_rows, 0);
}

static void test_missing_packs_are_given_up_when_asked_for(void **state) {
    Fixture *fixture = *state;
    char pack[128];
    Report report = {0};
    make_two_files(fixture, pack);
    fixture_stop(fixture, true);
    move(fixture, pack, AWAY);
    fixture->options.give_up_missing = true;
    fixture->options.given_up = note;
    fixture->options.given_up_context = &report;
    fixture_start(fixture);
    assert_int_equal(report.calls, 1);
    assert_int_equal(report.rows, 10);
    assert_int_equal(report.first_row, 1);
    assert_string_equal(report.label, "source/sink1");
    fixture_define(fixture, 1, false, 10, NEVER);
    pass_tries(fixture);
    assert_int_equal(fixture->arrived, 10);
    assert_int_equal(fixture_statistics(fixture, 1).totals.dropped_rows, 10);
    verify(fixture, 21);

    /* Once is enough, and a pack that turns up later is not lost with the imported ones: it goes to
     * the orphans. */
    fixture->options.give_up_missing = false;
    fixture_stop(fixture, true);
    move(fixture, AWAY, pack);
    fixture_start(fixture);
    assert_int_equal(report.calls, 1);
    pass_tries(fixture);
    char left[128];
    oldest_pack(fixture, left);
    assert_string_equal(left, ""); /* retention.imported is over */
    char orphan[128] = {0};
    assert_int_equal(fixture->files->list(fixture->files, "staging/orphans", find_pack, orphan, NULL), 0);
    assert_non_null(strstr(orphan, pack + strlen("staging/")));
}

/* The destination committed the file, and nobody heard of it; then one of its two packs was given
 * up. */
static void test_given_up_rows_that_were_imported_count_as_imported(void **state) {
    Fixture *fixture = *state;
    char pack[128];
    fixture_stop(fixture, true);
    fixture->options.log_high_mark = 0; /* all is staged at once, and its file stays open */
    fixture_start(fixture);
    fixture->result = SINK_RETRY;
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_append(fixture, 1, "gone", 10, 20);
    fixture_run(fixture);
    oldest_pack(fixture, pack);
    fixture_append(fixture, 1, "there", 10, 20);
    fixture_close(fixture, 1, CLOSE_CHANGE);
    fixture_run(fixture);
    fixture_stop(fixture, false);
    move(fixture, pack, AWAY);
    fixture->options.give_up_missing = true;
    fixture_start(fixture);
    fixture->options.give_up_missing = false;
    assert_int_equal(fixture_statistics(fixture, 1).totals.dropped_rows, 10);
    fixture->result = SINK_DONE;
    fixture->in_ledger = 20;
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_close(fixture, 1, CLOSE_FLUSH);
    fixture_run(fixture);
    assert_int_equal(fixture->close_result, 0);
    assert_int_equal(fixture->arrived, 0); /* by this process */
    assert_int_equal(fixture_statistics(fixture, 1).totals.imported.rows, 20);
    assert_int_equal(fixture_statistics(fixture, 1).totals.dropped_rows, 0);
    verify(fixture, 21);
}

/* Also the file that is still open: its next rows go on in it. */
static void test_rows_of_an_open_file_are_given_up(void **state) {
    Fixture *fixture = *state;
    char pack[128];
    Report report = {0};
    fixture_stop(fixture, true);
    fixture->options.log_high_mark = 0; /* all is staged at once, and its file stays open */
    fixture_start(fixture);
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_append(fixture, 1, "lost", 10, 20);
    fixture_run(fixture);
    oldest_pack(fixture, pack);
    fixture_append(fixture, 1, "kept", 10, 20);
    fixture_run(fixture);
    fixture_stop(fixture, false);
    move(fixture, pack, AWAY);
    fixture->options.give_up_missing = true;
    fixture->options.given_up = note;
    fixture->options.given_up_context = &report;
    fixture_start(fixture);
    assert_int_equal(report.rows, 10);
    fixture->options.give_up_missing = false;
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_append(fixture, 1, "more", 10, 20);
    fixture_close(fixture, 1, CLOSE_FLUSH);
    fixture_run(fixture);
    assert_int_equal(fixture->close_result, 0);
    assert_int_equal(fixture->arrived, 20);
    assert_true(fixture_has(fixture, "kept-9") && fixture_has(fixture, "more-9") && !fixture_has(fixture, "lost-"));
    assert_int_equal(fixture_statistics(fixture, 1).totals.dropped_rows, 10);
    verify(fixture, 31);
}

static int count_files(void *context, const char *name, const FileInfo *info) {
    *(unsigned *)context += !info->is_directory;
    return 0;
}

static unsigned files_in(Fixture *fixture, const char *folder) {
    unsigned count = 0;
    assert_int_equal(fixture->files->list(fixture->files, folder, count_files, &count, NULL), 0);
    return count;
}

/* Packs are written, and each time the process dies before they are recorded. */
static void test_crashes_before_packs_are_recorded_pile_nothing_up(void **state) {
    Fixture *fixture = *state;
    Error error = {0};
    fixture_stop(fixture, true);
    fixture->options.log_high_mark = 0; /* all is staged at once */
    for (unsigned i = 0; i < 20; i++) {
        fixture_start(fixture);
        fixture_define(fixture, 1, false, 1000, NEVER);
        fixture_define(fixture, 2, false, 1000, NEVER);
        (void)writer_step(fixture->writer);
        if (i < 3) {
            fixture_append(fixture, 1, "row", 3, 20);
            fixture_append(fixture, 2, "row", 2, 20);
            (void)writer_step(fixture->writer);
        }
        (void)writer_step(fixture->writer); /* the log is over its mark */
        while (stager_step(fixture->stager)) continue;
        assert_in_range(files_in(fixture, "staging"), 1, 2);
        assert_int_equal(failpoint_set("storage.before-commit=error@1", &error), 0);
        (void)writer_step(fixture->writer);
        failpoint_clear();
        fixture_stop(fixture, false);
    }
    assert_int_equal(files_in(fixture, "staging/orphans"), 0);
    fixture_start(fixture);
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_define(fixture, 2, false, 1000, NEVER);
    fixture_close(fixture, 1, CLOSE_FLUSH);
    fixture_close(fixture, 2, CLOSE_FLUSH);
    fixture_run(fixture);
    assert_int_equal(fixture->arrived, 15);
    verify(fixture, 10);
}

/* The same numbers, but other bytes: a database that was set back to an older copy. Such a pack may
 * be the only copy of its rows. */
static void test_an_unknown_pack_with_other_rows_is_an_orphan(void **state) {
    Fixture *fixture = *state;
    char pack[128];
    fixture_stop(fixture, true);
    fixture->options.log_high_mark = 0;
    fixture_start(fixture);
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_append(fixture, 1, "first", 10, 20);
    fixture_run(fixture);
    oldest_pack(fixture, pack);
    assert_true(pack[0]);
    fixture_stop(fixture, true);
    /* A new environment in the place of the old one. */
    char path[300];
    (void)snprintf(path, sizeof path, "%s/data.mdb", fixture->directory);
    assert_int_equal(remove(path), 0);
    (void)snprintf(path, sizeof path, "%s/lock.mdb", fixture->directory);
    (void)remove(path);
    fixture->options.log_high_mark = 256u << 20;
    move(fixture, pack, AWAY);
    fixture_start(fixture);
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_append(fixture, 1, "other", 10, 20);
    fixture_run(fixture);
    fixture_stop(fixture, true);
    move(fixture, AWAY, pack);
    fixture_start(fixture);
    fixture_run(fixture);
    assert_int_equal(files_in(fixture, "staging/orphans"), 1);
    fixture_stop(fixture, true);

    /* With the same rows it is worth nothing. */
    char orphan[128] = {0}, from[160];
    assert_int_equal(fixture->files->list(fixture->files, "staging/orphans", find_pack, orphan, NULL), 0);
    (void)snprintf(from, sizeof from, "staging/orphans/%s", orphan + strlen("staging/"));
    move(fixture, from, AWAY);
    (void)snprintf(path, sizeof path, "%s/data.mdb", fixture->directory);
    assert_int_equal(remove(path), 0);
    fixture_start(fixture);
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_append(fixture, 1, "first", 10, 20);
    fixture_run(fixture);
    fixture_stop(fixture, true);
    move(fixture, AWAY, pack);
    fixture_start(fixture);
    fixture_run(fixture);
    assert_int_equal(files_in(fixture, "staging/orphans"), 0);
    assert_int_equal(files_in(fixture, "staging"), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_a_pack_that_is_away_costs_only_time),
        TEST(test_what_cannot_be_read_is_no_damage),
        TEST(test_a_pack_that_is_cut_off_waits_for_its_rest),
        TEST(test_a_start_without_packs_is_refused),
        TEST(test_missing_packs_are_given_up_when_asked_for),
        TEST(test_given_up_rows_that_were_imported_count_as_imported),
        TEST(test_rows_of_an_open_file_are_given_up),
        TEST(test_crashes_before_packs_are_recorded_pile_nothing_up),
        TEST(test_an_unknown_pack_with_other_rows_is_an_orphan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
