#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "config/stream_uri.h"

static const char *find(StreamValues *values, Span name, Error *error) {
    (void)values;
    if (span_equal(name, SPAN("P"))) return "p@ss:/?#&=%41{Q}+";
    if (span_equal(name, SPAN("URI"))) return "kafka://?a=%41";
    if (span_equal(name, SPAN("EMPTY"))) return "";
    if (span_equal(name, SPAN("BREAK"))) return "a\nb";
    (void)error_set(error, -EINVAL, "names {%.*s}, which is not there", (int)name.size, name.data);
    return NULL;
}

static StreamValues values = {find};

static void the_parts_of_an_address(void **state) {
    (void)state;
    StreamUri uri;
    Error error = {0};
    if (stream_uri_parse("NATS+JetStream://us%65r:pa%3Ass@h1:4222,h2:4222/a%2Fb/c?batch-size=10&x=%C3%BC+y&empty=&flag", &values, &uri,
                         &error) < 0)
        fail_msg("%s", error.text);
    assert_string_equal(uri.scheme, "nats+jetstream");
    assert_string_equal(uri.user, "user");
    assert_string_equal(uri.password, "pa:ss");
    assert_string_equal(uri.host, "h1:4222,h2:4222");
    assert_string_equal(uri.path, "a/b/c");
    assert_int_equal(uri.parameter_count, 4);
    assert_string_equal(stream_uri_find(&uri, "batch_size"), "10");
    assert_string_equal(stream_uri_find(&uri, "x"), "ü+y");
    assert_string_equal(stream_uri_find(&uri, "empty"), "");
    assert_string_equal(stream_uri_find(&uri, "flag"), "");
    assert_null(stream_uri_find(&uri, "none"));
    stream_uri_deinit(&uri);
    assert_int_equal(stream_uri_parse("dataos://depot", &values, &uri, &error), 0);
    stream_uri_deinit(&uri);
    assert_int_equal(stream_uri_parse("dataos://depot:path", &values, &uri, &error), 0);
    assert_null(uri.user);
    assert_string_equal(uri.path, "");
    assert_int_equal(uri.parameter_count, 0);
    stream_uri_deinit(&uri);
    assert_int_equal(stream_uri_parse("s://token@h", &values, &uri, &error), 0);
    assert_string_equal(uri.user, "token");
    assert_null(uri.password);
    stream_uri_deinit(&uri);
    assert_int_equal(stream_uri_parse("s://u:p@w@h?&&a=1&", &values, &uri, &error), 0);
    assert_string_equal(uri.password, "p@w");
    assert_string_equal(uri.host, "h");
    assert_int_equal(uri.parameter_count, 1);
    stream_uri_deinit(&uri);
}

/* A value is taken as it is: it is not decoded, and adds no part. */
static void values_stand_where_their_placeholder_was(void **state) {
    (void)state;
    StreamUri uri;
    Error error = {0};
    if (stream_uri_parse("s://u:{P}@h?a={P}&b=x{EMPTY}%7BP%7D", &values, &uri, &error) < 0) fail_msg("%s", error.text);
    assert_string_equal(uri.password, "p@ss:/?#&=%41{Q}+");
    assert_string_equal(uri.host, "h");
    assert_int_equal(uri.parameter_count, 2);
    assert_string_equal(stream_uri_find(&uri, "a"), "p@ss:/?#&=%41{Q}+");
    assert_string_equal(stream_uri_find(&uri, "b"), "x{P}");
    stream_uri_deinit(&uri);
    assert_int_equal(stream_uri_parse("{URI}", &values, &uri, &error), 0);
    assert_string_equal(stream_uri_find(&uri, "a"), "A");
    stream_uri_deinit(&uri);
    char *text;
    assert_int_equal(stream_fill(&values, "a{EMPTY}b %41 {not one} {1}", &text, &error), 0);
    assert_string_equal(text, "ab %41 {not one} {1}");
    free(text);
    assert_int_equal(stream_placeholder(SPAN("{A_1}x")), 5);
    assert_int_equal(stream_placeholder(SPAN("{}")), 0);
    assert_int_equal(stream_placeholder(SPAN("{1}")), 0);
    assert_int_equal(stream_placeholder(SPAN("{A")), 0);
}

