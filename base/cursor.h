/* Reads what the buffer_put_… functions wrote. A read past the end sets `failed` and returns zeros.
 * It never touches memory beyond `end`. So a caller can read a whole record and check `failed`
 * once. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

typedef struct Cursor {
    const char *at;
    const char *end;
    bool failed;
} Cursor;

static inline Cursor cursor_of(Span bytes) {
    /* NULL + 0 is undefined in C. */
    return (Cursor){.at = bytes.data, .end = bytes.size ? bytes.data + bytes.size : bytes.data};
}
uint8_t cursor_u8(Cursor *cursor);
uint16_t cursor_u16(Cursor *cursor);
uint32_t cursor_u32(Cursor *cursor);
uint64_t cursor_u64(Cursor *cursor);
Span cursor_bytes(Cursor *cursor, size_t size); /* the result points into the input */
Span cursor_block(Cursor *cursor);              /* reads what buffer_put_block wrote; the result points into the input */

/* Unaligned fixed-width access. */
static inline uint32_t load_be32(const void *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return __builtin_bswap32(v);
}
static inline uint64_t load_be64(const void *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return __builtin_bswap64(v);
}
static inline void store_be32(void *p, uint32_t v) {
    v = __builtin_bswap32(v);
    memcpy(p, &v, sizeof v);
}
static inline void store_be64(void *p, uint64_t v) {
    v = __builtin_bswap64(v);
    memcpy(p, &v, sizeof v);
}
