#include "base/random.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/error.h"

void random_bytes(void *out, size_t size) {
    char *at = out;
    while (size > 0) {
        ssize_t got = getrandom(at, size, 0);
        if (got < 0) {
            check(errno == EINTR);
            continue;
        }
        at += got;
        size -= (size_t)got;
    }
}

void random_secret(char *out, size_t characters) {
    static const char alphabet[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    unsigned char pool[64];
    size_t left = 0;

    for (size_t i = 0; i < characters;) {
        if (left == 0) {
            random_bytes(pool, sizeof pool);
            left = sizeof pool;
        }
        unsigned char byte = pool[--left];
        /* 248 is the last multiple of 62: without the cut the first 8 characters would come more
         * often. */
        if (byte < 248) out[i++] = alphabet[byte % 62];
    }
    out[characters] = '\0';
    explicit_bzero(pool, sizeof pool);
}

uint64_t random_next(Random *random) {
    uint64_t z = random->state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

uint64_t random_below(Random *random, uint64_t limit) {
    check(limit > 0);
    uint64_t skip = -limit % limit; /* 2^64 mod limit: values below it would favour the small results */
    uint64_t value;
    do value = random_next(random);
    while (value < skip);
    return value % limit;
}
