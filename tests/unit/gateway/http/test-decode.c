#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include <cmocka.h>

#include "base/random.h"
#include "gateway/http/decode.h"

typedef struct Kind {
    const char *name;
    ContentEncoding encoding;
    int window_bits; /* of deflateInit2; 0: zstd */
} Kind;

static const Kind kinds[] = {
    {"gzip", ENCODING_GZIP, MAX_WBITS + 16},
    {"deflate with wrapper", ENCODING_DEFLATE, MAX_WBITS},
    {"bare deflate", ENCODING_DEFLATE, -MAX_WBITS},
    {"zstd", ENCODING_ZSTD, 0},
};

static Buffer encoded(const Kind *kind, Span plain) {
    Buffer out = {0};
    if (kind->window_bits == 0) {
        size_t most = ZSTD_compressBound(plain.size);
        size_t size = ZSTD_compress(buffer_reserve(&out, most), most, plain.data, plain.size, 3);
        assert_false(ZSTD_isError(size));
        out.size = size;
        return out;
    }
    z_stream stream = {0};
    assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, kind->window_bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
    size_t most = deflateBound(&stream, plain.size);
    stream.next_in = (Bytef *)(uintptr_t)plain.data;
    stream.avail_in = (uInt)plain.size;
    stream.next_out = (Bytef *)buffer_reserve(&out, most);
    stream.avail_out = (uInt)most;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    out.size = most - stream.avail_out;
    deflateEnd(&stream);
    return out;
}

static Decoder *decoder;
static Buffer out;
static Error error;

static int decode(ContentEncoding encoding, Span in, size_t most) {
    buffer_clear(&out);
    error = (Error){0};
    /* Exact memory, so that ASan sees a read past the end. */
    char *copy = malloc(in.size + !in.size);
    assert_non_null(copy);
    if (in.size) memcpy(copy, in.data, in.size);
    int result = decoder_decode(decoder, encoding, (Span){copy, in.size}, most, &out, &error);
    free(copy);
    return result;
}

static void round_trips(void **state) {
    (void)state;
    char *plain = malloc(3000000);
    assert_non_null(plain);
    Random random = {7};
    for (size_t i = 0; i < 3000000; i++) plain[i] = (char)('a' + random_below(&random, 1 + i / 100000));
    static const size_t sizes[] = {0, 1, 100, 16384, 16385, 65536, 1000000, 3000000};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            Buffer in = encoded(&kinds[k], (Span){plain, sizes[i]});
            int result = decode(kinds[k].encoding, buffer_span(&in), sizes[i]);
            if (result != 0) fail_msg("%s of %zu bytes: %d %s", kinds[k].name, sizes[i], result, error.text);
            assert_true(span_equal(buffer_span(&out), (Span){plain, sizes[i]}));
            if (sizes[i] > 0) assert_int_equal(decode(kinds[k].encoding, buffer_span(&in), sizes[i] - 1), DECODE_TOO_LARGE);
            buffer_deinit(&in);
        }
    free(plain);
}

static void a_bomb_stops_at_the_cap(void **state) {
    (void)state;
    size_t size = (size_t)64 << 20, cap = (size_t)1 << 20;
    char *plain = calloc(1, size);
    assert_non_null(plain);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        Buffer in = encoded(&kinds[k], (Span){plain, size});
        buffer_deinit(&out);
        assert_int_equal(decode(kinds[k].encoding, buffer_span(&in), cap), DECODE_TOO_LARGE);
        assert_true(out.size <= cap + 1 && out.capacity <= 4 * cap);
        buffer_deinit(&in);
    }
    free(plain);
}

static void every_cut_is_an_error(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        Buffer in = encoded(&kinds[k], SPAN("{\"some\":\"event\",\"that\":\"some\",\"is\":\"event\"}"));
        for (size_t size = 0; size < in.size; size++) {
            int result = decode(kinds[k].encoding, (Span){in.data, size}, 1000);
            if (result != -EBADMSG) fail_msg("%s cut to %zu of %zu: %d", kinds[k].name, size, in.size, result);
            assert_int_not_equal(error.text[0], 0);
        }
        buffer_deinit(&in);
    }
}

