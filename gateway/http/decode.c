#include "gateway/http/decode.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

/* A frame may ask for a window of its own size: 8 MB is what RFC 8878 asks decoders to support, and
 * bounds what a tiny body can make us take. */
#define ZSTD_WINDOW_LOG_MAX 23
#define CHUNK_MIN ((size_t)16 * 1024)
#define CHUNK_MAX ((size_t)1024 * 1024)

struct Decoder {
    z_stream inflate;
    bool inflate_ready;
    ZSTD_DCtx *zstd;
};

ContentEncoding content_encoding(Span header) {
    ContentEncoding encoding = ENCODING_IDENTITY;
    for (size_t at = 0; at < header.size;) {
        size_t end = at;
        while (end < header.size && header.data[end] != ',') end++;
        Span token = {header.data + at, end - at};
        at = end + 1;
        while (token.size && (token.data[0] == ' ' || token.data[0] == '\t')) token = (Span){token.data + 1, token.size - 1};
        while (token.size && (token.data[token.size - 1] == ' ' || token.data[token.size - 1] == '\t')) token.size--;
        if (token.size == 0 || span_equal_nocase(token, SPAN("identity"))) continue;
        if (encoding != ENCODING_IDENTITY) return ENCODING_UNSUPPORTED;
        if (span_equal_nocase(token, SPAN("gzip")) || span_equal_nocase(token, SPAN("x-gzip")))
            encoding = ENCODING_GZIP;
        else if (span_equal_nocase(token, SPAN("deflate")))
            encoding = ENCODING_DEFLATE;
        else if (span_equal_nocase(token, SPAN("zstd")))
            encoding = ENCODING_ZSTD;
        else
            return ENCODING_UNSUPPORTED;
    }
    return encoding;
}

Decoder *decoder_new(void) {
    Decoder *decoder = calloc(1, sizeof *decoder);
    check(decoder);
    return decoder;
}

void decoder_free(Decoder *decoder) {
    if (!decoder) return;
    if (decoder->inflate_ready) inflateEnd(&decoder->inflate);
    ZSTD_freeDCtx(decoder->zstd);
    free(decoder);
}

/* Room for the next piece of output: a guess from the input at first, more as it grows, one byte
 * past the cap at most, which tells that it is passed. */
static size_t room(const Buffer *out, size_t start, size_t bytes_max, size_t in_size) {
    size_t have = out->size - start;
    size_t chunk = have > in_size * 4 ? have : in_size * 4;
    if (chunk < CHUNK_MIN) chunk = CHUNK_MIN;
    if (chunk > CHUNK_MAX) chunk = CHUNK_MAX;
    size_t left = bytes_max + 1 - have;
    return chunk < left ? chunk : left;
}

static int broken(Error *error, const char *name) {
    return error_set(error, -EBADMSG, "The body is not valid %s.", name);
}

static int cut_off(Error *error, const char *name) {
    return error_set(error, -EBADMSG, "The body ends in the middle of its %s data.", name);
}

/* `window_bits` as inflateInit2 takes it. */
static int inflate_all(Decoder *decoder, int window_bits, const char *name, Span in, size_t bytes_max, Buffer *out, Error *error) {
    z_stream *stream = &decoder->inflate;
    size_t start = out->size;
    int result = decoder->inflate_ready ? inflateReset2(stream, window_bits) : inflateInit2(stream, window_bits);
    check(result == Z_OK);
    decoder->inflate_ready = true;
    if (in.size > UINT_MAX) return DECODE_TOO_LARGE;
    stream->next_in = (Bytef *)(uintptr_t)in.data;
    stream->avail_in = (uInt)in.size;
    for (;;) {
        size_t chunk = room(out, start, bytes_max, in.size);
        stream->next_out = (Bytef *)buffer_reserve(out, chunk);
        stream->avail_out = (uInt)chunk;
        result = inflate(stream, Z_NO_FLUSH);
        out->size += chunk - stream->avail_out;
        if (out->size - start > bytes_max) return DECODE_TOO_LARGE;
        if (result == Z_STREAM_END) {
            if (stream->avail_in == 0) return 0;
            if (window_bits <= MAX_WBITS) return error_set(error, -EBADMSG, "Bytes follow the end of the body's %s data.", name);
            check(inflateReset(stream) == Z_OK); /* the next member of a gzip body */
        } else if (result == Z_BUF_ERROR || (result == Z_OK && stream->avail_in == 0 && stream->avail_out > 0)) {
            return cut_off(error, name);
        } else if (result != Z_OK) {
            return broken(error, name);
        }
    }
}

