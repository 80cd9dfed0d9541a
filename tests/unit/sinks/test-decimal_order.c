/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "sinks/decimal_order.h"

/* Lines in ascending order; what stands in one line is equal. */
static const char *const ascending[][6] = {
    {""},
    {"+1"},
    {"1."},
    {"NaN"},
    {"x"},
    {"-1e400"},
    {"-123456789012345678901234567890.5"},
    {"-10", "-1e1", "-10.0", "-100E-1"},
    {"-9.99"},
    {"-0.001"},
    {"0", "-0", "0.000", "0e9", "-0.0e-9"},
    {"1e-2000000000000000000000"},
    {"1e-401"},
    {"0.0001", "1e-4", "0.1e-3"},
    {"0.00010000000000000000000000000000000000001"},
    {"0.5", "0.50", "5e-1"},
    {"1.5", "1.50", "15e-1", "0.15e1"},
    {"2", "2.0"},
    {"9"},
    {"10", "1e+1"},
    {"99.999"},
    {"100"},
    {"123456789012345678901234567890.1"},
    {"123456789012345678901234567890.2"},
    {"1e400", "10e399"},
    {"1e2000000000000000000000"},
};
enum { LINES = sizeof ascending / sizeof ascending[0], EQUALS = sizeof ascending[0] / sizeof ascending[0][0] };

static int sign(int order) {
    return (order > 0) - (order < 0);
}

static void every_two_have_an_order(void **state) {
    for (int i = 0; i < LINES * EQUALS; i++) {
        for (int j = 0; j < LINES * EQUALS; j++) {
            const char *a = ascending[i / EQUALS][i % EQUALS], *b = ascending[j / EQUALS][j % EQUALS];
            if (!a || !b) continue;
            int wanted = sign(i / EQUALS - j / EQUALS), order = sign(decimal_compare(span_of(a), span_of(b)));
            if (order != wanted) fail_msg("\"%s\" and \"%s\": %d instead of %d", a, b, order, wanted);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_two_have_an_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
