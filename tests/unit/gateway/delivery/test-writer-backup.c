/* The writer's part of a backup. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/backup_marks.h"
#include "storage/ledger.h"
#include "tests/support/memory-files.h"
#include "tests/unit/gateway/delivery/fixture.h"

#define NEVER (20 * USEC_HOUR) /* an import interval that no test reaches */

typedef struct Asking {
    Mailbox *reply;
    BackupOrder order;
} Asking;

static void ask(Fixture *fixture, Asking *asking, BackupStep step, bool complete) {
    uint64_t number = asking->order.number;
    if (!asking->reply) asking->reply = mailbox_new(NULL, NULL);
    asking->order = (BackupOrder){
        .request.message.kind = MESSAGE_BACKUP_ORDER, .request.reply = asking->reply, .step = step, .complete = complete, .number = number};
    mailbox_post(writer_mailbox(fixture->writer), &asking->order.request.message);
}

/* It is back. */
static int answer_of(Asking *asking) {
    assert_ptr_equal(mailbox_take(asking->reply), &asking->order.request.message);
    return asking->order.request.result;
}

static int ask_and_run(Fixture *fixture, Asking *asking, BackupStep step, bool complete) {
    ask(fixture, asking, step, complete);
    fixture_run(fixture);
    return answer_of(asking);
}

static uint64_t marks_of(Fixture *fixture, bool *ret_complete) {
    Txn *txn;
    BackupMarks marks;
    assert_int_equal(txn_begin_read(fixture->environment, &txn, NULL), 0);
    assert_int_equal(backup_marks_load(txn, &marks, NULL), 0);
    txn_abort(txn);
    uint64_t count = marks.count;
    *ret_complete = count > 0 && marks.items[count - 1].complete;
    backup_marks_deinit(&marks);
    return count;
}

static void test_at_the_point_all_rows_are_in_closed_files(void **state) {
    Fixture *fixture = *state;
    Asking asking = {0};
    bool complete;
    fixture->result = SINK_UNREACHABLE;
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_define(fixture, 2, true, 1000, NEVER);
    fixture_append(fixture, 1, "one", 5, 20);
    fixture_append(fixture, 2, "two", 3, 20);
    fixture_run(fixture);
    assert_int_equal(fixture_statistics(fixture, 1).local.rows, 5);

    assert_int_equal(ask_and_run(fixture, &asking, BACKUP_POINT, false), 0);
    assert_int_equal(asking.order.rows, 8);
    assert_int_equal(asking.order.number, 1);
    assert_int_equal(marks_of(fixture, &complete), 1);
    assert_false(complete);

    /* Until the release, nothing is committed; then all of it is, in order. */
    unsigned done = fixture->done;
    fixture_append(fixture, 1, "late", 2, 20);
    fixture_run(fixture);
    assert_int_equal(fixture->done, done);
    assert_int_equal(ask_and_run(fixture, &asking, BACKUP_RELEASE, false), 0);
    assert_int_equal(fixture->done, done + 1);
    SinkStatistics statistics = fixture_statistics(fixture, 1);
    assert_int_equal(statistics.local.rows, 2);
    assert_int_equal(statistics.staging.rows, 5);
    assert_int_equal(ask_and_run(fixture, &asking, BACKUP_END, true), 0);
    assert_int_equal(marks_of(fixture, &complete), 1);
    assert_true(complete);
    mailbox_free(asking.reply);
}

static void test_the_writer_goes_on_when_nobody_releases_it(void **state) {
    Fixture *fixture = *state;
    Asking asking = {0};
    bool complete;
    fixture_define(fixture, 1, false, 1000, NEVER);
    assert_int_equal(ask_and_run(fixture, &asking, BACKUP_POINT, false), 0);
    fixture_append(fixture, 1, "row", 2, 20);
    fixture_run(fixture);
    assert_int_equal(fixture->done, 0);
    fixture_pass(fixture, 2 * USEC_SECOND);
    fixture_run(fixture);
    assert_int_equal(fixture->done, 1);
    assert_int_equal(ask_and_run(fixture, &asking, BACKUP_RELEASE, false), -ETIMEDOUT);
    assert_int_equal(ask_and_run(fixture, &asking, BACKUP_END, false), 0);
    assert_int_equal(marks_of(fixture, &complete), 0);
    mailbox_free(asking.reply);
}

/* Nothing can be staged: the backup fails, and what was held is committed all the same. */
static void test_a_backup_gives_up_before_senders_wait_long(void **state) {
    Fixture *fixture = *state;
    Asking asking = {0};
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_append(fixture, 1, "row", 2, 20);
    fixture_run(fixture);
    memory_files_fail(fixture->files, 1, ENOSPC, true);
    ask(fixture, &asking, BACKUP_POINT, false);
    fixture_run(fixture);
    assert_null(mailbox_take(asking.reply));
    fixture_append(fixture, 1, "more", 2, 20);
    fixture_run(fixture);
    assert_int_equal(fixture->done, 2); /* the first part of it holds nothing */
    fixture_pass(fixture, 60 * USEC_SECOND);
    fixture_run(fixture);
    assert_int_equal(answer_of(&asking), -ETIMEDOUT);
    assert_non_null(strstr(asking.order.request.error.text, "staging files"));
    memory_files_fail(fixture->files, 0, 0, false);
    mailbox_free(asking.reply);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_at_the_point_all_rows_are_in_closed_files, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_the_writer_goes_on_when_nobody_releases_it, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_a_backup_gives_up_before_senders_wait_long, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
