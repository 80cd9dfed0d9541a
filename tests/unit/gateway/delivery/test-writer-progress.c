/* What a bridge is told: how far its sinks are, positions that their destinations said, marks. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "gateway/delivery/writer/watch.h"
#include "storage/environment_private.h"
#include "storage/partitions.h"
#include "tests/unit/gateway/delivery/fixture.h"

#define NEVER (20 * USEC_HOUR) /* an import interval that no test reaches */
#define APPEND(...) fixture_append_runs(fixture, (FixtureRun[]){__VA_ARGS__}, sizeof((FixtureRun[]){__VA_ARGS__}) / sizeof(FixtureRun))

/* ---- what is told ---------------------------------------------------------------------------- */

static void test_a_question_is_answered_at_once(void **state) {
    Fixture *fixture = *state;
    FixtureProgress nobody = fixture_progress(fixture, 1, false);
    assert_int_equal(nobody.partitions[0].from, -1);
    assert_int_equal(nobody.partitions[0].end, -1);
    assert_int_equal(nobody.partitions[0].position, -1);
    assert_int_equal(nobody.numbers[0], 0);
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture->positions[3] = 10;
    APPEND({.sink = 1, .partition = 3, .first = 10, .next = 15, .rows = 5, .sets_end = true});
    fixture_run(fixture);
    FixtureProgress waits = fixture_progress(fixture, 1, false);
    assert_int_equal(waits.partitions[3].from, 10);
    assert_int_equal(waits.partitions[3].end, 15);
    assert_int_equal(waits.partitions[3].position, -1); /* it was not asked yet */
    assert_int_equal(waits.partitions[2].end, -1);
    assert_int_equal(waits.numbers[3], 4);
    assert_int_equal(waits.sink.waiting_bytes, fixture_statistics(fixture, 1).local.bytes);
    assert_true(waits.sink.waiting_bytes > 0 && !waits.sink.paused && waits.sink.failing_since == 0 && !waits.sink.error[0]);
    fixture_flush(fixture, 1);
    FixtureProgress imported = fixture_progress(fixture, 1, false);
    assert_int_equal(imported.partitions[3].from, 15);
    assert_int_equal(imported.partitions[3].end, 15);
    assert_int_equal(imported.partitions[3].position, 15);
    assert_int_equal(imported.sink.waiting_bytes, 0);
    fixture_pause(fixture, 1, true);
    fixture_run(fixture);
    assert_true(fixture_progress(fixture, 1, false).sink.paused);
}

static void test_a_destination_that_takes_nothing_says_since_when(void **state) {
    Fixture *fixture = *state;
    const SinkResult results[] = {SINK_RETRY, SINK_UNREACHABLE};
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t sink = i + 1;
        fixture_define(fixture, sink, false, 1000, NEVER);
        fixture->result = results[i];
        APPEND({.sink = sink, .partition = 0, .first = 0, .next = 5, .rows = 5, .sets_end = true});
        usec_t before = fixture->clock.boot_now;
        fixture_flush(fixture, sink);
        fixture_live(fixture, USEC_HOUR);
        FixtureProgress failing = fixture_progress(fixture, sink, false);
        assert_int_equal(failing.sink.failing_since, before);
        assert_true(failing.sink.error[0]);
        assert_true(failing.sink.waiting_bytes > 0);
        fixture->result = SINK_DONE;
        fixture->positions[0] = 0;
        fixture_live(fixture, USEC_HOUR);
        FixtureProgress well = fixture_progress(fixture, sink, false);
        assert_int_equal(well.sink.failing_since, 0);
        assert_string_equal(well.sink.error, "");
        assert_int_equal(well.sink.waiting_bytes, 0);
    }
}

/* Also with a drain begun: bridges end before the writer, but their questions may be on their
 * way. */