static void what_follows_is_an_error(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        Buffer in = encoded(&kinds[k], SPAN("{}"));
        buffer_append_text(&in, "garbage that is none of it");
        if (decode(kinds[k].encoding, buffer_span(&in), 1000) != -EBADMSG) fail_msg("%s: garbage was taken", kinds[k].name);
        buffer_deinit(&in);
    }
}

static void several_members(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        Buffer one = encoded(&kinds[k], SPAN("one\n")), two = encoded(&kinds[k], SPAN("two\n"));
        buffer_append_span(&one, buffer_span(&two));
        int result = decode(kinds[k].encoding, buffer_span(&one), 1000);
        if (kinds[k].encoding == ENCODING_DEFLATE) {
            assert_int_equal(result, -EBADMSG);
        } else {
            assert_int_equal(result, 0);
            assert_true(span_equal(buffer_span(&out), SPAN("one\ntwo\n")));
        }
        buffer_deinit(&one);
        buffer_deinit(&two);
    }
}

/* Whatever one byte turns into, nothing is read or written where it should not be. */
static void flipped_bytes(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        Buffer in = encoded(&kinds[k], SPAN("some text, some text, some other text, and some more text"));
        for (size_t i = 0; i < in.size; i++)
            for (unsigned bit = 0; bit < 8; bit++) {
                in.data[i] = (char)(in.data[i] ^ 1 << bit);
                int result = decode(kinds[k].encoding, buffer_span(&in), 10000);
                assert_true(result == 0 || result == DECODE_TOO_LARGE || result == -EBADMSG);
                assert_true(out.size <= 10001);
                in.data[i] = (char)(in.data[i] ^ 1 << bit);
            }
        buffer_deinit(&in);
    }
}

static void a_large_zstd_window_is_refused(void **state) {
    (void)state;
    /* A frame header that asks for a window of 2^30 bytes, and a block behind it. */
    static const char frame[] = "\x28\xb5\x2f\xfd\x00\xa0\x01\x00\x00";
    assert_int_equal(decode(ENCODING_ZSTD, (Span){frame, sizeof frame - 1}, 1000), -EBADMSG);
    assert_string_equal(error.text, "Zstd: the window is too large; at most 8 MB are supported.");
    assert_int_equal(decode(ENCODING_ZSTD, SPAN("no zstd at all"), 1000), -EBADMSG);
    assert_string_equal(error.text, "The body is not valid zstd.");
}

static void names(void **state) {
    (void)state;
    assert_int_equal(content_encoding(SPAN("")), ENCODING_IDENTITY);
    assert_int_equal(content_encoding(SPAN(" Identity ")), ENCODING_IDENTITY);
    assert_int_equal(content_encoding(SPAN("GZip")), ENCODING_GZIP);
    assert_int_equal(content_encoding(SPAN("x-gzip")), ENCODING_GZIP);
    assert_int_equal(content_encoding(SPAN("identity, deflate,")), ENCODING_DEFLATE);
    assert_int_equal(content_encoding(SPAN("zstd")), ENCODING_ZSTD);
    assert_int_equal(content_encoding(SPAN("br")), ENCODING_UNSUPPORTED);
    assert_int_equal(content_encoding(SPAN("gzip, gzip")), ENCODING_UNSUPPORTED);
    assert_int_equal(content_encoding(SPAN("gzip;q=1")), ENCODING_UNSUPPORTED);
}

static int set_up(void **state) {
    (void)state;
    decoder = decoder_new();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    decoder_free(decoder);
    buffer_deinit(&out);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(a_bomb_stops_at_the_cap),
        cmocka_unit_test(every_cut_is_an_error),
        cmocka_unit_test(what_follows_is_an_error),
        cmocka_unit_test(several_members),
        cmocka_unit_test(flipped_bytes),
        cmocka_unit_test(a_large_zstd_window_is_refused),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
