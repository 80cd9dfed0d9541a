/* Runs of bridges through the writer and the stager: where they have to begin, what of them is in
 * the log, in slices and in files. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cursor.h"
#include "gateway/delivery/writer/sink_ends.h"
#include "gateway/delivery/writer/sink_log.h"
#include "storage/commit_log.h"
#include "storage/environment_private.h"
#include "storage/ledger.h"
#include "storage/pack.h"
#include "storage/partitions.h"
#include "tests/unit/gateway/delivery/fixture.h"

#define NEVER (20 * USEC_HOUR) /* an import interval that no test reaches */
#define APPEND(...) fixture_append_runs(fixture, (FixtureRun[]){__VA_ARGS__}, sizeof((FixtureRun[]){__VA_ARGS__}) / sizeof(FixtureRun))

static Txn *begin_read(Fixture *fixture) {
    Txn *txn;
    assert_int_equal(txn_begin_read(fixture->environment, &txn, NULL), 0);
    return txn;
}

/* The ends that are stored. */
static int64_t stored_end(Fixture *fixture, uint32_t sink, uint32_t partition) {
    Txn *txn = begin_read(fixture);
    int64_t end = -1;
    int r = partition_end_find(txn, sink, partition, &end, NULL);
    txn_abort(txn);
    return r == 0 ? end : -1;
}

static void flush(Fixture *fixture, uint32_t sink) {
    fixture_close(fixture, sink, CLOSE_FLUSH);
    fixture_run(fixture);
}

static void verify(Fixture *fixture, uint32_t sink, uint64_t staged_row) {
    Error error = {0};
    Txn *txn = begin_read(fixture);
    if (ledger_verify(txn, sink, staged_row, &error) < 0) fail_msg("%s", error.text);
    txn_abort(txn);
}

typedef struct Found {
    Fixture *fixture;
    Txn *txn;
    OffsetRuns runs;
    size_t slices;
} Found;

/* The ledger's runs of a slice are those that the slice says itself. */
static int add_slice(void *context, const SliceRecord *slice, Error *error) {
    Found *found = context;
    size_t before = found->runs.count;
    found->slices++;
    assert_int_equal(ledger_read_runs(found->txn, slice->sink, slice->first_row, &found->runs, error), 0);
    assert_int_equal(found->runs.count - before, slice->run_count);
    SliceReader *reader;
    SliceRuns own = {0};
    assert_int_equal(slice_open(found->fixture->files, slice, &reader, error), 0);
    assert_int_equal(slice_runs(reader, &own, error), 0);
    assert_int_equal(own.runs.count, slice->run_count);
    for (size_t i = 0; i < own.runs.count; i++) {
        const Partition *partition = partitions_get(&own.partitions, own.runs.items[i].partition);
        assert_non_null(partition);
        assert_string_equal(partition->topic, "orders");
        assert_int_equal(own.runs.items[i].next, found->runs.items[before + i].next);
    }
    slice_runs_deinit(&own);
    slice_close(reader);
    return 0;
}

static Found slices_of(Fixture *fixture, uint32_t sink) {
    Found found = {.fixture = fixture, .txn = begin_read(fixture)};
    Error error = {0};
    assert_int_equal(ledger_visit_slices(found.txn, sink, 1, UINT64_MAX / 2, add_slice, &found, &error), 0);
    txn_abort(found.txn);
    return found;
}

static void run_is(const OffsetRun *run, int64_t first, int64_t next, uint64_t rows) {
    assert_int_equal(run->first, first);
    assert_int_equal(run->next, next);
    assert_int_equal(run->rows, rows);
}

/* ---- where a run begins ---------------------------------------------------------------------- */

