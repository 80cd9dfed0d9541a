/* What the simulation cannot say as sharply: limits, damage, order and pauses of the writer. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cursor.h"
#include "base/failpoint.h"
#include "storage/commit_log.h"
#include "storage/environment_private.h"
#include "storage/ledger.h"
#include "storage/pack.h"
#include "storage/rejects.h"
#include "tests/support/memory-files.h"
#include "tests/unit/gateway/delivery/fixture.h"

#define NEVER (20 * USEC_HOUR) /* an import interval that no test reaches */

static void bounds(Fixture *fixture, uint64_t *first, uint64_t *last) {
    Txn *txn;
    assert_int_equal(txn_begin_read(fixture->environment, &txn, NULL), 0);
    assert_int_equal(commit_log_bounds(txn, first, last, NULL), 0);
    txn_abort(txn);
}

static void test_waiting_requests_share_one_group(void **state) {
    Fixture *fixture = *state;
    uint64_t first, last;
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_append(fixture, 1, "a", 3, 20);
    fixture_append(fixture, 1, "b", 2, 20);
    fixture_append(fixture, 2, "c", 1, 20);
    fixture_run(fixture);
    bounds(fixture, &first, &last);
    assert_int_equal(fixture->done, 3);
    assert_int_equal(first, 1);
    assert_int_equal(last, 1);
    assert_int_equal(fixture_statistics(fixture, 1).totals.next_row, 6);
    assert_int_equal(fixture_statistics(fixture, 2).totals.next_row, 2);
}

static uint64_t last_transaction(Fixture *fixture) {
    MDB_envinfo info;
    assert_int_equal(mdb_env_info(fixture->environment->env, &info), 0);
    return info.me_last_txnid;
}

/* A start orders every sink again: with ten thousand of them it may not write what is stored. */
static void test_an_order_that_is_stored_writes_nothing(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, true, 1000, NEVER);
    fixture_define(fixture, 2, false, 1000, NEVER);
    fixture_run(fixture);
    uint64_t before = last_transaction(fixture);
    fixture_define(fixture, 1, true, 1000, NEVER);
    fixture_define(fixture, 2, false, 1000, NEVER);
    (void)writer_step(fixture->writer);
    assert_true(last_transaction(fixture) == before);
    fixture_define(fixture, 1, false, 1000, NEVER);
    (void)writer_step(fixture->writer);
    assert_true(last_transaction(fixture) > before);
}

static void test_a_large_request_takes_several_groups_and_one_transaction(void **state) {
    Fixture *fixture = *state;
    uint64_t first, last;
    Error error = {0};
    fixture_define(fixture, 1, false, 40, NEVER);
    fixture_run(fixture);
    /* The second commit would fail: there is only one. */
    assert_int_equal(failpoint_set("storage.before-commit=error@2", &error), 0);
    fixture_append(fixture, 1, "large", 30, 1 << 20);
    (void)writer_step(fixture->writer);
    failpoint_clear();
    bounds(fixture, &first, &last);
    assert_int_equal(first, 1);
    assert_int_equal(last, 2);
    fixture_append(fixture, 1, "rest", 10, 20);
    fixture_run(fixture);
    assert_int_equal(fixture->arrived, 40);
}

/* A sink that is staged and imported at each row. Its import of "a" is with the loaders when this
 * returns. */
static void begin_eager_import(Fixture *fixture) {
    fixture->upload_rows = 1;
    fixture_define(fixture, 1, false, 1, NEVER);
    fixture_run(fixture);
    fixture_append(fixture, 1, "a", 1, 20);
    (void)writer_step(fixture->writer);
    assert_true(stager_step(fixture->stager));
    (void)writer_step(fixture->writer);
    assert_false(stager_step(fixture->stager));
}

/* Each pack costs syncs, and none of them would be imported before that import has ended. */
static void test_small_uploads_wait_while_an_import_runs(void **state) {
    Fixture *fixture = *state;
    begin_eager_import(fixture);
    for (unsigned i = 0; i < 3; i++) {
        fixture_append(fixture, 1, i == 0 ? "b" : i == 1 ? "c" : "d", 1, 20);
        (void)writer_step(fixture->writer);
        assert_false(stager_step(fixture->stager));
    }
    assert_true(loaders_step(fixture->loaders));
    (void)writer_step(fixture->writer);
    assert_true(stager_step(fixture->stager)); /* all three */
    (void)writer_step(fixture->writer);
    assert_int_equal(fixture->arrived, 1);
    assert_true(loaders_step(fixture->loaders));
    assert_int_equal(fixture->arrived, 4);
    assert_int_equal(fixture->imports, 2);
}

