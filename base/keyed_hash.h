/*
 * A hash with a key, for tables in memory that are filled with bytes of strangers: without the key
 * nobody can choose names that stand on one place of a table. Each step multiplies secret words by
 * what comes in, 64 by 64 bits, and folds the 128 bits of the product. Not for anything that is
 * stored, shown or sent, which would tell of the key: base/checksum.h is for these.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct HashKey {
    uint64_t first, last, middle, end; /* the latter two are odd */
} HashKey;

/* That of this process: random, made at the first call. Any thread. */
const HashKey *hash_key_of_process(void);
/* For who counts instructions, which have to repeat: that of this process is not random. Before any
 * hash. */
void hash_key_fix(uint64_t seed);
/* A key for tests, which want the same one each time. */
HashKey hash_key_of_seed(uint64_t seed);

static inline uint64_t hash_fold(uint64_t a, uint64_t b) {
    __extension__ typedef unsigned __int128 Product;
    Product product = (Product)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Of two hashes, in this order. */
static inline uint64_t keyed_hash_join(const HashKey *key, uint64_t a, uint64_t b) {
    return hash_fold(hash_fold(a ^ key->first, b ^ key->last), key->end);
}

/*
 * For who has loaded both ends of the bytes, in a few instructions: `head` and `tail` are the first
 * and the last eight of them; of fewer than eight bytes they hold all, and are a function of these
 * and the size.
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
