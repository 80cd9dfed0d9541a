#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/span.h"

static void equality_is_by_bytes(void **state) {
    assert_true(span_equal(SPAN("abc"), span_of("abc")));
    assert_false(span_equal(SPAN("abc"), SPAN("abd")));
    assert_false(span_equal(SPAN("abc"), SPAN("ab")));
    assert_true(span_equal((Span){0}, SPAN("")));
    assert_true(span_equal(SPAN("a\0b"), (Span){.data = "a\0b", .size = 3}));
    assert_int_equal(span_of(NULL).size, 0);
}

static void case_is_ignored_for_ascii_letters_only(void **state) {
    assert_true(span_equal_nocase(SPAN("Content-Type"), SPAN("cONTENT-tYPE")));
    assert_false(span_equal_nocase(SPAN("ab"), SPAN("abc")));
    assert_true(span_equal_nocase((Span){0}, SPAN("")));
    /* neighbours of the letters: '@' and '`', '[' and '{' differ in the same bit */
    assert_false(span_equal_nocase(SPAN("@["), SPAN("`{")));
    assert_false(span_equal_nocase(SPAN("\xC4"), SPAN("\xE4")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equality_is_by_bytes),
        cmocka_unit_test(case_is_ignored_for_ascii_letters_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