/* It may take long, and rows are not to pile up in the log. */
static void test_small_uploads_do_not_wait_for_a_long_import(void **state) {
    Fixture *fixture = *state;
    begin_eager_import(fixture);
    fixture_append(fixture, 1, "b", 1, 20);
    usec_t next = writer_step(fixture->writer);
    assert_false(stager_step(fixture->stager));
    assert_true(next > 0 && next <= 100 * USEC_MS);
    fixture_pass(fixture, next);
    (void)writer_step(fixture->writer);
    assert_true(stager_step(fixture->stager));
    fixture_append(fixture, 1, "c", 2, 1 << 20);
    (void)writer_step(fixture->writer); /* a larger one does not wait at all */
    assert_true(stager_step(fixture->stager));
    assert_int_equal(fixture->arrived, 0);
    fixture_run(fixture);
    assert_int_equal(fixture->arrived, 4);
}

/* The rows that came meanwhile would need another pack: they are not waited for. */
static void test_what_is_staged_when_an_import_ends_is_imported_at_once(void **state) {
    Fixture *fixture = *state;
    begin_eager_import(fixture);
    fixture_append(fixture, 1, "b", 1, 20);
    fixture_pass(fixture, writer_step(fixture->writer));
    (void)writer_step(fixture->writer);
    fixture_append(fixture, 1, "c", 1, 20);
    assert_true(stager_step(fixture->stager));
    fixture_append(fixture, 1, "d", 1, 20);
    assert_true(loaders_step(fixture->loaders));
    uint64_t before = last_transaction(fixture);
    (void)writer_step(fixture->writer);
    assert_int_equal(last_transaction(fixture) - before, 2); /* the Appends, and what came back */
    assert_true(loaders_step(fixture->loaders));
    assert_int_equal(fixture->arrived, 2);
    assert_true(fixture_has(fixture, "b-0"));
    fixture_run(fixture);
    assert_int_equal(fixture->arrived, 4);
}

static void test_a_full_map_refuses_the_large_request_alone(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 10, NEVER);
    fixture_run(fixture);
    fixture_append(fixture, 1, "small", 5, 20);
    for (unsigned i = 0; i < 10; i++) fixture_append(fixture, 1, "large", 10, 1 << 20);
    fixture_append(fixture, 1, "also-small", 5, 20);
    (void)writer_step(fixture->writer);
    assert_true(atomic_load(&fixture->usage.intake_stopped));
    fixture_run(fixture);
    assert_true(fixture->full > 0);
    assert_true(fixture->done >= 2);
    assert_int_equal(fixture->done + fixture->full, 12);
    assert_int_equal(fixture->failed, 0);
    assert_int_equal(fixture->broken, 0);
    fixture_pass(fixture, 2 * USEC_SECOND);
    fixture_run(fixture);
    assert_true(fixture_has(fixture, "also-small-4"));
    assert_int_equal(fixture_statistics(fixture, 1).totals.received.rows, fixture->arrived);
}

static void test_at_the_cap_of_rejects_only_their_requests_are_refused(void **state) {
    Fixture *fixture = *state;
    fixture_stop(fixture, true);
    fixture->options.rejects_bytes = 500;
    fixture_start(fixture);
    fixture_define(fixture, 1, false, 1000, NEVER);
    char body[1000];
    memset(body, 'b', sizeof body);
    Append *append = calloc(1, sizeof *append);
    append->message.kind = MESSAGE_APPEND;
    append->reply = fixture->loop;
    append->rejects = arena_zalloc(&append->arena, sizeof *append->rejects);
    append->reject_count = 1;
    append->rejects[0] = (AppendReject){.sink = 1, .at = 1, .reason = SPAN("no"), .body = {body, sizeof body}};
    mailbox_post(writer_mailbox(fixture->writer), &append->message);
    fixture_append(fixture, 1, "row", 1, 20);
    fixture_run(fixture);
    assert_int_equal(fixture->rejects_full, 1);
    assert_int_equal(fixture->full, 0);
    assert_int_equal(fixture->done, 1);
    assert_int_equal(fixture_statistics(fixture, 1).totals.rejected_events, 0);
}

static void test_discard_drops_what_waits_and_says_how_much(void **state) {
    Fixture *fixture = *state;
    fixture->result = SINK_RETRY;
    fixture_define(fixture, 1, false, 10, NEVER);
    fixture_append(fixture, 1, "closed", 10, 20);
    fixture_run(fixture); /* closed, and its import failed */
    fixture_append(fixture, 1, "log", 3, 20);
    fixture_append(fixture, 2, "other", 1, 20);
    fixture_run(fixture);
    assert_int_equal(fixture_statistics(fixture, 1).local.rows, 3);
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 1);
    fixture_discard(fixture, 1);
    fixture_run(fixture);
    assert_int_equal(fixture->define->request.result, 0);
    assert_int_equal(fixture->define->discarded_rows, 13);
    SinkStatistics statistics = fixture_statistics(fixture, 1);
    assert_int_equal(statistics.totals.dropped_rows, 13);
    assert_int_equal(statistics.local.rows + statistics.staging.rows, 0);
    assert_int_equal(fixture_statistics(fixture, 2).local.rows, 1);
    fixture_stop(fixture, false);
    fixture_start(fixture);
    assert_int_equal(fixture_statistics(fixture, 1).totals.dropped_rows, 13);
}

