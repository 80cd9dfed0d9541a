/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <stdbool.h>

#include "sinks/row_search.h"

#define FIRST 1000
#define ROWS 3000

/* Finds all bad rows of a file as a loader does. `hint`: 0: none, 1: the bad row, 2: a wrong one.
 * Answers how many ranges were tried. */
static unsigned find_all(const bool *bad, int hint) {
    RowSearch search = row_search_start(FIRST);
    unsigned tries = 0;
    for (uint64_t at = FIRST; at < FIRST + ROWS; tries++) {
        uint64_t left = FIRST + ROWS - at, rows = search.window < left ? search.window : left, worst = at;
        while (worst < at + rows && !bad[worst - FIRST]) worst++;
        if (worst == at + rows) {
            at += rows;
            row_search_went_through(&search, at);
        } else if (rows == 1) {
            row_search_found(&search, at++);
        } else {
            row_search_refused(&search, at, at + rows, hint == 0 ? ROW_SEARCH_NONE : hint == 1 ? worst : at + rows / 3);
        }
        assert_true(search.window > 0);
        assert_true(tries < 40 * ROWS);
    }
    return tries;
}

static void every_bad_row_is_found(void **state) {
    static const unsigned every[] = {1, 2, 7, 100, 1499, ROWS};
    for (size_t i = 0; i < sizeof every / sizeof every[0]; i++) {
        bool bad[ROWS] = {0};
        unsigned count = 0;
        for (unsigned row = every[i] - 1; row < ROWS; row += every[i]) count += bad[row] = true;
        for (int hint = 0; hint < 3; hint++) {
            unsigned tries = find_all(bad, hint);
            if (hint == 0) assert_true(tries <= 20 + 16 * count);
            if (hint == 1) assert_true(tries <= 20 + 4 * count);
        }
    }
    bool none[ROWS] = {0};
    assert_int_equal(find_all(none, 0), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_bad_row_is_found)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
