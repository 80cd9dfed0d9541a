/* A growable array of bytes. All-zero is a valid empty buffer. Out of memory ends the process (bug_at): quotas, not malloc, bound memory. */
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

/* Makes room for `more` bytes behind size and returns where they go; the caller adds what it wrote to size. */
char *buffer_reserve(Buffer *buffer, size_t more);

void buffer_append(Buffer *buffer, const void *data, size_t size);
static inline void buffer_append_span(Buffer *buffer, Span span) {
    buffer_append(buffer, span.data, span.size);
}
void buffer_append_text(Buffer *buffer, const char *text);
void buffer_append_byte(Buffer *buffer, char byte);
void buffer_printf(Buffer *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* NUL-terminates without counting the NUL; valid until the next change. */
const char *buffer_text(Buffer *buffer);
/* Gives the NUL-terminated bytes away (free()); the buffer is empty then. */
char *buffer_take(Buffer *buffer);
static inline Span buffer_span(const Buffer *buffer) {
    return (Span){.data = buffer->data, .size = buffer->size};
}

/* Fixed-width integers of the on-disk formats: little-endian unless the name says big. */
void buffer_put_u8(Buffer *buffer, unsigned char value);
void buffer_put_u16(Buffer *buffer, unsigned short value);
void buffer_put_u32(Buffer *buffer, unsigned int value);
void buffer_put_u64(Buffer *buffer, unsigned long value);
/* u32 length, then the bytes. */
void buffer_put_block(Buffer *buffer, Span bytes);