/* ---- damage ---------------------------------------------------------------------------------- */

/* Flips a byte of a commit group, `from_end` before its end or `-from_end - 1` behind its start. */
static void damage_group(Fixture *fixture, uint64_t commit, long from_end) {
    Txn *txn;
    char key[8];
    store_be64(key, commit);
    Span value;
    assert_int_equal(txn_begin_write(fixture->environment, &txn, NULL), 0);
    assert_int_equal(db_get(txn, DB_LOG, (Span){key, 8}, &value, NULL), 0);
    char *copy = malloc(value.size);
    memcpy(copy, value.data, value.size);
    copy[from_end > 0 ? value.size - (size_t)from_end : (size_t)-from_end] ^= 1;
    assert_int_equal(db_put(txn, DB_LOG, (Span){key, 8}, (Span){copy, value.size}, NULL), 0);
    assert_int_equal(txn_commit(txn, NULL), 0);
    free(copy);
}

static void three_groups(Fixture *fixture) {
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_define(fixture, 2, false, 1000, NEVER);
    static const char *const names[] = {"first", "middle", "last"};
    for (size_t i = 0; i < 3; i++) {
        fixture_append(fixture, 1, names[i], 4, 20);
        fixture_append(fixture, 2, names[i], 2, 20);
        (void)writer_step(fixture->writer);
    }
    fixture_run(fixture);
}

static void flush_both(Fixture *fixture) {
    fixture_close(fixture, 1, CLOSE_FLUSH);
    fixture_close(fixture, 2, CLOSE_FLUSH);
    fixture_run(fixture);
}

static void verify(Fixture *fixture, uint32_t sink, uint64_t staged_row) {
    Txn *txn;
    Error error = {0};
    assert_int_equal(txn_begin_read(fixture->environment, &txn, NULL), 0);
    if (ledger_verify(txn, sink, staged_row, &error) < 0) fail_msg("%s", error.text);
    txn_abort(txn);
}

static void test_damaged_rows_in_the_log_are_quarantined_alone(void **state) {
    Fixture *fixture = *state;
    three_groups(fixture);
    damage_group(fixture, 2, 3); /* the rows of sink 2 are the last ones */
    flush_both(fixture);
    assert_int_equal(fixture->arrived, 12 + 4);
    assert_true(fixture_has(fixture, "last-1"));
    assert_int_equal(fixture_statistics(fixture, 1).totals.dropped_rows, 0);
    assert_int_equal(fixture_statistics(fixture, 2).totals.dropped_rows, 2);
    assert_int_equal(fixture->close_result, 0);
    verify(fixture, 1, 13);
    verify(fixture, 2, 7);
}

static void test_a_damaged_directory_costs_its_group(void **state) {
    Fixture *fixture = *state;
    three_groups(fixture);
    damage_group(fixture, 2, -40);
    flush_both(fixture);
    assert_int_equal(fixture->arrived, 8 + 4);
    assert_int_equal(fixture_statistics(fixture, 1).totals.dropped_rows, 4);
    assert_int_equal(fixture_statistics(fixture, 2).totals.dropped_rows, 2);
    verify(fixture, 1, 13);
}

static void test_a_start_passes_a_damaged_group(void **state) {
    Fixture *fixture = *state;
    three_groups(fixture);
    damage_group(fixture, 2, -40);
    fixture_stop(fixture, false); /* nothing stored: all of it is replayed */
    fixture_start(fixture);
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_define(fixture, 2, false, 1000, NEVER);
    fixture_append(fixture, 1, "new", 1, 20);
    flush_both(fixture);
    assert_int_equal(fixture->arrived, 8 + 4 + 1);
    assert_int_equal(fixture_statistics(fixture, 1).totals.next_row, 14);
    assert_int_equal(fixture_statistics(fixture, 1).totals.dropped_rows, 4);
    verify(fixture, 1, 14);
}

static unsigned groups_left(Fixture *fixture) {
    Txn *txn;
    CommitLogReader *reader;
    GroupView group;
    unsigned count = 0;
    assert_int_equal(txn_begin_read(fixture->environment, &txn, NULL), 0);
    assert_int_equal(commit_log_reader_new(txn, 1, &reader, NULL), 0);
    while (commit_log_read(reader, &group, NULL) == 0) count++;
    commit_log_reader_free(reader);
    txn_abort(txn);
    return count;
}

