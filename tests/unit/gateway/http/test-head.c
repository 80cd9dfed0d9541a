#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/http/head.h"

#define HOST "Host: h\r\n"

static HttpHead head;

static HeadResult look(const char *text) {
    /* In memory of its own exact size, so that ASan sees a read past the end. */
    size_t size = strlen(text);
    char *copy = malloc(size + !size);
    assert_non_null(copy);
    memcpy(copy, text, size);
    HeadResult result = http_head_check((Span){copy, size}, &head);
    free(copy);
    return result;
}

static void sound_heads(void **state) {
    (void)state;
    static const char text[] = "\r\nPOST /a?b HTTP/1.1\r\nHost:  example.org:80 \r\ncontent-length: 12\r\nX: \r\n\r\nbody";
    assert_int_equal(
        http_head_check(SPAN("\r\nPOST /a?b HTTP/1.1\r\nHost:  example.org:80 \r\ncontent-length: 12\r\nX: \r\n\r\nbody"), &head), HEAD_OK);
    assert_int_equal(head.size, sizeof text - 1 - 4);
    assert_true(span_equal(head.method, SPAN("POST")));
    assert_true(span_equal(head.target, SPAN("/a?b")));
    assert_int_equal(head.minor, 1);
    assert_true(head.has_length && head.length == 12 && !head.chunked);
    assert_true(span_equal(http_head_find(&head, SPAN("host")), SPAN("example.org:80")));
    assert_null(http_head_find(&head, SPAN("hos")).data);
    Span lines = head.lines, name, value;
    size_t count = 0;
    while (http_head_next(&lines, &name, &value)) count++;
    assert_int_equal(count, 3);
    assert_true(span_equal(name, SPAN("X")) && value.size == 0);
    assert_int_equal(look("GET / HTTP/1.0\r\n\r\n"), HEAD_OK);
    assert_int_equal(look("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: Chunked\r\n\r\n"), HEAD_OK);
    assert_int_equal(look("POST / HTTP/1.1\r\nHost: [::1]:7000\r\n\r\n"), HEAD_OK);
    assert_int_equal(look("POST / HTTP/1.1\r\nHost:\r\n\r\n"), HEAD_OK);
}

static void every_prefix_is_incomplete(void **state) {
    (void)state;
    char text[] = "POST /stream/1/a/b HTTP/1.1\r\n" HOST "Content-Length: 3\r\nAccept: */*\r\n\r\n";
    for (size_t size = 0; size + 1 < sizeof text; size++) {
        char part[sizeof text] = {0};
        memcpy(part, text, size);
        assert_int_equal(look(part), HEAD_INCOMPLETE);
    }
    assert_int_equal(look(text), HEAD_OK);
}

static void refused_heads(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "both"},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", "both"},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nContent-Length: 4\r\n\r\n", "two Content-Length"},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\ncontent-length: 3\r\n\r\n", "two Content-Length"},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 3, 3\r\n\r\n", "not a number"},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: +3\r\n\r\n", "not a number"},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 0x3\r\n\r\n", "not a number"},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n", "not a number"},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999\r\n\r\n", "not a number"},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "two Transfer-Encoding"},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n", "only supported Transfer-Encoding"},
        {"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, identity\r\n\r\n", "only supported Transfer-Encoding"},
        {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.0"},
        {"POST / HTTP/1.1\r\nAccept: */*\r\n\r\n", "no Host"},
        {"POST / HTTP/1.1\r\n\r\n", "no Host"},
        {"POST / HTTP/1.1\r\n" HOST HOST "\r\n", "two Host"},
        {"POST / HTTP/1.1\r\n" HOST "HOST: i\r\n\r\n", "two Host"},
        {"POST / HTTP/1.0\r\n" HOST HOST "\r\n", "two Host"},
        {"POST / HTTP/1.1\r\nHost: a, b\r\n\r\n", "not a host"},
        {"POST / HTTP/1.1\r\nHost: a b\r\n\r\n", "not a host"},
        {"POST / HTTP/1.1\r\nHost: u@a\r\n\r\n", "not a host"},
        {"POST / HTTP/1.1\r\nHost: a/b\r\n\r\n", "not a host"},
        {"POST / HTTP/1.1\r\n" HOST "X: a\r\n b\r\n\r\n", "folded"},
        {"POST / HTTP/1.1\r\n" HOST "X: a\r\n\tb\r\n\r\n", "folded"},
        {"POST / HTTP/1.1\r\n X: a\r\n" HOST "\r\n", "folded"},
        {"POST / HTTP/1.1\r\n" HOST "Content-Length : 3\r\n\r\n", "white space"},
        {"POST / HTTP/1.1\r\n" HOST "X\r\n\r\n", "no name"},
        {"POST / HTTP/1.1\r\n" HOST ": x\r\n\r\n", "no name"},
        {"POST / HTTP/1.1\n" HOST "\r\n", "CR LF"},
        {"POST / HTTP/1.1\r\nHost: h\n\r\n", "CR LF"},
        {"POST / HTTP/1.1\r\nHost: h\r\n\n", "CR LF"},
        {"POST / HTTP/1.1\r\n" HOST "X: a\rb\r\n\r\n", "lone CR"},
        {"POST / HTTP/2.0\r\n" HOST "\r\n", "HTTP/1.0 or"},
        {"POST /\r\n" HOST "\r\n", "target"},
        {"POST / x HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.0 or"},
        {" / HTTP/1.1\r\n" HOST "\r\n", "method"},
        {"\r\n\r\nPOST / HTTP/1.1\r\n" HOST "\r\n", "empty"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (look(cases[i].text) != HEAD_BAD) fail_msg("taken: %s", cases[i].text);
        if (!strstr(head.reason, cases[i].says)) fail_msg("%s\nsays: %s", cases[i].text, head.reason);
    }
}

static void lines_are_counted_without_the_rest(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool longer; /* than two header lines */
    } cases[] = {
        {"", false},
        {"POST / HTTP/1.1", false},
        {"POST / HTTP/1.1\r\nA: a\r\nB: b\r\n", false}, /* the end may come yet */
        {"POST / HTTP/1.1\r\nA: a\r\nB: b\r\n\r", false},
        {"POST / HTTP/1.1\r\nA: a\r\nB: b\r\n\r\nC: c\r\nD: d\r\n", false}, /* a body */
        {"POST / HTTP/1.1\r\nA: a\r\n\r\nB\nC\nD\nE\n", false},
        {"\r\nPOST / HTTP/1.1\r\nA: a\r\nB: b\r\n\r\n", false},
        {"POST / HTTP/1.1\r\nA: a\r\nB: b\r\nC", true},
        {"POST / HTTP/1.1\nA: a\nB: b\n C", true}, /* folded lines count, as the parser counts them */
        {"\r\nPOST / HTTP/1.1\r\nA: a\r\nB: b\r\nC: c\r\n\r\n", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (http_head_longer((Span){cases[i].text, strlen(cases[i].text)}, 2) != cases[i].longer) fail_msg("%s", cases[i].text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sound_heads),
        cmocka_unit_test(every_prefix_is_incomplete),
        cmocka_unit_test(refused_heads),
        cmocka_unit_test(lines_are_counted_without_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
