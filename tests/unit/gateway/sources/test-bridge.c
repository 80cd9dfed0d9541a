/* A bridge between a broker, a writer and destinations that are all of the test. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "bridge_world.h"

static void records_become_rows_once(void **state) {
    (void)state;
    world_begin(3, 1, true);
    for (int p = 0; p < 3; p++) world_put(p, 500, RECORD_GOOD);
    world_start();
    world_settle(60);
    world_put(1, 7, RECORD_GOOD);
    world_settle(60);
    assert_int_equal(world.opened, 1);
    assert_int_equal(world.misplaced, 0);
    world_run(100, 100 * USEC_MS);
    const BridgeStatus *status = world_status();
    assert_int_equal(status->state, BRIDGE_RUNNING);
    assert_string_equal(status->cluster, "c");
    assert_int_equal(status->records, 1507);
    assert_int_equal(status->partition_count, 3);
    assert_int_equal(status->partitions[1].lag, 0);
    assert_int_equal(world.committed[1], 507);
}

static void gaps_are_covered(void **state) {
    (void)state;
    world_begin(2, 2, true);
    world_put(0, 40, RECORD_NONE);
    world_put(0, 10, RECORD_GOOD);
    world_put(0, 400, RECORD_NONE);
    world_put(1, 30, RECORD_NONE);
    world_start();
    world_settle(60);
}

static void what_is_not_json_is_quarantined(void **state) {
    (void)state;
    world_begin(1, 1, true);
    world_put(0, 5, RECORD_GOOD);
    world_put(0, 1, RECORD_BROKEN);
    world_put(0, 5, RECORD_GOOD);
    world_start();
    world_settle(60);
    world_run(20, 100 * USEC_MS);
    assert_int_equal(world_status()->poisoned, 1);
}

static void a_restart_goes_on(void **state) {
    (void)state;
    world_begin(2, 2, true);
    for (int p = 0; p < 2; p++) world_put(p, 300, RECORD_GOOD);
    world_start();
    world_run(10, 10 * USEC_MS); /* something is with the writer, and not imported */
    assert_true(world.sinks[0].run_count > 0);
    world_restart(false);
    world_settle(60);
    world_put(0, 10, RECORD_GOOD);
    world_run(10, 10 * USEC_MS);
    world_restart(true);
    world_settle(60);
}

static void a_restart_reads_nothing_twice(void **state) {
    (void)state;
    world_begin(1, 1, true);
    world_put(0, 300, RECORD_GOOD);
    world_start();
    world_run(50, 10 * USEC_MS);
    assert_int_equal(world.handed_out, 300);
    world_restart(false);
    world_settle(60);
    assert_int_equal(world.handed_out, 300);
}

static void a_refused_append_is_read_again(void **state) {
    (void)state;
    world_begin(2, 1, true);
    for (int p = 0; p < 2; p++) world_put(p, 400, RECORD_GOOD);
    world_start();
    world_run(3, 10 * USEC_MS);
    world.result = APPEND_FULL;
    world_settle(60);
    world.result = APPEND_FAILED;
    world_put(0, 100, RECORD_GOOD);
    world_settle(60);
}

static void a_full_room_for_rejects_is_shown(void **state) {
    (void)state;
    world_begin(1, 1, true);
    world_put(0, 3, RECORD_BROKEN);
    world_start();
    world.result = APPEND_FULL; /* not for its rejects, though it has some */
    world_run(100, 5 * USEC_MS);
    assert_int_equal(world.result, APPEND_DONE); /* it was refused */
    assert_int_equal(world_status()->state, BRIDGE_WAITING);
    assert_null(strstr(world_status()->reason, "retention.rejects-size"));
    world.result = APPEND_REJECTS_FULL;
    world_run(100, 20 * USEC_MS);
    assert_int_equal(world.result, APPEND_DONE);
    assert_int_equal(world_status()->state, BRIDGE_WAITING);
    assert_non_null(strstr(world_status()->reason, "The limit of rejects is reached (retention.rejects-size)"));
    world_settle(60);
    assert_int_equal(world_status()->state, BRIDGE_RUNNING);
}

static void a_chain_that_is_lost_is_noticed(void **state) {
    (void)state;
    world_begin(1, 2, true);
    world_put(0, 100, RECORD_GOOD);
    world_start();
    world_run(20, 10 * USEC_MS);
    /* The first sink's rows were damaged. */
    world.sinks[0].run_count = 0;
    world.sinks[0].from[0] = world.sinks[0].end[0] = -1;
    world_settle(60);
}

static void somebody_else_has_imported(void **state) {
    (void)state;
    world_begin(1, 1, true);
    world_put(0, 200, RECORD_GOOD);
    world_start();
    world_run(20, 10 * USEC_MS);
    world_put(0, 500, RECORD_GOOD);
    world_overtake(0, 0, 650);
    world_settle(60);
}

static void a_position_that_was_moved_is_followed(void **state) {
    (void)state;
    world_begin(1, 1, true);
    world_put(0, 200, RECORD_GOOD);
    world_start();
    world_settle(60);
    /* A restored destination on a quiet topic. */
    world.sinks[0].positions[0] = 50;
    memset(world.sinks[0].table[0] + 50, 0, 150);
    world_settle(60);
}

static void a_destination_that_hangs_delays_no_other(void **state) {
    (void)state;
    world_begin(2, 2, true);
    world.sinks[1].hangs = true;
    for (int p = 0; p < 2; p++) world_put(p, 200, RECORD_GOOD);
    world_start();
    for (int i = 0; i < 1000; i++) {
        world_step(20 * USEC_MS);
        world_import(0);
    }
    assert_int_equal(world.sinks[0].positions[0], 200);
    world.sinks[1].hangs = false;
    world_settle(60);
}

static void a_destination_that_is_down_at_a_start(void **state) {
    (void)state;
    world_begin(1, 2, true);
    world_put(0, 200, RECORD_GOOD);
    world_start();
    world_settle(60);
    world_put(0, 50, RECORD_GOOD);
    world_run(30, 10 * USEC_MS);
    world.sinks[0].refuses = true;
    world_restart(false);
    world_put(0, 50, RECORD_GOOD);
    world_run(100, 20 * USEC_MS); /* it goes on at the end that the writer has */
    assert_int_equal(world.sinks[0].end[0], 300);
    world.sinks[0].refuses = false;
    world_settle(60);
}

static void claims_that_hang_are_few(void **state) {
    (void)state;
    world_begin(2, 2, true);
    for (int p = 0; p < 2; p++) world_put(p, 50, RECORD_GOOD);
    world_start();
    world_settle(60);
    world.sinks[1].hangs = true;
    for (int turn = 0; turn < 20; turn++) {
        world.revokes = world.offers = true;
        world_put(0, 10, RECORD_GOOD);
        for (int i = 0; i < 300; i++) world_step(20 * USEC_MS);
        world_import(0);
        assert_true(world.job_count <= 2);
    }
    assert_int_equal(world.sinks[0].positions[0], 250);
    assert_int_equal(world.sinks[1].end[0], 250); /* it goes on where the writer's chain ends */
    world.sinks[1].hangs = false;
    world_settle(60);
}