static void test_an_unexplained_hole_stops_its_sink_alone(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_append(fixture, 1, "only-one", 1, 20);
    (void)writer_step(fixture->writer);
    three_groups(fixture);
    Txn *txn;
    char key[8];
    store_be64(key, 3); /* of the three the middle one: gone without a trace */
    assert_int_equal(txn_begin_write(fixture->environment, &txn, NULL), 0);
    assert_int_equal(db_remove(txn, DB_LOG, (Span){key, 8}, NULL), 0);
    assert_int_equal(txn_commit(txn, NULL), 0);
    fixture_append(fixture, 3, "other", 2, 20);
    fixture_run(fixture);
    fixture_stop(fixture, false);
    fixture_start(fixture);
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_define(fixture, 3, false, 1000, NEVER);
    fixture_close(fixture, 3, CLOSE_FLUSH);
    fixture_run(fixture);
    assert_int_equal(fixture->arrived, 2);
    fixture_close(fixture, 1, CLOSE_FLUSH);
    fixture_run(fixture);
    assert_int_equal(fixture->close_result, -EBADMSG);
    assert_true(fixture_statistics(fixture, 1).failing);
    assert_non_null(strstr(fixture_statistics(fixture, 1).last_error, "next row"));
    assert_true(atomic_load(&fixture->gates[1]->closed));
    assert_int_equal(fixture->arrived, 2);

    /* Its rows stay in the log, on both sides of the hole, and hold up nobody else's. */
    for (unsigned i = 0; i < 5; i++) {
        fixture_append(fixture, 3, "later", 2, 20);
        fixture_close(fixture, 3, CLOSE_FLUSH);
        fixture_run(fixture);
    }
    assert_int_equal(fixture->arrived, 12);
    assert_int_equal(groups_left(fixture), 3); /* 1, 2 and 4, of what were 5 and 5 more */

    fixture_discard(fixture, 1);
    fixture_run(fixture);
    assert_int_equal(fixture->define->request.result, -EBADMSG);
    assert_int_equal(fixture->broken, 0);
    assert_int_equal(groups_left(fixture), 3);
}

static int find_pack(void *context, const char *name, const FileInfo *info) {
    if (!info->is_directory) (void)snprintf(context, 128, "staging/%s", name);
    return 0;
}

static void test_a_damaged_slice_costs_its_rows(void **state) {
    Fixture *fixture = *state;
    char pack[128] = {0};
    fixture->result = SINK_RETRY;
    fixture_define(fixture, 1, false, 10, NEVER);
    fixture_append(fixture, 1, "damaged", 10, 20);
    fixture_run(fixture);
    (void)fixture->files->list(fixture->files, "staging", find_pack, pack, NULL);
    fixture_append(fixture, 1, "whole", 10, 20);
    fixture_close(fixture, 1, CLOSE_CHANGE);
    fixture_run(fixture);
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 2);

    FileInfo info;
    assert_int_equal(fixture->files->info(fixture->files, pack, &info, NULL), 0);
    Txn *txn;
    PackDirectory directory;
    assert_int_equal(pack_read_directory(fixture->files, pack, &directory, NULL), 0);
    uint64_t behind = directory.slices[0].offset + directory.slices[0].length;
    pack_directory_deinit(&directory);
    assert_int_equal(memory_files_flip(fixture->files, pack, (behind - 20) * 8, NULL), 0);

    fixture->result = SINK_DONE;
    fixture_close(fixture, 1, CLOSE_FLUSH);
    fixture_run(fixture);
    assert_int_equal(fixture->close_result, 0);
    assert_int_equal(fixture->arrived, 10);
    assert_true(fixture_has(fixture, "whole-9"));
    assert_int_equal(fixture_statistics(fixture, 1).totals.dropped_rows, 10);
    assert_int_equal(fixture_statistics(fixture, 1).totals.imported.rows, 10);
    verify(fixture, 1, 21);
    assert_int_equal(txn_begin_read(fixture->environment, &txn, NULL), 0);
    assert_int_equal(ledger_verify_packs(txn, NULL), 0);
    txn_abort(txn);
}

/* ---- order, pauses, conditions --------------------------------------------------------------- */

static void close_file_with(Fixture *fixture, uint32_t sink, const char *prefix) {
    fixture_append(fixture, sink, prefix, 2, 20);
    fixture_close(fixture, sink, CLOSE_CHANGE);
    fixture_run(fixture);
}

