#include "base/cursor.h"

/* NULL: past the end. */
static const char *advance(Cursor *cursor, size_t size) {
    if (cursor->failed || (size_t)(cursor->end - cursor->at) < size) {
        cursor->failed = true;
        return NULL;
    }
    const char *at = cursor->at;
    cursor->at += size;
    return at;
}

uint8_t cursor_u8(Cursor *cursor) {
    const char *at = advance(cursor, 1);
    return at ? (uint8_t)*at : 0;
}

uint16_t cursor_u16(Cursor *cursor) {
    uint16_t value = 0;
    const char *at = advance(cursor, sizeof value);
    if (at) memcpy(&value, at, sizeof value);
    return value;
}

uint32_t cursor_u32(Cursor *cursor) {
    uint32_t value = 0;
    const char *at = advance(cursor, sizeof value);
    if (at) memcpy(&value, at, sizeof value);
    return value;
}

uint64_t cursor_u64(Cursor *cursor) {
    uint64_t value = 0;
    const char *at = advance(cursor, sizeof value);
    if (at) memcpy(&value, at, sizeof value);
    return value;
}

Span cursor_bytes(Cursor *cursor, size_t size) {
    if (size == 0 && !cursor->failed) return (Span){.data = cursor->at};
    const char *at = advance(cursor, size);
    return (Span){.data = at, .size = at ? size : 0};
}

Span cursor_block(Cursor *cursor) {
    uint32_t size = cursor_u32(cursor);
    return cursor_bytes(cursor, size);
}