static void a_refused_append_while_a_destination_is_away(void **state) {
    (void)state;
    world_begin(1, 2, true);
    world_put(0, 50, RECORD_GOOD);
    world_start();
    world_settle(60);
    for (int hangs = 0; hangs < 2; hangs++) {
        WorldSink *away = &world.sinks[1];
        away->refuses = !hangs;
        away->hangs = hangs;
        world.result = APPEND_FULL;
        world_put(0, 50, RECORD_GOOD);
        for (int i = 0; i < 600; i++) world_step(20 * USEC_MS);
        assert_int_equal(away->end[0], world.partitions[0].end); /* all is with the writer */
        away->refuses = away->hangs = false;
        world_settle(60);
    }
}

static void partitions_come_and_go(void **state) {
    (void)state;
    world_begin(3, 1, true);
    for (int p = 0; p < 3; p++) world_put(p, 200, RECORD_GOOD);
    world.offered_count = 2;
    world_start();
    world_run(5, 10 * USEC_MS);
    world.revokes = true;
    world.offers = true;
    world.offered[0] = 2;
    world.offered_count = 1;
    world_run(50, 20 * USEC_MS);
    world_import(0);
    assert_int_equal(world.sinks[0].positions[2], 200);
    assert_true(world.sinks[0].closes > 0);
    world_overtake(0, 1, 130);
    world.revokes = true;
    world.offers = true;
    for (int p = 0; p < 3; p++) world.offered[p] = p;
    world.offered_count = 3;
    world_settle(60);
    world_run(60, 20 * USEC_MS);
    assert_int_equal(world_status()->rebalances, 3);
}

static void a_paused_source_reads_nothing(void **state) {
    (void)state;
    world_begin(1, 1, true);
    world_put(0, 100, RECORD_GOOD);
    world_start();
    world_settle(60);
    world.is_paused = true;
    world_show();
    world_run(100, 20 * USEC_MS);
    assert_false(world.is_open);
    assert_int_equal(world_status()->state, BRIDGE_PAUSED);
    world_put(0, 100, RECORD_GOOD);
    world_run(10, 20 * USEC_MS);
    world.is_paused = false;
    world_show();
    world_settle(60);
}

static void a_source_that_is_gone_ends(void **state) {
    (void)state;
    world_begin(1, 1, true);
    world_put(0, 100, RECORD_GOOD);
    world_start();
    world_settle(60);
    world.is_disabled = true;
    world_show();
    world_run(10, 20 * USEC_MS);
    assert_false(world.is_open);
    world.is_disabled = false;
    world_show();
    world_put(0, 100, RECORD_GOOD);
    world_settle(60);
}

/* It is answered, within half a minute, with this. */
static void seek_fails(const char *why) {
    BridgeSeek seek = {.request = {.message = {.kind = MESSAGE_BRIDGE_SEEK}, .reply = world.control}, .partition = -1, .to = SEEK_LATEST};
    mailbox_post(bridge_mailbox(world.bridge), &seek.request.message);
    world_run(60, 500 * USEC_MS);
    assert_ptr_equal(mailbox_take(world.control), &seek);
    assert_int_equal(seek.request.result, -ENOTCONN);
    if (!strstr(seek.request.error.text, why)) fail_msg("%s", seek.request.error.text);
    assert_null(seek.sinks);
}

/* The destinations decide what became of it, whatever becomes of the client meanwhile. */
static void a_seek_outlives_its_client(void **state) {
    (void)state;
    for (int how = 0; how < 3; how++) {
        world_begin(1, 1, true);
        world_put(0, 100, RECORD_GOOD);
        world_start();
        world_settle(60);
        world.sinks[0].hangs = true;
        BridgeSeek seek = {.request = {.message = {.kind = MESSAGE_BRIDGE_SEEK}, .reply = world.control},
                           .partition = 0,
                           .to = SEEK_OFFSET,
                           .at = 50,
                           .backwards = true};
        mailbox_post(bridge_mailbox(world.bridge), &seek.request.message);
        world_run(5, 20 * USEC_MS);
        if (how == 0) world.revokes = world.offers = true;
        world.is_paused = how == 1;
        world.is_disabled = how == 2;
        world_show();
        world_run(20, 20 * USEC_MS);
        assert_null(mailbox_take(world.control));
        world.sinks[0].hangs = false;
        world_run(20, 20 * USEC_MS);
        assert_ptr_equal(mailbox_take(world.control), &seek);
        assert_int_equal(seek.request.result, 0);
        assert_int_equal(world.sinks[0].positions[0], 50);
        free(seek.sinks);
        if (how < 2) world_end();
    }
}

static void a_seek_does_not_wait_for_ever(void **state) {
    (void)state;
    world_begin(1, 1, true);
    world_put(0, 100, RECORD_GOOD);
    world.is_down = true;
    world_start();
    seek_fails("the broker is down");
    world.is_paused = true;
    world_show();
    seek_fails("the broker is down");
    world.is_paused = world.is_down = false;
    world_show();
    world_settle(60);
}

static void it_reads_no_further_ahead_than_it_may(void **state) {
    (void)state;
    world_begin(1, 1, true);
    world_put(0, 100, RECORD_GOOD);
    world_start();
    world_settle(60);
    world.sinks[0].waiting_bytes = (uint64_t)1 << 40;
    world_run(200, 20 * USEC_MS);
    world_put(0, 500, RECORD_GOOD);
    uint64_t before = world.handed_out;
    world_run(200, 20 * USEC_MS);
    assert_int_equal(world.handed_out, before);
    assert_int_equal(world_status()->state, BRIDGE_WAITING);
    assert_true(world_status()->sinks[0].delays);
    assert_true(world.paused[0]);
    /* Its destination takes nothing for long: others may have the partitions. */
    world.sinks[0].failing_since = world.now;
    world_run(400, USEC_SECOND);
    assert_false(world.is_open);
    seek_fails("its destination has accepted nothing for a long time");
    world.sinks[0].failing_since = 0;
    world.sinks[0].waiting_bytes = 0;
    world_settle(60);
}

static void two_appends_are_in_flight(void **state) {
    (void)state;
    world_begin(1, 1, true);
    world_start();
    world_run(10, 20 * USEC_MS);
    world_put(0, 500, RECORD_GOOD);
    world.holds_appends = true;
    world_run(300, 20 * USEC_MS);
    assert_int_equal(world_appends_held(), 2);
    assert_true(world.handed_out < 300); /* two, one that is sealed, one that is gathered */
    assert_true(world.paused[0]);
    assert_true(world.polls > 100); /* for the heartbeat */
    world.holds_appends = false;
    world_settle(60);
}

