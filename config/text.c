#include "config/text.h"

#include "base/error.h"

size_t text_decode(const char *at, const char *end, uint32_t *ret_character) {
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char first = (unsigned char)*at;
    if (first < 0x80) {
        *ret_character = first;
        return 1;
    }
    size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4 || (size_t)(end - at) < length) return 0;
    uint32_t character = first & (0x7FU >> length);
    for (size_t i = 1; i < length; i++) {
        unsigned char next = (unsigned char)at[i];
        if ((next & 0xC0) != 0x80) return 0;
        character = character << 6 | (next & 0x3FU);
    }
    if (character < least[length] || character > 0x10FFFF || (character >= 0xD800 && character <= 0xDFFF)) return 0;
    *ret_character = character;
    return length;
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
    for (size_t at = 0, length; at < text.size; at += length) {
        uint32_t character;
        length = text_decode(text.data + at, text.data + text.size, &character);
        if (length == 0 || character == 0) return false;
    }
    return true;
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
