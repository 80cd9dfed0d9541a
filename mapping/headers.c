#include "mapping/headers.h"

#include <stdlib.h>

#include "base/error.h"
#include "mapping/json_text.h"
#include "mapping/words.h"

typedef struct HeaderEntry {
    Span name;    /* canonical; into HeaderWriter.names */
    size_t index; /* as received */
} HeaderEntry;

bool header_is_secret(Span name) {
    switch (name.size) { /* most names are none of them by their size alone */
    case sizeof "cookie" - 1: return span_equal_nocase(name, SPAN("cookie"));
    case sizeof "x-api-key" - 1: return span_equal_nocase(name, SPAN("x-api-key"));
    case sizeof "authorization" - 1: return span_equal_nocase(name, SPAN("authorization"));
    case sizeof "x-storageapi-token" - 1: return span_equal_nocase(name, SPAN("x-storageapi-token"));
    case sizeof "proxy-authorization" - 1: return span_equal_nocase(name, SPAN("proxy-authorization"));
    default: return false;
    }
}

static int compare_entries(const void *a, const void *b) {
    const HeaderEntry *x = a, *y = b;
    size_t least = x->name.size < y->name.size ? x->name.size : y->name.size;
    int order = least ? memcmp(x->name.data, y->name.data, least) : 0;
    if (order) return order;
    if (x->name.size != y->name.size) return x->name.size < y->name.size ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* qsort allocates for large arrays only; few headers are quicker without it. */
static void sort_entries(HeaderEntry *entries, size_t count) {
    if (count > 24) {
        qsort(entries, count, sizeof *entries, compare_entries);
        return;
    }
    for (size_t i = 1; i < count; i++) {
        HeaderEntry entry = entries[i];
        size_t at = i;
        for (; at > 0 && compare_entries(&entry, &entries[at - 1]) < 0; at--) entries[at] = entries[at - 1];
        entries[at] = entry;
    }
}

/* content-type -> Content-Type */
static void put_canonical(char *to, Span name) {
    bool first = true;
    for (size_t i = 0; i < name.size; i++) {
        char c = name.data[i];
        if (first && c >= 'a' && c <= 'z') c = (char)(c - 'a' + 'A');
        if (!first && c >= 'A' && c <= 'Z') c = (char)(c - 'A' + 'a');
        first = c == '-';
        to[i] = c;
    }
}

static bool is_utf8(Span text) {
    for (size_t at = 0; at < text.size; at++) { /* NUL is a character here */
        at += text_check((Span){text.data + at, text.size - at});
        if (at < text.size && text.data[at]) return false;
    }
    return true;
}

static void append_as_utf8(Buffer *out, Span text) {
    if (is_utf8(text)) {
        buffer_append_span(out, text);
        return;
    }
    char *to = buffer_reserve(out, text.size * 2);
    for (size_t i = 0; i < text.size; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        if (byte >= 0x80) {
            *to++ = (char)(0xc0 | byte >> 6);
            *to++ = (char)(0x80 | (byte & 0x3f));
        } else {
            *to++ = (char)byte;
        }
    }
    out->size = (size_t)(to - out->data);
    check(out->size <= out->capacity);
}

void headers_to_json(HeaderWriter *writer, const EventHeader *headers, size_t count, Buffer *out) {
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) bytes += headers[i].name.size;
    buffer_clear(&writer->names);
    buffer_clear(&writer->entries);
    char *names = buffer_reserve(&writer->names, bytes + 1);
    HeaderEntry *entries = (HeaderEntry *)(void *)buffer_reserve(&writer->entries, (count + 1) * sizeof *entries);
    for (size_t i = 0; i < count; i++) {
        put_canonical(names, headers[i].name);
        entries[i] = (HeaderEntry){.name = {names, headers[i].name.size}, .index = i};
        names += headers[i].name.size;
    }
    check(names == writer->names.data + bytes);
    sort_entries(entries, count);
    buffer_append_byte(out, '{');
    for (size_t i = 0; i < count;) {
        Span name = entries[i].name;
        check_debug(entries[i].index < count && (i == 0 || compare_entries(&entries[i - 1], &entries[i]) < 0));
        if (i > 0) buffer_append_byte(out, ',');
        buffer_clear(&writer->value);
        append_as_utf8(&writer->value, name);
        json_quote(out, buffer_span(&writer->value));
        buffer_append_byte(out, ':');
        buffer_clear(&writer->value);
        for (size_t first = i; i < count && span_equal(entries[i].name, name); i++) {
            if (i > first) buffer_append_span(&writer->value, SPAN(", "));
            append_as_utf8(&writer->value, headers[entries[i].index].value);
        }
        json_quote(out, buffer_span(&writer->value));
    }
    buffer_append_byte(out, '}');
}

void header_writer_deinit(HeaderWriter *writer) {
    buffer_deinit(&writer->names);
    buffer_deinit(&writer->entries);
    buffer_deinit(&writer->value);
}
