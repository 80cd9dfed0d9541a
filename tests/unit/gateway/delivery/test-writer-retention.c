/* What is removed some day: only after its time in running time, whatever the clock says and
 * however long the gateway was off. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/metrics.h"
#include "storage/environment_private.h"
#include "storage/partitions.h"
#include "storage/rejects.h"
#include "tests/support/memory-files.h"
#include "tests/unit/gateway/delivery/fixture.h"

#define NEVER (20 * USEC_HOUR) /* an import interval that no test reaches */

static int count_file(void *context, const char *name, const FileInfo *info) {
    *(unsigned *)context += !info->is_directory;
    return 0;
}

static unsigned files_in(Fixture *fixture, const char *folder) {
    unsigned count = 0;
    assert_int_equal(fixture->files->list(fixture->files, folder, count_file, &count, NULL), 0);
    return count;
}

static int count_reject(void *context, const Reject *reject, Error *error) {
    ++*(unsigned *)context;
    return 0;
}

static unsigned rejects_of(Fixture *fixture, uint32_t sink) {
    Txn *txn;
    unsigned count = 0;
    assert_int_equal(txn_begin_read(fixture->environment, &txn, NULL), 0);
    assert_int_equal(rejects_visit(txn, sink, 0, count_reject, &count, NULL), 0);
    txn_abort(txn);
    return count;
}

static void close_file_with(Fixture *fixture, uint32_t sink, const char *prefix) {
    fixture_append(fixture, sink, prefix, 2, 20);
    fixture_close(fixture, sink, CLOSE_CHANGE);
    fixture_run(fixture);
}

/* Off for `time`, by the clocks; `orderly`: not killed. */
static void off_for(Fixture *fixture, usec_t time, bool orderly) {
    fixture_stop(fixture, orderly);
    fixture_pass(fixture, time);
    fixture_start(fixture);
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_run(fixture);
}

static void test_a_file_that_failed_for_too_long_is_set_aside(void **state) {
    Fixture *fixture = *state;
    uint64_t removed = metrics_read(METRIC_COPIES_REMOVED_ROWS);
    fixture_define(fixture, 1, false, 1000, NEVER);
    close_file_with(fixture, 1, "FILE");
    fixture_live(fixture, 6 * USEC_DAY);
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 1);
    fixture_live(fixture, 2 * USEC_DAY);
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 0);
    assert_int_equal(fixture_statistics(fixture, 1).totals.dropped_rows, 2);
    assert_int_equal(files_in(fixture, "staging/expired"), 1);
    fixture_live(fixture, 28 * USEC_DAY);
    assert_int_equal(files_in(fixture, "staging/expired"), 1);
    fixture_live(fixture, 3 * USEC_DAY);
    assert_int_equal(files_in(fixture, "staging/expired"), 0);
    assert_int_equal(metrics_read(METRIC_COPIES_REMOVED_ROWS) - removed, 2);
}

static void test_copies_are_kept_for_ever_by_default(void **state) {
    Fixture *fixture = *state;
    fixture_stop(fixture, true);
    fixture->options.retain_expired = 0;
    fixture->options.retain_failed = USEC_HOUR;
    fixture_start(fixture);
    fixture_define(fixture, 1, false, 1000, NEVER);
    close_file_with(fixture, 1, "FILE");
    fixture_live(fixture, 2 * USEC_HOUR);
    assert_int_equal(files_in(fixture, "staging/expired"), 1);
    fixture_live(fixture, 90 * USEC_DAY);
    assert_int_equal(files_in(fixture, "staging/expired"), 1);
}

/* Off for longer than files are retried; then the destination is away for some seconds. */
static void test_one_failed_try_after_a_long_time_off_loses_nothing(void **state) {
    Fixture *fixture = *state;
    fixture->result = SINK_UNREACHABLE;
    fixture_define(fixture, 1, false, 1000, NEVER);
    for (unsigned i = 0; i < 5; i++) close_file_with(fixture, 1, "row");
    for (unsigned round = 0; round < 6; round++) {
        fixture->result = round % 2 ? SINK_RETRY : SINK_UNREACHABLE;
        off_for(fixture, 8 * USEC_DAY, round % 3 != 0);
        for (unsigned i = 0; i < 8; i++) {
            fixture_pass(fixture, USEC_SECOND);
            fixture_run(fixture);
        }
    }
    fixture->result = SINK_DONE;
    fixture_live(fixture, USEC_HOUR);
    assert_int_equal(fixture->arrived, 10);
    assert_int_equal(fixture_statistics(fixture, 1).totals.dropped_rows, 0);
    assert_int_equal(files_in(fixture, "staging/expired"), 0);
}

