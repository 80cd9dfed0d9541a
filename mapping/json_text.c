#include "mapping/json_text.h"

#include "base/error.h"
#include "mapping/block.h"
#include "mapping/words.h"

/* Copies the string that begins at *p with its quotes, and moves *p behind it. */
static inline char *copy_string(char *to, const char **p, const char *end) {
    const char *from = *p + 1;
    *to++ = '"';
    for (;;) {
        if (end - from >= BLOCK_BYTES) {
            Block block = block_load(from);
            unsigned found = block_equal(block, '"') | block_equal(block, '\\');
            size_t plain = found ? (size_t)__builtin_ctz(found) : BLOCK_BYTES;
            block_store(to, block);
            to += plain;
            from += plain;
            if (!found) continue;
        } else {
            while (from < end && *from != '"' && *from != '\\') *to++ = *from++;
            check(from < end);
        }
        char stop = *from++;
        *to++ = stop;
        if (stop == '"') break;
        check(from < end);
        *to++ = *from++;
    }
    check_debug(from <= end);
    *p = from;
    return to;
}

void json_compact(Buffer *out, Span text) {
    char *to = buffer_reserve(out, text.size + 1);
    const char *p = text.data, *end = p + text.size;
    while (p < end) {
        if (*p == '"') {
            to = copy_string(to, &p, end);
        } else {
            *to = *p;
            to += !text_is_space(*p++);
        }
    }
    check(p == end && (size_t)(to - out->data) - out->size <= text.size);
    out->size = (size_t)(to - out->data);
}

#define QUOTE_SLICE_BYTES 4096

static unsigned hex4(const char *p) {
    return (unsigned)(text_hex(p[0]) << 12 | text_hex(p[1]) << 8 | text_hex(p[2]) << 4 | text_hex(p[3]));
}

static char *put_utf8(char *to, unsigned code) {
    check_debug(code <= 0x10ffff && (code < 0xd800 || code > 0xdfff));
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xc0 | code >> 6);
        *to++ = (char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *to++ = (char)(0xe0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    } else {
        *to++ = (char)(0xf0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 0x3f));
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    }
    return to;
}

/* The part before the next escape; *p is moved to it, or to the end. */
static inline char *copy_plain(char *to, const char **p, const char *end) {
    const char *from = *p;
    while (end - from >= BLOCK_BYTES) {
        Block block = block_load(from);
        unsigned found = block_equal(block, '\\');
        size_t plain = found ? (size_t)__builtin_ctz(found) : BLOCK_BYTES;
        block_store(to, block);
        to += plain;
        from += plain;
        if (found) {
            *p = from;
            return to;
        }
    }
    while (from < end && *from != '\\') *to++ = *from++;
    *p = from;
    return to;
}

char *json_unescape_to(char *to, Span inner, bool doubled) {
    /* No escape is shorter than what it means, also when that is two quotes. */
    const char *p = inner.data, *end = p + inner.size;
    for (;;) {
        to = copy_plain(to, &p, end);
        if (p == end) return to;
        check(end - p >= 2);
        char letter = p[1];
        p += 2;
        unsigned code = (unsigned char)letter; /* slash, backslash, quote */
        switch (letter) {
        case 'b': code = '\b'; break;
        case 'f': code = '\f'; break;
        case 'n': code = '\n'; break;
        case 'r': code = '\r'; break;
        case 't': code = '\t'; break;
        case 'u':
            check(end - p >= 4);
            code = hex4(p);
            p += 4;
            if (code >= 0xd800 && code <= 0xdfff) {
                if (code > 0xdbff || end - p < 6 || p[0] != '\\' || p[1] != 'u') return NULL;
                unsigned low = hex4(p + 2);
                if (low < 0xdc00 || low > 0xdfff) return NULL;
                code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                p += 6;
            }
            break;
        default: break;
        }
        if (doubled && code == '"') *to++ = '"';
        to = put_utf8(to, code);
    }
}

int json_unescape(Buffer *out, Span inner) {
    char *end = json_unescape_to(buffer_reserve(out, inner.size), inner, false);
    if (!end) return JSON_LONE_SURROGATE;
    check((size_t)(end - out->data) - out->size <= inner.size);
    out->size = (size_t)(end - out->data);
    return 0;
}

/* The first byte that a JSON string cannot hold as it is, or `end`. */
static const char *pass_quotable(const char *p, const char *end) {
    for (; end - p >= BLOCK_BYTES; p += BLOCK_BYTES) {
        unsigned found = block_json_special(block_load(p));
        if (found) return p + __builtin_ctz(found);
    }
    while (p < end && (unsigned char)*p >= 0x20 && *p != '"' && *p != '\\') p++;
    return p;
}

/* A slice of the text; there is room for six times as much. */
static char *quote_slice(char *to, const char *p, const char *end) {
    static const char short_form[0x20] = {['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'};
    while (p < end) {
        const char *plain = pass_quotable(p, end);
        memcpy(to, p, (size_t)(plain - p));
        to += plain - p;
        if ((p = plain) == end) break;
        unsigned char byte = (unsigned char)*p++;
        *to++ = '\\';
        if (byte >= 0x20) {
            *to++ = (char)byte;
        } else if (short_form[byte]) {
            *to++ = short_form[byte];
        } else {
            memcpy(to, "u00", 3);
            to[3] = "0123456789abcdef"[byte >> 4];
            to[4] = "0123456789abcdef"[byte & 15];
            to += 5;
        }
    }
    return to;
}

void json_quote(Buffer *out, Span text) {
    buffer_append_byte(out, '"');
    for (size_t at = 0; at < text.size;) {
        /* Six times a large text would be much for nothing. */
        size_t size = text.size - at < QUOTE_SLICE_BYTES ? text.size - at : QUOTE_SLICE_BYTES;
        char *to = buffer_reserve(out, size * 6);
        char *end = quote_slice(to, text.data + at, text.data + at + size);
        check(end >= to + size && end <= to + 6 * size);
        out->size = (size_t)(end - out->data);
        at += size;
    }
    buffer_append_byte(out, '"');
}