static void a_record_that_is_refused_stops_its_partition(void **state) {
    (void)state;
    world_begin(2, 1, true);
    world.sink_settings = "\"onInvalid\":\"reject\",";
    world_put(0, 60, RECORD_GOOD);
    world_put(0, 1, RECORD_BROKEN);
    world_put(0, 60, RECORD_GOOD);
    world_put(1, 100, RECORD_GOOD);
    world_start();
    world_run(100, 20 * USEC_MS);
    world_import(0);
    assert_int_equal(world.sinks[0].positions[0], 60);
    assert_int_equal(world.sinks[0].positions[1], 100);
    const BridgeStatus *status = world_status();
    assert_int_equal(status->state, BRIDGE_STOPPED);
    assert_string_equal(status->stopped, "poisonRecord");
    assert_int_equal(status->partitions[0].stopped_at, 60);

    BridgeSkip skip = {.request = {.message = {.kind = MESSAGE_BRIDGE_SKIP}, .reply = world.control}, .topic = (char *)"t", .offset = 61};
    mailbox_post(bridge_mailbox(world.bridge), &skip.request.message);
    world_step(0);
    assert_ptr_equal(mailbox_take(world.control), &skip);
    assert_int_equal(skip.request.result, -ENOENT);
    assert_string_equal(skip.request.error.text, "The partition stopped at offset 60, not at 61.");

    /* What the source never reads is another answer than what it does not read now. */
    BridgeSkip nowhere = {.request = {.message = {.kind = MESSAGE_BRIDGE_SKIP}, .reply = world.control}, .topic = (char *)"no.topic"};
    mailbox_post(bridge_mailbox(world.bridge), &nowhere.request.message);
    world_step(0);
    assert_ptr_equal(mailbox_take(world.control), &nowhere);
    assert_int_equal(nowhere.request.result, -ENXIO);
    assert_string_equal(nowhere.request.error.text, "The source does not read such a topic or partition.");

    skip.offset = 60;
    mailbox_post(bridge_mailbox(world.bridge), &skip.request.message);
    world_settle(60);
    assert_ptr_equal(mailbox_take(world.control), &skip);
    assert_int_equal(skip.request.result, 0);
    world_run(60, 20 * USEC_MS);
    assert_int_equal(world_status()->skipped, 1);
    assert_int_equal(world_status()->state, BRIDGE_RUNNING);
}

static void a_changed_definition_tries_again(void **state) {
    (void)state;
    world_begin(1, 1, true);
    world.sink_settings = "\"onInvalid\":\"reject\",";
    world_put(0, 60, RECORD_GOOD);
    world_put(0, 1, RECORD_BROKEN);
    world_put(0, 60, RECORD_GOOD);
    world_start();
    world_run(100, 20 * USEC_MS);
    world.sink_settings = "\"onInvalid\":\"quarantine\",";
    world_show();
    world_settle(60);
}

static void records_that_the_broker_removed_are_told(void **state) {
    (void)state;
    world_begin(1, 2, true);
    world_put(0, 100, RECORD_GOOD);
    world_start();
    world_run(20, 10 * USEC_MS); /* what waits is imported before the positions are set over the gap */
    world.is_paused = true;
    world_show();
    world_run(10, 20 * USEC_MS);
    world_put(0, 100, RECORD_GOOD);
    world.partitions[0].first = 150;
    memset(world.partitions[0].records + 100, RECORD_NONE, 50);
    world.is_paused = false;
    world_show();
    world_settle(60);
    world_run(60, 20 * USEC_MS);
    assert_int_equal(world_status()->partitions[0].lost, 50);
    assert_int_equal(world_status()->lost, 50);
    assert_int_equal(world_status()->state, BRIDGE_RUNNING);
    world.is_paused = true;
    world_show();
    world_run(100, 20 * USEC_MS);
    assert_int_equal(world_status()->partition_count, 0);
    assert_int_equal(world_status()->lost, 50);
}

static void a_client_that_ends_while_templates_are_out(void **state) {
    (void)state;
    world_begin(1, 1, true);
    world.has_templates = true;
    world_put(0, 10, RECORD_GOOD);
    world_start();
    world_run(50, 10 * USEC_MS);
    assert_non_null(world.templates);
    world.ends = true;
    world_run(100, 100 * USEC_MS); /* longer than until it is tried again */
    assert_false(world.is_open);
    world_templates_back();
    world_run(50, 10 * USEC_MS);
    assert_true(world.is_open);
    assert_int_equal(world.opened, 2);
    assert_non_null(world.templates); /* the records were read again */
    world_templates_back();
}

static void a_position_beyond_the_end_stops(void **state) {
    (void)state;
    world_begin(1, 1, true);
    world_put(0, 100, RECORD_GOOD);
    world_start();
    world_settle(60);
    world_restart(true);
    world.partitions[0].end = 10;
    world.fails_to_resume = true; /* it stays paused at the client from the first look until somebody seeks */
    world_run(100, 20 * USEC_MS);
    world.fails_to_resume = false;
    assert_int_equal(world_status()->state, BRIDGE_STOPPED);
    assert_string_equal(world_status()->stopped, "positionBeyondEnd");
    BridgeSeek seek = {.request = {.message = {.kind = MESSAGE_BRIDGE_SEEK}, .reply = world.control}, .partition = -1, .to = SEEK_EARLIEST};
    mailbox_post(bridge_mailbox(world.bridge), &seek.request.message);
    world_run(10, 20 * USEC_MS);
    assert_ptr_equal(mailbox_take(world.control), &seek);
    assert_int_equal(seek.request.result, -ERANGE);
    free(seek.sinks);
    seek = (BridgeSeek){.request = {.message = {.kind = MESSAGE_BRIDGE_SEEK}, .reply = world.control},
                        .partition = -1,
                        .to = SEEK_EARLIEST,
                        .backwards = true};
    mailbox_post(bridge_mailbox(world.bridge), &seek.request.message);
    memset(world.sinks[0].table[0], 0, 100);
    world_settle(60);
    assert_ptr_equal(mailbox_take(world.control), &seek);
    assert_int_equal(seek.request.result, 0);
    assert_int_equal(seek.sink_count, 1);
    free(seek.sinks);
}

static void a_topic_that_is_made_anew_is_a_new_generation(void **state) {
    (void)state;
    world_begin(2, 2, true);
    world.topic_id = "first";
    world_put(0, 100, RECORD_GOOD);
    world_put(1, 50, RECORD_GOOD);
    world_start();
    world_settle(60);
    assert_int_equal(world.sinks[0].generation, 0);
    for (int again = 1; again <= 2; again++) { /* while it is read, and while nobody looked */
        if (again == 2) world.is_paused = true, world_show(), world_run(10, 20 * USEC_MS);
        world.topic_id = again == 1 ? "second" : "third";
        for (int p = 0; p < 2; p++) {
            world.partitions[p].end = 0;
            world_put(p, 20 + (unsigned)again, RECORD_GOOD);
            for (int i = 0; i < 2; i++) memset(world.sinks[i].table[p], 0, WORLD_OFFSETS); /* rows of the first one stay, of course */
            world.seeks = 0;
        }
        if (again == 1) world_restart(false); /* a client notices it when it seeks, or is made */
        if (again == 2) world.is_paused = false, world_show();
        world_settle(60);
        assert_int_equal(world.sinks[0].generation, again);
        assert_int_equal(world.sinks[1].generation, again);
    }
    world_run(60, 20 * USEC_MS);
    assert_int_equal(world_status()->partitions[0].generation, 2);
    assert_int_equal(world_status()->state, BRIDGE_RUNNING);
}

static void a_topic_that_is_made_anew_while_it_is_read(void **state) {
    (void)state;
    world_begin(1, 1, true);
    world.topic_id = "first";
    world_put(0, 100, RECORD_GOOD);
    world_start();
    world_settle(60);
    world.topic_id = "second";
    world.partitions[0].end = 0;
    world_put(0, 20, RECORD_GOOD);
    memset(world.sinks[0].table[0], 0, WORLD_OFFSETS);
    world_settle(60);
    assert_int_equal(world.sinks[0].generation, 1);
}

