#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "guard.h"
#include "mapping/form.h"
#include "mapping/json_text.h"

/* What forms become is in tests/mapping/forms.json; here is what data cannot say. */
static void faults_name_the_byte(void **state) {
    static const struct {
        const char *body;
        size_t offset;
        const char *what;
    } rows[] = {
        {"a=%4", 2, "two hexadecimal digits"},
        {"a=xy%", 4, "two hexadecimal digits"},
        {"ab=1&%zz=1", 5, "two hexadecimal digits"},
        {"a=1&b=%ff", 6, "UTF-8"},
        {"a=1&%c3=2", 4, "UTF-8"},
        {"a=1&b=\xc3", 6, "UTF-8"},
    };
    Form form = {0};
    Buffer out = {0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ScanFault fault = {0};
        assert_int_equal(form_read(&form, span_of(rows[i].body), &out, &fault), FORM_NOT_A_FORM);
        assert_int_equal(fault.offset, rows[i].offset);
        assert_non_null(strstr(fault.what, rows[i].what));
        assert_int_equal(out.size, 0);
    }
    Error error = {0};
    assert_int_equal(form_to_json(SPAN("a=%"), &out, &error), -EBADMSG);
    assert_non_null(strstr(error.text, "byte 2"));
    assert_int_equal(form_to_json(SPAN("a=1"), &out, &error), 0);
    assert_string_equal(buffer_text(&out), "{\"a\":\"1\"}");
    buffer_deinit(&out);
    form_deinit(&form);
}

static void whatever_is_accepted_becomes_json(void **state) {
    static const char *const pieces[] = {"a",   "b",   "[",   "]",   "[]",     "[0]", "[1]", "[x]", "=",        "&",
                                         "%41", "%5B", "%22", "%00", "%c3%a9", "%f",  "+",   "1",   "\xc3\xa9", "\xff"};
    uint64_t random = 88172645463325252;
    Guard guard = guard_new(256);
    Form form = {0};
    Buffer out = {0};
    int accepted = 0;
    for (int round = 0; round < 50000; round++) {
        char body[256];
        size_t size = 0;
        for (int i = round % 17; i >= 0; i--) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            const char *piece = pieces[(random >> 33) % (sizeof pieces / sizeof *pieces)];
            memcpy(body + size, piece, strlen(piece));
            size += strlen(piece);
        }
        ScanFault fault;
        buffer_clear(&out);
        Span text = guard_place(&guard, body, size);
        if (form_read(&form, text, &out, &fault)) {
            assert_true(fault.offset < size);
            continue;
        }
        accepted++;
        if (scan_validate(buffer_span(&out), &fault))
            fail_msg("%.*s: %s at byte %zu of %s", (int)size, body, fault.what, fault.offset, buffer_text(&out));
    }
    assert_true(accepted > 10000);
    buffer_deinit(&out);
    form_deinit(&form);
    guard_free(&guard);
}

static void hostile_names_take_no_time(void **state) {
    Buffer body = {0}, out = {0};
    for (int i = 0; i < 1000; i++) {
        buffer_append_text(&body, "&a");
        for (int depth = 0; depth < 32; depth++) buffer_printf(&body, "[%d]", depth == i % 32 ? i : 0);
        buffer_append_text(&body, "=1");
    }
    assert_int_equal(form_to_json(buffer_span(&body), &out, NULL), 0);
    buffer_clear(&body);
    buffer_append_text(&body, "a");
    for (int i = 0; i < 1 << 20; i++) buffer_append_byte(&body, '[');
    assert_int_equal(form_to_json(buffer_span(&body), &out, NULL), 0);
    buffer_deinit(&body);
    buffer_deinit(&out);
}

static void form_gives(const char *body, size_t size, const char *expected, const char *fault) {
    Buffer out = {0};
    Error error = {0};
    int r = form_to_json((Span){body, size}, &out, &error);
    assert_int_equal(r, fault ? -EBADMSG : 0);
    if (fault && !strstr(error.text, fault)) fail_msg("%s", error.text);
    if (expected) assert_string_equal(buffer_text(&out), expected);
    buffer_deinit(&out);
}

