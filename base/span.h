/* A view of bytes that another object owns. It is not NUL-terminated. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef struct Span {
    const char *data; /* may be NULL when size is 0 */
    size_t size;      /* bytes */
} Span;

#define SPAN(literal) ((Span){.data = "" literal "", .size = sizeof(literal) - 1})

static inline Span span_of(const char *text) {
    return (Span){.data = text, .size = text ? strlen(text) : 0};
}

static inline bool span_equal(Span a, Span b) {
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* Compares without regard to ASCII case. */
bool span_equal_nocase(Span a, Span b);
