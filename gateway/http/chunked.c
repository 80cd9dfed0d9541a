#include "gateway/http/chunked.h"

#include <stdbool.h>

#include "base/error.h"
#include "base/text.h"

/* As many as the decoder takes. */
#define DIGITS_MAX 16

typedef enum ChunkedState {
    SIZE,          /* its digits */
    SIZE_BLANK,    /* white space behind it: a semicolon must follow */
    EXTENSION,     /* behind the first semicolon */
    SIZE_END,      /* LF of its line */
    DATA,          /* of a chunk */
    DATA_END_CR,   /* behind the data */
    DATA_END_LF,   /* behind the data */
    TRAILER,       /* a line of the trailers, or the empty one */
    TRAILER_NAME,  /* at least one letter of it came */
    TRAILER_VALUE, /* behind the colon */
    TRAILER_END,   /* LF of its line */
    LAST_LF,       /* of the empty line */
    DONE,
    BAD,
} ChunkedState;

/* What the name of a header field holds: a token. */
static const bool in_name[256] = {
    ['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true, ['!'] = true, ['#'] = true, ['$'] = true,
    ['%'] = true,         ['&'] = true,         ['\''] = true,        ['*'] = true, ['+'] = true, ['-'] = true,
    ['.'] = true,         ['^'] = true,         ['_'] = true,         ['`'] = true, ['|'] = true, ['~'] = true,
};

static bool is_text(unsigned char c) {
    return c == '\t' || (c >= ' ' && c != 0x7f);
}

static ChunkedState bad(ChunkedBody *body, const char *reason) {
    body->reason = reason;
    return BAD;
}

static ChunkedState take_size(ChunkedBody *body, unsigned char c) {
    int digit = text_hex((char)c);
    if (digit >= 0) {
        if (body->digits == DIGITS_MAX || body->size > CHUNK_BYTES_MAX >> 4) return bad(body, "The size of a chunk is too large.");
        body->digits++;
        body->size = body->size << 4 | (unsigned)digit;
        return SIZE;
    }
    if (body->digits == 0) return bad(body, "A chunk does not begin with its size in hexadecimal digits.");
    switch (c) {
    case '\r': return SIZE_END;
    case ';': return EXTENSION;
    case ' ':
    case '\t': return SIZE_BLANK;
    default: return bad(body, "The size of a chunk is not a hexadecimal number on a line that ends with CR LF.");
    }
}

static ChunkedState expect(ChunkedBody *body, unsigned char c, unsigned char wanted, ChunkedState next, const char *reason) {
    return c == wanted ? next : bad(body, reason);
}

/* One byte that is not data. */
static ChunkedState take(ChunkedBody *body, ChunkedState state, unsigned char c) {
    switch (state) {
    case SIZE: return take_size(body, c);
    case SIZE_BLANK:
        return c == ' ' || c == '\t' ? SIZE_BLANK : expect(body, c, ';', EXTENSION, "The size of a chunk is followed by white space.");
    case EXTENSION: return is_text(c) ? EXTENSION : expect(body, c, '\r', SIZE_END, "A chunk extension contains a control character.");
    case SIZE_END:
        body->digits = 0;
        return expect(body, c, '\n', body->size ? DATA : TRAILER, "The size line of a chunk does not end with CR LF.");
    case DATA_END_CR: return expect(body, c, '\r', DATA_END_LF, "The data of a chunk is longer than its size, or does not end with CR LF.");
    case DATA_END_LF: return expect(body, c, '\n', SIZE, "The data of a chunk does not end with CR LF.");
    case TRAILER:
        if (c == '\r') return LAST_LF;
        return in_name[c] ? TRAILER_NAME
                          : bad(body, "A trailer line does not begin with a name, or the body does not end with an empty line.");
    case TRAILER_NAME: return in_name[c] ? TRAILER_NAME : expect(body, c, ':', TRAILER_VALUE, "A trailer line has no valid name.");
    case TRAILER_VALUE: return is_text(c) ? TRAILER_VALUE : expect(body, c, '\r', TRAILER_END, "A trailer contains a control character.");
    case TRAILER_END: return expect(body, c, '\n', TRAILER, "A trailer line does not end with CR LF.");
    case LAST_LF: return expect(body, c, '\n', DONE, "The chunked body does not end with CR LF.");
    case DATA:
    case DONE:
    case BAD: break;
    }
    unreachable();
}

ChunkedResult http_chunked_take(ChunkedBody *body, Span bytes) {
    ChunkedState state = (ChunkedState)body->state;
    for (size_t at = 0; at < bytes.size && state < DONE;) {
        if (state == DATA) {
            check(body->size > 0 && body->size <= CHUNK_BYTES_MAX);
            size_t size = bytes.size - at < body->size ? bytes.size - at : (size_t)body->size;
            at += size;
            body->size -= size;
            body->data += size;
            if (body->size == 0) state = DATA_END_CR;
        } else {
            state = take(body, state, (unsigned char)bytes.data[at++]);
            body->framing++;
        }
    }
    body->state = (unsigned char)state;
    return state == DONE ? CHUNKED_DONE : state == BAD ? CHUNKED_BAD : CHUNKED_MORE;
}
