#include "gateway/template_memory.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

enum {
    STEP_BYTES = 16, /* alignment, and the distance of two classes */
    CLASSES = 64,    /* larger ones are malloc's */
    CHUNK_BYTES = 256 * 1024,
};

/* In front of each block, as large as the alignment asks. */
typedef struct Block {
    size_t class;       /* payload in steps; 0: malloc's */
    struct Block *next; /* while it is free */
} Block;

_Static_assert(sizeof(Block) == STEP_BYTES, "payload follows the head");

/* Like operator new itself: there is nobody who could pass it along. */
static struct {
    Block *free[CLASSES + 1];
    char *at, *end; /* of the chunk */
} memory;

void template_memory_renew(void) {
    for (size_t i = 0; i <= CLASSES; i++) memory.free[i] = NULL;
    memory.at = memory.end = NULL;
}

static Block *large_block(size_t bytes) {
    if (bytes > PTRDIFF_MAX - sizeof(Block)) abort();
    Block *block = malloc(sizeof *block + bytes);
    if (!block) abort();
    block->class = 0;
    return block;
}

static void add_chunk(void) {
    char *chunk = mmap(NULL, CHUNK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (chunk == MAP_FAILED) abort();
    memory.at = chunk;
    memory.end = chunk + CHUNK_BYTES;
}

static Block *new_block(size_t class) {
    size_t bytes = sizeof(Block) + class * STEP_BYTES;
    if ((size_t)(memory.end - memory.at) < bytes) add_chunk();
    Block *block = (Block *)(void *)memory.at;
    memory.at += bytes;
    block->class = class;
    return block;
}

/* The names are the Itanium C++ ABI's: operator new(unsigned long), operator delete(void *). All their other forms come here. */
void *_Znwm(size_t bytes);  /* NOLINT */
void _ZdlPv(void *payload); /* NOLINT */

void *_Znwm(size_t bytes) { /* NOLINT */
    if (bytes > CLASSES * STEP_BYTES) return large_block(bytes) + 1;
    size_t class = bytes > 0 ? (bytes + STEP_BYTES - 1) / STEP_BYTES : 1;
    Block *block = memory.free[class];
    if (block) {
        memory.free[class] = block->next;
    } else {
        block = new_block(class);
    }
    return block + 1;
}

void _ZdlPv(void *payload) { /* NOLINT */
    if (!payload) return;
    Block *block = (Block *)payload - 1;
    if (block->class == 0) {
        free(block);
        return;
    }
    block->next = memory.free[block->class];
    memory.free[block->class] = block;
}
