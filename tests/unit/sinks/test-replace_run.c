/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <stdlib.h>

#include "sinks/replace_run.h"

static void a_group_names_its_run(void **state) {
    (void)state;
    char *group = run_group("readers#1", 12);
    assert_string_equal(group, "readers#1#12");
    assert_int_equal(run_of_group(group), 12);
    free(group);
    group = run_group("g", INT64_MAX);
    assert_true(run_of_group(group) == INT64_MAX);
    free(group);
    static const char *const others[] = {
        "", "g", "g#", "#", "g#0", "g#01", "g#-1", "g#+1", "g# 1", "g#1x", "g#9223372036854775808", "g#99999999999999999999"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) assert_int_equal(run_of_group(others[i]), 0);
}

static void assert_state(const RunMarks *marks, const char *group, RunState state, bool is_new, bool is_open) {
    bool found_new = !is_new;
    assert_int_equal(run_marks_state(marks, group, &found_new), state);
    assert_int_equal(found_new, is_new);
    assert_int_equal(run_marks_open(marks, group), is_open);
}

static void a_run_is_open_from_its_claim_until_its_rows_are_in_the_table(void **state) {
    (void)state;
    RunMarks marks = {0};
    assert_int_equal(run_marks_last(&marks), 0);
    assert_state(&marks, "g#3", RUN_OPEN, true, false); /* nobody has claimed it */
    run_marks_add(&marks, REPLACE_MARK_RUN, 3, "g#3");
    assert_state(&marks, "g#3", RUN_OPEN, false, true);
    assert_int_equal(run_marks_last(&marks), 3);
    run_marks_add(&marks, REPLACE_MARK_DONE, 3, "g#3");
    assert_state(&marks, "g#3", RUN_DONE, false, false);
    assert_state(&marks, "g#4", RUN_OPEN, true, false);
    assert_int_equal(run_marks_last(&marks), 3);
    run_marks_deinit(&marks);
    assert_null(marks.run_group);
}

static void the_later_run_wins(void **state) {
    (void)state;
    RunMarks marks = {0};
    run_marks_add(&marks, REPLACE_MARK_DONE, 5, "g#5");
    run_marks_add(&marks, REPLACE_MARK_RUN, 6, "g#6");
    assert_state(&marks, "g#2", RUN_SUPERSEDED, false, false);
    assert_state(&marks, "z#5", RUN_SUPERSEDED, false, false);
    assert_state(&marks, "f#6", RUN_SUPERSEDED, false, false); /* of one number, the greater group */
    assert_state(&marks, "h#6", RUN_OPEN, true, false);
    assert_int_equal(run_marks_last(&marks), 6);
    run_marks_deinit(&marks);
}

static void other_rows_of_the_table_are_no_marks(void **state) {
    (void)state;
    RunMarks marks = {0};
    run_marks_add(&marks, "orders", 7, "g#7");
    run_marks_add(&marks, REPLACE_MARK_RUN, 7, NULL);
    run_marks_add(&marks, REPLACE_MARK_RUN, 0, "g#0");
    run_marks_add(&marks, REPLACE_MARK_DONE, -1, "g#1");
    assert_int_equal(run_marks_last(&marks), 0);
    assert_null(marks.run_group);
    assert_null(marks.done_group);
}

static void only_positions_of_the_open_run_count(void **state) {
    (void)state;
    RunMarks marks = {0};
    run_marks_add(&marks, REPLACE_MARK_DONE, 1, "g#1");
    run_marks_add(&marks, REPLACE_MARK_RUN, 2, "g#2");
    ImportPosition positions[] = {{.key = {.group = "g#1"}, .found = true, .read = 10},
                                  {.key = {.group = "g#2"}, .found = true, .read = 20},
                                  {.key = {.group = "g#3"}, .found = true, .read = 30}};
    run_marks_evaluate(&marks, positions, 3);
    assert_true(positions[0].over && !positions[0].found && positions[0].read == 0);
    assert_true(!positions[1].over && positions[1].found && positions[1].read == 20);
    assert_true(positions[2].over && !positions[2].found && positions[2].read == 0);
    run_marks_deinit(&marks);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_group_names_its_run),
        cmocka_unit_test(a_run_is_open_from_its_claim_until_its_rows_are_in_the_table),
        cmocka_unit_test(the_later_run_wins),
        cmocka_unit_test(other_rows_of_the_table_are_no_marks),
        cmocka_unit_test(only_positions_of_the_open_run_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
