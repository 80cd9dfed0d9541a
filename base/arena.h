/* Memory with one way out: everything allocated since the last reset goes at once. One thread.
 * All-zero is valid and empty. */
#pragma once

#include <stddef.h>

#include "base/span.h"

typedef struct ArenaBlock ArenaBlock;
typedef struct Arena {
    ArenaBlock *blocks; /* newest first */
    size_t used_bytes;  /* of all blocks since the last reset */
} Arena;

void *arena_alloc(Arena *arena, size_t bytes); /* aligned to 16, not zeroed */
void *arena_zalloc(Arena *arena, size_t bytes);
char *arena_copy(Arena *arena, Span bytes); /* NUL-terminated copy */
void arena_reset(Arena *arena);             /* keeps one block of usual size for the next round */
void arena_deinit(Arena *arena);