/* A file that has failed for almost all its time is not set aside at the first tries of a start
 * either. */
static void test_a_start_tries_before_it_sets_aside(void **state) {
    Fixture *fixture = *state;
    fixture->result = SINK_RETRY;
    fixture_define(fixture, 1, false, 1000, NEVER);
    close_file_with(fixture, 1, "row");
    fixture_live(fixture, 7 * USEC_DAY - USEC_HOUR / 2);
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 1);
    off_for(fixture, USEC_DAY, true);
    fixture_live(fixture, USEC_HOUR - 10 * USEC_MINUTE);
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 1);
    fixture_live(fixture, USEC_HOUR);
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 0);
}

/* The days of several starts add up, also when each was killed; those between them do not count. */
static void test_running_time_survives_starts(void **state) {
    Fixture *fixture = *state;
    fixture->result = SINK_RETRY;
    fixture_define(fixture, 1, false, 1000, NEVER);
    close_file_with(fixture, 1, "row");
    for (unsigned day = 1; day <= 6; day++) {
        fixture_live(fixture, USEC_DAY);
        off_for(fixture, 30 * USEC_DAY, day % 2 == 0);
        assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 1);
    }
    fixture_live(fixture, 2 * USEC_DAY);
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 0);
    assert_int_equal(files_in(fixture, "staging/expired"), 1);
}

/* The clock that counts sleep goes on; nobody tried anything. */
static void test_a_machine_that_slept_tries_first(void **state) {
    Fixture *fixture = *state;
    fixture->result = SINK_RETRY;
    fixture_define(fixture, 1, false, 1000, NEVER);
    close_file_with(fixture, 1, "row");
    fixture_live(fixture, USEC_HOUR);
    fixture_pass(fixture, 30 * USEC_DAY);
    fixture_run(fixture);
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 1);
    fixture->result = SINK_DONE;
    fixture_live(fixture, USEC_HOUR);
    assert_int_equal(fixture->arrived, 2);
}

/* Behind a connection that is down no file but one is tried; together they have failed all the
 * same, once the gateway ran for so long. */
static void test_files_of_a_connection_that_is_down_expire(void **state) {
    Fixture *fixture = *state;
    fixture->result = SINK_UNREACHABLE;
    fixture_define(fixture, 1, true, 1000, NEVER);
    for (unsigned i = 0; i < 3; i++) close_file_with(fixture, 1, "row");
    fixture_live(fixture, 6 * USEC_DAY);
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 3);
    fixture_live(fixture, 2 * USEC_DAY);
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 0);
    assert_int_equal(files_in(fixture, "staging/expired"), 3);
}

/* A copy that cannot be written: the rows wait on, are tried, and arrive. */
static void test_a_copy_that_cannot_be_written_keeps_the_file(void **state) {
    Fixture *fixture = *state;
    fixture->result = SINK_RETRY;
    fixture_define(fixture, 1, false, 1000, NEVER);
    close_file_with(fixture, 1, "row");
    memory_files_fail_call(fixture->files, MEMORY_FILES_CREATE, 1, EACCES, true);
    fixture_live(fixture, 9 * USEC_DAY);
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 1);
    assert_int_equal(fixture_statistics(fixture, 1).totals.dropped_rows, 0);
    assert_int_equal(files_in(fixture, "staging/expired"), 0);
    fixture->result = SINK_DONE;
    fixture_live(fixture, USEC_HOUR);
    assert_int_equal(fixture->arrived, 2);
    memory_files_fail_call(fixture->files, MEMORY_FILES_CREATE, 0, 0, false);
}

static void put_file(Fixture *fixture, const char *path) {
    File *file = NULL;
    assert_int_equal(fixture->files->create(fixture->files, path, 0600, &file, NULL), 0);
    assert_int_equal(fixture->files->append(fixture->files, file, SPAN("content"), NULL), 0);
    fixture->files->close(fixture->files, file);
}

typedef struct Kept {
    unsigned packs, rejects, expired, orphans;
} Kept;