/* RFC 1950: method 8, a window of at most 32 KB, and a check that is a multiple of 31. */
static bool has_zlib_wrapper(Span in) {
    if (in.size < 2) return false;
    unsigned first = (unsigned char)in.data[0], second = (unsigned char)in.data[1];
    return (first & 15) == 8 && first >> 4 <= 7 && (first << 8 | second) % 31 == 0;
}

static int inflate_deflate(Decoder *decoder, Span in, size_t bytes_max, Buffer *out, Error *error) {
    size_t start = out->size;
    if (has_zlib_wrapper(in)) {
        int result = inflate_all(decoder, MAX_WBITS, "deflate", in, bytes_max, out, error);
        if (result >= 0) return result;
        out->size = start; /* bare data may begin like a wrapper */
        if (inflate_all(decoder, -MAX_WBITS, "deflate", in, bytes_max, out, NULL) == 0) return 0;
        return result;
    }
    return inflate_all(decoder, -MAX_WBITS, "deflate", in, bytes_max, out, error);
}

static int zstd_all(Decoder *decoder, Span in, size_t bytes_max, Buffer *out, Error *error) {
    if (!decoder->zstd) {
        decoder->zstd = ZSTD_createDCtx();
        check(decoder->zstd);
        ZSTD_DCtx_setParameter(decoder->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
    }
    ZSTD_DCtx_reset(decoder->zstd, ZSTD_reset_session_only);
    size_t start = out->size;
    ZSTD_inBuffer input = {in.data, in.size, 0};
    if (in.size == 0) return cut_off(error, "zstd");
    for (;;) {
        size_t chunk = room(out, start, bytes_max, in.size);
        ZSTD_outBuffer output = {buffer_reserve(out, chunk), chunk, 0};
        size_t more = ZSTD_decompressStream(decoder->zstd, &output, &input);
        out->size += output.pos;
        if (ZSTD_getErrorCode(more) == ZSTD_error_frameParameter_windowTooLarge)
            return error_set(error, -EBADMSG, "Zstd: the window is too large; at most %d MB are supported.",
                             1 << (ZSTD_WINDOW_LOG_MAX - 20));
        if (ZSTD_isError(more)) return broken(error, "zstd");
        if (out->size - start > bytes_max) return DECODE_TOO_LARGE;
        if (input.pos < input.size) continue;
        if (more == 0) return 0; /* a frame ended, all of it is out, and nothing follows */
        if (output.pos < output.size) return cut_off(error, "zstd");
    }
}

int decoder_decode(Decoder *decoder, ContentEncoding encoding, Span in, size_t bytes_max, Buffer *out, Error *error) {
    switch (encoding) {
    case ENCODING_IDENTITY:
        if (in.size > bytes_max) return DECODE_TOO_LARGE;
        buffer_append_span(out, in);
        return 0;
    case ENCODING_GZIP:
        /* 16: gzip alone, not zlib by guess. */
        return inflate_all(decoder, MAX_WBITS + 16, "gzip", in, bytes_max, out, error);
    case ENCODING_DEFLATE: return inflate_deflate(decoder, in, bytes_max, out, error);
    case ENCODING_ZSTD: return zstd_all(decoder, in, bytes_max, out, error);
    case ENCODING_UNSUPPORTED: break;
    }
    unreachable();
}
