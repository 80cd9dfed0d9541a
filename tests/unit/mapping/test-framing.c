#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>

#include "guard.h"
#include "mapping/framing.h"
#include "mapping/plan.h"
#include "mapping/scanner.h"

/* Events joined by "|", then "!" and the place when the body does not fit. */
static void frames(Framing framing, const char *content_type, const char *body, size_t size, const char *expected) {
    Guard guard = guard_new(size + 1);
    FrameReader reader;
    Error error = {0};
    Frame frame;
    Buffer got = {0};
    size_t count = 0;
    int r;
    frames_start(&reader, framing, span_of(content_type), guard_place(&guard, body, size));
    while ((r = frames_next(&reader, &frame, &error)) == 0) {
        if (count++) buffer_append_byte(&got, '|');
        buffer_append_span(&got, frame.body);
        assert_int_equal(reader.index, count);
    }
    if (r < 0) {
        assert_int_equal(r, -EBADMSG);
        const char *byte = strstr(error.text, "at byte ");
        assert_non_null(byte);
        buffer_printf(&got, "!%d", atoi(byte + 8));
    } else {
        assert_int_equal(r, FRAMES_END);
        assert_int_equal(frames_next(&reader, &frame, &error), FRAMES_END);
    }
    assert_string_equal(buffer_text(&got), expected);
    buffer_deinit(&got);
    guard_free(&guard);
}