static void limits_are_exact(void **state) {
    /* Fields: 1,000, empty ones not counted, repeated ones too. */
    for (int count = 999; count <= 1001; count++) {
        for (int same = 0; same < 2; same++) {
            Buffer body = {0};
            for (int i = 0; i < count; i++) buffer_printf(&body, "%s&n%d=1", i % 7 ? "" : "&&", same ? 0 : i);
            form_gives(body.data, body.size, NULL, count > FORM_PAIRS_MAX ? "more than 1,000 fields" : NULL);
            buffer_deinit(&body);
        }
    }
    /* Brackets: 32, whatever the names before hold. */
    for (int depth = 31; depth <= 33; depth++) {
        for (int first = 0; first < 2; first++) {
            Buffer body = {0}, expected = {0};
            buffer_append_text(&body, first ? "a=1&a" : "a");
            for (int i = 0; i < depth; i++) buffer_append_text(&body, i % 2 ? "[x]" : "%5By]");
            buffer_append_text(&body, "=2");
            buffer_append_text(&expected, "{\"a\":");
            for (int i = 0; !first && i < depth; i++) buffer_append_text(&expected, i % 2 ? "{\"x\":" : "{\"y\":");
            buffer_append_text(&expected, first ? "\"1\"" : "\"2\"");
            for (int i = 0; !first && i < depth; i++) buffer_append_byte(&expected, '}');
            buffer_append_byte(&expected, '}');
            bool over = depth > FORM_DEPTH_MAX;
            form_gives(body.data, body.size, over ? NULL : buffer_text(&expected), over ? "more than 32 brackets" : NULL);
            buffer_deinit(&body);
            buffer_deinit(&expected);
        }
    }
    /* Indexes: nine digits. */
    form_gives("a[999999998]=1&a[]=2", 20, "{\"a\":{\"999999998\":\"1\",\"999999999\":\"2\"}}", NULL);
    form_gives("a[999999999]=1&a[]=2", 20, NULL, "no index can follow 999999999 for [] at byte 15");
    form_gives("a[1000000000]=1&a[]=2", 21, "{\"a\":{\"1000000000\":\"1\",\"0\":\"2\"}}", NULL);
}

/* A thousand names that differ in their last byte only, and a value of 20 MB. */
static void large_forms_take_no_time(void **state) {
    Buffer body = {0}, out = {0};
    for (int i = 0; i < 1000; i++) {
        char *name = buffer_reserve(&body, 20008);
        memset(name, 'n', 20000);
        body.size += (size_t)(20000 + snprintf(name + 20000, 8, "%03d=1&", i));
    }
    assert_int_equal(form_to_json(buffer_span(&body), &out, NULL), 0);
    assert_int_equal(out.size, 2 + 1000 * (20003 + 7) - 1);
    buffer_clear(&body);
    buffer_clear(&out);
    buffer_append_text(&body, "a=");
    memset(buffer_reserve(&body, 20 << 20), 'x', 20 << 20);
    body.size += 20 << 20;
    buffer_deinit(&out);
    assert_int_equal(form_to_json(buffer_span(&body), &out, NULL), 0);
    assert_int_equal(out.size, (20 << 20) + strlen("{\"a\":\"\"}"));
    assert_true(out.capacity < 44 << 20);
    buffer_deinit(&body);
    buffer_deinit(&out);
}

static void json_text_changes_its_form(void **state) {
    Buffer out = {0};
    json_compact(&out, SPAN(" { \"a b\" : [ 1 , \"\\\" \\\\\" ] ,\n\t\"\":{ } } "));
    assert_string_equal(buffer_text(&out), "{\"a b\":[1,\"\\\" \\\\\"],\"\":{}}");
    buffer_clear(&out);
    json_quote(&out, (Span){"a\"\\\b\f\n\r\t\x01\x1f\0/\xc3\xa9", 14});
    assert_string_equal(buffer_text(&out), "\"a\\\"\\\\\\b\\f\\n\\r\\t\\u0001\\u001f\\u0000/\xc3\xa9\"");
    Buffer back = {0};
    assert_int_equal(json_unescape(&back, (Span){out.data + 1, out.size - 2}), 0);
    assert_int_equal(back.size, 14);
    assert_memory_equal(back.data, "a\"\\\b\f\n\r\t\x01\x1f\0/\xc3\xa9", 14);
    assert_int_equal(json_unescape(&back, SPAN("abc\\ud800")), JSON_LONE_SURROGATE);
    assert_int_equal(json_unescape(&back, SPAN("\\ud800\\u0041")), JSON_LONE_SURROGATE);
    assert_int_equal(back.size, 14);
    buffer_clear(&back);
    assert_int_equal(json_unescape(&back, SPAN("\\u007f\\u0080\\u07ff\\u0800\\uffff\\ud800\\udc00\\udbff\\udfff")), 0);
    assert_string_equal(buffer_text(&back), "\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf");
    buffer_deinit(&back);
    buffer_deinit(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(faults_name_the_byte),       cmocka_unit_test(whatever_is_accepted_becomes_json),
        cmocka_unit_test(hostile_names_take_no_time), cmocka_unit_test(limits_are_exact),
        cmocka_unit_test(large_forms_take_no_time),   cmocka_unit_test(json_text_changes_its_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
