#include "mapping/json_text.h"

#include <endian.h>
#include <string.h>

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

/* Of four hexadecimal digits: a digit is its low half, a letter that and 9. */
static inline unsigned hex4(const char *p) {
    uint32_t digits;
    memcpy(&digits, p, sizeof digits);
    digits = le32toh(digits);
    digits = (digits & 0x0f0f0f0f) + (digits >> 6 & 0x01010101) * 9;
    digits = (digits << 4 | digits >> 8) & 0x00ff00ff;
    return (digits << 8 | digits >> 16) & 0xffff;
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

/* The part before the next escape; *p is moved to it, or to the end. Bits of `commas` say that there
 * are any in it. */
static inline char *copy_plain(char *to, const char **p, const char *end, const char *readable, unsigned *commas) {
    const char *from = *p;
    while (from < end && readable - from >= BLOCK_BYTES) {
        size_t left = (size_t)(end - from);
        Block block = block_load(from);
        unsigned stops = block_equal(block, '\\') | 1u << (left < BLOCK_BYTES ? left : BLOCK_BYTES);
        size_t plain = (size_t)__builtin_ctz(stops);
        block_store(to, block);
        *commas |= block_equal(block, ',') & block_first(plain);
        to += plain;
        from += plain;
        if (plain < BLOCK_BYTES) {
            *p = from;
            return to;
        }
    }
    while (from < end && *from != '\\') {
        *commas |= *from == ',';
        *to++ = *from++;
    }
    *p = from;
    return to;
}

/* The unit of a \u behind whose letter `*p` is, or the two of a pair; negative: half a pair. */
static inline int take_code(const char **p, const char *end) {
    check(end - *p >= 4);
    unsigned code = hex4(*p);
    *p += 4;
    if (code < 0xd800 || code > 0xdfff) return (int)code;
    if (code > 0xdbff || end - *p < 6 || (*p)[0] != '\\' || (*p)[1] != 'u') return -1;
    unsigned low = hex4(*p + 2);
    if (low < 0xdc00 || low > 0xdfff) return -1;
    *p += 6;
    return (int)(0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00));
}

/* What the letter of an escape means; those that are not here mean themselves. */
static const char meant[128] = {
    ['b'] = '\b', ['f'] = '\f', ['n'] = '\n', ['r'] = '\r', ['t'] = '\t', ['"'] = '"', ['\\'] = '\\', ['/'] = '/'};

char *json_unescape_to(char *to, Span inner, const char *readable, bool doubled, JsonFound *ret_found) {
    /* No escape is shorter than what it means, also when that is two quotes. */
    const char *p = inner.data, *end = p + inner.size;
    unsigned commas = 0, special = 0, nul = 0;
    check_debug(readable >= end);
    for (;;) {
        to = copy_plain(to, &p, end, readable, &commas);
        if (p == end) break;
        check(end - p >= 2);
        char letter = p[1];
        p += 2;
        if (letter != 'u') {
            char byte = meant[letter & 127];
            *to = '"';
            to += doubled & (byte == '"');
            *to++ = byte;
            special |= (byte == '"') | (byte == '\\') | (byte == '\n') | (byte == '\r');
            continue;
        }
        int code = take_code(&p, end);
        if (code < 0) return NULL;
        if (code >= 0x80) {
            to = put_utf8(to, (unsigned)code);
            continue;
        }
        nul |= code == 0;
        special |= (code == ',') | (code == '"') | (code == '\\') | (code == '\n') | (code == '\r');
        *to = '"';
        to += doubled & (code == '"');
        *to++ = (char)code;
    }
    *ret_found = (JsonFound){.special = special | commas, .nul = nul};
    return to;
}

int json_unescape(Buffer *out, Span inner) {
    JsonFound found;
    char *end = json_unescape_to(buffer_reserve(out, inner.size + JSON_UNESCAPE_ROOM), inner, inner.data + inner.size, false, &found);
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
