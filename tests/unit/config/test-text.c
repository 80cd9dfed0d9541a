#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "config/text.h"

static void utf8_is_checked_strictly(void **state) {
    const Span good[] = {SPAN(""), SPAN("a"), SPAN("\xC3\xA9"), SPAN("\xE2\x82\xAC"), SPAN("\xF0\x9F\x98\x80"), SPAN("\xF4\x8F\xBF\xBF")};
    const Span bad[] = {SPAN("\x80"),         SPAN("\xC0\x80"),         SPAN("\xC3"), SPAN("\xE2\x82"), SPAN("\xED\xA0\x80"),
                        SPAN("\xE0\x80\xAF"), SPAN("\xF4\x90\x80\x80"), SPAN("\xFF"), SPAN("a\0b"),     SPAN("\xF0\x9F\x98")};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_true(text_is_utf8(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(text_is_utf8(bad[i]));
}

static void plain_text_has_no_control_characters(void **state) {
    assert_true(text_is_plain(SPAN("Pr\xC3\xA9nom 1")));
    assert_false(text_is_plain(SPAN("a\nb")));
    assert_false(text_is_plain(SPAN("a\x7F")));
    assert_false(text_is_plain(SPAN("a\xC2\x85")));
    assert_false(text_is_plain(SPAN("\xC3")));
    assert_int_equal(text_characters(SPAN("\xC3\xA9\xE2\x82\xAC!")), 3);
}

static void excerpts_are_short_and_safe(void **state) {
    char out[TEXT_EXCERPT_SIZE], longest[1000];
    assert_string_equal(text_excerpt(SPAN("a\nb\xFF\xC3\xA9"), out), "a?b?\xC3\xA9");
    memset(longest, 'x', sizeof longest);
    assert_int_equal(strlen(text_excerpt((Span){longest, sizeof longest}, out)), TEXT_EXCERPT_SIZE - 1);
    /* A character of three bytes is never cut. */
    for (size_t i = 0; i + 3 <= sizeof longest; i += 3) memcpy(longest + i, "\xE2\x82\xAC", 3);
    (void)text_excerpt((Span){longest, 999}, out);
    assert_true(text_is_utf8(span_of(out)));
    assert_string_equal(text_excerpt((Span){0}, out), "");
}

static void near_names_are_found(void **state) {
    static const char *const names[] = {"intake", "admin", "limits.body", "disk.budget"};
    static const struct {
        const char *name, *near;
    } cases[] = {{"intaek", "\"intake\""},
                 {"Admin", "\"admin\""},
                 {"body", "\"limits.body\""},
                 {"disk_budget", "\"disk.budget\""},
                 {"zzz", ""},
                 {"", ""}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Buffer out = {0};
        text_near(&out, span_of(cases[i].name), names, 4);
        assert_string_equal(buffer_text(&out), cases[i].near);
        buffer_deinit(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8_is_checked_strictly),
        cmocka_unit_test(plain_text_has_no_control_characters),
        cmocka_unit_test(excerpts_are_short_and_safe),
        cmocka_unit_test(near_names_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
