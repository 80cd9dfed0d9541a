/* Arena: memory that is released all at once. arena_reset releases everything that was allocated
 * since the last reset. Used by one thread. An all-zero Arena is valid and empty. */
#pragma once

#include <stddef.h>

#include "base/span.h"

typedef struct ArenaBlock ArenaBlock;
typedef struct Arena {
    ArenaBlock *blocks; /* newest first */
    size_t used_bytes;  /* in all blocks since the last reset */
} Arena;

void *arena_alloc(Arena *arena, size_t bytes); /* aligned to 16, not zeroed */
void *arena_zalloc(Arena *arena, size_t bytes);
char *arena_copy(Arena *arena, Span bytes); /* NUL-terminated copy */
void arena_reset(Arena *arena);             /* invalidates all allocations; keeps one block of usual size for reuse */
void arena_deinit(Arena *arena);