static void test_a_drain_answers_what_it_holds(void **state) {
    Fixture *fixture = *state;
    fixture->result = SINK_RETRY;
    fixture_define(fixture, 1, false, 1000, NEVER);
    APPEND({.sink = 1, .partition = 0, .first = 0, .next = 5, .rows = 5, .sets_end = true});
    Mailbox *bridge = mailbox_new(NULL, NULL);
    Close closes[3];
    for (size_t i = 0; i < 3; i++) {
        closes[i] = (Close){.request.message.kind = MESSAGE_CLOSE,
                            .request.reply = bridge,
                            .sink = i == 2 ? 7 : 1,
                            .reason = CLOSE_CHANGE,
                            .wait_imported = i == 0};
        mailbox_post(writer_mailbox(fixture->writer), &closes[i].request.message);
    }
    (void)writer_step(fixture->writer);
    assert_ptr_equal(mailbox_take(bridge), &closes[1].request.message); /* nobody waits for the import */
    assert_ptr_equal(closes[1].request.message.next, &closes[2].request.message);
    assert_int_equal(closes[1].request.result, 0);
    assert_int_equal(closes[2].request.result, -ENOENT);
    fixture_run(fixture);
    drain_post(writer_mailbox(fixture->writer), 0);
    (void)writer_step(fixture->writer);
    assert_ptr_equal(mailbox_take(bridge), &closes[0].request.message);
    assert_int_equal(closes[0].request.result, -ECANCELED);
    assert_int_equal(fixture_progress(fixture, 1, true).partitions[0].end, 5);
    mailbox_post(writer_mailbox(fixture->writer), &closes[0].request.message);
    Progress late = {.request.message.kind = MESSAGE_PROGRESS, .request.reply = bridge};
    (void)writer_step(fixture->writer);
    assert_ptr_equal(mailbox_take(bridge), &closes[0].request.message);
    mailbox_post(writer_mailbox(fixture->writer), &late.request.message);
    fixture_stop(fixture, true);
    assert_ptr_equal(mailbox_take(bridge), &late.request.message);
    assert_int_equal(late.request.result, -ECANCELED);
    mailbox_free(bridge);
}

/* ---- positions ------------------------------------------------------------------------------- */

static void test_positions_are_read_while_a_bridge_asks(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_append_tens(fixture, 0, 10, true);
    fixture_flush(fixture, 1);
    fixture->positions[5] = 77;
    assert_int_equal(fixture->advances, 0);
    assert_int_equal(fixture_position_told(fixture, 5), -1);
    fixture_run(fixture);
    assert_int_equal(fixture->advances, 1); /* at once, the first time */
    FixtureProgress read = fixture_progress(fixture, 1, false);
    assert_int_equal(read.partitions[0].position, 10);
    assert_int_equal(read.partitions[5].position, 77);
    fixture->positions[0] = 4; /* somebody seeks */
    fixture->positions[5] = 3;
    fixture_run(fixture);
    assert_int_equal(fixture->advances, 1);
    fixture_pass(fixture, 5 * USEC_SECOND);
    fixture_run(fixture);
    assert_int_equal(fixture->advances, 2);
    fixture_chain_is(fixture, 0, -1, -1);
    assert_int_equal(fixture_position_told(fixture, 0), 4);
    assert_int_equal(fixture_position_told(fixture, 5), 3);
    for (unsigned i = 0; i < 100; i++) { /* nobody asks any more */
        fixture_pass(fixture, USEC_SECOND);
        fixture_run(fixture);
    }
    assert_true(fixture->advances >= 7 && fixture->advances <= 9);
    assert_int_equal(fixture_position_told(fixture, 5), -1); /* as nobody knows how old it would be */
}

/* Of partitions, too, that the writer never had anything of. */
static void test_a_look_can_be_had_at_once(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    (void)fixture_progress(fixture, 1, false);
    fixture_run(fixture);
    assert_int_equal(fixture->advances, 1);
    fixture->positions[0] = 9;
    (void)fixture_progress(fixture, 1, true);
    fixture_run(fixture);
    assert_int_equal(fixture->advances, 2);
    FixtureProgress read = fixture_progress(fixture, 1, false);
    assert_int_equal(read.partitions[0].position, 9);
    assert_int_equal(read.numbers[0], 0);
}

/* Between imports, also when these fail for a reason of their own, and when the sink is paused. */
static void test_positions_are_read_while_files_wait(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    (void)snprintf(fixture->refused, sizeof fixture->refused, "FILE");
    fixture_append(fixture, 2, "other", 1, 10);
    fixture_append_tens(fixture, 0, 10, true);
    fixture->fast_rows = 5;
    fixture->unproven = true;
    fixture_flush(fixture, 1);
    assert_int_equal(fixture_statistics(fixture, 1).files_waiting, 1);
    for (unsigned i = 0; i < 60; i++) {
        (void)fixture_progress(fixture, 1, false);
        fixture_pass(fixture, USEC_SECOND);
        fixture_run(fixture);
    }
    assert_true(fixture->advances >= 11 && fixture->advances <= 14);
    assert_true(fixture_statistics(fixture, 1).last_error[0]); /* of the import: a look does not hide it */
    fixture_pause(fixture, 1, true);
    fixture_run(fixture);
    fixture->positions[0] = 8;
    (void)fixture_progress(fixture, 1, true);
    fixture_run(fixture);
    assert_int_equal(fixture_position_of(fixture, 0), 8);
    assert_int_equal(fixture->arrived, 0);
    unsigned before = fixture->advances;
    fixture_pause_connection(fixture, "there", true);
    (void)fixture_progress(fixture, 1, true);
    fixture_live(fixture, USEC_HOUR);
    assert_int_equal(fixture->advances, before); /* nothing goes to a connection that is paused */
}