static void test_a_refused_file_holds_keyed_ones_and_is_passed_by_others(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, true, 1000, NEVER);
    fixture_define(fixture, 2, false, 1000, NEVER);
    for (uint32_t sink = 1; sink <= 2; sink++) {
        close_file_with(fixture, sink, "FILE");
        assert_int_equal(fixture->close_result, -ECANCELED);
        close_file_with(fixture, sink, "later");
    }
    fixture_pass(fixture, 20 * USEC_SECOND);
    fixture_run(fixture);
    assert_int_equal(fixture_statistics(fixture, 1).totals.imported.rows, 0);
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 2);
    assert_int_equal(fixture_statistics(fixture, 2).totals.imported.rows, 2);
    assert_int_equal(fixture_statistics(fixture, 2).files_failed, 1);
}

static void test_an_unreachable_connection_is_probed_by_one_sink(void **state) {
    Fixture *fixture = *state;
    fixture->result = SINK_UNREACHABLE;
    for (uint32_t sink = 1; sink < FIXTURE_SINKS; sink++) {
        fixture_define(fixture, sink, false, 1, NEVER);
        fixture_append(fixture, sink, "row", 1, 20);
    }
    fixture_run(fixture);
    uint64_t before = fixture->connects;
    fixture_pass(fixture, 20 * USEC_MINUTE);
    fixture_run(fixture);
    assert_int_equal(fixture->connects, before + 1);
    assert_true(fixture_statistics(fixture, 3).failing);
    fixture->result = SINK_DONE;
    fixture_pass(fixture, 20 * USEC_MINUTE);
    fixture_run(fixture);
    assert_int_equal(fixture->arrived, FIXTURE_SINKS - 1);
    assert_false(fixture_statistics(fixture, 3).failing);
    assert_int_equal(fixture_statistics(fixture, 3).last_error[0], 0);
}

static void test_while_imports_fail_time_closes_no_file(void **state) {
    Fixture *fixture = *state;
    fixture->result = SINK_RETRY;
    fixture_define(fixture, 1, false, 100, USEC_MINUTE);
    fixture_append(fixture, 1, "a", 2, 20);
    fixture_run(fixture);
    fixture_pass(fixture, 2 * USEC_MINUTE);
    fixture_run(fixture);
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 1);
    for (unsigned i = 0; i < 10; i++) {
        fixture_append(fixture, 1, "b", 2, 20);
        fixture_pass(fixture, 2 * USEC_MINUTE);
        fixture_run(fixture);
    }
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 1);
    assert_true(fixture->imports < 12); /* 22 minutes of pauses from 5 s to 10 min */
    fixture->result = SINK_DONE;
    fixture_pass(fixture, 10 * USEC_MINUTE);
    fixture_run(fixture);
    fixture_pass(fixture, 2 * USEC_MINUTE);
    fixture_run(fixture);
    assert_int_equal(fixture->arrived, 22);
}

static void test_waiting_files_of_one_target_share_an_import(void **state) {
    Fixture *fixture = *state;
    fixture->result = SINK_UNREACHABLE;
    fixture_define(fixture, 1, true, 1000, NEVER);
    for (unsigned i = 0; i < 5; i++) close_file_with(fixture, 1, "row");
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 5);
    uint64_t before = fixture->imports;
    fixture->result = SINK_DONE;
    fixture_pass(fixture, 20 * USEC_MINUTE);
    fixture_run(fixture);
    assert_int_equal(fixture->arrived, 10);
    assert_int_equal(fixture->imports, before + 1);
    close_file_with(fixture, 1, "next");
    assert_int_equal(fixture->settled, 4); /* all but the last one */
}

static void test_refused_rows_are_rejects_and_count(void **state) {
    Fixture *fixture = *state;
    strcpy(fixture->refused, "bad");
    fixture_define(fixture, 1, false, 5, NEVER);
    fixture_append(fixture, 1, "good", 3, 20);
    fixture_append(fixture, 1, "bad", 2, 20);
    fixture_run(fixture);
    SinkStatistics statistics = fixture_statistics(fixture, 1);
    assert_int_equal(statistics.totals.imported.rows, 3);
    assert_int_equal(statistics.totals.rejected_rows, 2);
}

static void test_a_drain_leaves_files_open(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_append(fixture, 1, "row", 2, 20);
    fixture_run(fixture);
    Message *drain = calloc(1, sizeof *drain);
    drain->kind = MESSAGE_DRAIN;
    fixture_append(fixture, 1, "late", 1, 20);
    fixture_close(fixture, 1, CLOSE_FLUSH);
    mailbox_post(writer_mailbox(fixture->writer), drain);
    fixture_run(fixture);
    assert_int_equal(fixture->done, 2);
    assert_int_equal(fixture->drained, 1);
    assert_int_equal(fixture->closes, 1);
    assert_int_equal(fixture->close_result, -ECANCELED);
    assert_int_equal(fixture_statistics(fixture, 1).local.rows, 3);
}

