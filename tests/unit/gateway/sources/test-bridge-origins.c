/* Where sinks of a bridge begin that are new, or whose rows go to another table, between a broker,
 * a writer and destinations that are of the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bridge_world.h"

static void a_sink_that_is_new_begins_where_the_source_is(void **state) {
    (void)state;
    world_begin(1, 1, true);
    world_put(0, 100, RECORD_GOOD);
    world_start();
    world_settle(60);
    world.sinks[1].enabled = true;
    world_show();
    world_run(100, 20 * USEC_MS);
    assert_int_equal(world.sinks[1].positions[0], 100);
    memset(world.sinks[1].table[0], 1, 100); /* what it never gets */
    world_put(0, 100, RECORD_GOOD);
    world_settle(60);
    assert_int_equal(world.opened, 1);
    world.sinks[0].enabled = false;
    world_show();
    world_put(0, 100, RECORD_GOOD);
    world_settle(60);
    world.sinks[1].enabled = false;
    world_show();
    world_run(100, 20 * USEC_MS);
    assert_false(world.is_open);
    assert_int_equal(world_status()->state, BRIDGE_IDLE);
    world.sinks[0].enabled = world.sinks[1].enabled = true; /* each goes on where it stopped */
    world_show();
    world_put(0, 100, RECORD_GOOD);
    world_settle(60);
}

/* What was gathered for the table before, or refused by the writer, goes into the other one. */
static void a_sink_that_moves_leaves_nothing_out(void **state) {
    (void)state;
    for (unsigned steps = 1; steps < 14; steps++)
        for (unsigned how = 0; how < 6; how++) {
            bool others = how % 2;
            world_begin(2, others ? 2 : 1, true);
            for (int p = 0; p < 2; p++) world_put(p, 100, RECORD_GOOD);
            world_start();
            world_settle(60);
            for (int p = 0; p < 2; p++) world_put(p, 400, RECORD_GOOD);
            world.holds_appends = how / 2 == 1;
            world_run(steps, 10 * USEC_MS);
            if (how / 2 == 2) world.result = APPEND_FULL;
            world_move(0);
            world_run(3, 10 * USEC_MS);
            world.holds_appends = false;
            world_run(20, 100 * USEC_MS);
            world_move(0);
            world_settle(60);
            if (steps < 13 || how < 5) world_end();
        }
}

/* What is read for the others until the destination of the new one answers is read again for it. */
static void a_sink_that_is_new_misses_nothing_of_what_comes_then(void **state) {
    (void)state;
    for (int refuses = 0; refuses < 2; refuses++) {
        world_begin(2, 1, true);
        for (int p = 0; p < 2; p++) world_put(p, 100, RECORD_GOOD);
        world_start();
        world_settle(60);
        world.sinks[1].enabled = true;
        world.sinks[1].refuses = refuses;
        world_show();
        for (int p = 0; p < 2; p++) world_put(p, 50, RECORD_GOOD);
        world_run(100, 20 * USEC_MS);
        world_import(0);
        assert_int_equal(world.sinks[0].positions[0], 150);
        world.sinks[1].refuses = false;
        for (int p = 0; p < 2; p++) memset(world.sinks[1].table[p], 1, 100); /* what it never gets */
        world_settle(60);
        if (refuses == 0) world_end();
    }
}

/* The start of the process after it knows where the old table ends by the writer, or by its
 * positions. */
static void a_sink_that_moved_before_a_start_goes_on_behind_its_old_table(void **state) {
    (void)state;
    for (int how = 0; how < 4; how++) {
        world_begin(2, 1, true);
        for (int p = 0; p < 2; p++) world_put(p, 100, RECORD_GOOD);
        world_start();
        world_settle(60);
        world.is_paused = how >= 2;
        world.sinks[0].hangs = true;
        world_move(0);
        world_run(10, 20 * USEC_MS);
        for (int p = 0; p < 2; p++) world_put(p, 50, RECORD_GOOD);
        world.is_paused = false;
        world_restart(how % 2 == 1);
        if (how % 2 == 0)
            for (int p = 0; p < 2; p++) world.sinks[0].former[p] = -1;
        world_run(10, 20 * USEC_MS);
        world.sinks[0].hangs = false;
        world_settle(60);
        if (how < 3) world_end();
    }
}

