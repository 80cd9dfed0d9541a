/* Random bytes for secrets, and a seeded generator for tests and jitter. */
#pragma once

#include <stddef.h>
#include <stdint.h>

void random_bytes(void *out, size_t size);        /* from getrandom(2), suitable for secrets */
void random_secret(char *out, size_t characters); /* characters of [0-9A-Za-z] and a NUL: characters + 1 bytes */
typedef struct Random {
    uint64_t state; /* any value is a seed */
} Random;
uint64_t random_next(Random *random);                  /* splitmix64; not for secrets */
uint64_t random_below(Random *random, uint64_t limit); /* 0 … limit-1; limit > 0 */
