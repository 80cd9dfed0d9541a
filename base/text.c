#include "base/text.h"

#include <stdlib.h>

#include "base/error.h"

#define ONES UINT64_C(0x0101010101010101)
#define HIGHS UINT64_C(0x8080808080808080)

size_t text_check(Span text) {
    const char *p = text.data, *end = p + text.size;
    while (p < end) {
        if (end - p >= 8) { /* eight ASCII characters at a time */
            uint64_t word;
            memcpy(&word, p, sizeof word);
            if (!((word & HIGHS) | ((word - ONES) & ~word & HIGHS))) {
                p += 8;
                continue;
            }
        }
        if ((unsigned char)*p >= 0x80) {
            size_t size = text_utf8_size(p, end);
            if (size == 0) break;
            p += size;
        } else if (*p == 0) {
            break;
        } else {
            p++;
        }
    }
    return (size_t)(p - text.data);
}

size_t text_decode(const char *at, const char *end, uint32_t *ret_character) {
    unsigned char first = (unsigned char)*at;
    if (first < 0x80) {
        *ret_character = first;
        return 1;
    }
    size_t size = text_utf8_size(at, end);
    if (size == 0) return 0;
    uint32_t character = first & (0x7FU >> size);
    for (size_t i = 1; i < size; i++) character = character << 6 | ((unsigned char)at[i] & 0x3FU);
    *ret_character = character;
    return size;
}

static bool is_control(uint32_t character) {
    return character < 0x20 || (character >= 0x7F && character <= 0x9F);
}

bool text_is_plain(Span text) {
    for (size_t at = 0, length; at < text.size; at += length) {
        uint32_t character;
        length = text_decode(text.data + at, text.data + text.size, &character);
        if (length == 0 || is_control(character)) return false;
    }
    return true;
}

bool text_is_utf8(Span text) {
    return text_check(text) == text.size;
}

size_t text_characters(Span text) {
    size_t count = 0;
    for (size_t i = 0; i < text.size; i++) count += ((unsigned char)text.data[i] & 0xC0) != 0x80;
    return count;
}

const char *text_excerpt(Span text, char out[static TEXT_EXCERPT_SIZE]) {
    const size_t room = TEXT_EXCERPT_SIZE - sizeof "...";
    size_t used = 0, at = 0;
    while (at < text.size) {
        uint32_t character;
        size_t length = text_decode(text.data + at, text.data + text.size, &character);
        if (used + (length > 0 ? length : 1) > room) {
            memcpy(out + used, "...", 3);
            used += 3;
            break;
        }
        if (length == 0 || is_control(character)) {
            out[used++] = '?';
            at += length > 0 ? length : 1;
        } else {
            memcpy(out + used, text.data + at, length);
            used += length;
            at += length;
        }
    }
    out[used] = 0;
    return out;
}

#define NEAR_NAME_MAX 64

static char fold(char c) {
    if (c >= 'A' && c <= 'Z') return (char)(c - 'A' + 'a');
    return c == '_' ? '-' : c;
}

/* Edits (insert, remove, replace) between two short names; case and '_' for '-' are free. */
static size_t edits(Span a, Span b) {
    size_t row[NEAR_NAME_MAX + 1];
    for (size_t j = 0; j <= b.size; j++) row[j] = j;
    for (size_t i = 1; i <= a.size; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.size; j++) {
            size_t best = diagonal + (fold(a.data[i - 1]) != fold(b.data[j - 1]));
            diagonal = row[j];
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[b.size];
}

void text_near(Buffer *out, Span name, const char *const *names, size_t count) {
    if (name.size == 0 || name.size > NEAR_NAME_MAX) return;
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        Span candidate = span_of(names[i]);
        if (candidate.size > NEAR_NAME_MAX) continue;
        bool contains = name.size >= 4 && memmem(candidate.data, candidate.size, name.data, name.size) != NULL;
        if (!contains && edits(name, candidate) > (name.size < 4 ? 1 : 2)) continue;
        buffer_printf(out, "%s\"%s\"", any ? ", " : "", names[i]);
        any = true;
    }
}

char *text_copy(const char *text) {
    if (text == NULL) return NULL;
    char *copy = strdup(text);
    check(copy != NULL);
    return copy;
}

char *text_copy_span(Span text) {
    char *copy = malloc(text.size + 1);
    check(copy != NULL);
    if (text.size > 0) memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    return copy;
}

ptrdiff_t text_percent_decode(Span text, bool plus, char *to, const char **ret_wrong) {
    char *start = to;
    for (size_t i = 0; i < text.size; i++) {
        char byte = text.data[i];
        if (byte == '+' && plus) {
            byte = ' ';
        } else if (byte == '%') {
            int high = text.size - i > 2 ? text_hex(text.data[i + 1]) : -1, low = high < 0 ? -1 : text_hex(text.data[i + 2]);
            if (low < 0) {
                if (ret_wrong) *ret_wrong = text.data + i;
                return -1;
            }
            byte = (char)(high << 4 | low);
            i += 2;
        }
        *to++ = byte;
    }
    return to - start;
}

ptrdiff_t text_path_decode(Span path, char *to) {
    char *start = to;
    for (const char *at = path.data, *end = at + path.size; at < end;) {
        const char *slash = memchr(at, '/', (size_t)(end - at));
        Span segment = {at, (size_t)((slash ? slash : end) - at)};
        ptrdiff_t size = text_percent_decode(segment, false, to, NULL);
        if (size < 0 || memchr(to, '/', (size_t)size) || memchr(to, '\0', (size_t)size)) return -1;
        to += size;
        if (slash) *to++ = '/';
        at = segment.data + segment.size + (slash != NULL);
    }
    return to - start;
}