static void a_disabled_sink_that_moves_goes_on_where_it_stopped(void **state) {
    (void)state;
    world_begin(2, 2, true);
    for (int p = 0; p < 2; p++) world_put(p, 100, RECORD_GOOD);
    world_start();
    world_settle(60);
    world.sinks[1].enabled = false;
    world_show();
    for (int p = 0; p < 2; p++) world_put(p, 50, RECORD_GOOD);
    world_settle(60);
    world_move(1);
    world_run(10, 20 * USEC_MS);
    for (int p = 0; p < 2; p++) world_put(p, 50, RECORD_GOOD);
    world.sinks[1].enabled = true;
    world_show();
    world_settle(60);
}

/* Another node reads partition 1: where the source is with it, the destinations of the other sinks
 * say. */
static void a_sink_that_is_new_begins_where_other_nodes_are(void **state) {
    (void)state;
    for (int moves = 0; moves < 2; moves++) {
        world_begin(2, 2, true);
        world.offered_count = 1;
        world.sinks[1].enabled = moves;
        for (int p = 0; p < 2; p++) world_put(p, 100, RECORD_GOOD);
        world_start();
        world_run(50, 20 * USEC_MS);
        for (int i = 0; i <= moves; i++) {
            world_import(i);
            world_overtake(i, 1, 80 - 10 * i);
        }
        world_run(50, 20 * USEC_MS);
        world.sinks[1].enabled = world.sinks[1].joins = true;
        if (moves)
            world_move(1);
        else
            world_show();
        world_put(0, 10, RECORD_GOOD);
        world_run(100, 20 * USEC_MS);
        for (int i = 0; i < 2; i++) world_import(i);
        assert_int_equal(world.sinks[1].positions[0], 110);
        assert_int_equal(world.sinks[1].table[0][105], 1);
        assert_int_equal(world.sinks[1].table[0][95], moves);
        assert_int_equal(world.sinks[1].positions[1], moves ? 70 : 80);
        if (!moves) world_end();
    }
}

/* One that comes while nothing is read, and before a start: not at the first record. */
static void a_sink_that_is_new_in_a_paused_source_begins_where_it_was(void **state) {
    (void)state;
    for (int how = 0; how < 3; how++) {
        world_begin(2, 1, how != 2);
        for (int p = 0; p < 2; p++) world_put(p, 100, RECORD_GOOD);
        world_start();
        world_settle(60);
        world.is_paused = true;
        world_show();
        world_run(10, 20 * USEC_MS);
        for (int p = 0; p < 2; p++) world_put(p, 20, RECORD_GOOD);
        world.sinks[1].enabled = world.sinks[1].joins = true;
        world_show();
        world_run(10, 20 * USEC_MS);
        for (int p = 0; p < 2; p++) memset(world.sinks[1].table[p], 1, 100); /* what it never gets */
        world.is_paused = false;
        if (how == 1)
            world_restart(false);
        else
            world_show();
        world_settle(60);
        assert_true(world.sinks[0].lists > 0);
        if (how < 2) world_end();
    }
}

static void a_sink_that_is_new_begins_where_it_says(void **state) {
    (void)state;
    for (int how = 0; how < 6; how++) {
        world_begin(2, 1, true);
        for (int p = 0; p < 2; p++) world_put(p, 100, RECORD_GOOD);
        world_start();
        world_settle(60);
        world.is_paused = how / 2 == 1;
        world_show();
        world_run(10, 20 * USEC_MS);
        for (int p = 0; world.is_paused && p < 2; p++) world_put(p, 20, RECORD_GOOD);
        world.sinks[1].enabled = world.sinks[1].joins = true;
        world.sinks[1].start = how % 2 ? "latest" : "earliest";
        world_show();
        for (int p = 0; how % 2 && p < 2; p++) memset(world.sinks[1].table[p], 1, how == 3 ? 120 : 100); /* what it never gets */
        world.is_paused = false;
        if (how / 2 == 2)
            world_restart(false);
        else
            world_show();
        world_run(50, 20 * USEC_MS);
        for (int p = 0; p < 2; p++) world_put(p, 30, RECORD_GOOD);
        world_settle(60);
        assert_int_equal(world.sinks[0].lists, 0);
        if (how < 5) world_end();
    }
}