static Kept what_is_kept(Fixture *fixture) {
    return (Kept){.packs = files_in(fixture, "staging"),
                  .rejects = rejects_of(fixture, 1),
                  .expired = files_in(fixture, "staging/expired"),
                  .orphans = files_in(fixture, "staging/orphans")};
}

static void assert_kept(Fixture *fixture, const Kept *kept) {
    Kept now = what_is_kept(fixture);
    assert_int_equal(now.packs, kept->packs);
    assert_int_equal(now.rejects, kept->rejects);
    assert_int_equal(now.expired, kept->expired);
    assert_int_equal(now.orphans, kept->orphans);
}

/* An imported pack that is retained, rejects, a copy of an expired file, an orphan, a file that
 * waits. */
static Kept make_all(Fixture *fixture) {
    strcpy(fixture->refused, "bad");
    fixture_stop(fixture, true);
    fixture->options.retain_imported = 2 * USEC_DAY;
    fixture->options.retain_failed = USEC_HOUR;
    fixture_start(fixture);
    fixture_define(fixture, 1, false, 1000, NEVER);
    close_file_with(fixture, 1, "FILE");
    fixture_live(fixture, 3 * USEC_HOUR);
    close_file_with(fixture, 1, "bad");
    close_file_with(fixture, 1, "good");
    put_file(fixture, "staging/01900000-0000-7000-8000-000000000000.pack");
    fixture_stop(fixture, true);
    fixture_start(fixture);
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_live(fixture, USEC_HOUR);
    Kept kept = what_is_kept(fixture);
    assert_int_equal(kept.rejects, 2);
    assert_int_equal(kept.expired, 1);
    assert_int_equal(kept.orphans, 1);
    assert_int_equal(kept.packs, 3);
    return kept;
}

static void test_a_clock_that_is_wrong_for_one_start_removes_nothing(void **state) {
    Fixture *fixture = *state;
    static const usec_t jumps[] = {400 * USEC_DAY, -400 * USEC_DAY, 30 * 365 * USEC_DAY, -30 * 365 * USEC_DAY};
    Kept kept = make_all(fixture);
    for (size_t i = 0; i < sizeof jumps / sizeof *jumps; i++) {
        fixture_stop(fixture, i % 2 == 0);
        fixture->clock.wall_now += jumps[i];
        fixture->clock.boot_now = (5000 + (usec_t)i) * USEC_SECOND; /* the machine was started anew, too */
        fixture_start(fixture);
        fixture_define(fixture, 1, false, 1000, NEVER);
        fixture_live(fixture, 3 * USEC_HOUR);
        assert_kept(fixture, &kept);
        /* And while it runs. */
        fixture->clock.wall_now += 400 * USEC_DAY;
        fixture_live(fixture, 2 * USEC_HOUR);
        assert_kept(fixture, &kept);
        fixture->clock.wall_now -= 400 * USEC_DAY;
    }
    off_for(fixture, 400 * USEC_DAY, true);
    fixture_live(fixture, 2 * USEC_HOUR);
    assert_kept(fixture, &kept);
}

/* And each goes when the gateway ran for its time. */
static void test_each_goes_when_its_time_is_over(void **state) {
    Fixture *fixture = *state;
    Kept kept = make_all(fixture);
    fixture_live(fixture, 3 * USEC_DAY);
    kept.packs = 0;
    assert_kept(fixture, &kept);
    off_for(fixture, 100 * USEC_DAY, false);
    fixture_live(fixture, 5 * USEC_DAY);
    kept.orphans = 0;
    assert_kept(fixture, &kept);
    fixture_live(fixture, 20 * USEC_DAY);
    assert_kept(fixture, &kept);
    fixture_live(fixture, 4 * USEC_DAY);
    assert_kept(fixture, &(Kept){0});
}

typedef enum Paused { PAUSED_SINK, PAUSED_SOURCE, PAUSED_SOURCE_THEN_SINK, PAUSED_CONNECTION } Paused;

static void set_source_pause(Fixture *fixture, bool paused) {
    if (paused) pause_begin(&fixture->source->paused, fixture->clock.wall_now, usage_running(&fixture->usage), "test");
    if (!paused) pause_end(&fixture->source->paused);
}

