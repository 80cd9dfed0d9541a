/*
 * A hash with a key, for hash tables in memory whose keys come from untrusted input. Without the
 * key nobody can choose names that collide. Each step multiplies secret words by the input, 64 by
 * 64 bits, and folds the 128 bits of the product. Do not store, show or send such a hash: it would
 * reveal the key. base/checksum.h is for that.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct HashKey {
    uint64_t first, last, middle, end; /* the latter two are odd */
} HashKey;

/* The key of this process. It is random and made at the first call. Any thread. */
const HashKey *hash_key_of_process(void);
/* Sets the key of this process to a fixed value, for benchmarks that count instructions. Must be
 * called before the first hash. */
void hash_key_fix(uint64_t seed);
/* A key for tests, which is the same for the same seed. */
HashKey hash_key_of_seed(uint64_t seed);

static inline uint64_t hash_fold(uint64_t a, uint64_t b) {
    __extension__ typedef unsigned __int128 Product;
    Product product = (Product)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Joins two hashes. Their order counts. */
static inline uint64_t keyed_hash_join(const HashKey *key, uint64_t a, uint64_t b) {
    return hash_fold(hash_fold(a ^ key->first, b ^ key->last), key->end);
}

/*
 * The same hash in a few instructions, for a caller that has already loaded both ends of the bytes.
 * `head` and `tail` are the first and the last eight bytes. If there are fewer than eight bytes,
 * `head` and `tail` together contain all of them, and depend only on these bytes and the size.
 */
static inline uint64_t keyed_hash_of_ends(const HashKey *key, const char *data, size_t size, uint64_t head, uint64_t tail) {
    uint64_t hash = hash_fold(head ^ key->first, tail ^ key->last);
    for (size_t at = 8; at + 8 < size; at += 8) {
        uint64_t word;
        memcpy(&word, data + at, sizeof word);
        hash = hash_fold(hash ^ word, key->middle);
    }
    return hash_fold(hash ^ size, key->end);
}

/* `data` may be NULL when the size is 0. */
static inline uint64_t keyed_hash(const HashKey *key, const void *data, size_t size) {
    const char *text = data;
    uint64_t head = 0, tail = 0;
    if (size >= 8) {
        memcpy(&head, text, 8);
        memcpy(&tail, text + size - 8, 8);
    } else if (size >= 4) {
        memcpy(&head, text, 4);
        memcpy(&tail, text + size - 4, 4);
    } else if (size > 0) {
        head = (unsigned char)text[0];
        tail = (uint64_t)(unsigned char)text[size / 2] << 8 | (unsigned char)text[size - 1];
    }
    return keyed_hash_of_ends(key, text, size, head, tail);
}