static void bodies_are_split(void **state) {
    static const struct {
        Framing framing;
        const char *body, *expected;
    } rows[] = {
        {FRAMING_SINGLE, "", ""},
        {FRAMING_SINGLE, " {\"a\":1}\n", " {\"a\":1}\n"},
        {FRAMING_NDJSON, "", ""},
        {FRAMING_NDJSON, "{}\n[]\n", "{}|[]"},
        {FRAMING_NDJSON, "{}\r\n[]", "{}|[]"},
        {FRAMING_NDJSON, "\n\n1\n \t\n\r\n2\n\n", "1|2"},
        {FRAMING_NDJSON, "bad\n{", "bad|{"},
        {FRAMING_LINES, "a b\n  \n\nc\r\nd", "a b|  |c|d"},
        {FRAMING_LINES, "a\rb\nc\r", "a\rb|c\r"},
        {FRAMING_ARRAY, "[]", ""},
        {FRAMING_ARRAY, " [ ] ", ""},
        {FRAMING_ARRAY, "[1,{\"a\":[1,2]},\"x,]\\\"\"]", "1|{\"a\":[1,2]}|\"x,]\\\"\""},
        {FRAMING_ARRAY, " [ 1 , [2 ] ]\n", "1|[2 ]"},
        {FRAMING_ARRAY, " {\"a\":1} ", "{\"a\":1}"},
        {FRAMING_ARRAY, "1", "1"},
        {FRAMING_ARRAY, "", "!0"},
        {FRAMING_ARRAY, "  ", "!2"},
        {FRAMING_ARRAY, "<html>[1]</html>", "!0"},
        {FRAMING_ARRAY, " hello", "!1"},
        {FRAMING_ARRAY, "nil", "!0"},
        {FRAMING_ARRAY, "1,2", "!0"},
        {FRAMING_ARRAY, "null ", "null"},
        {FRAMING_ARRAY, "\"a]\"\n", "\"a]\""},
        {FRAMING_ARRAY, "\"a", "!0"},
        {FRAMING_ARRAY, "{\"a\":1", "!0"},
        {FRAMING_ARRAY, "{\"a\":1}\n{\"a\":2}\n", "!8"},
        {FRAMING_ARRAY, "{\"a\":1},", "!7"},
        {FRAMING_ARRAY, "{\"a\" 1}", "{\"a\" 1}"},
        {FRAMING_ARRAY, "[1,<b>,{\"a\" 1} x]", "1|<b>|{\"a\" 1} x"},
        {FRAMING_ARRAY, "[1,]", "1!3"},
        {FRAMING_ARRAY, "[,1]", "!1"},
        {FRAMING_ARRAY, "[1,,2]", "1!3"},
        {FRAMING_ARRAY, "[1", "!2"},
        {FRAMING_ARRAY, "[1,", "1!3"},
        {FRAMING_ARRAY, "[", "!1"},
        {FRAMING_ARRAY, "[1]x", "!3"},
        {FRAMING_ARRAY, "[]x", "!2"},
        {FRAMING_ARRAY, "[1][2]", "!3"},
        {FRAMING_ARRAY, "[\"x]", "!4"},
        {FRAMING_ARRAY, "[\"x\\", "!4"},
        {FRAMING_ARRAY, "[{\"a\":1]", "!8"},
        {FRAMING_CONCATENATED, "", ""},
        {FRAMING_CONCATENATED, " \n,", ""},
        {FRAMING_CONCATENATED, "{\"a\":1}{\"b\":\"}\"}[1][2]", "{\"a\":1}|{\"b\":\"}\"}|[1]|[2]"},
        {FRAMING_CONCATENATED, "{}, {}\n{}", "{}|{}|{}"},
        {FRAMING_CONCATENATED, "1 2,3\"x\"true", "1|2|3|\"x\"|true"},
        {FRAMING_CONCATENATED, "{}}", "{}!2"},
        {FRAMING_CONCATENATED, "{} [", "{}!3"},
        {FRAMING_CONCATENATED, "\"x", "!0"},
        {FRAMING_CONCATENATED, " <html>", "!1"},
        {FRAMING_CONCATENATED, "hello world", "!0"},
        {FRAMING_CONCATENATED, "1 hello 2", "1|hello|2"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        frames(rows[i].framing, NULL, rows[i].body, strlen(rows[i].body), rows[i].expected);
    frames(FRAMING_CONCATENATED, NULL, "1 \0", 3, "1!2");
    frames(FRAMING_SINGLE, NULL, NULL, 0, "");
}

#define MARK "\xef\xbb\xbf"
#define FORM "application/x-www-form-urlencoded"

static void byte_order_marks_are_skipped_at_the_beginning(void **state) {
    static const struct {
        Framing framing;
        const char *content_type, *body, *expected;
    } rows[] = {
        {FRAMING_SINGLE, NULL, MARK "{}", "{}"},
        {FRAMING_SINGLE, "application/json", MARK, ""},
        {FRAMING_SINGLE, NULL, "\xef\xbb", "\xef\xbb"},
        {FRAMING_SINGLE, NULL, MARK MARK "{}", MARK "{}"},
        {FRAMING_SINGLE, NULL, " " MARK "{}", " " MARK "{}"},
        {FRAMING_SINGLE, "application/octet-stream", MARK "{}", MARK "{}"},
        {FRAMING_NDJSON, NULL, MARK "1\n" MARK "2", "1|" MARK "2"},
        {FRAMING_NDJSON, "text/csv", MARK "1\n2", "1|2"},
        {FRAMING_NDJSON, NULL, MARK "\n1", "1"},
        {FRAMING_LINES, NULL, MARK "a\n" MARK "b", "a|" MARK "b"},
        {FRAMING_LINES, "text/csv", MARK "a\nb", "a|b"},
        {FRAMING_LINES, "application/octet-stream", MARK "\r\nb", "b"},
        {FRAMING_LINES, FORM, MARK, ""},
        {FRAMING_LINES, FORM, MARK "\na=1", "a=1"},
        {FRAMING_LINES, FORM, MARK "a=1\n" MARK "b=2", "a=1|" MARK "b=2"},
        {FRAMING_LINES, FORM, MARK "{\"a\":1}\nb=2", "{\"a\":1}|b=2"},
        {FRAMING_SINGLE, FORM, MARK "a=1", "a=1"},
        {FRAMING_SINGLE, FORM, MARK, ""},
        {FRAMING_SINGLE, FORM, MARK "{}", "{}"},
        {FRAMING_NDJSON, FORM, MARK "{}", "{}"},
        {FRAMING_ARRAY, FORM, MARK "[1]", "1"},
        {FRAMING_CONCATENATED, FORM, MARK "1{}", "1|{}"},
        {FRAMING_ARRAY, NULL, MARK " [1, 2]", "1|2"},
        {FRAMING_ARRAY, NULL, MARK "{}", "{}"},
        {FRAMING_ARRAY, NULL, MARK "[1", "!5"},
        {FRAMING_ARRAY, NULL, MARK, "!3"},
        {FRAMING_ARRAY, NULL, MARK MARK "[]", "!3"},
        {FRAMING_CONCATENATED, NULL, MARK "1{}", "1|{}"},
        {FRAMING_CONCATENATED, NULL, MARK "1 \"x", "1!5"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        frames(rows[i].framing, rows[i].content_type, rows[i].body, strlen(rows[i].body), rows[i].expected);
    FrameReader reader;
    Frame frame;
    frames_resume(&reader, FRAMING_NDJSON, (Span){0}, SPAN(MARK "1"));
    assert_int_equal(frames_next(&reader, &frame, NULL), 0);
    assert_true(span_equal(frame.body, SPAN(MARK "1")));
}

static void content_types_decide(void **state) {
    frames(FRAMING_SINGLE, "application/x-ndjson", "1\n2\n", 4, "1|2");
    frames(FRAMING_ARRAY, "Application/JSONL; charset=utf-8", "1\n2\n", 4, "1|2");
    frames(FRAMING_NDJSON, "application/cloudevents+json", "1\n2", 3, "1\n2");
    frames(FRAMING_SINGLE, "application/cloudevents-batch+json;x", "[1,2]", 5, "1|2");
    frames(FRAMING_SINGLE, "application/json", "[1,2]", 5, "[1,2]");
}

static void json_that_is_called_a_form_is_json(void **state) {
    static const struct {
        Framing framing;
        const char *body;
        BodyKind kinds[4];
    } rows[] = {
        {FRAMING_SINGLE, "{\"a\":1}", {BODY_JSON}},
        {FRAMING_SINGLE, " \r\n[1, 2] ", {BODY_JSON}},
        {FRAMING_SINGLE, MARK "{\"a\":1}", {BODY_JSON}},
        {FRAMING_SINGLE, "{\"a\":1", {BODY_FORM}},
        {FRAMING_SINGLE, "[a]=1", {BODY_FORM}},
        {FRAMING_SINGLE, "{}&a=1", {BODY_FORM}},
        {FRAMING_SINGLE, "1", {BODY_FORM}},
        {FRAMING_SINGLE, "\"a\"", {BODY_FORM}},
        {FRAMING_SINGLE, MARK "a=1", {BODY_FORM}},
        {FRAMING_SINGLE, "", {BODY_FORM}},
        {FRAMING_LINES, "a=1\n{\"a\":1}\n{a}\n[]", {BODY_FORM, BODY_JSON, BODY_FORM, BODY_JSON}},
        {FRAMING_NDJSON, "a=1\n{}\n", {BODY_JSON, BODY_JSON}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        FrameReader reader;
        Frame frame;
        frames_start(&reader, rows[i].framing, SPAN("application/x-www-form-urlencoded"), span_of(rows[i].body));
        for (size_t at = 0; frames_next(&reader, &frame, NULL) == 0; at++) {
            assert_int_equal(frame.kind, rows[i].kinds[at]);
            if (frame.kind == BODY_JSON && rows[i].framing == FRAMING_SINGLE)
                assert_int_equal(scan_validate(frame.body, &(ScanFault){0}), 0);
        }
    }
}

static void kinds_of_bodies(void **state) {
    static const struct {
        const char *type;
        BodyKind kind;
    } rows[] = {{NULL, BODY_JSON},
                {"", BODY_JSON},
                {" ", BODY_JSON},
                {";charset=utf-8", BODY_JSON},
                {"application/json", BODY_JSON},
                {"Application/Json ; charset=x", BODY_JSON},
                {"text/json", BODY_JSON},
                {"text/plain;charset=utf-8", BODY_JSON},
                {"application/vnd.api+JSON", BODY_JSON},
                {"application/x-ndjson", BODY_JSON},
                {"application/jsonl", BODY_JSON},
                {"application/cloudevents-batch+json", BODY_JSON},
                {"application/x-www-form-urlencoded", BODY_FORM},
                {"APPLICATION/X-WWW-FORM-URLENCODED;charset=UTF-8", BODY_FORM},
                {"multipart/form-data; boundary=x", BODY_OTHER},
                {"application/jsonp", BODY_OTHER},
                {"application/octet-stream", BODY_OTHER},
                {"x+json", BODY_OTHER},
                {"text/html", BODY_OTHER}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) assert_int_equal(body_kind(span_of(rows[i].type)), rows[i].kind);
}

static void a_long_body_takes_one_pass(void **state) {
    size_t size = 4 << 20;
    char *body = malloc(size);
    memset(body, '[', size);
    FrameReader reader;
    Frame frame;
    static const Framing framings[] = {FRAMING_ARRAY, FRAMING_CONCATENATED};
    for (size_t i = 0; i < 2; i++) {
        frames_start(&reader, framings[i], (Span){0}, (Span){body, size});
        assert_int_equal(frames_next(&reader, &frame, NULL), -EBADMSG);
    }
    memset(body, '\n', size);
    frames_start(&reader, FRAMING_NDJSON, (Span){0}, (Span){body, size});
    assert_int_equal(frames_next(&reader, &frame, NULL), FRAMES_END);
    free(body);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_are_split),
        cmocka_unit_test(byte_order_marks_are_skipped_at_the_beginning),
        cmocka_unit_test(content_types_decide),
        cmocka_unit_test(kinds_of_bodies),
        cmocka_unit_test(json_that_is_called_a_form_is_json),
        cmocka_unit_test(a_long_body_takes_one_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