static void positions_that_are_missing_stop_their_sink(void **state) {
    (void)state;
    world_begin(1, 2, true);
    world_put(0, 100, RECORD_GOOD);
    world_start();
    world_settle(60);
    world.sinks[1].missing = true;
    world_put(0, 100, RECORD_GOOD);
    for (int i = 0; i < 100; i++) {
        world_step(50 * USEC_MS);
        world_import(0);
    }
    assert_int_equal(world.sinks[0].positions[0], 200);
    const BridgeStatus *status = world_status();
    assert_string_equal(status->sinks[1].stopped, "positionsMissing");
    assert_int_equal(status->partitions[0].sinks[0].position, 200);
    assert_int_equal(status->partitions[0].sinks[1].position, -1);
    assert_null(status->sinks[0].stopped);
    assert_int_equal(status->state, BRIDGE_RUNNING);
    world.sinks[1].missing = false;
    world_settle(60);
}

static void a_topic_that_is_missing_is_shown_while_others_are_read(void **state) {
    (void)state;
    world_begin(1, 1, true);
    world.lacks_topic = true;
    for (int i = 0; i < 3; i++) {
        world_put(0, 50, RECORD_GOOD);
        if (i == 0) world_start();
        world_settle(60);
        world_run(60, 20 * USEC_MS);
        assert_int_equal(world_status()->state, BRIDGE_RUNNING);
        assert_string_equal(world_status()->error, "there is no \"u\"");
        assert_int_not_equal(world_status()->error_at, 0);
    }
    world.lacks_topic = false;
    world.revokes = world.offers = true; /* the group notices a topic that was made */
    world_run(60, 20 * USEC_MS);
    assert_null(world_status()->error);
}

static void a_schema_that_is_not_there_yet_is_waited_for(void **state) {
    (void)state;
    world_begin(2, 1, true);
    world.source_settings = "\"value\":\"avro\",\"registry\":{\"url\":\"http://127.0.0.1:1\"},"; /* nobody listens */
    world_put(0, 1, RECORD_OF_SCHEMA);
    world_start();
    world_run(100, 10 * USEC_MS);
    for (int i = 0; i < 500; i++) { /* between its tries as well */
        world_run(1, 20 * USEC_MS);
        const BridgeStatus *status = world_status();
        assert_int_equal(status->state, BRIDGE_WAITING);
        assert_non_null(strstr(status->reason, "schemaPending at offset 0 of partition 0 of t: "));
        assert_null(status->stopped);
        assert_string_equal(status->partitions[0].stopped, "schemaPending");
        assert_non_null(status->partitions[0].reason);
        assert_null(status->partitions[1].stopped);
    }
}

static void a_destination_that_refuses_is_named(void **state) {
    (void)state;
    world_begin(1, 2, true);
    world_put(0, 50, RECORD_GOOD);
    world.sinks[0].refuses = world.sinks[1].refuses = true;
    world_start();
    world_run(200, 20 * USEC_MS);
    for (int i = 0; i < 200; i++) { /* between its tries as well */
        world_run(1, 20 * USEC_MS);
        assert_int_equal(world_status()->state, BRIDGE_STARTING);
        assert_string_equal(world_status()->reason, "Sink \"k0\": nobody answers");
    }
    world.sinks[0].refuses = false;
    world_run(300, 20 * USEC_MS);
    assert_int_equal(world_status()->state, BRIDGE_RUNNING);
    assert_string_equal(world_status()->reason, "Sink \"k1\": nobody answers");
    world.sinks[1].refuses = false;
    world.sinks[1].hangs = true;
    world_run(600, 20 * USEC_MS);
    assert_non_null(strstr(world_status()->reason, "Sink \"k1\": "));
    world.sinks[1].hangs = false;
    world_settle(60);
    world_run(60, 20 * USEC_MS);
    assert_int_equal(world_status()->state, BRIDGE_RUNNING);
    assert_null(world_status()->reason);
}

static void a_group_that_gives_nothing_is_waited_for(void **state) {
    (void)state;
    world_begin(1, 1, true);
    world_put(0, 50, RECORD_GOOD);
    world_start();
    world_settle(60);
    world.revokes = true;
    world_run(100, 20 * USEC_MS);
    assert_int_equal(world_status()->state, BRIDGE_STARTING);
    assert_string_equal(world_status()->reason, "It waits for the group to assign partitions to it.");
    world.offers = true;
    world_run(100, 20 * USEC_MS);
    assert_int_equal(world_status()->state, BRIDGE_RUNNING);
    assert_null(world_status()->reason);
}

static void what_the_client_tells_of_a_partition(void **state) {
    (void)state;
    world_begin(2, 1, true);
    for (int p = 0; p < 2; p++) world_put(p, 50, RECORD_GOOD);
    world_start();
    world_settle(60);
    world.trouble = "topicMissing"; /* not at a record: it is read again when the client can */
    world.trouble_at = -1;
    world_run(60, 20 * USEC_MS);
    assert_int_equal(world_status()->state, BRIDGE_STOPPED);
    assert_string_equal(world_status()->stopped, "topicMissing");
    assert_false(world.paused[0]);
    world_put(0, 10, RECORD_GOOD);
    world_settle(60);
    world_run(60, 20 * USEC_MS);
    assert_int_equal(world_status()->state, BRIDGE_RUNNING);

    world.trouble = "recordUnreadable"; /* at a record: somebody has to skip it */
    world.trouble_at = 60;
    world_run(5, 20 * USEC_MS);
    world_put(0, 1, RECORD_NONE);
    world_put(0, 10, RECORD_GOOD);
    world_run(60, 20 * USEC_MS);
    assert_string_equal(world_status()->stopped, "recordUnreadable");
    assert_true(world.paused[0]);
    BridgeSkip skip = {.request = {.message = {.kind = MESSAGE_BRIDGE_SKIP}, .reply = world.control}, .topic = (char *)"t", .offset = 60};
    mailbox_post(bridge_mailbox(world.bridge), &skip.request.message);
    world_settle(60);
    assert_ptr_equal(mailbox_take(world.control), &skip);
    assert_int_equal(skip.request.result, 0);
}

static void a_local_destination_is_not_shared(void **state) {
    (void)state;
    world_begin(3, 2, true);
    world.is_local = true;
    for (int p = 0; p < 3; p++) world_put(p, 50, RECORD_GOOD);
    world_start();
    world_settle(60);
    world.revokes = world.offers = true;
    world.offered_count = 2;
    for (int p = 0; p < 3; p++) world_put(p, 50, RECORD_GOOD);
    world_run(100, 20 * USEC_MS);
    assert_string_equal(world_status()->stopped, "groupShared");
    for (int i = 0; i < 2; i++) world_import(i);
    assert_int_equal(world.sinks[0].positions[0], 50);
    world.revokes = world.offers = true;
    world.offered_count = 3;
    world_settle(60);
}

