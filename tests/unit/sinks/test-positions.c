#include "sinks/positions.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

typedef struct Case {
    ImportPosition positions[2];
    ImportRun runs[8];
    size_t count;
    uint64_t next_row;
} Case;

static void begin(Case *the, int64_t first, int64_t second) {
    *the = (Case){.next_row = 101};
    the->positions[0].read = first;
    the->positions[1].read = second;
    positions_begin(the->positions, 2);
}

static void add(Case *the, size_t position, int64_t first, int64_t next, uint64_t rows) {
    the->runs[the->count++] = (ImportRun){.position = position, .first = first, .next = next, .first_row = the->next_row, .rows = rows};
    the->next_row += rows;
}

static uint64_t decide(Case *the) {
    return positions_decide(the->positions, 2, the->runs, the->count);
}

static void test_runs_that_follow_the_position_are_taken(void **state) {
    Case the;
    begin(&the, 10, 0);
    add(&the, 0, 10, 20, 9);
    add(&the, 1, 0, 5, 5);
    add(&the, 0, 20, 21, 0); /* a gap */
    add(&the, 0, 21, 30, 9);
    assert_int_equal(decide(&the), 0);
    for (size_t i = 0; i < the.count; i++) assert_int_equal(the.runs[i].outcome, RUN_TAKEN);
    assert_int_equal(the.positions[0].next, 30);
    assert_int_equal(the.positions[1].next, 5);
    assert_int_equal(the.positions[0].read, 10);
}

static void test_what_somebody_else_imported_is_overtaken_and_the_rest_goes_on(void **state) {
    Case the;
    begin(&the, 20, 0);
    add(&the, 0, 10, 15, 5);
    add(&the, 0, 15, 20, 5);
    add(&the, 0, 20, 25, 5);
    assert_int_equal(decide(&the), 10);
    assert_int_equal(the.runs[0].outcome, RUN_OVERTAKEN);
    assert_int_equal(the.runs[1].outcome, RUN_OVERTAKEN);
    assert_int_equal(the.runs[2].outcome, RUN_TAKEN);
    assert_int_equal(the.positions[0].next, 25);
}

static void test_a_position_inside_a_run_returns_it_and_all_behind_it(void **state) {
    Case the;
    begin(&the, 12, 0);
    add(&the, 0, 10, 15, 5);
    add(&the, 1, 0, 3, 3);
    add(&the, 0, 15, 20, 5);
    assert_int_equal(decide(&the), 10);
    assert_int_equal(the.runs[0].outcome, RUN_RETURNED);
    assert_int_equal(the.runs[1].outcome, RUN_TAKEN); /* another partition */
    assert_int_equal(the.runs[2].outcome, RUN_RETURNED);
    assert_int_equal(the.positions[0].next, 12);
}

static void test_nothing_is_imported_over_a_hole(void **state) {
    Case the;
    begin(&the, 10, 0);
    add(&the, 0, 11, 15, 4);
    add(&the, 0, 15, 20, 5);
    assert_int_equal(decide(&the), 9);
    assert_int_equal(the.runs[0].outcome, RUN_RETURNED);
    assert_int_equal(the.runs[1].outcome, RUN_RETURNED);
    assert_int_equal(the.positions[0].next, 10);
}

/* Who reads again from the position appends behind what did not follow: were it returned with that,
 * nobody would ever get further. */
static void test_what_was_read_again_is_taken_behind_what_does_not_follow(void **state) {
    Case the;
    begin(&the, 10, 0);
    add(&the, 0, 11, 15, 4);
    add(&the, 0, 10, 13, 3);
    add(&the, 0, 13, 16, 3);
    add(&the, 0, 15, 20, 5); /* of the first reading: the position lies inside it */
    assert_int_equal(decide(&the), 9);
    assert_int_equal(the.runs[0].outcome, RUN_RETURNED);
    assert_int_equal(the.runs[1].outcome, RUN_TAKEN);
    assert_int_equal(the.runs[2].outcome, RUN_TAKEN);
    assert_int_equal(the.runs[3].outcome, RUN_RETURNED);
    assert_int_equal(the.positions[0].next, 16);
    ImportRun later = {.position = 0, .first = 16, .next = 20, .first_row = 120, .rows = 5}; /* of a later file of the import */
    assert_int_equal(positions_decide(the.positions, 2, &later, 1), 0);
    assert_int_equal(later.outcome, RUN_TAKEN);
}

