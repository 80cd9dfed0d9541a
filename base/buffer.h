/* A growable array of bytes. An all-zero Buffer is valid and empty. If memory is exhausted, the
 * process ends (bug_at), because limits elsewhere bound the size. Bytes that are appended must not
 * lie inside the buffer itself, because growing moves it. */
#pragma once

#include <stdarg.h>
#include <stddef.h>

#include "base/span.h"

typedef struct Buffer {
    char *data; /* owned; NULL until something is reserved */
    size_t size;
    size_t capacity;
} Buffer;

void buffer_deinit(Buffer *buffer); /* releases the memory; the buffer is empty and usable afterwards */
static inline void buffer_clear(Buffer *buffer) {
    buffer->size = 0;
}

/* The slow path of buffer_reserve: makes room for `more` bytes, and at least doubles the
 * capacity. */
char *buffer_grow(Buffer *buffer, size_t more);

/* Makes room for `more` bytes behind `size` and returns the place for them. The caller adds the
 * number of written bytes to `size`. */
static inline char *buffer_reserve(Buffer *buffer, size_t more) {
    if (__builtin_expect(buffer->capacity - buffer->size < more || !buffer->data, 0)) return buffer_grow(buffer, more);
    return buffer->data + buffer->size;
}

static inline void buffer_append(Buffer *buffer, const void *data, size_t size) {
    if (size == 0) return; /* `data` may be NULL in this case */
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

/* Appends a NUL that is not counted, and returns the text. Valid until the next change of the
 * buffer. */
const char *buffer_text(Buffer *buffer);
/* Returns the NUL-terminated bytes. The caller owns them (free()). The buffer is empty
 * afterwards. */
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
/* Appends a u32 length and the bytes. More bytes than a u32 can count are a bug of the caller. */
void buffer_put_block(Buffer *buffer, Span bytes);