static void a_seek_of_a_paused_source(void **state) {
    (void)state;
    world_begin(2, 2, true);
    for (int p = 0; p < 2; p++) world_put(p, 100, RECORD_GOOD);
    world.is_paused = true;
    world_start();
    world_run(10, 20 * USEC_MS);
    world.sinks[1].refuses = true;
    BridgeSeek seek = {.request = {.message = {.kind = MESSAGE_BRIDGE_SEEK}, .reply = world.control},
                       .topic = (char *)"t",
                       .partition = 1,
                       .to = SEEK_OFFSET,
                       .at = 30};
    mailbox_post(bridge_mailbox(world.bridge), &seek.request.message);
    world_run(20, 20 * USEC_MS);
    assert_ptr_equal(mailbox_take(world.control), &seek);
    assert_int_equal(seek.request.result, 1);
    assert_int_equal(seek.sink_count, 2);
    assert_int_equal(seek.sinks[0].result, SINK_DONE);
    assert_int_equal(seek.sinks[1].result, SINK_UNREACHABLE);
    assert_int_equal(world.sinks[0].positions[1], 30);
    assert_false(world.is_open);
    free(seek.sinks);
}

static void check_known(int64_t first, int64_t second) {
    const BridgeStatus *status = world_status();
    assert_int_equal(status->partition_count, 0);
    assert_int_equal(status->known_count, 2);
    assert_int_equal(status->sink_count, 2);
    assert_string_equal(status->sinks[1].name, "k1");
    assert_string_equal(status->known[1].topic, "t");
    assert_int_equal(status->known[1].partition, 1);
    assert_int_equal(status->known[1].read, -1);
    assert_int_equal(status->known[0].sinks[0].position, first);
    assert_int_equal(status->known[1].sinks[1].position, second);
}

/* What a source without a consumer shows is what its destinations say. */
static void positions_are_known_while_nothing_is_read(void **state) {
    (void)state;
    world_begin(2, 2, true);
    world_put(0, 100, RECORD_GOOD);
    world_put(1, 50, RECORD_GOOD);
    world_start();
    world_settle(60);
    world_run(60, 20 * USEC_MS);
    assert_int_equal(world_status()->known_count, 0);
    world.is_paused = true;
    world_show();
    world_run(60, 20 * USEC_MS);
    assert_int_equal(world_status()->state, BRIDGE_PAUSED);
    check_known(100, 50);
    world_restart(false);
    world_run(60, 20 * USEC_MS);
    assert_false(world.is_open);
    check_known(100, 50);
    world.sinks[1].positions[1] = 70; /* somebody else */
    world_run(100, 500 * USEC_MS);
    check_known(100, 70);
    world.sinks[1].positions[1] = 50;
    world.is_paused = false;
    world_show();
    world_put(0, 10, RECORD_GOOD);
    world_settle(60);
    world_run(60, 20 * USEC_MS);
    assert_int_equal(world_status()->known_count, 0);
    assert_int_equal(world_status()->partition_count, 2);
}

/* Its positions stayed, so what was in it is not read again: that is shown until a seek has set
 * them. */
static void a_table_that_was_made_anew_is_shown(void **state) {
    (void)state;
    world_begin(1, 2, true);
    world_put(0, 100, RECORD_GOOD);
    world_start();
    world_settle(60);
    world.sinks[1].made_table = 1767225600 * USEC_SECOND;
    world_run(60, 50 * USEC_MS);
    assert_int_equal(world_status()->state, BRIDGE_RUNNING);
    assert_non_null(world_status()->reason);
    assert_non_null(strstr(world_status()->reason, "Sink \"k1\": Its table was missing and was created again at 2026-01-01T00:00:00"));
    assert_null(world_status()->sinks[0].reason);
    BridgeSeek seek = {.request = {.message = {.kind = MESSAGE_BRIDGE_SEEK}, .reply = world.control}, .partition = -1, .to = SEEK_LATEST};
    mailbox_post(bridge_mailbox(world.bridge), &seek.request.message);
    world_run(60, 50 * USEC_MS);
    assert_ptr_equal(mailbox_take(world.control), &seek);
    assert_int_equal(seek.request.result, 0);
    free(seek.sinks);
    assert_null(world_status()->reason);
    world_settle(60);
}

static void a_seek_behind_the_end_is_refused(void **state) {
    (void)state;
    world_begin(2, 1, true);
    world_put(0, 100, RECORD_GOOD);
    world_put(1, 50, RECORD_GOOD);
    world_start();
    world_settle(60);
    BridgeSeek seek = {
        .request = {.message = {.kind = MESSAGE_BRIDGE_SEEK}, .reply = world.control}, .partition = -1, .to = SEEK_OFFSET, .at = 51};
    mailbox_post(bridge_mailbox(world.bridge), &seek.request.message);
    world_run(20, 20 * USEC_MS);
    assert_ptr_equal(mailbox_take(world.control), &seek);
    assert_int_equal(seek.request.result, -EDOM);
    assert_string_equal(seek.request.error.text, "Partition 1 of \"t\" ends at offset 50, so nothing goes on at 51.");
    assert_int_equal(world.sinks[0].positions[0], 100);
    assert_int_equal(world.sinks[0].positions[1], 50);
    free(seek.sinks);
    seek = (BridgeSeek){.request = {.message = {.kind = MESSAGE_BRIDGE_SEEK}, .reply = world.control},
                        .topic = (char *)"t",
                        .partition = 0,
                        .to = SEEK_OFFSET,
                        .at = 100};
    mailbox_post(bridge_mailbox(world.bridge), &seek.request.message);
    world_run(20, 20 * USEC_MS);
    assert_ptr_equal(mailbox_take(world.control), &seek);
    assert_int_equal(seek.request.result, 0);
    free(seek.sinks);
    world_put(0, 10, RECORD_GOOD);
    world_settle(60);
}

static void a_source_that_ends_is_finished(void **state) {
    (void)state;
    world_begin(2, 2, false);
    world_put(0, 200, RECORD_GOOD);
    world_put(1, 100, RECORD_GOOD);
    world_put(1, 30, RECORD_NONE);
    world_start();
    world_run(3, 10 * USEC_MS);
    world_put(0, 50, RECORD_GOOD); /* too late */
    world_run(100, 20 * USEC_MS);
    assert_int_equal(world_status()->state, BRIDGE_FINISHED);
    assert_false(world.is_open);
    assert_int_equal(world.sinks[0].positions[0], 200);
    assert_int_equal(world.sinks[1].positions[1], 130);
    world_restart(false); /* again, from its positions */
    world_settle(60);
    world_run(100, 20 * USEC_MS);
    assert_int_equal(world_status()->state, BRIDGE_FINISHED);
}

/* Without a stop in between: what changed may give it more to read. */
static void a_finished_source_that_is_changed_goes_on(void **state) {
    (void)state;
    world_begin(1, 1, false);
    world_put(0, 100, RECORD_GOOD);
    world_start();
    world_run(100, 20 * USEC_MS);
    assert_int_equal(world_status()->state, BRIDGE_FINISHED);
    world_put(0, 50, RECORD_GOOD);
    world_run(100, 20 * USEC_MS);
    assert_int_equal(world.sinks[0].positions[0], 100);
    world.has_group = true; /* loop: true */
    world_show();
    world_settle(60);
    assert_int_equal(world.sinks[0].positions[0], 150);
    assert_int_equal(world_status()->state, BRIDGE_RUNNING);
}