static void set_pause(Fixture *fixture, Paused what, bool paused) {
    if (what == PAUSED_SOURCE || what == PAUSED_SOURCE_THEN_SINK) set_source_pause(fixture, paused);
    if (what == PAUSED_CONNECTION) fixture_pause_connection(fixture, "there", paused);
    if (what != PAUSED_CONNECTION) fixture_pause(fixture, 1, what == PAUSED_SINK && paused);
    fixture_run(fixture);
}

/* As a start says it, before the sinks. */
static void restart(Fixture *fixture, bool orderly, Paused what, bool paused) {
    fixture_stop(fixture, orderly);
    fixture_start(fixture);
    if (what == PAUSED_CONNECTION && paused) fixture_pause_connection(fixture, "there", true);
    bool sink_paused = fixture->sinks[1]->paused.at != 0;
    fixture_pause(fixture, 1, sink_paused);
    fixture_run(fixture);
}

/* A file whose tries fail for 6 days out of 7 around a long pause, and around starts. */
static void fail_around_pause(Fixture *fixture, Paused what, bool orderly) {
    fixture->result = SINK_RETRY;
    fixture_define(fixture, 1, false, 1000, NEVER);
    close_file_with(fixture, 1, "row");
    fixture_live(fixture, 3 * USEC_DAY);
    set_pause(fixture, what, true);
    fixture_live(fixture, 10 * USEC_DAY);
    restart(fixture, orderly, what, true);
    fixture_live(fixture, 10 * USEC_DAY);
    if (what == PAUSED_SOURCE_THEN_SINK) {
        fixture_pause(fixture, 1, true);
        fixture_run(fixture);
        fixture_live(fixture, 5 * USEC_DAY);
        set_source_pause(fixture, false);
        fixture_pause(fixture, 1, true);
        fixture_run(fixture);
        restart(fixture, orderly, what, true);
        fixture_live(fixture, 10 * USEC_DAY);
        what = PAUSED_SINK;
    }
    set_pause(fixture, what, false);
    restart(fixture, orderly, what, false); /* before a try */
    fixture_live(fixture, 3 * USEC_DAY);
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 1);
    restart(fixture, orderly, what, false);
    fixture_live(fixture, USEC_DAY - USEC_HOUR);
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 1);
    fixture_live(fixture, 2 * USEC_HOUR);
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 0);
    assert_int_equal(files_in(fixture, "staging/expired"), 1);
}

static void test_a_pause_of_a_sink_does_not_count_over_starts(void **state) {
    fail_around_pause(*state, PAUSED_SINK, true);
}

static void test_a_pause_of_a_source_does_not_count_over_kills(void **state) {
    fail_around_pause(*state, PAUSED_SOURCE, false);
}

static void test_a_pause_of_a_connection_does_not_count_over_kills(void **state) {
    fail_around_pause(*state, PAUSED_CONNECTION, false);
}