static void test_a_destination_that_is_away_is_asked_less_often(void **state) {
    Fixture *fixture = *state;
    const SinkResult results[] = {SINK_UNREACHABLE, SINK_RETRY};
    fixture_define(fixture, 1, false, 1000, NEVER);
    for (unsigned i = 0; i < 2; i++) {
        fixture->result = results[i];
        unsigned before = fixture->advances + (unsigned)fixture->connects;
        for (unsigned k = 0; k < 600; k++) {
            (void)fixture_progress(fixture, 1, false);
            fixture_pass(fixture, USEC_SECOND);
            fixture_run(fixture);
        }
        assert_true(fixture->advances + fixture->connects - before < 25);
        assert_true(fixture_progress(fixture, 1, false).sink.failing_since > 0);
        fixture->result = SINK_DONE;
        fixture_live(fixture, 20 * USEC_MINUTE);
        (void)fixture_progress(fixture, 1, true);
        fixture_run(fixture);
        assert_int_equal(fixture_progress(fixture, 1, false).sink.failing_since, 0);
        assert_string_equal(fixture_progress(fixture, 1, false).sink.error, "");
    }
}

/* It is said of a sink and a partition; the other sinks go on, and so does this one once somebody
 * made the position. */
static void test_a_missing_position_stops_its_sink_visibly(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_define(fixture, 2, false, 1000, NEVER);
    fixture_append_tens(fixture, 0, 10, true);
    APPEND({.sink = 2, .partition = 1, .first = 0, .next = 6, .rows = 6, .sets_end = true});
    fixture->missing[0] = true;
    (void)fixture_progress(fixture, 1, false);
    fixture_flush(fixture, 1);
    fixture_flush(fixture, 2);
    assert_int_equal(fixture->arrived, 6);
    FixtureProgress stopped = fixture_progress(fixture, 1, false);
    assert_true(stopped.partitions[0].missing && stopped.partitions[0].position == -1);
    assert_false(stopped.partitions[1].missing);
    assert_non_null(strstr(stopped.sink.error, "positionsMissing"));
    assert_non_null(strstr(stopped.sink.error, "seek"));
    assert_int_equal(stopped.partitions[0].end, 10);
    uint64_t imports = fixture->imports;
    fixture_live(fixture, USEC_HOUR);
    assert_true(fixture->imports > imports && fixture->imports < imports + 15); /* tried again, with longer and longer pauses */
    assert_false(fixture_progress(fixture, 2, false).sink.error[0]);
    fixture->missing[0] = false;
    fixture->positions[0] = 0;
    (void)fixture_progress(fixture, 1, true);
    fixture_run(fixture);
    assert_int_equal(fixture->arrived, 16);
    FixtureProgress well = fixture_progress(fixture, 1, false);
    assert_false(well.partitions[0].missing);
    assert_int_equal(well.partitions[0].position, 10);
    assert_string_equal(well.sink.error, "");
}

/* By whoever: the next reading sees it, and what waited goes then, and not when its next try is
 * due. */
static void test_a_position_that_somebody_made_is_seen(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_append_tens(fixture, 0, 10, true);
    fixture->missing[0] = true;
    fixture_flush(fixture, 1);
    for (unsigned i = 0; i < 1200; i++) { /* the pause between tries is minutes now */
        (void)fixture_progress(fixture, 1, false);
        fixture_pass(fixture, USEC_SECOND);
        fixture_run(fixture);
    }
    assert_true(fixture_progress(fixture, 1, false).partitions[0].missing);
    fixture->missing[0] = false;
    for (unsigned i = 0; i < 10; i++) {
        fixture_pass(fixture, USEC_SECOND);
        fixture_run(fixture);
    }
    assert_int_equal(fixture->arrived, 10);
    assert_false(fixture_progress(fixture, 1, false).partitions[0].missing);
}

/* A table that was emptied, or restored from before the claim: also when nothing waits that would
 * need the position. */