static void a_finished_source_runs_again(void **state) {
    (void)state;
    world_begin(1, 1, false);
    world_put(0, 100, RECORD_GOOD);
    world.run = 7 * USEC_MS;
    world_start();
    world_run(100, 20 * USEC_MS);
    assert_int_equal(world_status()->state, BRIDGE_FINISHED);
    assert_int_equal(world_status()->run, world.run);
    world_put(0, 50, RECORD_GOOD);
    world_show(); /* the same run */
    world_run(100, 20 * USEC_MS);
    assert_int_equal(world.sinks[0].positions[0], 100);
    world.run += USEC_MS;
    world_show();
    world_settle(60);
    world_run(100, 20 * USEC_MS);
    assert_int_equal(world.sinks[0].positions[0], 150);
    assert_int_equal(world_status()->state, BRIDGE_FINISHED);
    assert_int_equal(world_status()->run, world.run);
}

/* ---- tables that are replaced ---- */

static void begin_replacing(int sinks) {
    world_begin(2, sinks, false);
    world.replaces = true;
    world.run = 7 * USEC_MS;
    world_put(0, 100, RECORD_GOOD);
    world_put(1, 20, RECORD_GOOD);
}

static const BridgeSinkStatus *of_run(size_t sink) {
    assert_true(sink < world_status()->sink_count);
    return &world_status()->sinks[sink];
}

static void a_run_replaces_each_table_once(void **state) {
    (void)state;
    begin_replacing(2);
    world_start();
    world_run(100, 20 * USEC_MS);
    assert_int_equal(world_status()->state, BRIDGE_FINISHED);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(world.sinks[i].done_run, 7);
        assert_int_equal(world.sinks[i].swaps, 1);
        assert_int_equal(of_run(i)->run, BRIDGE_RUN_REPLACED);
        assert_int_equal(of_run(i)->rows, 120);
        assert_true(of_run(i)->replaced > 0);
    }
    /* After a restart the destinations say that it is done: nothing is read. */
    uint64_t handed_out = world.handed_out;
    world_put(0, 10, RECORD_GOOD);
    world_restart(true);
    world_run(100, 20 * USEC_MS);
    assert_int_equal(world_status()->state, BRIDGE_FINISHED);
    assert_int_equal(world.handed_out, handed_out);
    assert_int_equal(world.sinks[0].swaps, 1);
    assert_int_equal(of_run(0)->run, BRIDGE_RUN_REPLACED);
    assert_int_equal(of_run(0)->rows, -1);

    /* The next run reads all from the beginning. */
    world.run += USEC_MS;
    world_show();
    world_run(100, 20 * USEC_MS);
    assert_int_equal(world_status()->state, BRIDGE_FINISHED);
    assert_int_equal(world.sinks[0].done_run, 8);
    assert_int_equal(of_run(1)->rows, 130);
}

/* Half of the rows would replace all of them. */
static void a_run_with_a_topic_that_is_missing_waits(void **state) {
    (void)state;
    begin_replacing(1);
    world.lacks_topic = true;
    world_start();
    world_run(300, 20 * USEC_MS);
    assert_int_equal(world.sinks[0].swaps, 0);
    assert_int_equal(world.sinks[0].done_run, 0);
    assert_int_not_equal(world_status()->state, BRIDGE_FINISHED);
    assert_string_equal(world_status()->error, "there is no \"u\"");
    world.lacks_topic = false;
    world_run(600, 20 * USEC_MS);
    assert_int_equal(world_status()->state, BRIDGE_FINISHED);
    assert_int_equal(of_run(0)->run, BRIDGE_RUN_REPLACED);
    assert_int_equal(of_run(0)->rows, 120);
}

static void a_run_without_rows_ends_and_may_go_on(void **state) {
    (void)state;
    world_begin(1, 1, false);
    world.replaces = true;
    world.run = 7 * USEC_MS;
    world_start();
    world_run(100, 20 * USEC_MS);
    assert_int_equal(world_status()->state, BRIDGE_FINISHED);
    assert_int_equal(of_run(0)->run, BRIDGE_RUN_EMPTY);
    assert_non_null(strstr(world_status()->reason, "allowEmpty"));
    assert_int_equal(world.sinks[0].done_run, 0);
    world_put(0, 10, RECORD_GOOD);
    world_restart(false);
    world_run(100, 20 * USEC_MS);
    assert_int_equal(of_run(0)->run, BRIDGE_RUN_REPLACED);
    assert_int_equal(of_run(0)->rows, 10);
}

static void a_swap_that_fails_is_tried_again(void **state) {
    (void)state;
    begin_replacing(1);
    world.sinks[0].swap_fails = true;
    world_start();
    world_run(100, 20 * USEC_MS);
    assert_int_equal(world_status()->state, BRIDGE_WAITING);
    assert_non_null(strstr(world_status()->reason, "a trigger says no"));
    unsigned before = world.sinks[0].swaps;
    assert_true(before >= 1 && before <= 3); /* it waits longer each time */
    world_run(50 * 60, 20 * USEC_MS);
    assert_true(world.sinks[0].swaps > before && world.sinks[0].swaps < before + 10);
    world.sinks[0].swap_fails = false;
    world_run(50 * 70, 20 * USEC_MS);
    assert_int_equal(world_status()->state, BRIDGE_FINISHED);
    assert_int_equal(of_run(0)->rows, 120);
    assert_null(world_status()->reason);
}

/* What control was asked for lately: another run than this one; 0: nothing. */
static usec_t take_anew(void) {
    usec_t run = 0;
    for (Message *message = mailbox_take(world.control), *next; message; message = next) {
        next = message->next;
        assert_int_equal(message->kind, MESSAGE_RUN_ANEW);
        run = ((RunAnew *)message)->run;
        free(message);
    }
    return run;
}

/* The topic with which the run began is gone, and there is one with other records. */
static void make_topic_anew(const char *topic_id) {
    world.topic_id = topic_id;
    for (int p = 0; p < world.partition_count; p++) world.partitions[p] = (WorldPartition){0};
    world_put(0, 7, RECORD_GOOD);
}

static void expect_another_run(void) {
    assert_int_equal(take_anew(), world.run);
    assert_int_equal(world.sinks[0].done_run, 0);
    assert_non_null(strstr(world_status()->reason, "\"t\" was created again"));
    /* It is asked for again until it begins, and nothing is replaced before. */
    unsigned swaps = world.sinks[0].swaps;
    world_run(500, 20 * USEC_MS);
    assert_int_equal(take_anew(), world.run);
    assert_int_equal(world.sinks[0].swaps, swaps);
    world.sinks[0].swap_fails = false;
    world.run += USEC_MS;
    world_show();
    world_run(400, 20 * USEC_MS);
    assert_int_equal(world_status()->state, BRIDGE_FINISHED);
    assert_int_equal(world.sinks[0].done_run, world.run / USEC_MS);
    assert_int_equal(of_run(0)->rows, 7);
    assert_int_equal(take_anew(), 0);
}

static void a_topic_that_is_made_anew_before_the_swap_begins_another_run(void **state) {
    (void)state;
    const char *const ids[][2] = {{"one", "two"}, {NULL, NULL}}; /* without ids the end says it */
    for (size_t i = 0; i < 2; i++) {
        if (i > 0) world_end();
        begin_replacing(1);
        world.topic_id = ids[i][0];
        world.sinks[0].swap_fails = true;
        world_start();
        world_run(100, 20 * USEC_MS);
        assert_int_equal(world_status()->state, BRIDGE_WAITING);
        make_topic_anew(ids[i][1]);
        world_run(500, 20 * USEC_MS);
        expect_another_run();
    }
}