/* Whatever each reader did: each record goes in once, whichever of them imports first. */
static void test_two_readers_of_one_partition_never_double_and_never_leave_a_hole(void **state) {
    for (unsigned seed = 1; seed <= 2000; seed++) {
        srand(seed);
        int64_t position = 0;
        unsigned taken[64] = {0};
        int64_t at[2] = {0, 0}; /* where each reads next */
        for (unsigned step = 0; step < 40; step++) {
            size_t who = (size_t)rand() % 2;
            int64_t next = at[who] + 1 + rand() % 7;
            if (next > 64) next = 64;
            if (next <= at[who]) break;
            ImportPosition import = {.read = position};
            ImportRun run = {.first = at[who], .next = next, .first_row = 1, .rows = (uint64_t)(next - at[who])};
            positions_begin(&import, 1);
            (void)positions_decide(&import, 1, &run, 1);
            if (run.outcome == RUN_TAKEN)
                for (int64_t i = run.first; i < run.next; i++) taken[i]++;
            at[who] = run.outcome == RUN_RETURNED ? position : next;
            position = import.next;
        }
        for (int64_t i = 0; i < 64; i++) assert_int_equal(taken[i], i < position);
    }
}

static void test_keys_have_one_order(void **state) {
    PartitionKey a = {.cluster = "c", .group = "g", .topic = "t", .partition = 9};
    PartitionKey b = a;
    assert_int_equal(partition_key_compare(&a, &b), 0);
    b.partition = 10;
    assert_true(partition_key_compare(&a, &b) < 0);
    a.generation = 1;
    assert_true(partition_key_compare(&a, &b) > 0);
    b.topic = "u";
    assert_true(partition_key_compare(&a, &b) < 0);
    b.group = "a";
    assert_true(partition_key_compare(&a, &b) > 0);
    a.cluster = "b";
    assert_true(partition_key_compare(&a, &b) < 0);
}

static void test_a_lost_run_is_returned_and_its_rows_are_not_counted(void **state) {
    Case the;
    begin(&the, 10, 0);
    add(&the, 0, 5, 10, 5);
    add(&the, 0, 10, 20, 4);
    add(&the, 0, 20, 30, 3);
    the.runs[0].lost = the.runs[1].lost = true;
    assert_int_equal(decide(&the), 3);
    assert_int_equal(the.runs[0].outcome, RUN_OVERTAKEN); /* nobody needs them */
    assert_int_equal(the.runs[1].outcome, RUN_RETURNED);
    assert_int_equal(the.runs[2].outcome, RUN_RETURNED);
    assert_int_equal(the.positions[0].next, 10);
}

static void test_outcomes_as_text(void **state) {
    static const char *const good[] = {"", "t1", "o3", "t12o1r7", "r1t1r1"};
    static const char *const bad[] = {"t", "x3", "t3", "t1t", "t01t1", "t-2", "t99999999999999999999", "t1 o1"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        ImportRun runs[20] = {0};
        size_t count = i == 0 ? 0 : i == 1 ? 1 : i == 2 ? 3 : i == 3 ? 20 : 3;
        assert_true(runs_take_outcomes(runs, count, good[i]));
        Buffer text = {0};
        runs_put_outcomes(runs, count, &text);
        assert_string_equal(buffer_text(&text), good[i]);
        buffer_deinit(&text);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ImportRun runs[2] = {0};
        assert_false(runs_take_outcomes(runs, 2, bad[i]));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs_that_follow_the_position_are_taken),
        cmocka_unit_test(test_what_somebody_else_imported_is_overtaken_and_the_rest_goes_on),
        cmocka_unit_test(test_a_position_inside_a_run_returns_it_and_all_behind_it),
        cmocka_unit_test(test_nothing_is_imported_over_a_hole),
        cmocka_unit_test(test_what_was_read_again_is_taken_behind_what_does_not_follow),
        cmocka_unit_test(test_two_readers_of_one_partition_never_double_and_never_leave_a_hole),
        cmocka_unit_test(test_keys_have_one_order),
        cmocka_unit_test(test_a_lost_run_is_returned_and_its_rows_are_not_counted),
        cmocka_unit_test(test_outcomes_as_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
