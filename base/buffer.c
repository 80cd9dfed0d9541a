#include "base/buffer.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"

void buffer_deinit(Buffer *buffer) {
    free(buffer->data);
    *buffer = (Buffer){0};
}

char *buffer_grow(Buffer *buffer, size_t more) {
    size_t needed;
    if (__builtin_add_overflow(buffer->size, more, &needed) || needed > PTRDIFF_MAX / 2) bug_at(__FILE__, __LINE__, "buffer too large");

    size_t capacity = buffer->capacity * 2;
    if (capacity < 64) capacity = 64;
    if (capacity < needed) capacity = needed;
    char *data = realloc(buffer->data, capacity);
    if (!data) bug_at(__FILE__, __LINE__, "out of memory");
    buffer->data = data;
    buffer->capacity = capacity;
    return data + buffer->size;
}

void buffer_printf(Buffer *buffer, const char *format, ...) {
    va_list arguments;
    char *at = buffer_reserve(buffer, 1);
    size_t room = buffer->capacity - buffer->size;

    va_start(arguments, format);
    int size = vsnprintf(at, room, format, arguments);
    va_end(arguments);
    check(size >= 0);
    if ((size_t)size >= room) {
        at = buffer_reserve(buffer, (size_t)size + 1);
        va_start(arguments, format);
        check(vsnprintf(at, (size_t)size + 1, format, arguments) == size);
        va_end(arguments);
    }
    buffer->size += (size_t)size;
}

const char *buffer_text(Buffer *buffer) {
    *buffer_reserve(buffer, 1) = '\0';
    return buffer->data;
}

char *buffer_take(Buffer *buffer) {
    (void)buffer_text(buffer);
    char *data = buffer->data;
    *buffer = (Buffer){0};
    return data;
}

void buffer_put_block(Buffer *buffer, Span bytes) {
    check(bytes.size <= UINT32_MAX);
    buffer_put_u32(buffer, (uint32_t)bytes.size);
    buffer_append_span(buffer, bytes);
}
