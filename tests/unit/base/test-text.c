#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdint.h>
#include <string.h>

#include "base/text.h"

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

static void percent_encoding_is_decoded(void **state) {
    static const struct {
        const char *text, *form, *path; /* NULL: refused */
    } cases[] = {
        {"", "", ""},           {"a+b%20c", "a b c", "a+b c"}, {"%41%6a%6A", "Ajj", "Ajj"}, {"/v1/a%20b/", "/v1/a b/", "/v1/a b/"},
        {"a%2Fb", "a/b", NULL}, /* an encoded slash never makes a segment */
        {"%", NULL, NULL},      {"a%4", NULL, NULL},           {"a%4g", NULL, NULL},        {"%%41", NULL, NULL},
    };
    char out[32];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Span text = span_of(cases[i].text);
        const char *wrong = NULL;
        ptrdiff_t size = text_percent_decode(text, true, out, &wrong);
        if (cases[i].form) {
            assert_int_equal(size, strlen(cases[i].form));
            assert_memory_equal(out, cases[i].form, (size_t)size);
        } else {
            assert_int_equal(size, -1);
            assert_int_equal(*wrong, '%');
        }
        size = text_path_decode(text, out);
        assert_int_equal(size, cases[i].path ? (ptrdiff_t)strlen(cases[i].path) : -1);
        if (size > 0) assert_memory_equal(out, cases[i].path, (size_t)size);
    }
    assert_int_equal(text_percent_decode(SPAN("a%00b"), false, out, NULL), 3);
    assert_memory_equal(out, "a\0b", 3);
    assert_int_equal(text_path_decode(SPAN("a%00b"), out), -1);
    /* In place. */
    (void)strcpy(out, "x%3Dy");
    assert_int_equal(text_percent_decode(span_of(out), false, out, NULL), 3);
    assert_memory_equal(out, "x=y", 3);
}

static void blanks_are_trimmed_at_both_ends(void **state) {
    assert_true(span_equal(text_trim(SPAN(" \t a b\t ")), SPAN("a b")));
    assert_true(span_equal(text_trim(SPAN(" \t ")), SPAN("")));
    assert_true(span_equal(text_trim((Span){0}), SPAN("")));
    assert_true(span_equal(text_trim(SPAN("\na\n")), SPAN("\na\n"))); /* line ends are no blanks */
    assert_true(text_begins(SPAN("abc"), SPAN("ab")) && text_begins(SPAN("abc"), SPAN("")) && !text_begins(SPAN("a"), SPAN("ab")));
    assert_true(text_ends(SPAN("abc"), SPAN("bc")) && text_ends((Span){0}, (Span){0}) && !text_ends(SPAN("c"), SPAN("bc")));
}

static void every_code_point_is_checked_as_it_is_decoded(void **state) {
    for (uint32_t point = 0; point <= 0x110010; point++) {
        char text[12] = {(char)(0xF0 | point >> 18), (char)(0x80 | (point >> 12 & 0x3F)), (char)(0x80 | (point >> 6 & 0x3F)),
                         (char)(0x80 | (point & 0x3F))};
        size_t size = 4;
        if (point < 0x80) {
            text[0] = (char)point;
            size = 1;
        } else if (point < 0x800) {
            text[0] = (char)(0xC0 | point >> 6);
            text[1] = (char)(0x80 | (point & 0x3F));
            size = 2;
        } else if (point < 0x10000) {
            text[0] = (char)(0xE0 | point >> 12);
            text[1] = (char)(0x80 | (point >> 6 & 0x3F));
            text[2] = (char)(0x80 | (point & 0x3F));
            size = 3;
        }
        bool good = point <= 0x10FFFF && (point < 0xD800 || point > 0xDFFF);
        uint32_t found = 0;
        assert_int_equal(text_decode(text, text + size, &found), good ? size : 0);
        if (good) assert_int_equal(found, point);
        memcpy(text + size, "ascii-ok", 12 - size < 8 ? 12 - size : 8);
        assert_int_equal(text_check((Span){text, 12}), good && point ? (size + 8 < 12 ? size + 8 : 12) : 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8_is_checked_strictly),
        cmocka_unit_test(plain_text_has_no_control_characters),
        cmocka_unit_test(excerpts_are_short_and_safe),
        cmocka_unit_test(near_names_are_found),
        cmocka_unit_test(percent_encoding_is_decoded),
        cmocka_unit_test(blanks_are_trimmed_at_both_ends),
        cmocka_unit_test(every_code_point_is_checked_as_it_is_decoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