static void what_is_no_address_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *address, *says;
    } cases[] = {
        {"", "must begin with a scheme"},
        {"kafka", "must begin with a scheme"},
        {"kafka:/x", "must begin with a scheme"},
        {"://h", "must begin with a scheme"},
        {"1s://h", "must begin with a scheme"},
        {"k f://h", "must begin with a scheme"},
        {"s://h?a=%4", "has a '%' without two hexadecimal digits in its value (parameter \"a\")"},
        {"s://h?a=%zz", "has a '%' without two hexadecimal digits"},
        {"s://%@h", "has a '%' without two hexadecimal digits in its user"},
        {"s://u:%x@h", "in its password"},
        {"s://h?a=%00", "has control characters or text that is not UTF-8 in its value (parameter \"a\")"},
        {"s://h?a=%ff", "has control characters or text that is not UTF-8"},
        {"s://h?a={BREAK}", "has control characters or text that is not UTF-8"},
        {"s://h/%0a", "in its path"},
        {"s://h?=1", "has a parameter without a name"},
        {"s://h?a=1&a=2", "has the parameter \"a\" twice"},
        {"s://h?a-b=1&a_b=2", "has the parameter \"a_b\" twice"},
        {"s://u:p/x@h:1/db", "has a port that is not a number"},
        {"s://u:p?x@h:1", "has a port that is not a number"},
        {"s://h:1,u:p/x@h", "has a port that is not a number"},
        {"s://[::1]:p", "has a port that is not a number"},
        {"s://h#x", "must not contain a '#'"},
        {"s://h?a=1#x", "must not contain a '#'"},
        {"s://{GONE}@h", "names {GONE}, which is not there"},
        {"s://h?a={GONE}", "names {GONE}, which is not there (parameter \"a\")"},
        {"{GONE}", "names {GONE}, which is not there"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        StreamUri uri;
        Error error = {0};
        assert_int_equal(stream_uri_parse(cases[i].address, &values, &uri, &error), -EINVAL);
        if (!strstr(error.text, cases[i].says)) fail_msg("%s: \"%s\" lacks \"%s\"", cases[i].address, error.text, cases[i].says);
    }
    _cleanup_(buffer_deinit) Buffer text = {0};
    buffer_append_text(&text, "s://h?");
    for (int i = 0; i < STREAM_PARAMETERS_MAX + 1; i++) buffer_printf(&text, "p%d=1&", i);
    StreamUri uri;
    Error error = {0};
    assert_int_equal(stream_uri_parse(buffer_text(&text), &values, &uri, &error), -EINVAL);
    assert_non_null(strstr(error.text, "more than 64 parameters"));
    buffer_clear(&text);
    buffer_append_text(&text, "s://");
    while (text.size <= STREAM_ADDRESS_BYTES_MAX) buffer_append_byte(&text, 'h');
    assert_int_equal(stream_uri_parse(buffer_text(&text), &values, &uri, &error), -EINVAL);
    assert_non_null(strstr(error.text, "more than 8192 bytes"));
}

/* Each text cut off anywhere, and with each byte replaced, is read or refused. */
static void hostile_addresses(void **state) {
    (void)state;
    static const char good[] = "nats+jetstream://us%65r:{P}@h1:4222/a?b=%C3%BC&c={P}&d";
    static const char marks[] = ":/?#&=%@{}+\x01\xff,";
    for (size_t at = 0; at < sizeof good - 1; at++) {
        for (size_t mark = 0; mark < sizeof marks; mark++) { /* the last one is NUL: it is cut off */
            char text[sizeof good];
            memcpy(text, good, sizeof good);
            text[at] = marks[mark];
            StreamUri uri;
            Error error = {0};
            int r = stream_uri_parse(text, &values, &uri, &error);
            assert_true(r == 0 || (r == -EINVAL && error.text[0]));
            if (r < 0) assert_null(strstr(error.text, "p@ss"));
            if (r == 0) stream_uri_deinit(&uri);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_parts_of_an_address),
        cmocka_unit_test(values_stand_where_their_placeholder_was),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(hostile_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
