#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/checksum.h"
#include "base/keyed_hash.h"

static void all_bytes_and_the_key_count(void **state) {
    (void)state;
    HashKey key = hash_key_of_seed(1), other = hash_key_of_seed(2);
    char text[80];
    memset(text, 'a', sizeof text);
    for (size_t size = 0; size <= sizeof text; size++) {
        uint64_t hash = keyed_hash(&key, text, size);
        char copy[sizeof text + 1]; /* at another address */
        memcpy(copy + 1, text, sizeof text);
        assert_true(hash == keyed_hash(&key, copy + 1, size));
        assert_true(hash != keyed_hash(&other, text, size));
        assert_true(size == 0 || hash != keyed_hash(&key, text, size - 1));
        for (size_t at = 0; at < size; at++) {
            text[at] ^= 1;
            assert_true(hash != keyed_hash(&key, text, size));
            text[at] ^= 1;
        }
    }
    assert_true(keyed_hash_join(&key, 1, 2) != keyed_hash_join(&key, 2, 1));
    assert_ptr_equal(hash_key_of_process(), hash_key_of_process());
    HashKey before = *hash_key_of_process(), seeded = hash_key_of_seed(5);
    hash_key_fix(5);
    assert_memory_equal(hash_key_of_process(), &seeded, sizeof seeded);
    assert_memory_not_equal(&before, &seeded, sizeof seeded);
}

#define PLACES 2048
#define NAMES 990

/* How many places of a table, searched in turn, are looked at until each of the names has been
 * found. */
static unsigned searches(const HashKey *key, char names[NAMES][24]) {
    static uint16_t table[PLACES];
    unsigned looks = 0;
    memset(table, 0, sizeof table);
    for (unsigned i = 0; i < NAMES; i++) {
        size_t at = keyed_hash(key, names[i], strlen(names[i])) % PLACES;
        for (looks++; table[at]; looks++) at = (at + 1) % PLACES;
        table[at] = 1;
    }
    return looks;
}

/* Names that are chosen for one key, or for a hash that has none, are as any others for the next
 * key. */
static void nobody_can_choose_names_for_a_key_that_he_does_not_know(void **state) {
    (void)state;
    static char names[NAMES][24];
    HashKey known = hash_key_of_seed(77);
    for (unsigned round = 0; round < 4; round++) {
        unsigned found = 0;
        for (unsigned i = 0; found < NAMES; i++) {
            char *name = names[found];
            (void)snprintf(name, sizeof names[found], round % 2 ? "%u" : "a_field_no_%u", i);
            size_t size = strlen(name);
            uint64_t hash = round < 2 ? keyed_hash(&known, name, size) : checksum_of(name, size);
            found += hash % PLACES == 5;
        }
        if (round < 2) assert_true(searches(&known, names) > 100 * NAMES);
        for (uint64_t seed = 1000; seed < 1100; seed++) {
            HashKey key = hash_key_of_seed(seed);
            unsigned looks = searches(&key, names);
            if (looks >= 2 * NAMES) print_error("round %u, seed %lu: %u looks for %d names\n", round, seed, looks, NAMES);
            assert_true(looks < 2 * NAMES);
        }
        assert_true(searches(hash_key_of_process(), names) < 2 * NAMES);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_bytes_and_the_key_count),
        cmocka_unit_test(nobody_can_choose_names_for_a_key_that_he_does_not_know),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