static void test_runs_go_on_where_the_partition_ends(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    APPEND({.sink = 1, .partition = 0, .first = 0, .next = 5, .rows = 5}); /* nobody said that it begins there */
    fixture_run(fixture);
    assert_int_equal(fixture->misplaced, 1);
    assert_int_equal(fixture->ends[0], -1);
    APPEND({.sink = 1, .partition = 0, .first = 10, .next = 15, .rows = 5, .sets_end = true});
    APPEND({.sink = 1, .partition = 0, .first = 15, .next = 18, .rows = 2}); /* of the same transaction */
    fixture_run(fixture);
    assert_int_equal(fixture->done, 2);
    assert_int_equal(stored_end(fixture, 1, 1), 18);
    APPEND({.sink = 1, .partition = 0, .first = 18, .next = 20, .rows = 2}, {.sink = 1, .partition = 1, .first = 7, .next = 9, .rows = 1});
    fixture_run(fixture);
    assert_int_equal(fixture->misplaced, 2); /* whole */
    assert_int_equal(fixture->ends[0], 18);
    assert_int_equal(fixture->ends[1], -1);
    assert_int_equal(stored_end(fixture, 1, 1), 18);
    assert_int_equal(fixture_statistics(fixture, 1).totals.received.rows, 7);
    APPEND({.sink = 1, .partition = 0, .first = 18, .next = 20, .rows = 2},
           {.sink = 1, .partition = 1, .first = 7, .next = 9, .rows = 1, .sets_end = true});
    fixture_run(fixture);
    assert_int_equal(fixture->done, 3);
    assert_int_equal(fixture->broken, 0);
}

static void test_each_sink_has_its_own_end(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_define(fixture, 2, false, 1000, NEVER);
    APPEND({.sink = 1, .partition = 0, .first = 0, .next = 5, .rows = 5, .sets_end = true},
           {.sink = 2, .partition = 0, .first = 3, .next = 5, .rows = 2, .sets_end = true});
    APPEND({.sink = 1, .partition = 0, .first = 5, .next = 7, .rows = 1}, {.sink = 2, .partition = 0, .first = 3, .next = 7, .rows = 1});
    fixture_run(fixture);
    assert_int_equal(fixture->misplaced, 1);
    assert_int_equal(fixture_statistics(fixture, 1).totals.received.rows, 5); /* sink 1 alone would have fitted */
    assert_int_equal(fixture_statistics(fixture, 2).totals.received.rows, 2);
}

/* The next one is smaller and has room, but it may not go in over the hole. */
static void test_behind_an_append_without_room_nothing_fits(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    APPEND({.sink = 1, .partition = 0, .first = 0, .next = 10, .rows = 10, .sets_end = true});
    fixture_run(fixture);
    FixtureRun large[7];
    for (unsigned i = 0; i < 7; i++)
        large[i] = (FixtureRun){.sink = 1, .first = 10 + 10 * i, .next = 20 + 10 * i, .rows = 10, .bytes = 1 << 20};
    fixture_append_runs(fixture, large, 7);
    APPEND({.sink = 1, .partition = 0, .first = 80, .next = 90, .rows = 10});
    (void)writer_step(fixture->writer);
    fixture_run(fixture);
    assert_int_equal(fixture->full, 1);
    assert_int_equal(fixture->misplaced, 1);
    assert_int_equal(fixture->ends[0], 10);
    assert_int_equal(stored_end(fixture, 1, 1), 10);
    fixture_pass(fixture, 2 * USEC_SECOND);
    fixture_run(fixture);
    APPEND({.sink = 1, .partition = 0, .first = 10, .next = 20, .rows = 10});
    fixture_run(fixture);
    assert_int_equal(fixture->done, 2);
    assert_int_equal(fixture->broken, 0);
}

static void test_ends_outlive_a_start(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    APPEND({.sink = 1, .partition = 3, .first = 0, .next = 5, .rows = 5, .sets_end = true});
    APPEND({.sink = 1, .partition = 3, .first = 5, .next = 9});
    fixture_run(fixture);
    fixture_stop(fixture, false);
    fixture_start(fixture);
    fixture_define(fixture, 1, false, 1000, NEVER);
    APPEND({.sink = 1, .partition = 3, .first = 5, .next = 8, .rows = 3});
    APPEND({.sink = 1, .partition = 3, .first = 9, .next = 12, .rows = 3});
    flush(fixture, 1);
    assert_int_equal(fixture->misplaced, 1);
    assert_int_equal(fixture->ends[0], 9);
    assert_int_equal(fixture->done, 3);
    verify(fixture, 1, 9);
}

