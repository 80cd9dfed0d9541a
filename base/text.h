/*
 * Text: UTF-8 (RFC 3629, strictly), hexadecimal digits, percent-encoding (RFC 3986), trimming and
 * copies; excerpts that are safe to show in an error, and the names that were probably meant. Any
 * thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/buffer.h"
#include "base/span.h"

/* Size (2..4) of the well-formed UTF-8 sequence that begins at `p` with a byte >= 0x80; 0: not
 * well-formed, or cut off by `end`. */
static inline size_t text_utf8_size(const char *p, const char *end) {
    const unsigned char *u = (const unsigned char *)p;
    size_t left = (size_t)(end - p);
    if (u[0] >= 0xc2 && u[0] <= 0xdf) return left >= 2 && (u[1] & 0xc0) == 0x80 ? 2 : 0;
    if ((u[0] & 0xf0) == 0xe0) {
        if (left < 3 || (u[1] & 0xc0) != 0x80 || (u[2] & 0xc0) != 0x80) return 0;
        if (u[0] == 0xe0 && u[1] < 0xa0) return 0; /* overlong */
        if (u[0] == 0xed && u[1] > 0x9f) return 0; /* a surrogate */
        return 3;
    }
    if (u[0] >= 0xf0 && u[0] <= 0xf4) {
        if (left < 4 || (u[1] & 0xc0) != 0x80 || (u[2] & 0xc0) != 0x80 || (u[3] & 0xc0) != 0x80) return 0;
        if (u[0] == 0xf0 && u[1] < 0x90) return 0; /* overlong */
        if (u[0] == 0xf4 && u[1] > 0x8f) return 0; /* over U+10FFFF */
        return 4;
    }
    return 0;
}

/* Offset of the first byte that is NUL or not well-formed UTF-8; text.size when it is all text. */
size_t text_check(Span text);
/* Decodes one character (RFC 3629, strictly) at `at` < `end`; its length in bytes, 0 when it is not
 * UTF-8. */
size_t text_decode(const char *at, const char *end, uint32_t *ret_character);
/* UTF-8 throughout, without control characters (U+0000..1F, U+7F..9F). */
bool text_is_plain(Span text);
/* UTF-8 throughout, without NUL. */
bool text_is_utf8(Span text);
/* How many characters; the text must be UTF-8. */
size_t text_characters(Span text);

#define TEXT_EXCERPT_SIZE 64
/* The start of a text for an error message: control characters and bad bytes become '?', a longer
 * one ends in "...". Returns `out`. */
const char *text_excerpt(Span text, char out[static TEXT_EXCERPT_SIZE]);

/* Appends those of `names` that `name` was probably meant to be, as `"a", "b"`; nothing when none
 * is near. */
void text_near(Buffer *out, Span name, const char *const *names, size_t count);

/* strdup that ends the process when memory is out; NULL stays NULL. */
char *text_copy(const char *text);
/* The same of a span, NUL-terminated: free(). */
char *text_copy_span(Span text);

static inline bool text_is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* Without spaces and tabs (HTTP's optional white space, RFC 9110) at both ends. */
static inline Span text_trim(Span text) {
    for (; text.size && (*text.data == ' ' || *text.data == '\t'); text.data++) text.size--;
    while (text.size && (text.data[text.size - 1] == ' ' || text.data[text.size - 1] == '\t')) text.size--;
    return text;
}
static inline bool text_begins(Span text, Span with) {
    return text.size >= with.size && (with.size == 0 || memcmp(text.data, with.data, with.size) == 0);
}
static inline bool text_ends(Span text, Span with) {
    return text.size >= with.size && (with.size == 0 || memcmp(text.data + text.size - with.size, with.data, with.size) == 0);
}

/* 0..15, or -1. */
static inline int text_hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Decodes %XX, and with `plus` a '+' as a space, from `text` to `to`, which has room for text.size
 * bytes and may be text.data itself. The size of what is decoded, or -1: a '%' without two
 * hexadecimal digits, whose place is in ret_wrong (may be NULL). */
ptrdiff_t text_percent_decode(Span text, bool plus, char *to, const char **ret_wrong);
/* The same of a path (RFC 3986): also -1 where a slash or NUL is encoded, so that what is decoded
 * has the segments that were sent. */
ptrdiff_t text_path_decode(Span path, char *to);
