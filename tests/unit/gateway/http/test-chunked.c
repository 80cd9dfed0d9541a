#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <string.h>
#include <sys/types.h>

#include "base/random.h"
#include "gateway/http/chunked.h"

static ChunkedBody body;

/* In pieces of `piece` bytes. */
static ChunkedResult take(Span bytes, size_t piece) {
    ChunkedResult result = CHUNKED_MORE;
    body = (ChunkedBody){0};
    for (size_t at = 0; at < bytes.size; at += piece)
        result = http_chunked_take(&body, (Span){bytes.data + at, bytes.size - at < piece ? bytes.size - at : piece});
    return result;
}

static void sound_bodies(void **state) {
    (void)state;
    static const struct {
        Span bytes;
        uint64_t data;
    } cases[] = {
        {SPAN("0\r\n\r\n"), 0},
        {SPAN("000\r\n\r\n"), 0},
        {SPAN("7\r\n{\"a\":1}\r\n0\r\n\r\n"), 7},
        {SPAN("0000000000000007\r\n{\"a\":1}\r\n0\r\n\r\n"), 7},
        {SPAN("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"), 20},
        {SPAN("2\r\n\r\n\r\n0\r\n\r\n"), 2},
        {SPAN("1;x\r\na\r\n0;y=z\r\n\r\n"), 1},
        {SPAN("1;x=\"a;\\\"b\"; y\t=\tz\r\na\r\n0\r\n\r\n"), 1},
        {SPAN("1 \t;x\r\na\r\n0 ;\r\n\r\n"), 1},
        {SPAN("1\r\na\r\n0\r\nExpires: never\r\nX-Sum:\r\n\r\n"), 1},
        {SPAN("1\r\na\r\n0\r\nX: \xc3\xa4\tb\r\n\r\n"), 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Span bytes = cases[i].bytes;
        for (size_t piece = 1; piece <= bytes.size; piece++) {
            if (take(bytes, piece) != CHUNKED_DONE) fail_msg("%s in pieces of %zu: %s", bytes.data, piece, body.reason);
            assert_int_equal(body.data, cases[i].data);
            assert_int_equal(body.data + body.framing, bytes.size);
            assert_int_equal(http_chunked_take(&body, SPAN("GET / HTTP/1.1\r\n")), CHUNKED_DONE);
            assert_int_equal(body.data + body.framing, bytes.size);
        }
        for (size_t size = 0; size < bytes.size; size++) assert_int_equal(take((Span){bytes.data, size}, 3), CHUNKED_MORE);
    }
}

static void what_follows_the_end_is_left(void **state) {
    (void)state;
    assert_int_equal(take(SPAN("1\r\na\r\n0\r\n\r\n1\n"), 100), CHUNKED_DONE);
    assert_int_equal(body.data, 1);
    assert_int_equal(body.framing, 10);
}

static void bodies_that_are_not_sound(void **state) {
    (void)state;
    static const struct {
        Span bytes;
        const char *says;
    } cases[] = {
        /* sizes */
        {SPAN("0x7\r\n"), "not a hexadecimal"},
        {SPAN("0X7\r\n"), "not a hexadecimal"},
        {SPAN("7zz\r\n"), "not a hexadecimal"},
        {SPAN("7h\r\n"), "not a hexadecimal"},
        {SPAN("7,\r\n"), "not a hexadecimal"},
        {SPAN("7\0\r\n"), "not a hexadecimal"},
        {SPAN("zz\r\n"), "does not begin"},
        {SPAN("x7\r\n"), "does not begin"},
        {SPAN("\r\n7\r\n"), "does not begin"},
        {SPAN(";x\r\n"), "does not begin"},
        {SPAN("+7\r\n"), "does not begin"},
        {SPAN("-7\r\n"), "does not begin"},
        {SPAN(" 7\r\n"), "does not begin"},
        {SPAN("\t7\r\n"), "does not begin"},
        {SPAN("7 \r\n"), "white space"},
        {SPAN("7\t\r\n"), "white space"},
        {SPAN("7 7\r\n"), "white space"},
        {SPAN("7 x\r\n"), "white space"},
        {SPAN("00000000000000007\r\n"), "too large"},
        {SPAN("10000000000000007\r\n"), "too large"},
        {SPAN("8000000000000000\r\n"), "too large"},
        {SPAN("ffffffffffffffff\r\n"), "too large"},
        {SPAN("fffffffffffffffff\r\n"), "too large"},
        /* ends of lines */
        {SPAN("7\n{\"a\":1}\r\n0\r\n\r\n"), "not a hexadecimal"},
        {SPAN("7\r\r\n"), "CR LF"},
        {SPAN("7\r{"), "CR LF"},
        {SPAN("7;x\n"), "control"},
        {SPAN("7;x\ry\r\n"), "CR LF"},
        {SPAN("7;\0\r\n"), "control"},
        {SPAN("7;x=\"a\nb\"\r\n"), "control"},
        {SPAN("7;\x7f\r\n"), "control"},
        {SPAN("0\n"), "not a hexadecimal"},
        /* ends of data */
        {SPAN("1\r\na0\r\n\r\n"), "longer than"},
        {SPAN("1\r\nab\r\n0\r\n\r\n"), "longer than"},
        {SPAN("1\r\na\n0\r\n\r\n"), "longer than"},
        {SPAN("1\r\na\r\r\n"), "CR LF"},
        {SPAN("1\r\na\r0"), "CR LF"},
        {SPAN("2\r\na\r\n0\r\n\r\n"), "longer than"},
        /* trailers */
        {SPAN("0\r\n\n"), "trailer"},
        {SPAN("0\r\n\r\r"), "CR LF"},
        {SPAN("0\r\n0\r\n"), "valid name"},
        {SPAN("0\r\nX\r\n"), "valid name"},
        {SPAN("0\r\nX : y\r\n"), "valid name"},
        {SPAN("0\r\n: y\r\n"), "trailer"},
        {SPAN("0\r\n X: y\r\n"), "trailer"},
        {SPAN("0\r\nX: y\r\n z\r\n"), "trailer"},
        {SPAN("0\r\nX: y\n"), "control"},
        {SPAN("0\r\nX: y\rz"), "CR LF"},
        {SPAN("0\r\nX: \0\r\n"), "control"},
        {SPAN("0\r\nX: y\r\n\n"), "trailer"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t piece = 1; piece <= cases[i].bytes.size; piece++) {
            if (take(cases[i].bytes, piece) != CHUNKED_BAD) fail_msg("taken in pieces of %zu: %s", piece, cases[i].bytes.data);
            if (!strstr(body.reason, cases[i].says)) fail_msg("%s says: %s", cases[i].bytes.data, body.reason);
            assert_int_equal(http_chunked_take(&body, SPAN("0\r\n\r\n")), CHUNKED_BAD);
        }
    }
}

static void the_largest_size(void **state) {
    (void)state;
    assert_int_equal(take(SPAN("7fffffffffffffff\r\nabc"), 100), CHUNKED_MORE);
    assert_int_equal(body.size, CHUNK_BYTES_MAX - 3);
    assert_int_equal(body.data, 3);
}

/* picohttpparser's, which libh2o exports without a header of its own. */
struct phr_chunked_decoder {
    size_t bytes_left_in_chunk;
    char consume_trailer;
    char hex_count;
    char state;
};
ssize_t phr_decode_chunked(struct phr_chunked_decoder *decoder, char *buffer, size_t *size);

/* What is taken has the same data and the same end for the decoder that runs behind. */
static void the_decoder_agrees(void **state) {
    (void)state;
    static const Span parts[] = {
        SPAN("0"),
        SPAN("1"),
        SPAN("2"),
        SPAN("a"),
        SPAN("00"),
        SPAN("0x"),
        SPAN("\r\n"),
        SPAN("\r\n"),
        SPAN("\r\n"),
        SPAN("\r\n"),
        SPAN("\r"),
        SPAN("\n"),
        SPAN(";"),
        SPAN(";x"),
        SPAN(" "),
        SPAN("g"),
        SPAN("X: y"),
        SPAN("x:"),
        SPAN("1\r\na\r\n"),
        SPAN("+"),
        SPAN("0\r\n\r\n"),
        SPAN("2;y=z\r\n"),
        SPAN("2\r\n\r\n\r\n"),
    };
    Random random = {.state = 7};
    unsigned taken = 0;
    for (unsigned round = 0; round < 300000; round++) {
        char text[200];
        size_t size = 0;
        for (uint64_t left = random_below(&random, 9) + 1; left > 0; left--) {
            Span part = parts[random_below(&random, sizeof parts / sizeof *parts)];
            memcpy(text + size, part.data, part.size);
            size += part.size;
        }
        if (take((Span){text, size}, 200) != CHUNKED_DONE) continue;
        taken++;
        struct phr_chunked_decoder decoder = {.consume_trailer = 1};
        size_t decoded = size;
        ssize_t left = phr_decode_chunked(&decoder, text, &decoded);
        assert_int_equal(left, size - body.data - body.framing);
        assert_int_equal(decoded, body.data);
    }
    assert_true(taken > 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sound_bodies),     cmocka_unit_test(what_follows_the_end_is_left), cmocka_unit_test(bodies_that_are_not_sound),
        cmocka_unit_test(the_largest_size), cmocka_unit_test(the_decoder_agrees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