/* ---- from the log into slices ---------------------------------------------------------------- */

static void test_slices_have_the_runs_of_their_rows(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_define(fixture, 2, false, 1000, NEVER);
    APPEND({.sink = 1, .partition = 0, .first = 0, .next = 4, .sets_end = true}); /* before the first row */
    (void)writer_step(fixture->writer);
    APPEND({.sink = 1, .partition = 0, .first = 4, .next = 9, .rows = 3},
           {.sink = 1, .partition = 1, .first = 100, .next = 102, .rows = 2, .sets_end = true},
           {.sink = 2, .partition = 0, .first = 0, .next = 9, .rows = 1, .sets_end = true});
    (void)writer_step(fixture->writer);
    fixture_append(fixture, 3, "of-an-http-source", 2, 20);
    APPEND({.sink = 1, .partition = 0, .first = 9, .next = 12}); /* goes with the run before it */
    (void)writer_step(fixture->writer);
    APPEND({.sink = 1, .partition = 1, .first = 102, .next = 103, .rows = 1});
    flush(fixture, 1);
    Found found = slices_of(fixture, 1);
    assert_int_equal(found.slices, 1);
    assert_int_equal(found.runs.count, 4);
    run_is(&found.runs.items[0], 0, 4, 0);
    run_is(&found.runs.items[1], 4, 12, 3);
    run_is(&found.runs.items[2], 100, 102, 2);
    run_is(&found.runs.items[3], 102, 103, 1);
    offset_runs_deinit(&found.runs);
}

static unsigned groups_left(Fixture *fixture) {
    CommitLogReader *reader;
    GroupView group;
    unsigned count = 0;
    Txn *txn = begin_read(fixture);
    assert_int_equal(commit_log_reader_new(txn, 1, &reader, NULL), 0);
    while (commit_log_read(reader, &group, NULL) == 0) count++;
    commit_log_reader_free(reader);
    txn_abort(txn);
    return count;
}

static void test_the_log_keeps_runs_without_rows(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_define(fixture, 2, false, 1000, NEVER);
    APPEND({.sink = 1, .partition = 0, .first = 0, .next = 4, .rows = 3, .sets_end = true});
    flush(fixture, 1);
    APPEND({.sink = 1, .partition = 0, .first = 4, .next = 9});
    fixture_run(fixture);
    fixture_append(fixture, 2, "of-an-http-source", 2, 20);
    flush(fixture, 2);
    assert_int_equal(groups_left(fixture), 2);
    APPEND({.sink = 1, .partition = 0, .first = 9, .next = 10, .rows = 1}); /* takes them along */
    flush(fixture, 1);
    assert_int_equal(groups_left(fixture), 0);
    Found found = slices_of(fixture, 1);
    assert_int_equal(found.runs.count, 3);
    run_is(&found.runs.items[1], 4, 9, 0);
    run_is(&found.runs.items[2], 9, 10, 1);
    offset_runs_deinit(&found.runs);
}

static void test_damage_in_the_log_is_read_again(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    for (int64_t i = 0; i < 3; i++) {
        APPEND({.sink = 1, .partition = 0, .first = 10 * i, .next = 10 * i + 10, .rows = 4, .sets_end = i == 0});
        (void)writer_step(fixture->writer);
    }
    Txn *txn;
    char key[8];
    store_be64(key, 2);
    Span value;
    assert_int_equal(txn_begin_write(fixture->environment, &txn, NULL), 0);
    assert_int_equal(db_get(txn, DB_LOG, (Span){key, 8}, &value, NULL), 0);
    char *copy = malloc(value.size);
    memcpy(copy, value.data, value.size);
    copy[value.size - 2] ^= 1;
    assert_int_equal(db_put(txn, DB_LOG, (Span){key, 8}, (Span){copy, value.size}, NULL), 0);
    assert_int_equal(txn_commit(txn, NULL), 0);
    free(copy);
    flush(fixture, 1);
    SinkTotals totals = fixture_statistics(fixture, 1).totals;
    assert_int_equal(totals.dropped_rows, 0);
    assert_int_equal(totals.returned_rows, 4 + 4); /* what is behind it does not follow */
    assert_int_equal(fixture->positions[0], 10);
    verify(fixture, 1, 13);
    assert_int_equal(fixture->broken, 0);
}