/* It waits, and says why, while nobody can tell where it begins. */
static void a_sink_that_is_new_waits_for_the_destinations_of_others(void **state) {
    (void)state;
    world_begin(2, 2, true);
    world.offered_count = 1;
    world.sinks[1].enabled = false;
    for (int p = 0; p < 2; p++) world_put(p, 100, RECORD_GOOD);
    world_start();
    world_run(50, 20 * USEC_MS);
    world_import(0);
    world_overtake(0, 1, 80);
    world_run(50, 20 * USEC_MS);
    world.sinks[0].refuses = true;
    world.sinks[1].enabled = world.sinks[1].joins = true;
    world_restart(false);
    world_run(300, 50 * USEC_MS);
    assert_int_equal(world.sinks[1].positions[0], -1); /* of the other node's partition nobody else knows it */
    assert_non_null(strstr(world_status()->sinks[1].reason, "does not answer"));
    world.sinks[0].refuses = false;
    world_run(300, 50 * USEC_MS);
    assert_int_equal(world.sinks[1].positions[0], 100);
    assert_int_equal(world.sinks[1].positions[1], 80);
}

/* It begins where the others went on when its destination did not answer, not where they are when
 * it does. */
static void a_sink_that_is_new_gets_what_comes_while_its_destination_is_away(void **state) {
    (void)state;
    world_begin(1, 2, true);
    world.sinks[1].enabled = false;
    world_put(0, 100, RECORD_GOOD);
    world_start();
    world_run(100, 20 * USEC_MS);
    world_import(0);
    world.sinks[1].enabled = world.sinks[1].joins = world.sinks[1].refuses = true;
    world_restart(false);
    world_run(300, 50 * USEC_MS);
    world_put(0, 50, RECORD_GOOD);
    world_run(300, 50 * USEC_MS);
    world_import(0);
    assert_int_equal(world.sinks[0].positions[0], 150);
    assert_int_equal(world.sinks[1].positions[0], -1);
    world.sinks[1].refuses = false;
    memset(world.sinks[1].table[0], 1, 100); /* what was there before it */
    world_settle(60);
    assert_int_equal(world.sinks[1].positions[0], 150);
}

/* That it came to others was when the source read as another group: in this one it is as new as
 * they are, also when its destination answers late. */
static void a_source_that_starts_anew_does_so_for_all_sinks(void **state) {
    (void)state;
    for (int anew = 0; anew < 2; anew++) {
        world_begin(1, 2, true);
        world.sinks[1].joins = true;
        world.sinks[1].key = anew ? "events before" : "events sluice-1-s";
        world.sinks[1].refuses = true;
        world_put(0, 100, RECORD_GOOD);
        world_start();
        world_run(300, 50 * USEC_MS);
        world_import(0);
        assert_int_equal(world.sinks[0].positions[0], 100);
        assert_int_equal(world.sinks[1].positions[0], -1);
        world.sinks[1].refuses = false;
        world_settle(60);
        if (!anew) world_end();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_sink_that_is_new_begins_where_the_source_is, world_tear_down),
        cmocka_unit_test_teardown(a_sink_that_moves_leaves_nothing_out, world_tear_down),
        cmocka_unit_test_teardown(a_sink_that_is_new_misses_nothing_of_what_comes_then, world_tear_down),
        cmocka_unit_test_teardown(a_sink_that_moved_before_a_start_goes_on_behind_its_old_table, world_tear_down),
        cmocka_unit_test_teardown(a_disabled_sink_that_moves_goes_on_where_it_stopped, world_tear_down),
        cmocka_unit_test_teardown(a_sink_that_is_new_begins_where_other_nodes_are, world_tear_down),
        cmocka_unit_test_teardown(a_sink_that_is_new_in_a_paused_source_begins_where_it_was, world_tear_down),
        cmocka_unit_test_teardown(a_sink_that_is_new_begins_where_it_says, world_tear_down),
        cmocka_unit_test_teardown(a_sink_that_is_new_waits_for_the_destinations_of_others, world_tear_down),
        cmocka_unit_test_teardown(a_sink_that_is_new_gets_what_comes_while_its_destination_is_away, world_tear_down),
        cmocka_unit_test_teardown(a_source_that_starts_anew_does_so_for_all_sinks, world_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