static void a_topic_that_is_made_anew_while_nothing_runs_begins_another_run(void **state) {
    (void)state;
    begin_replacing(1);
    world.topic_id = "one";
    world.sinks[0].swap_fails = true;
    world_start();
    world_run(100, 20 * USEC_MS);
    make_topic_anew("two");
    world_restart(false);
    world_run(500, 20 * USEC_MS);
    expect_another_run();
}

static void a_topic_that_is_made_anew_while_it_is_read_begins_another_run(void **state) {
    (void)state;
    begin_replacing(1);
    world_put(0, 2800, RECORD_GOOD);
    world_start();
    while (world.handed_out < 50) world_step(10 * USEC_MS);
    assert_true(world.handed_out < 2900);
    make_topic_anew(NULL);
    world_run(500, 20 * USEC_MS);
    expect_another_run();
}

static void a_run_that_is_done_outlives_its_topic(void **state) {
    (void)state;
    begin_replacing(1);
    world.topic_id = "one";
    world_start();
    world_run(100, 20 * USEC_MS);
    assert_int_equal(world_status()->state, BRIDGE_FINISHED);
    make_topic_anew("two");
    world_restart(false);
    world_run(300, 20 * USEC_MS);
    assert_int_equal(world_status()->state, BRIDGE_FINISHED);
    assert_int_equal(take_anew(), 0);
    assert_int_equal(world.sinks[0].swaps, 1);
}

/* Another gateway has claimed a later run in the middle of this one. */
static void a_run_that_is_superseded_ends(void **state) {
    (void)state;
    begin_replacing(1);
    world_start();
    WorldSink *sink = &world.sinks[0];
    while (sink->run_count == 0) world_step(10 * USEC_MS);
    sink->claimed_run = 9;
    for (int p = 0; p < 2; p++) sink->positions[p] = sink->heard[p] = -1;
    sink->run_count = 0; /* its import leaves them out */
    for (int i = 0; i < 2000 && world_status()->state != BRIDGE_FINISHED; i++) world_step(20 * USEC_MS);
    assert_int_equal(world_status()->state, BRIDGE_FINISHED);
    assert_int_equal(of_run(0)->run, BRIDGE_RUN_SUPERSEDED);
    assert_int_equal(world_status()->later_run, 9 * USEC_MS);
    assert_int_equal(sink->done_run, 0);
}

/* The side table, and with it the positions, was taken away in mid-run. */
static void a_run_that_was_lost_begins_anew(void **state) {
    (void)state;
    begin_replacing(1);
    world_start();
    WorldSink *sink = &world.sinks[0];
    while (sink->positions[0] < 50) {
        world_step(10 * USEC_MS);
        world_import(0);
    }
    sink->claimed_run = 0;
    memset(sink->table, 0, sizeof sink->table);
    for (int p = 0; p < 2; p++) sink->positions[p] = sink->heard[p] = -1;
    sink->run_count = 0;
    for (int i = 0; i < 2000 && world_status()->state != BRIDGE_FINISHED; i++) {
        world_step(20 * USEC_MS);
        if (sink->positions[0] >= 0) world_import(0);
    }
    assert_int_equal(of_run(0)->run, BRIDGE_RUN_REPLACED);
    assert_int_equal(of_run(0)->rows, 120);
}

static void a_run_is_not_sought(void **state) {
    (void)state;
    begin_replacing(1);
    world_start();
    world_run(10, 20 * USEC_MS);
    Mailbox *me = mailbox_new(NULL, NULL);
    BridgeSeek *seek = calloc(1, sizeof *seek);
    assert_non_null(seek);
    seek->request.message.kind = MESSAGE_BRIDGE_SEEK;
    seek->request.reply = me;
    seek->to = SEEK_EARLIEST;
    seek->partition = -1;
    mailbox_post(bridge_mailbox(world.bridge), &seek->request.message);
    world_run(3, 20 * USEC_MS);
    Message *answer = mailbox_take(me);
    assert_ptr_equal(answer, &seek->request.message);
    assert_int_equal(seek->request.result, -EINVAL);
    assert_non_null(strstr(seek->request.error.text, "each run reads from the first record"));
    free(seek);
    mailbox_free(me);
}

static void a_source_that_ends_reads_again_what_was_returned(void **state) {
    (void)state;
    world_begin(1, 1, false);
    world_put(0, 200, RECORD_GOOD);
    world_start();
    world_run(3, 10 * USEC_MS);
    world.partitions[0].end += 5; /* too late, or not committed yet */
    WorldSink *sink = &world.sinks[0];
    while (sink->run_count == 0) world_step(10 * USEC_MS);
    sink->positions[0] = 0;
    for (size_t i = 0; i < sink->run_count; i++) sink->runs[i].first++; /* its import leaves them out */
    world_run(20, 20 * USEC_MS);
    memset(sink->table[0], 0, WORLD_OFFSETS);
    for (int i = 0; i < 2000 && sink->positions[0] < 200; i++) world_step(20 * USEC_MS);
    assert_int_equal(sink->positions[0], 200);
    world_run(100, 20 * USEC_MS);
    assert_int_equal(world_status()->state, BRIDGE_FINISHED);
    assert_non_null(world_status()->reason);
}

static void a_broker_that_is_down_at_the_start(void **state) {
    (void)state;
    world_begin(1, 1, false);
    world_put(0, 100, RECORD_GOOD);
    world.is_down = true;
    world_start();
    world_run(200, 20 * USEC_MS);
    assert_int_equal(world_status()->state, BRIDGE_STARTING);
    assert_string_equal(world_status()->error, "the broker is down");
    world.is_down = false;
    world_settle(60);
}

/* ---- anything at any time -------------------------------------------------------------------- */

static void disturb(Random *random, int sinks) {
    int sink = (int)random_below(random, (uint64_t)sinks), partition = (int)random_below(random, (uint64_t)world.partition_count);
    WorldSink *of = &world.sinks[sink];
    switch (random_below(random, 16)) {
    case 0:
    case 1:
    case 2:
        if (world.partitions[partition].end < WORLD_OFFSETS - 100)
            world_put(partition, (unsigned)random_below(random, 90), (WorldRecord)random_below(random, 3));
        break;
    case 3: of->hangs = !of->hangs && random_below(random, 2); break;
    case 4: of->refuses = !of->refuses && random_below(random, 2); break;
    case 5: world.holds_appends = !world.holds_appends; break;
    case 6: world.result = (AppendResult)random_below(random, 3); break;
    case 7: /* a part of the group's partitions */
        world.revokes = world.offers = world.is_open;
        world.offered_count = 0;
        for (int p = 0; p < world.partition_count; p++)
            if (random_below(random, 3)) world.offered[world.offered_count++] = p;
        break;
    case 8:
        if (of->positions[partition] >= 0)
            world_overtake(sink, partition,
                           of->positions[partition] +
                               (int64_t)random_below(random, (uint64_t)(world.partitions[partition].end - of->positions[partition]) + 1));
        break;
    case 9: world_restart(random_below(random, 3) == 0); break;
    case 10: /* the writer has lost what it had of the sink */
        of->run_count = 0;
        for (int p = 0; p < WORLD_PARTITIONS; p++) of->from[p] = of->end[p] = -1;
        break;
    case 11:
        world.is_paused = !world.is_paused;
        world_show();
        break;
    case 12: world.is_down = !world.is_down; break;
    case 13: of->waiting_bytes = random_below(random, 2) ? (uint64_t)1 << 40 : 0; break;
    case 14: world_show(); break;
    default: world_import(sink);
    }
}