static void test_a_file_is_divided_where_runs_end(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture->fast_rows = 30;
    for (int64_t i = 0; i < 4; i++)
        APPEND({.sink = 1, .partition = 0, .first = 100 * i, .next = 100 * i + 90, .rows = 25, .sets_end = i == 0},
               {.sink = 1, .partition = 0, .first = 100 * i + 90, .next = 100 * i + 100});
    flush(fixture, 1);
    assert_int_equal(fixture->arrived, 100);
    Found found = slices_of(fixture, 1);
    assert_int_equal(found.slices, 4);
    assert_int_equal(found.runs.count, 4);
    for (int64_t i = 0; i < 4; i++) run_is(&found.runs.items[i], 100 * i, 100 * i + 100, 25);
    offset_runs_deinit(&found.runs);
    verify(fixture, 1, 101);
}

static void test_a_file_of_one_run_is_not_divided(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture->fast_rows = 30;
    APPEND({.sink = 1, .partition = 0, .first = 0, .next = 1, .rows = 50, .sets_end = true});
    flush(fixture, 1);
    assert_int_equal(fixture->arrived, 0);
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 1);
    fixture->fast_rows = 0;
    flush(fixture, 1);
    assert_int_equal(fixture->arrived, 50);
}

/* ---- imports --------------------------------------------------------------------------------- */

static void three_files(Fixture *fixture) {
    fixture->result = SINK_RETRY;
    fixture_define(fixture, 1, false, 4, NEVER);
    for (int64_t i = 0; i < 3; i++) {
        APPEND({.sink = 1, .partition = 0, .first = 10 * i, .next = 10 * i + 10, .rows = 4, .sets_end = i == 0});
        fixture_run(fixture);
        fixture_close(fixture, 1, CLOSE_CHANGE);
        fixture_run(fixture);
    }
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 3);
}

static void test_what_somebody_else_imported_is_left_out(void **state) {
    Fixture *fixture = *state;
    three_files(fixture);
    fixture->positions[0] = 20;
    fixture->result = SINK_DONE;
    flush(fixture, 1);
    SinkTotals totals = fixture_statistics(fixture, 1).totals;
    assert_int_equal(fixture->close_result, 0);
    assert_int_equal(totals.overtaken_rows, 8);
    assert_int_equal(totals.imported.rows, 4);
    assert_int_equal(fixture->arrived, 4);
    assert_true(fixture_has(fixture, "0:20-0"));
    assert_int_equal(fixture->positions[0], 30);
    verify(fixture, 1, 13);
}

/* A destination that was restored, or a position inside a run. */
static void test_what_does_not_follow_is_returned(void **state) {
    Fixture *fixture = *state;
    three_files(fixture);
    fixture->positions[0] = 12;
    fixture->result = SINK_DONE;
    flush(fixture, 1);
    SinkTotals totals = fixture_statistics(fixture, 1).totals;
    assert_int_equal(totals.overtaken_rows, 4);
    assert_int_equal(totals.returned_rows, 8);
    assert_int_equal(fixture->arrived, 0);
    assert_int_equal(fixture->positions[0], 12);
    verify(fixture, 1, 13);
    /* The bridge goes back, and says that it begins there. */
    APPEND({.sink = 1, .partition = 0, .first = 12, .next = 30, .rows = 7, .sets_end = true});
    flush(fixture, 1);
    assert_int_equal(fixture->arrived, 7);
    assert_int_equal(fixture->positions[0], 30);
}

