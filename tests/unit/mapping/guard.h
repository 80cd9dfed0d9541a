/* Memory whose end is the end of a page that is followed by one that cannot be read: a read beyond
 * the input ends the test. */
#pragma once

#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "base/span.h"

typedef struct Guard {
    char *map;
    size_t bytes; /* before the page that cannot be read */
} Guard;

static inline Guard guard_new(size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    Guard guard = {.bytes = (bytes + page - 1) / page * page};
    guard.map = mmap(NULL, guard.bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(guard.map != MAP_FAILED);
    check(mprotect(guard.map + guard.bytes, page, PROT_NONE) == 0);
    return guard;
}

/* A copy that ends where the memory does. */
static inline Span guard_place(const Guard *guard, const char *data, size_t size) {
    check(size <= guard->bytes);
    char *to = guard->map + guard->bytes - size;
    if (size) memcpy(to, data, size);
    return (Span){to, size};
}

static inline void guard_free(Guard *guard) {
    (void)munmap(guard->map, guard->bytes + (size_t)sysconf(_SC_PAGESIZE));
}