static void test_a_sink_over_its_share_is_closed_and_opened(void **state) {
    Fixture *fixture = *state;
    fixture_stop(fixture, true);
    fixture->options.disk_budget = 60u << 20;
    fixture->options.disk_share_percent = 2;
    fixture_start(fixture);
    fixture_define(fixture, 1, false, 100000, NEVER);
    fixture->result = SINK_UNREACHABLE;
    fixture_append(fixture, 1, "row", 20, 100000);
    fixture_run(fixture);
    assert_true(atomic_load(&fixture->gates[1]->closed));
    assert_false(atomic_load(&fixture->gates[2]->closed));
    fixture->result = SINK_DONE;
    fixture_close(fixture, 1, CLOSE_FLUSH);
    fixture_run(fixture);
    assert_int_equal(fixture->close_rows, 20);
    assert_false(atomic_load(&fixture->gates[1]->closed));
}

/* What was imported before the clock went back goes first, too. */
static void test_retained_packs_go_when_space_is_short_whatever_the_clock_says(void **state) {
    Fixture *fixture = *state;
    char pack[128] = {0};
    fixture_define(fixture, 1, false, 1, NEVER);
    fixture_append(fixture, 1, "row", 2, 20);
    fixture_run(fixture);
    assert_int_equal(fixture->arrived, 2);
    (void)fixture->files->list(fixture->files, "staging", find_pack, pack, NULL);
    assert_true(pack[0]);
    fixture->clock.wall_now -= 365 * USEC_DAY;
    memory_files_capacity(fixture->files, 1);
    fixture_pass(fixture, 2 * USEC_SECOND);
    fixture_run(fixture);
    pack[0] = 0;
    (void)fixture->files->list(fixture->files, "staging", find_pack, pack, NULL);
    assert_false(pack[0]);
}

/* Conditions that do not hold yet would keep it closed until they do: a day long, at worst. */
static void test_a_sink_over_its_share_does_not_wait_for_its_conditions(void **state) {
    Fixture *fixture = *state;
    fixture_stop(fixture, true);
    fixture->options.disk_budget = 60u << 20;
    fixture->options.disk_share_percent = 2;
    fixture_start(fixture);
    fixture_define(fixture, 1, false, 100000, NEVER);
    fixture_append(fixture, 1, "row", 20, 100000);
    fixture_run(fixture);
    assert_int_equal(fixture->arrived, 20);
    assert_false(atomic_load(&fixture->gates[1]->closed));
}

/* Nor does what waits when the budget is used up, and the log's share of a small budget comes
 * before its mark. */
static void test_without_space_nothing_waits_for_its_conditions(void **state) {
    Fixture *fixture = *state;
    fixture_stop(fixture, true);
    fixture->options.disk_budget = 8u << 20;
    fixture->options.log_high_mark = 1u << 30;
    fixture->options.disk_share_percent = 100;
    fixture_start(fixture);
    fixture_define(fixture, 1, false, 100000, NEVER);
    for (unsigned i = 0; i < 6; i++) fixture_append(fixture, 1, "row", 10, 100000);
    for (unsigned i = 0; i < 5; i++) {
        fixture_run(fixture);
        fixture_pass(fixture, 2 * USEC_SECOND);
    }
    assert_false(atomic_load(&fixture->usage.intake_stopped));
    assert_int_equal(fixture_statistics(fixture, 1).local.rows, 0);
    assert_int_equal(fixture->failed + fixture->full, 0);
}

static void test_the_budget_stops_intake_and_lets_it_go_on(void **state) {
    Fixture *fixture = *state;
    fixture_stop(fixture, true);
    fixture->options.disk_budget = 8u << 20; /* half of it is reserve */
    fixture->options.log_high_mark = 1u << 30;
    fixture_start(fixture);
    fixture_define(fixture, 1, false, 100000, NEVER);
    memory_files_capacity(fixture->files, 1); /* nothing can be staged */
    for (unsigned i = 0; i < 6; i++) fixture_append(fixture, 1, "row", 10, 100000);
    fixture_run(fixture);
    fixture_pass(fixture, 2 * USEC_SECOND);
    fixture_run(fixture);
    assert_true(atomic_load(&fixture->usage.intake_stopped));
    memory_files_capacity(fixture->files, 0);
    fixture_pass(fixture, USEC_MINUTE); /* the pause after a pack that could not be written */
    fixture_close(fixture, 1, CLOSE_FLUSH);
    fixture_run(fixture);
    fixture_pass(fixture, 2 * USEC_SECOND);
    fixture_run(fixture); /* imported, and what is retained went first */
    assert_false(atomic_load(&fixture->usage.intake_stopped));
    assert_int_equal(fixture->arrived, 60);
}