static void test_files_of_a_broker_never_pass_each_other(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 4, NEVER);
    fixture->fast_rows = 5; /* the first file takes too long, and cannot be divided */
    fixture->unproven = true;
    APPEND({.sink = 1, .partition = 0, .first = 0, .next = 10, .rows = 8, .sets_end = true});
    fixture_run(fixture);
    for (int64_t i = 1; i < 4; i++) {
        APPEND({.sink = 1, .partition = 0, .first = 10 * i, .next = 10 * i + 10, .rows = 4});
        fixture_close(fixture, 1, CLOSE_CHANGE);
        fixture_live(fixture, USEC_HOUR);
    }
    assert_int_equal(fixture->arrived, 0);
    fixture_live(fixture, 30 * USEC_DAY); /* nor do they expire */
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 4);
    assert_int_equal(fixture_statistics(fixture, 1).totals.dropped_rows, 0);
    fixture->fast_rows = 0;
    flush(fixture, 1);
    assert_int_equal(fixture->arrived, 20);
    assert_int_equal(fixture->positions[0], 40);
    verify(fixture, 1, 21);
}

/* COMMIT was sent and not answered: what became of the file then counts. */
static void test_a_file_found_imported_has_its_outcomes(void **state) {
    Fixture *fixture = *state;
    fixture->result = SINK_RETRY;
    fixture_define(fixture, 1, false, 1000, NEVER);
    APPEND({.sink = 1, .partition = 0, .first = 0, .next = 10, .rows = 4, .sets_end = true},
           {.sink = 1, .partition = 0, .first = 10, .next = 20, .rows = 6});
    flush(fixture, 1);
    fixture->result = SINK_DONE;
    fixture->positions[0] = 10; /* the driver says that the first run was overtaken */
    fixture->in_ledger = 10;
    flush(fixture, 1);
    SinkTotals totals = fixture_statistics(fixture, 1).totals;
    assert_int_equal(totals.overtaken_rows, 4);
    assert_int_equal(totals.imported.rows, 6);
    assert_int_equal(fixture->arrived, 0);
    verify(fixture, 1, 11);
}

/* ---- positions alone ------------------------------------------------------------------------- */

static void test_runs_without_rows_set_the_position_in_time(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    APPEND({.sink = 1, .partition = 0, .first = 0, .next = 4, .sets_end = true},
           {.sink = 1, .partition = 1, .first = 0, .next = 7, .sets_end = true});
    fixture_run(fixture);
    assert_int_equal(groups_left(fixture), 1);
    fixture_pass(fixture, 10 * USEC_SECOND);
    fixture_run(fixture);
    assert_int_equal(fixture->advances, 1);
    assert_int_equal(fixture->positions[0], 4);
    assert_int_equal(fixture->positions[1], 7);
    assert_int_equal(groups_left(fixture), 0);
    APPEND({.sink = 1, .partition = 0, .first = 4, .next = 6, .rows = 2});
    flush(fixture, 1);
    assert_int_equal(fixture->arrived, 2);
    fixture_pass(fixture, USEC_MINUTE);
    fixture_run(fixture);
    assert_int_equal(fixture->advances, 1);
}

/* While the destination is away rows come: the positions go first, so that the rows follow them. */
static void test_rows_wait_for_positions_that_are_on_their_way(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 4, NEVER);
    APPEND({.sink = 1, .partition = 0, .first = 0, .next = 4, .sets_end = true});
    fixture->result = SINK_RETRY;
    fixture_run(fixture);
    fixture_pass(fixture, 10 * USEC_SECOND);
    fixture_run(fixture);
    APPEND({.sink = 1, .partition = 0, .first = 4, .next = 9, .rows = 4});
    fixture_close(fixture, 1, CLOSE_CHANGE);
    fixture_run(fixture);
    fixture->result = SINK_DONE;
    fixture_live(fixture, USEC_HOUR);
    assert_int_equal(fixture->arrived, 4);
    assert_int_equal(fixture->positions[0], 9);
    assert_int_equal(fixture_statistics(fixture, 1).totals.returned_rows, 0);
    assert_int_equal(groups_left(fixture), 0);
}

