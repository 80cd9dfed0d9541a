/* A growable array of bytes. All-zero is a valid empty buffer. Out of memory ends the process
 * (bug_at): quotas, not malloc, bound memory. What is appended must not lie inside the buffer
 * itself: growing moves it. */
#pragma once

#include <stdarg.h>
#include <stddef.h>

#include "base/span.h"

typedef struct Buffer {
    char *data; /* owned; NULL while nothing was reserved */
    size_t size;
    size_t capacity;
} Buffer;

void buffer_deinit(Buffer *buffer); /* frees; leaves it empty and usable */
static inline void buffer_clear(Buffer *buffer) {
    buffer->size = 0;
}

/* The slow path of buffer_reserve: room for `more` bytes, at least twice what was there. */
char *buffer_grow(Buffer *buffer, size_t more);

/* Makes room for `more` bytes behind size and returns where they go; the caller adds what it wrote
 * to size. */
static inline char *buffer_reserve(Buffer *buffer, size_t more) {
    if (__builtin_expect(buffer->capacity - buffer->size < more || !buffer->data, 0)) return buffer_grow(buffer, more);
    return buffer->data + buffer->size;
}

static inline void buffer_append(Buffer *buffer, const void *data, size_t size) {
    if (size == 0) return; /* data may be NULL then */
    memcpy(buffer_reserve(buffer, size), data, size);
    buffer->size += size;
}
static inline void buffer_append_span(Buffer *buffer, Span span) {
    buffer_append(buffer, span.data, span.size);
}
static inline void buffer_append_text(Buffer *buffer, const char *text) {
    buffer_append(buffer, text, strlen(text));
}
static inline void buffer_append_byte(Buffer *buffer, char byte) {
    *buffer_reserve(buffer, 1) = byte;
    buffer->size++;
}
void buffer_printf(Buffer *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* NUL-terminates without counting the NUL; valid until the next change. */
const char *buffer_text(Buffer *buffer);
/* Gives the NUL-terminated bytes away (free()); the buffer is empty then. */
char *buffer_take(Buffer *buffer);
static inline Span buffer_span(const Buffer *buffer) {
    return (Span){.data = buffer->data, .size = buffer->size};
}

/* Fixed-width integers of the on-disk formats: little-endian unless the name says big. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the formats on disk are written as the processor stores them");
static inline void buffer_put_u8(Buffer *buffer, unsigned char value) {
    buffer_append(buffer, &value, 1);
}
static inline void buffer_put_u16(Buffer *buffer, unsigned short value) {
    buffer_append(buffer, &value, 2);
}
static inline void buffer_put_u32(Buffer *buffer, unsigned int value) {
    buffer_append(buffer, &value, 4);
}
static inline void buffer_put_u64(Buffer *buffer, unsigned long value) {
    buffer_append(buffer, &value, 8);
}
/* u32 length, then the bytes. More than a u32 can say is a bug of the caller. */
void buffer_put_block(Buffer *buffer, Span bytes);
