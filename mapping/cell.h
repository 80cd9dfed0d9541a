/*
 * The cells of row.h on bare memory, for who has made room: what is short and common is inlined
 * here, what is long is in row.c. Each function writes at `to` and returns where the cell ends;
 * what it leaves behind that is undefined. Whole blocks are stored: the room is `size` + CELL_ROOM
 * bytes, where `size` is the text's. `end` is the end of readable memory: no byte at or past it is
 * read. Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/uuid.h"
#include "mapping/block.h"

#define CELL_ROOM (2 * BLOCK_BYTES)

/* ASCII white space, which asks for quotes at the edges of a cell. */
static inline bool cell_is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* A text of which it is known that it needs no quotes. */
static inline char *cell_copy(char *to, const char *from, size_t size, const char *end) {
    if (size <= BLOCK_BYTES) {
        block_store(to, block_load_part(from, size, end));
    } else if (size <= 2 * BLOCK_BYTES) {
        Block head = block_load(from), tail = block_load(from + size - BLOCK_BYTES);
        block_store(to, head);
        block_store(to + size - BLOCK_BYTES, tail);
    } else {
        memcpy(to, from, size);
    }
    return to + size;
}

/* cell_put_string and cell_put_text for over two blocks. */
char *cell_put_long_string(char *to, const char *from, size_t size);
char *cell_put_long_text(char *to, const char *from, size_t size);

/* The quotes are written in any case, and lie where nothing counts when there are none. */
static inline char *cell_put_blocks(char *to, Block head, Block tail, size_t tail_at, size_t size, bool quoted) {
    *to = '"';
    to += quoted;
    block_store(to, head);
    if (tail_at) block_store(to + tail_at, tail);
    to += size;
    *to = '"';
    return to + quoted;
}

/* A text without quotes, backslashes and control characters, such as a JSON string without escapes:
 * commas and spaces are all that asks for quotes. No branch hangs on what the text is while it is
 * short. */
static inline char *cell_put_string(char *to, const char *from, size_t size, const char *end) {
    if (size <= BLOCK_BYTES) {
        Block block = block_load_part(from, size, end);
        unsigned edges = 1u | 1u << size >> 1;
        unsigned found = (block_equal(block, ',') | (block_equal(block, ' ') & edges)) & block_first(size);
        return cell_put_blocks(to, block, block, 0, size, (found != 0) | (size == 0));
    }
    if (size <= 2 * BLOCK_BYTES) {
        size_t tail_at = size - BLOCK_BYTES;
        Block head = block_load(from), tail = block_load(from + tail_at);
        unsigned found = block_equal(head, ',') | block_equal(tail, ',') | (block_equal(head, ' ') & 1u) |
                         (block_equal(tail, ' ') & 1u << (BLOCK_BYTES - 1));
        return cell_put_blocks(to, head, tail, tail_at, size, found != 0);
    }
    return cell_put_long_string(to, from, size);
}

/* Any text; NULL: something in it asks for quotes, which row_put_quoted gives. */
static inline char *cell_put_text(char *to, const char *from, size_t size, const char *end) {
    if (size == 0 || cell_is_blank(from[0]) || cell_is_blank(from[size - 1])) return NULL;
    if (size <= BLOCK_BYTES) {
        Block block = block_load_part(from, size, end);
        if (block_special(block) & block_first(size)) return NULL;
        block_store(to, block);
        return to + size;
    }
    return cell_put_long_text(to, from, size);
}

/* A JSON string without escapes, with its quotes: they become two each, and the cell has its
 * own. */
static inline char *cell_put_quoted_string(char *to, const char *from, size_t size, const char *end) {
    memcpy(to, "\"\"", 2);
    to = cell_copy(to + 2, from, size, end);
    memcpy(to, "\"\"", 2);
    return to + 2;
}

/* The text of uuid_format: 8-4-4-4-12. */
static inline char *cell_put_id(char *to, const Uuid *id) {
    char digits[2 * BLOCK_BYTES];
    block_put_hex(digits, (const char *)id->bytes);
    memcpy(to, digits, 8);
    memcpy(to + 9, digits + 8, 4);
    memcpy(to + 14, digits + 12, 4);
    memcpy(to + 19, digits + 16, 4);
    memcpy(to + 24, digits + 20, 12);
    to[8] = to[13] = to[18] = to[23] = '-';
    return to + UUID_TEXT_SIZE;
}