static void test_a_start_brings_runs_without_rows_back(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    APPEND({.sink = 1, .partition = 0, .first = 0, .next = 4, .sets_end = true});
    fixture_run(fixture);
    fixture_stop(fixture, false);
    fixture_start(fixture);
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_run(fixture);
    fixture_pass(fixture, 10 * USEC_SECOND);
    fixture_run(fixture);
    assert_int_equal(fixture->positions[0], 4);
    assert_int_equal(groups_left(fixture), 0);
}

static void test_a_deleted_file_sets_the_position(void **state) {
    Fixture *fixture = *state;
    three_files(fixture);
    fixture_pass(fixture, USEC_SECOND);
    assert_int_equal(fixture_delete_file(fixture, 1, 1), -EBUSY); /* not the oldest */
    assert_int_equal(fixture_delete_file(fixture, 1, 0), -EIO);   /* the destination does not answer: it stays */
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 3);
    fixture->result = SINK_DONE;
    assert_int_equal(fixture_delete_file(fixture, 1, 0), 0);
    assert_int_equal(fixture_statistics(fixture, 1).totals.dropped_rows, 4);
    flush(fixture, 1);
    assert_int_equal(fixture->arrived, 8);
    assert_int_equal(fixture->positions[0], 30);
    verify(fixture, 1, 13);
}

static void test_discard_forgets_the_ends(void **state) {
    Fixture *fixture = *state;
    three_files(fixture);
    APPEND({.sink = 1, .partition = 0, .first = 30, .next = 35});
    fixture_run(fixture);
    fixture_discard(fixture, 1);
    fixture_run(fixture);
    assert_int_equal(fixture->define->discarded_rows, 12);
    assert_int_equal(stored_end(fixture, 1, 1), -1);
    assert_int_equal(groups_left(fixture), 0);
    verify(fixture, 1, 13);
}

/* Its runs without rows wait for a connection that is paused. */
static void test_a_sink_with_runs_without_rows_is_erased(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    APPEND({.sink = 1, .partition = 0, .first = 0, .next = 4, .sets_end = true});
    fixture_run(fixture);
    fixture_pause_connection(fixture, "there", true);
    fixture_pass(fixture, USEC_MINUTE);
    fixture_run(fixture);
    assert_int_equal(fixture->advances, 0);
    Define *define = calloc(1, sizeof *define);
    define->request.message.kind = MESSAGE_DEFINE;
    define->request.reply = fixture->control;
    define->erased = arena_zalloc(&define->arena, sizeof *define->erased);
    define->erased[0] = 1;
    define->erased_count = 1;
    mailbox_post(writer_mailbox(fixture->writer), &define->request.message);
    fixture_run(fixture);
    assert_int_equal(fixture->define->request.result, 0);
    assert_int_equal(stored_end(fixture, 1, 1), -1);
    fixture_pause_connection(fixture, "there", false);
    fixture_run(fixture);
    assert_int_equal(fixture->advances, 0);
}

/* ---- parts ----------------------------------------------------------------------------------- */

static int64_t end_of(const SinkEnds *ends, uint32_t partition) {
    const SinkEnd *end = sink_ends_find(ends, partition);
    return end ? end->end : -1;
}