static void test_a_position_that_vanished_is_missing(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    for (size_t i = 0; i < 8; i++) fixture->missing[i] = true;
    assert_false(fixture_progress(fixture, 1, false).partitions[0].known);
    fixture_run(fixture);
    FixtureProgress new = fixture_progress(fixture, 1, false); /* nobody claimed it yet */
    assert_true(new.partitions[0].known && !new.partitions[0].missing &&new.partitions[0].position == -1);
    fixture->missing[0] = false;
    fixture->positions[0] = 0;
    fixture_append_tens(fixture, 0, 10, true);
    assert_false(fixture_progress(fixture, 1, false).partitions[0].missing); /* what was read is older than the chain */
    fixture_flush(fixture, 1);
    assert_int_equal(fixture_position_of(fixture, 0), 10);
    fixture->missing[0] = true;
    assert_int_equal(fixture_position_of(fixture, 0), -1);
    FixtureProgress gone = fixture_progress(fixture, 1, false);
    assert_true(gone.partitions[0].missing && gone.partitions[0].known);
    assert_false(gone.partitions[1].missing);
    for (unsigned i = 0; i < 10; i++) fixture_live(fixture, 10 * USEC_MINUTE); /* nobody asks */
    assert_false(fixture_progress(fixture, 1, false).partitions[0].known);
    fixture_run(fixture);
    assert_true(fixture_progress(fixture, 1, false).partitions[0].missing); /* it is not forgotten with the question */
    fixture->missing[0] = false;
    fixture->positions[0] = 10;
    assert_int_equal(fixture_position_of(fixture, 0), 10);
    assert_false(fixture_progress(fixture, 1, false).partitions[0].missing);
    fixture_chain_is(fixture, 0, 10, 10);
}

/* As many as a large cluster has, asked for every second: the writer has other work to do. */
static void test_ten_thousand_partitions(void **state) {
    Fixture *fixture = *state;
    enum { COUNT = 10000, TIMES = 20 };
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_define(fixture, 2, false, 1000, NEVER);
    fixture_pause_connection(fixture, "there", true); /* the destination of this test knows eight */
    fixture_run(fixture);
    Mailbox *reply = mailbox_new(NULL, NULL);
    SinkProgress sinks[2] = {{.sink = 1}, {.sink = 2}};
    Progress progress = {.request.message.kind = MESSAGE_PROGRESS, .request.reply = reply, .sinks = sinks, .sink_count = 2};
    clock_t began = clock(); /* of this processor alone: the machine may have other work */
    for (unsigned times = 0; times < TIMES; times++) {
        progress.partition_count = COUNT;
        progress.partitions = arena_zalloc(&progress.arena, COUNT * sizeof *progress.partitions);
        for (int32_t i = 0; i < COUNT; i++)
            progress.partitions[i] = (Partition){.cluster = (char *)(uintptr_t) "cluster",
                                                 .group = (char *)(uintptr_t) "group",
                                                 .topic = (char *)(uintptr_t) "orders",
                                                 .topic_id = (char *)(uintptr_t) "",
                                                 .partition = times % 2 ? i : COUNT - 1 - i}; /* in any order */
        mailbox_post(writer_mailbox(fixture->writer), &progress.request.message);
        (void)writer_step(fixture->writer);
        assert_ptr_equal(mailbox_take(reply), &progress.request.message);
        assert_int_equal(sinks[1].partitions[COUNT - 1].end, -1);
        arena_deinit(&progress.arena);
        fixture_pass(fixture, USEC_SECOND);
    }
    assert_true((clock() - began) / CLOCKS_PER_SEC < TIMES);
    fixture_pass(fixture, USEC_MINUTE);
    fixture_run(fixture);
    mailbox_free(reply);
}

/* ---- marks ----------------------------------------------------------------------------------- */

static void test_a_mark_goes_with_its_rows(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    assert_string_equal(fixture_progress(fixture, 1, false).mark, "");
    fixture->mark = "1-5";
    fixture_append(fixture, 1, "of-a-stream", 5, 20);
    fixture->mark = "1-9, 12-13";
    fixture_append(fixture, 1, "of-the-same-transaction", 5, 20);
    fixture_run(fixture);
    assert_int_equal(fixture->done, 2);
    assert_string_equal(fixture_progress(fixture, 1, false).mark, "1-9, 12-13");
    fixture->mark = "1-999";
    fixture_append(fixture, 1, "without-room", 70, 1 << 20);
    fixture_run(fixture);
    assert_int_equal(fixture->full, 1);
    assert_string_equal(fixture_progress(fixture, 1, false).mark, "1-9, 12-13");
    fixture_restart(fixture);
    FixtureProgress after = fixture_progress(fixture, 1, false);
    assert_string_equal(after.mark, "1-9, 12-13");
    assert_int_equal(after.numbers[0], 1);
    assert_int_equal(after.partitions[0].end, -1); /* rows without runs have no chain */
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture_flush(fixture, 1);
    assert_int_equal(fixture->arrived, 10);
}