static void test_a_log_over_its_mark_is_staged(void **state) {
    Fixture *fixture = *state;
    fixture_stop(fixture, true);
    fixture->options.log_high_mark = 4u << 20;
    fixture_start(fixture);
    fixture_define(fixture, 1, false, 100000, NEVER);
    fixture_define(fixture, 2, false, 100000, NEVER);
    fixture_append(fixture, 2, "pins", 1, 20);
    fixture_run(fixture);
    for (unsigned i = 0; i < 8; i++) {
        fixture_append(fixture, 1, "row", 10, 100000);
        fixture_run(fixture);
    }
    uint64_t first, last;
    bounds(fixture, &first, &last);
    assert_true(first > 1);
    assert_true(fixture_statistics(fixture, 1).local.bytes <= 4u << 20);
    assert_int_equal(fixture_statistics(fixture, 2).staging.rows, 1);
    assert_int_equal(fixture->arrived, 0);
}

static void test_a_failed_commit_breaks_the_writer_once(void **state) {
    Fixture *fixture = *state;
    Error error = {0};
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_run(fixture);
    assert_int_equal(failpoint_set("storage.before-commit=error@1", &error), 0);
    fixture_append(fixture, 1, "row", 1, 20);
    fixture_run(fixture);
    failpoint_clear();
    fixture_append(fixture, 1, "row", 1, 20);
    fixture_close(fixture, 1, CLOSE_FLUSH);
    fixture_run(fixture);
    assert_int_equal(fixture->failed, 2);
    assert_int_equal(fixture->broken, 1);
    assert_int_equal(fixture->closes, 1);
    assert_true(atomic_load(&fixture->usage.broken));
}

/* Each call on the file system fails once: what waits gets there at the next try, and nothing
 * twice. */