static void test_ends_of_a_transaction_hold_for_it_alone(void **state) {
    SinkEnds ends = {0};
    assert_int_equal(end_of(&ends, 7), -1);
    assert_false(sink_ends_try(&ends, 1, 1, 7, 0, 5, false));
    assert_false(sink_ends_any(&ends));
    assert_true(sink_ends_try(&ends, 1, 2, 7, 3, 5, true));
    assert_true(sink_ends_try(&ends, 1, 2, 7, 5, 6, false));
    assert_int_equal(sink_ends_planned(&ends, 1, 7), -1); /* tried alone is not of it */
    sink_ends_plan(&ends, 1, 7);
    assert_int_equal(sink_ends_planned(&ends, 1, 7), 6);
    assert_int_equal(sink_ends_planned(&ends, 2, 7), -1); /* the transaction was aborted */
    assert_true(sink_ends_add(&ends, &(OffsetRun){.partition = 7, .first = 3, .next = 6}, 1, 1));
    assert_true(sink_ends_add(&ends, &(OffsetRun){.partition = 3, .first = 8, .next = 9}, 1, 1));
    sink_ends_check(&ends, 1);
    assert_int_equal(end_of(&ends, 3), 9);
    assert_int_equal(end_of(&ends, 7), 6);
    assert_true(sink_ends_any(&ends));
    sink_ends_clear(&ends);
    assert_false(sink_ends_any(&ends));
    sink_ends_deinit(&ends);
}

static void test_runs_without_rows_go_with_the_next_rows(void **state) {
    SinkLog log = {0};
    OffsetRun gap = {.sink = 1, .partition = 1, .first = 0, .next = 5};
    OffsetRun more = {.sink = 1, .partition = 1, .first = 5, .next = 6};
    OffsetRun rows = {.sink = 1, .partition = 1, .first = 6, .next = 9, .rows = 2};
    GroupEntry empty = {.sink = 1, .mapping_version = 1, .first_row = 1};
    GroupEntry full = {.sink = 1, .mapping_version = 1, .first_row = 1, .rows = 2, .bytes = 10};
    sink_log_add(&log, 3, 0, &empty, &gap, 1, 0);
    sink_log_add(&log, 4, 0, &empty, &more, 1, 0);
    sink_log_check(&log, false);
    assert_int_equal(log.idle.runs.count, 1);
    assert_int_equal(log.idle.runs.items[0].next, 6);
    assert_int_equal(sink_log_oldest(&log), 3);
    sink_log_add(&log, 5, 0, &full, &rows, 1, 0);
    sink_log_check(&log, false);
    assert_int_equal(log.idle.runs.count, 0);
    assert_int_equal(log.runs[0].runs_from, 3);
    assert_int_equal(log.runs[0].from_commit, 5);
    log.runs[0].staging = true;
    OffsetRun behind = {.sink = 1, .partition = 1, .first = 9, .next = 12};
    sink_log_add(&log, 6, 0, &empty, &behind, 1, 0);
    assert_int_equal(log.runs[0].to_commit, 5); /* it is on its way */
    sink_log_drop(&log, 2, 10);
    assert_int_equal(sink_log_oldest(&log), 6);
    sink_log_check(&log, false);
    sink_log_deinit(&log);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_runs_go_on_where_the_partition_ends),
        TEST(test_each_sink_has_its_own_end),
        TEST(test_behind_an_append_without_room_nothing_fits),
        TEST(test_ends_outlive_a_start),
        TEST(test_slices_have_the_runs_of_their_rows),
        TEST(test_the_log_keeps_runs_without_rows),
        TEST(test_damage_in_the_log_is_read_again),
        TEST(test_a_file_is_divided_where_runs_end),
        TEST(test_a_file_of_one_run_is_not_divided),
        TEST(test_what_somebody_else_imported_is_left_out),
        TEST(test_what_does_not_follow_is_returned),
        TEST(test_files_of_a_broker_never_pass_each_other),
        TEST(test_a_file_found_imported_has_its_outcomes),
        TEST(test_runs_without_rows_set_the_position_in_time),
        TEST(test_rows_wait_for_positions_that_are_on_their_way),
        TEST(test_a_start_brings_runs_without_rows_back),
        TEST(test_a_deleted_file_sets_the_position),
        TEST(test_discard_forgets_the_ends),
        TEST(test_a_sink_with_runs_without_rows_is_erased),
        cmocka_unit_test(test_ends_of_a_transaction_hold_for_it_alone),
        cmocka_unit_test(test_runs_without_rows_go_with_the_next_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