static void test_pauses_that_follow_each_other_do_not_count(void **state) {
    fail_around_pause(*state, PAUSED_SOURCE_THEN_SINK, true);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

static unsigned records(Fixture *fixture) {
    static const Database databases[] = {DB_FILES, DB_STATISTICS, DB_REJECTS};
    unsigned count = 0;
    Txn *txn;
    assert_int_equal(txn_begin_read(fixture->environment, &txn, NULL), 0);
    for (size_t i = 0; i < 3; i++) {
        MDB_cursor *cursor;
        Span key = {0}, value;
        assert_int_equal(db_cursor(txn, databases[i], &cursor, NULL), 0);
        for (int r = db_move(cursor, MDB_FIRST, &key, &value, NULL); r == 0; r = db_move(cursor, MDB_NEXT, &key, &value, NULL))
            count += key.size > 1; /* counters of everything stay */
        mdb_cursor_close(cursor);
    }
    txn_abort(txn);
    return count;
}

static void erase(Fixture *fixture, uint32_t sink) {
    Define *define = calloc(1, sizeof *define);
    assert_non_null(define);
    define->request.message.kind = MESSAGE_DEFINE;
    define->request.reply = fixture->control;
    define->erased = arena_zalloc(&define->arena, sizeof sink);
    define->erased[0] = sink;
    define->erased_count = 1;
    mailbox_post(writer_mailbox(fixture->writer), &define->request.message);
    fixture_run(fixture);
}

/* What is retained of it goes with its packs; then nothing is left. */
static void test_an_erased_sink_leaves_nothing(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 2, NEVER);
    (void)snprintf(fixture->refused, sizeof fixture->refused, "first-1");
    close_file_with(fixture, 1, "first");
    assert_int_equal(fixture_statistics(fixture, 1).totals.imported.rows, 1);
    assert_int_equal(rejects_of(fixture, 1), 1);
    assert_true(records(fixture) > 5);
    Txn *txn;
    int64_t end;
    assert_int_equal(txn_begin_write(fixture->environment, &txn, NULL), 0);
    for (uint32_t sink = 1; sink <= 2; sink++) assert_int_equal(partition_end_set(txn, sink, 7, 100, NULL), 0);
    assert_int_equal(txn_commit(txn, NULL), 0);
    erase(fixture, 1);
    assert_int_equal(txn_begin_read(fixture->environment, &txn, NULL), 0);
    assert_int_equal(partition_end_find(txn, 1, 7, &end, NULL), PARTITION_NOT_FOUND);
    assert_int_equal(partition_end_find(txn, 2, 7, &end, NULL), 0); /* another sink's */
    txn_abort(txn);
    assert_int_equal(rejects_of(fixture, 1), 0);
    assert_int_equal(fixture_statistics(fixture, 1).totals.imported.rows, 0);
    fixture_stop(fixture, true);
    fixture_start(fixture);
    fixture_live(fixture, 3 * USEC_DAY);
    assert_int_equal(records(fixture), 0);
    assert_int_equal(files_in(fixture, "staging"), 0);
}

static void test_an_erased_sink_of_which_something_waits_stays(void **state) {
    Fixture *fixture = *state;
    fixture->result = SINK_RETRY;
    fixture_define(fixture, 1, false, 2, NEVER);
    close_file_with(fixture, 1, "first");
    erase(fixture, 1);
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 1);
    fixture->result = SINK_DONE;
    fixture_live(fixture, USEC_HOUR);
    assert_int_equal(fixture->arrived, 2);
}

/* The text of the target stands once for a mapping version, however many files are retained. */
static void test_files_do_not_hold_their_target(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 2, NEVER);
    for (unsigned i = 0; i < 5; i++) close_file_with(fixture, 1, "row");
    unsigned targets = 0, files = 0;
    Txn *txn;
    MDB_cursor *cursor;
    Span key = {0}, value;
    assert_int_equal(txn_begin_read(fixture->environment, &txn, NULL), 0);
    assert_int_equal(db_cursor(txn, DB_FILES, &cursor, NULL), 0);
    for (int r = db_move(cursor, MDB_FIRST, &key, &value, NULL); r == 0; r = db_move(cursor, MDB_NEXT, &key, &value, NULL)) {
        targets += key.data[0] == 'T';
        files += key.data[0] == 'F';
        if (key.data[0] == 'F') assert_null(memmem(value.data, value.size, "columns", 7));
        if (key.data[0] == 'T') assert_non_null(memmem(value.data, value.size, "columns", 7));
    }
    mdb_cursor_close(cursor);
    txn_abort(txn);
    assert_int_equal(files, 5);
    assert_int_equal(targets, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_a_file_that_failed_for_too_long_is_set_aside),
        TEST(test_copies_are_kept_for_ever_by_default),
        TEST(test_one_failed_try_after_a_long_time_off_loses_nothing),
        TEST(test_a_start_tries_before_it_sets_aside),
        TEST(test_running_time_survives_starts),
        TEST(test_a_machine_that_slept_tries_first),
        TEST(test_a_pause_of_a_sink_does_not_count_over_starts),
        TEST(test_a_pause_of_a_source_does_not_count_over_kills),
        TEST(test_a_pause_of_a_connection_does_not_count_over_kills),
        TEST(test_pauses_that_follow_each_other_do_not_count),
        TEST(test_files_of_a_connection_that_is_down_expire),
        TEST(test_a_copy_that_cannot_be_written_keeps_the_file),
        TEST(test_a_clock_that_is_wrong_for_one_start_removes_nothing),
        TEST(test_each_goes_when_its_time_is_over),
        TEST(test_files_do_not_hold_their_target),
        TEST(test_an_erased_sink_leaves_nothing),
        TEST(test_an_erased_sink_of_which_something_waits_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