static void test_any_failing_file_call_costs_only_time(void **state) {
    Fixture *fixture = *state;
    static const int codes[] = {EIO, ENOSPC};
    uint64_t rows = 0;
    fixture_define(fixture, 1, true, 1, NEVER);
    for (uint64_t nth = 1; nth <= 40; nth++) {
        for (size_t i = 0; i < 2; i++) {
            memory_files_fail(fixture->files, nth, codes[i], false);
            fixture_append(fixture, 1, "row", 3, 20);
            rows += 3;
            for (unsigned k = 0; k < 20 && fixture->arrived < rows; k++) {
                fixture_run(fixture);
                fixture_pass(fixture, USEC_MINUTE);
            }
            assert_int_equal(fixture->arrived, rows);
        }
    }
    memory_files_fail(fixture->files, 0, 0, false);
    assert_int_equal(fixture_statistics(fixture, 1).totals.imported.rows, rows);
    assert_int_equal(fixture_statistics(fixture, 1).totals.dropped_rows, 0);
    assert_int_equal(fixture->broken, 0);
    verify(fixture, 1, rows + 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

/* Rows are taken, staged and put into files; no import starts, also after a restart, until it is
 * resumed. */
static void test_a_paused_sink_takes_and_stages(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 10, USEC_MINUTE);
    fixture_define(fixture, 2, false, 10, USEC_MINUTE);
    fixture_pause(fixture, 1, true);
    for (unsigned i = 0; i < 3; i++) fixture_append(fixture, 1, "paused", 10, 20);
    fixture_append(fixture, 1, "more", 5, 20);
    fixture_append(fixture, 2, "other", 10, 20);
    fixture_run(fixture);
    fixture_pass(fixture, 10 * USEC_MINUTE);
    fixture_run(fixture);
    assert_int_equal(fixture->done, 5);
    assert_int_equal(fixture->arrived, 10);
    SinkStatistics statistics = fixture_statistics(fixture, 1);
    assert_true(statistics.paused);
    assert_false(statistics.failing);
    assert_true(statistics.files_waiting > 0);
    assert_int_equal(statistics.local.rows + statistics.staging.rows, 35);
    assert_false(fixture_statistics(fixture, 2).paused);

    fixture_stop(fixture, false);
    fixture_start(fixture);
    fixture_run(fixture); /* before control has said what is paused */
    assert_int_equal(fixture->arrived, 10);
    fixture_pause(fixture, 1, true);
    fixture_pass(fixture, 10 * USEC_MINUTE);
    fixture_run(fixture);
    assert_int_equal(fixture->arrived, 10);
    fixture_pause(fixture, 1, false);
    fixture_run(fixture);
    fixture_pass(fixture, 2 * USEC_MINUTE);
    fixture_run(fixture);
    assert_int_equal(fixture->arrived, 45);
    assert_false(fixture_statistics(fixture, 1).paused);
}

static void test_a_flush_does_not_wait_for_a_paused_sink(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_append(fixture, 1, "a", 5, 20);
    fixture_pause(fixture, 1, true);
    fixture_close(fixture, 1, CLOSE_FLUSH);
    fixture_run(fixture);
    assert_int_equal(fixture->closes, 1);
    assert_int_equal(fixture->close_result, -EBUSY);
    assert_int_equal(fixture->arrived, 0);

    /* One that waits already is answered when the pause begins. */
    fixture_pause(fixture, 1, false);
    fixture->result = SINK_UNREACHABLE;
    fixture_run(fixture);
    fixture_close(fixture, 1, CLOSE_FLUSH);
    (void)writer_step(fixture->writer);
    fixture_pause(fixture, 1, true);
    (void)writer_step(fixture->writer);
    fixture_run(fixture);
    assert_int_equal(fixture->closes, 2);
    assert_int_equal(fixture->close_result, -EBUSY);
    fixture->result = SINK_DONE;
    fixture_pause(fixture, 1, false);
    fixture_close(fixture, 1, CLOSE_FLUSH);
    fixture_run(fixture);
    assert_int_equal(fixture->close_result, 0);
    assert_int_equal(fixture->arrived, 5);
}

/* All that goes there; and a failed file does not grow old meanwhile. */
static void test_a_paused_connection(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 5, NEVER);
    fixture->result = SINK_RETRY;
    fixture_append(fixture, 1, "a", 5, 20);
    fixture_run(fixture);
    uint64_t tried = fixture->imports;
    assert_true(tried > 0);
    fixture->result = SINK_DONE;
    fixture_pause_connection(fixture, "there", true);
    fixture_append(fixture, 1, "b", 5, 20);
    fixture_run(fixture);
    fixture_pass(fixture, 30 * USEC_DAY);
    fixture_run(fixture);
    assert_int_equal(fixture->imports, tried);
    assert_int_equal(fixture->arrived, 0);
    assert_true(fixture_statistics(fixture, 1).paused);
    assert_int_equal(fixture_statistics(fixture, 1).totals.dropped_rows, 0);
    fixture_close(fixture, 1, CLOSE_FLUSH);
    fixture_run(fixture);
    assert_int_equal(fixture->close_result, -EBUSY);
    fixture_pause_connection(fixture, "elsewhere", true);
    fixture_pause_connection(fixture, "there", false);
    fixture_run(fixture);
    assert_int_equal(fixture->arrived, 10);
    assert_false(fixture_statistics(fixture, 1).paused);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_waiting_requests_share_one_group),
        TEST(test_an_order_that_is_stored_writes_nothing),
        TEST(test_a_large_request_takes_several_groups_and_one_transaction),
        TEST(test_small_uploads_wait_while_an_import_runs),
        TEST(test_small_uploads_do_not_wait_for_a_long_import),
        TEST(test_what_is_staged_when_an_import_ends_is_imported_at_once),
        TEST(test_a_full_map_refuses_the_large_request_alone),
        TEST(test_at_the_cap_of_rejects_only_their_requests_are_refused),
        TEST(test_discard_drops_what_waits_and_says_how_much),
        TEST(test_damaged_rows_in_the_log_are_quarantined_alone),
        TEST(test_a_damaged_directory_costs_its_group),
        TEST(test_a_start_passes_a_damaged_group),
        TEST(test_an_unexplained_hole_stops_its_sink_alone),
        TEST(test_a_damaged_slice_costs_its_rows),
        TEST(test_a_refused_file_holds_keyed_ones_and_is_passed_by_others),
        TEST(test_an_unreachable_connection_is_probed_by_one_sink),
        TEST(test_while_imports_fail_time_closes_no_file),
        TEST(test_waiting_files_of_one_target_share_an_import),
        TEST(test_refused_rows_are_rejects_and_count),
        TEST(test_a_drain_leaves_files_open),
        TEST(test_a_sink_over_its_share_is_closed_and_opened),
        TEST(test_the_budget_stops_intake_and_lets_it_go_on),
        TEST(test_a_sink_over_its_share_does_not_wait_for_its_conditions),
        TEST(test_retained_packs_go_when_space_is_short_whatever_the_clock_says),
        TEST(test_without_space_nothing_waits_for_its_conditions),
        TEST(test_a_log_over_its_mark_is_staged),
        TEST(test_a_failed_commit_breaks_the_writer_once),
        TEST(test_any_failing_file_call_costs_only_time),
        cmocka_unit_test_setup_teardown(test_a_paused_sink_takes_and_stages, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_a_flush_does_not_wait_for_a_paused_sink, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_a_paused_connection, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
