#include "base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/error.h"

enum {
    ALIGNMENT = 16,
    USUAL_BYTES = 64 * 1024,
    LARGE_BYTES = USUAL_BYTES / 4, /* from here on an allocation that does not fit gets a block of its own */
};

struct ArenaBlock {
    ArenaBlock *next;
    size_t capacity;
    size_t used;
    alignas(ALIGNMENT) char data[];
};

static ArenaBlock *block_new(size_t capacity) {
    ArenaBlock *block = malloc(sizeof(ArenaBlock) + capacity);
    if (!block) bug_at(__FILE__, __LINE__, "out of memory");
    block->next = NULL;
    block->capacity = capacity;
    block->used = 0;
    return block;
}

static char *alloc_slow(Arena *arena, size_t bytes) {
    ArenaBlock *block = block_new(bytes >= LARGE_BYTES ? bytes : USUAL_BYTES);
    block->used = bytes;
    if (bytes >= LARGE_BYTES && arena->blocks) {
        /* The newest block stays in front: it still has room for small ones. */
        block->next = arena->blocks->next;
        arena->blocks->next = block;
    } else {
        block->next = arena->blocks;
        arena->blocks = block;
    }
    return block->data;
}

void *arena_alloc(Arena *arena, size_t bytes) {
    check(bytes <= PTRDIFF_MAX / 2);
    bytes = bytes ? (bytes + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1) : ALIGNMENT;
    arena->used_bytes += bytes;

    ArenaBlock *block = arena->blocks;
    if (!block || block->capacity - block->used < bytes) return alloc_slow(arena, bytes);
    char *result = block->data + block->used;
    block->used += bytes;
    return result;
}

void *arena_zalloc(Arena *arena, size_t bytes) {
    return memset(arena_alloc(arena, bytes), 0, bytes);
}

char *arena_copy(Arena *arena, Span bytes) {
    char *copy = arena_alloc(arena, bytes.size + 1);
    if (bytes.size) memcpy(copy, bytes.data, bytes.size);
    copy[bytes.size] = '\0';
    return copy;
}

void arena_reset(Arena *arena) {
    ArenaBlock *kept = NULL;
    for (ArenaBlock *block = arena->blocks, *next; block; block = next) {
        next = block->next;
        if (!kept && block->capacity == USUAL_BYTES) {
            kept = block;
        } else {
            free(block);
        }
    }
    if (kept) {
        kept->next = NULL;
        kept->used = 0;
    }
    arena->blocks = kept;
    arena->used_bytes = 0;
}

void arena_deinit(Arena *arena) {
    for (ArenaBlock *block = arena->blocks, *next; block; block = next) {
        next = block->next;
        free(block);
    }
    *arena = (Arena){0};
}