/* It is forgotten, and the writer goes on: the broker sends some messages again. */
static void test_a_damaged_mark_is_forgotten(void **state) {
    Fixture *fixture = *state;
    fixture_define(fixture, 1, false, 1000, NEVER);
    fixture->mark = "1-5";
    fixture_append(fixture, 1, "of-a-stream", 5, 20);
    fixture_run(fixture);
    Txn *txn;
    Span value;
    char copy[100];
    assert_int_equal(txn_begin_write(fixture->environment, &txn, NULL), 0);
    assert_int_equal(db_get(txn, DB_CURSORS, SPAN("M\0\0\0\1"), &value, NULL), 0);
    memcpy(copy, value.data, value.size);
    copy[value.size - 1] ^= 4;
    assert_int_equal(db_put(txn, DB_CURSORS, SPAN("M\0\0\0\1"), (Span){copy, value.size}, NULL), 0);
    assert_int_equal(txn_commit(txn, NULL), 0);
    assert_string_equal(fixture_progress(fixture, 1, false).mark, "");
    fixture->mark = "6-7";
    fixture_append(fixture, 1, "again", 2, 20);
    fixture_flush(fixture, 1);
    assert_string_equal(fixture_progress(fixture, 1, false).mark, "6-7");
    assert_int_equal(fixture->arrived, 7);
    assert_int_equal(fixture->broken, 0);
}

/* ---- parts ----------------------------------------------------------------------------------- */

static void test_what_is_watched(void **state) {
    WatchedKeys keys = {0};
    SinkWatch first = {0}, second = {0};
    Partition partitions[3];
    for (int32_t i = 0; i < 3; i++)
        partitions[i] = (Partition){.number = 9,
                                    .cluster = (char *)(uintptr_t) "c",
                                    .group = (char *)(uintptr_t) "g",
                                    .topic = (char *)(uintptr_t) "t",
                                    .topic_id = (char *)(uintptr_t) "",
                                    .partition = 2 - i};
    for (size_t i = 0; i < 3; i++) (void)watch_ask(&keys, &first, &partitions[i], i, 1000);
    watch_ask(&keys, &second, &partitions[1], 7, 1000)->position = 5;
    assert_int_equal(keys.count, 3);
    PartitionKey key = {.cluster = "c", .group = "g", .topic = "t", .partition = 1};
    assert_int_equal(watch_find(&second, &key)->position, 5);
    assert_int_equal(watch_find(&first, &key)->position, -1); /* each sink has its own */
    watch_find(&first, &key)->missing = true;
    assert_true(watch_any_missing(&first));
    (void)watch_ask(&keys, &first, &partitions[0], 2, 1000 + WATCH_LASTS);
    watch_drop(&keys, &first, 1000 + WATCH_LASTS);
    assert_int_equal(first.count, 3);
    watch_drop(&keys, &first, 1001 + WATCH_LASTS);
    assert_int_equal(first.count, 1);
    assert_int_equal(keys.count, 2);
    assert_null(watch_find(&first, &key));
    assert_false(watch_any_missing(&first));
    watch_drop(&keys, &first, USEC_NEVER);
    watch_drop(&keys, &second, USEC_NEVER);
    watched_keys_deinit(&keys);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_a_question_is_answered_at_once),
        TEST(test_a_destination_that_takes_nothing_says_since_when),
        TEST(test_a_drain_answers_what_it_holds),
        TEST(test_positions_are_read_while_a_bridge_asks),
        TEST(test_a_look_can_be_had_at_once),
        TEST(test_a_position_that_vanished_is_missing),
        TEST(test_ten_thousand_partitions),
        TEST(test_positions_are_read_while_files_wait),
        TEST(test_a_destination_that_is_away_is_asked_less_often),
        TEST(test_a_missing_position_stops_its_sink_visibly),
        TEST(test_a_position_that_somebody_made_is_seen),
        TEST(test_a_mark_goes_with_its_rows),
        TEST(test_a_damaged_mark_is_forgotten),
        cmocka_unit_test(test_what_is_watched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