static void calm(void) {
    for (int i = 0; i < WORLD_SINKS; i++) {
        world.sinks[i].hangs = world.sinks[i].refuses = false;
        world.sinks[i].waiting_bytes = 0;
    }
    world.holds_appends = world.is_down = false;
    if (world.is_paused) {
        world.is_paused = false;
        world_show();
    }
    if (world.offered_count == world.partition_count) return; /* what it has must be enough to go on with */
    world.revokes = world.offers = world.is_open;
    for (int p = 0; p < world.partition_count; p++) world.offered[p] = p;
    world.offered_count = world.partition_count;
}

static void each_record_once_whatever_happens(void **state) {
    (void)state;
    const char *only = getenv("SLUICE_BRIDGE_SEED");
    const char *many = getenv("SLUICE_BRIDGE_SEEDS");
    uint64_t first = only ? strtoull(only, NULL, 10) : 1, last = only ? first : many ? strtoull(many, NULL, 10) : 150;
    for (uint64_t seed = first; seed <= last; seed++) {
        Random random = {.state = seed};
        int sinks = 1 + (int)random_below(&random, 3);
        if (only || many) print_message("seed %llu\n", (unsigned long long)seed);
        world_begin(1 + (int)random_below(&random, WORLD_PARTITIONS), sinks, true);
        world_start();
        for (int i = 0; i < 300; i++) {
            if (random_below(&random, 4) == 0) disturb(&random, sinks);
            world_step((usec_t)random_below(&random, 300) * USEC_MS);
        }
        calm();
        if (only) print_message("calm\n");
        world_settle(120);
        if (seed < last) world_end();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(records_become_rows_once, world_tear_down),
        cmocka_unit_test_teardown(gaps_are_covered, world_tear_down),
        cmocka_unit_test_teardown(what_is_not_json_is_quarantined, world_tear_down),
        cmocka_unit_test_teardown(a_restart_goes_on, world_tear_down),
        cmocka_unit_test_teardown(a_restart_reads_nothing_twice, world_tear_down),
        cmocka_unit_test_teardown(a_refused_append_is_read_again, world_tear_down),
        cmocka_unit_test_teardown(a_full_room_for_rejects_is_shown, world_tear_down),
        cmocka_unit_test_teardown(a_chain_that_is_lost_is_noticed, world_tear_down),
        cmocka_unit_test_teardown(somebody_else_has_imported, world_tear_down),
        cmocka_unit_test_teardown(a_position_that_was_moved_is_followed, world_tear_down),
        cmocka_unit_test_teardown(a_destination_that_hangs_delays_no_other, world_tear_down),
        cmocka_unit_test_teardown(a_destination_that_is_down_at_a_start, world_tear_down),
        cmocka_unit_test_teardown(claims_that_hang_are_few, world_tear_down),
        cmocka_unit_test_teardown(a_refused_append_while_a_destination_is_away, world_tear_down),
        cmocka_unit_test_teardown(partitions_come_and_go, world_tear_down),
        cmocka_unit_test_teardown(a_paused_source_reads_nothing, world_tear_down),
        cmocka_unit_test_teardown(a_source_that_is_gone_ends, world_tear_down),
        cmocka_unit_test_teardown(it_reads_no_further_ahead_than_it_may, world_tear_down),
        cmocka_unit_test_teardown(two_appends_are_in_flight, world_tear_down),
        cmocka_unit_test_teardown(a_record_that_is_refused_stops_its_partition, world_tear_down),
        cmocka_unit_test_teardown(a_changed_definition_tries_again, world_tear_down),
        cmocka_unit_test_teardown(records_that_the_broker_removed_are_told, world_tear_down),
        cmocka_unit_test_teardown(a_client_that_ends_while_templates_are_out, world_tear_down),
        cmocka_unit_test_teardown(a_position_beyond_the_end_stops, world_tear_down),
        cmocka_unit_test_teardown(a_topic_that_is_made_anew_is_a_new_generation, world_tear_down),
        cmocka_unit_test_teardown(a_topic_that_is_made_anew_while_it_is_read, world_tear_down),
        cmocka_unit_test_teardown(positions_that_are_missing_stop_their_sink, world_tear_down),
        cmocka_unit_test_teardown(a_topic_that_is_missing_is_shown_while_others_are_read, world_tear_down),
        cmocka_unit_test_teardown(a_schema_that_is_not_there_yet_is_waited_for, world_tear_down),
        cmocka_unit_test_teardown(a_destination_that_refuses_is_named, world_tear_down),
        cmocka_unit_test_teardown(a_group_that_gives_nothing_is_waited_for, world_tear_down),
        cmocka_unit_test_teardown(what_the_client_tells_of_a_partition, world_tear_down),
        cmocka_unit_test_teardown(a_local_destination_is_not_shared, world_tear_down),
        cmocka_unit_test_teardown(a_seek_of_a_paused_source, world_tear_down),
        cmocka_unit_test_teardown(positions_are_known_while_nothing_is_read, world_tear_down),
        cmocka_unit_test_teardown(a_table_that_was_made_anew_is_shown, world_tear_down),
        cmocka_unit_test_teardown(a_seek_behind_the_end_is_refused, world_tear_down),
        cmocka_unit_test_teardown(a_seek_outlives_its_client, world_tear_down),
        cmocka_unit_test_teardown(a_seek_does_not_wait_for_ever, world_tear_down),
        cmocka_unit_test_teardown(a_source_that_ends_is_finished, world_tear_down),
        cmocka_unit_test_teardown(a_finished_source_that_is_changed_goes_on, world_tear_down),
        cmocka_unit_test_teardown(a_finished_source_runs_again, world_tear_down),
        cmocka_unit_test_teardown(a_run_replaces_each_table_once, world_tear_down),
        cmocka_unit_test_teardown(a_topic_that_is_made_anew_before_the_swap_begins_another_run, world_tear_down),
        cmocka_unit_test_teardown(a_topic_that_is_made_anew_while_nothing_runs_begins_another_run, world_tear_down),
        cmocka_unit_test_teardown(a_topic_that_is_made_anew_while_it_is_read_begins_another_run, world_tear_down),
        cmocka_unit_test_teardown(a_run_that_is_done_outlives_its_topic, world_tear_down),
        cmocka_unit_test_teardown(a_run_with_a_topic_that_is_missing_waits, world_tear_down),
        cmocka_unit_test_teardown(a_run_without_rows_ends_and_may_go_on, world_tear_down),
        cmocka_unit_test_teardown(a_swap_that_fails_is_tried_again, world_tear_down),
        cmocka_unit_test_teardown(a_run_that_is_superseded_ends, world_tear_down),
        cmocka_unit_test_teardown(a_run_that_was_lost_begins_anew, world_tear_down),
        cmocka_unit_test_teardown(a_run_is_not_sought, world_tear_down),
        cmocka_unit_test_teardown(a_source_that_ends_reads_again_what_was_returned, world_tear_down),
        cmocka_unit_test_teardown(a_broker_that_is_down_at_the_start, world_tear_down),
        cmocka_unit_test_teardown(each_record_once_whatever_happens, world_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
