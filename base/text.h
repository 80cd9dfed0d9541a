/*
 * Functions for text: UTF-8 (strictly as in RFC 3629), hexadecimal digits, percent-encoding (RFC
 * 3986), trimming and copies; excerpts that are safe to show in an error; and names that were
 * probably meant. Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/buffer.h"
#include "base/span.h"

/* Returns the size (2..4) of the valid UTF-8 sequence that begins at `p` with a byte >= 0x80.
 * Returns 0 if it is not valid or is cut off by `end`. */
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

/* Returns the offset of the first byte that is NUL or not valid UTF-8, or text.size if there is
 * none. */
size_t text_check(Span text);
/* Decodes one character at `at` < `end`. Returns its size in bytes, or 0 if it is not valid
 * UTF-8. */
size_t text_decode(const char *at, const char *end, uint32_t *ret_character);
/* Is it valid UTF-8 without control characters (U+0000..1F, U+7F..9F)? */
bool text_is_plain(Span text);
/* Is it valid UTF-8 without NUL? */
bool text_is_utf8(Span text);
/* Returns the number of characters. The text must be valid UTF-8. */
size_t text_characters(Span text);

#define TEXT_EXCERPT_SIZE 64
/* Writes the beginning of a text for an error message, and returns `out`. Control characters and
 * invalid bytes become '?'. A longer text ends in "...". */
const char *text_excerpt(Span text, char out[static TEXT_EXCERPT_SIZE]);

/* Appends those of `names` that were probably meant by `name`, as `"a", "b"`. Appends nothing if
 * none is similar. */
void text_near(Buffer *out, Span name, const char *const *names, size_t count);

/* Like strdup, but ends the process if memory is exhausted. NULL gives NULL. The caller owns the
 * copy (free()). */
char *text_copy(const char *text);
/* The same for a span; the copy is NUL-terminated. */
char *text_copy_span(Span text);

static inline bool text_is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* Returns the text without spaces and tabs (HTTP's optional white space, RFC 9110) at both ends. */
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

/* Returns the value 0..15 of a hexadecimal digit, or -1. */
static inline int text_hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Decodes %XX from `text` to `to`. With `plus`, a '+' becomes a space. `to` needs room for
 * text.size bytes and may be text.data itself. Returns the decoded size. Returns -1 if a '%' is not
 * followed by two hexadecimal digits; ret_wrong (may be NULL) is the place of that '%'. */
ptrdiff_t text_percent_decode(Span text, bool plus, char *to, const char **ret_wrong);
/* The same for a path (RFC 3986). Also returns -1 if a slash or NUL is encoded, so that the decoded
 * path has the same segments as the path that was sent. */
ptrdiff_t text_path_decode(Span path, char *to);
