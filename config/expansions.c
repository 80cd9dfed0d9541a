#include "config/expansions.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/text.h"

enum { PART_MIN = 4, PART_MAX = 16 };

void expansions_add(Expansions *expansions, Span name, Span value) {
    if (value.size == 0) return;
    array_extend(expansions->items, expansions->count);
    expansions->items[expansions->count++] = (Expansion){.name = text_copy_span(name), .value = text_copy_span(value), .size = value.size};
}

void expansions_add_all(Expansions *expansions, const Expansions *more) {
    for (size_t i = 0; i < more->count; i++)
        expansions_add(expansions, span_of(more->items[i].name), (Span){more->items[i].value, more->items[i].size});
}

void expansions_deinit(Expansions *expansions) {
    for (size_t i = 0; i < expansions->count; i++) {
        free(expansions->items[i].name);
        explicit_bzero(expansions->items[i].value, expansions->items[i].size);
        free(expansions->items[i].value);
    }
    free(expansions->items);
    *expansions = (Expansions){0};
}

/* Messages show control characters and bad bytes as '?' or a space. */
static bool shown_as(char shown, char c) {
    unsigned char byte = (unsigned char)c;
    return shown == c || ((byte < 0x20 || byte >= 0x7F) && (shown == '?' || shown == ' '));
}

static bool stands_at(const char *text, size_t left, const char *value, size_t size) {
    if (left < size) return false;
    for (size_t i = 0; i < size; i++)
        if (!shown_as(text[i], value[i])) return false;
    return true;
}

static bool is_word(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* A value as short as this stands in many a word: only by itself is it meant. */
static bool stands_alone(const char *text, size_t size, size_t at, size_t length) {
    return length >= PART_MIN || ((at == 0 || !is_word(text[at - 1])) && (at + length == size || !is_word(text[at + length])));
}

/* The longest value that stands at `at`, whole. */
static const Expansion *whole_at(const Expansions *expansions, const char *text, size_t size, size_t at) {
    const Expansion *found = NULL;
    for (size_t i = 0; i < expansions->count; i++) {
        const Expansion *item = &expansions->items[i];
        if ((found && found->size >= item->size) || !stands_at(text + at, size - at, item->value, item->size)) continue;
        if (stands_alone(text, size, at, item->size)) found = item;
    }
    return found;
}

/* Marks what is also in the value. */
static void mark_parts(const Expansion *item, const char *text, size_t size, bool *hidden) {
    size_t part = item->size / 16;
    if (part < PART_MIN) part = PART_MIN;
    if (part > PART_MAX) part = PART_MAX;
    for (size_t at = 0; at + part <= size; at++) {
        for (size_t from = 0; from + part <= item->size; from++) {
            if (!stands_at(text + at, part, item->value + from, part)) continue;
            memset(hidden + at, true, part);
            break;
        }
    }
}

/* The bytes of `Field "a.b" ` at the beginning; 0 also when a value stands there, whole or cut
 * off. */
static size_t field_name(const Expansions *expansions, const char *text) {
    const char *end = strncmp(text, "Field \"", 7) == 0 ? strstr(text + 7, "\" ") : NULL;
    size_t size = end ? (size_t)(end - text) + 2 : 0;
    for (size_t at = 0; at < size; at++)
        if (strncmp(text + at, "...", 3) == 0 || whole_at(expansions, text, size, at)) return 0;
    return size;
}

void expansions_hide(const Expansions *expansions, Error *error) {
    if (!expansions || expansions->count == 0 || !error || error->code == 0) return;
    size_t size = strlen(error->text), kept = field_name(expansions, error->text);
    bool hidden[sizeof error->text] = {false};
    _cleanup_(buffer_deinit) Buffer out = {0};
    for (size_t i = 0; i < expansions->count; i++) mark_parts(&expansions->items[i], error->text + kept, size - kept, hidden + kept);
    buffer_append(&out, error->text, kept);
    for (size_t at = kept; at < size;) {
        const Expansion *whole = whole_at(expansions, error->text, size, at);
        if (whole) {
            buffer_append_text(&out, whole->name);
            at += whole->size;
        } else if (hidden[at]) {
            buffer_append_text(&out, "…");
            while (at < size && hidden[at] && !whole_at(expansions, error->text, size, at)) at++;
        } else {
            buffer_append_byte(&out, error->text[at++]);
        }
    }
    (void)error_set_at(error, error->file, error->line, error->code, "%s", buffer_text(&out));
}

bool expansions_name(const Expansions *expansions, const char *text, Buffer *out) {
    bool named = false;
    for (size_t at = 0, size = strlen(text); at < size;) {
        const Expansion *whole = expansions ? whole_at(expansions, text, size, at) : NULL;
        named = named || whole;
        if (whole)
            buffer_append_text(out, whole->name);
        else
            buffer_append_byte(out, text[at]);
        at += whole ? whole->size : 1;
    }
    return named;
}
