#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "mapping/pathset.h"

static void refuses(const char *path, const char *what) {
    PathSet *set = pathset_new();
    uint32_t slot;
    Error error = {0};
    assert_int_equal(pathset_add(set, span_of(path), &slot, &error), -EINVAL);
    if (!strstr(error.text, what)) fail_msg("%s: %s", path, error.text);
    assert_int_equal(set->slot_count, 0);
    pathset_free(set);
}

static void wrong_paths_are_refused_with_their_place(void **state) {
    refuses("", "empty");
    refuses("a..b", "byte 2");
    refuses(".a", "byte 0");
    refuses("$.", "byte 2");
    refuses("$..a", "byte 2");
    refuses("$.a[*]", "byte 3");
    refuses("$['a']", "byte 1");
    refuses("a.", "byte 2");
    refuses("..", "byte 0");
    refuses("a[", "byte 1");
    refuses("a[]", "byte 1");
    refuses("a[x]", "byte 1");
    refuses("a[-1]", "byte 1");
    refuses("a[01]", "byte 1");
    refuses("a[2147483648]", "byte 1");
    refuses("a[0]b", "byte 4");
    refuses("a]b", "byte 1");
    refuses("a.[0]", "byte 2");
    refuses("a[\"x", "byte 1");
    refuses("a[\"x\"", "byte 1");
    refuses("a[\"x\\\"]", "byte 1");
    refuses("a[\"\\q\"]", "no such escape");
    refuses("a[\"\\ud800\"]", "surrogate");
    refuses("a\xff", "UTF-8");
    char deep[2 * 130] = "a";
    for (size_t i = 1; i < 129; i++) memcpy(deep + i * 2 - 1, ".a", 3);
    refuses(deep, "128 steps");
    char *lengthy = malloc(5000);
    memset(lengthy, 'a', 4999);
    lengthy[4999] = 0;
    refuses(lengthy, "4096 bytes");
    free(lengthy);
}

static void equal_paths_share_a_slot(void **state) {
    static const struct {
        const char *path;
        uint32_t slot;
    } rows[] = {{".", 0},
                {"a", 1},
                {"a[1]", 2},
                {"a.1", 2},
                {"a[\"1\"]", 3},
                {"[\"a\"]", 1},
                {"[\"a\"][1]", 2},
                {"b[\"\"]", 4},
                {"a", 1},
                {"[\"\\u0061\"].1", 2},
                {"a.2147483647", 5},
                {"a.2147483648", 6},
                {"$", 0},
                {"$.a", 1},
                {"$[\"a\"][1]", 2},
                {"$a", 7},
                {"[\"$\"].a", 8},
                {"$.$.a", 8}};
    PathSet *set = pathset_new();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint32_t slot;
        assert_int_equal(pathset_add(set, span_of(rows[i].path), &slot, NULL), 0);
        assert_int_equal(slot, rows[i].slot);
    }
    assert_int_equal(pathset_seal(set, NULL), 0);
    const PathNode *root = set->nodes;
    assert_int_equal(root->key_count, 4);
    assert_int_equal(root->slot_count, 1);
    pathset_free(set);
}

/* A number that is quoted in one path at each step and bare in another leads to sets of paths that
 * do not repeat: bounded, not endless. */
static void places_are_bounded(void **state) {
    PathSet *set = pathset_new();
    for (int quoted = 0; quoted < 40; quoted++) {
        char path[512];
        size_t at = (size_t)sprintf(path, "x");
        for (int i = 0; i < 40; i++) at += (size_t)sprintf(path + at, i == quoted ? "[\"1\"]" : ".1");
        uint32_t slot;
        assert_int_equal(pathset_add(set, span_of(path), &slot, NULL), 0);
    }
    Error error = {0};
    assert_int_equal(pathset_seal(set, &error), -EINVAL);
    assert_non_null(strstr(error.text, "65536"));
    pathset_free(set);
}

static void keys_are_found_in_small_and_large_nodes(void **state) {
    for (int count = 1; count < 200; count += 7) {
        PathSet *set = pathset_new();
        uint32_t slot;
        char path[64];
        for (int i = 0; i < count; i++) {
            snprintf(path, sizeof path, i % 2 ? "k%d" : "a_rather_long_name_%d_of_a_key", i);
            assert_int_equal(pathset_add(set, span_of(path), &slot, NULL), 0);
        }
        assert_int_equal(pathset_seal(set, NULL), 0);
        for (int i = 0; i < count + 5; i++) {
            int size = snprintf(path, sizeof path, i % 2 ? "k%d" : "a_rather_long_name_%d_of_a_key", i);
            const PathKey *key = pathset_find(set, set->nodes, path, (size_t)size, path + sizeof path);
            const PathKey *tight = pathset_find(set, set->nodes, path, (size_t)size, path + size);
            assert_ptr_equal(key, tight);
            assert_int_equal(key != NULL, i < count);
            if (key) assert_int_equal(set->slots[set->nodes[key->node].slot_first], i);
            if (key) assert_null(pathset_find(set, set->nodes, path, (size_t)size + 1, path + sizeof path));
        }
        pathset_free(set);
    }
}

/* The places that are looked at until all keys of a node were found. */
static uint64_t table_steps(const PathSet *set, const PathNode *node) {
    uint64_t steps = 0;
    const uint32_t *table = set->table + node->table_first;
    for (uint32_t i = node->key_first; i < node->key_first + node->key_count; i++) {
        const PathKey *key = set->keys + i;
        uint64_t at = pathset_hash(set, key->text, key->size, key->head, key->tail);
        do steps++;
        while (table[at++ & node->table_mask] != i + 1);
    }
    return steps;
}

/* Names that are the same but for a number, wherever it stands in them, take no longer than
 * others. */
static void like_names_are_found_in_no_time(void **state) {
    static const char name[] = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrst";
    for (int size = 8; size < (int)sizeof name; size += 5) {
        for (int before = 0; before <= size - 4; before++) {
            PathSet *set = pathset_new();
            uint32_t slot;
            for (int i = 0; i < 400; i++) {
                char path[64];
                int after = size - 4 - before;
                snprintf(path, sizeof path, "%.*s%04d%.*s", before, name, i, after, name + before);
                assert_int_equal(pathset_add(set, span_of(path), &slot, NULL), 0);
            }
            assert_int_equal(pathset_seal(set, NULL), 0);
            assert_true(set->nodes->table_mask > 0);
            uint64_t steps = table_steps(set, set->nodes);
            if (steps >= 3 * 400) print_error("%d bytes, %d before the number: %lu steps for 400 keys\n", size, before, steps);
            assert_true(steps < 3 * 400);
            pathset_free(set);
        }
    }
}

/* A hash without a key, which a stranger can compute as well. */
static uint64_t known_hash(const char *text, size_t size) {
    const uint64_t factor = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t head = text_load8(text), tail = text_load8(text + size - 8);
    uint64_t hash = (head ^ (tail << 23 | tail >> 41) ^ (uint64_t)size) * factor;
    hash = (hash ^ hash >> 32) * factor;
    return hash ^ hash >> 32;
}

#define CHOSEN 990
#define CHOSEN_MASK 2047 /* of the table of so many keys */

/* Names of fields that somebody chose so that all would stand on one place of the table of another
 * process. */
static void chosen_names_are_found_in_no_time(void **state) {
    HashKey other = hash_key_of_seed(42);
    for (int round = 0; round < 2; round++) {
        PathSet *set = pathset_new();
        uint32_t slot;
        int found = 0;
        for (unsigned i = 0; found < CHOSEN; i++) {
            char path[32];
            size_t size = (size_t)snprintf(path, sizeof path, "field_%08x", i);
            uint64_t hash = round == 0 ? known_hash(path, size) : keyed_hash(&other, path, size);
            if ((hash & CHOSEN_MASK) != 7) continue;
            assert_int_equal(pathset_add(set, span_of(path), &slot, NULL), 0);
            found++;
        }
        assert_int_equal(pathset_seal(set, NULL), 0);
        assert_int_equal(set->nodes->table_mask, CHOSEN_MASK);
        uint64_t steps = table_steps(set, set->nodes);
        if (steps >= 3 * CHOSEN) print_error("round %d: %lu steps for %d keys\n", round, steps, CHOSEN);
        assert_true(steps < 3 * CHOSEN);
        pathset_free(set);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_paths_are_refused_with_their_place),
        cmocka_unit_test(equal_paths_share_a_slot),
        cmocka_unit_test(places_are_bounded),
        cmocka_unit_test(keys_are_found_in_small_and_large_nodes),
        cmocka_unit_test(like_names_are_found_in_no_time),
        cmocka_unit_test(chosen_names_are_found_in_no_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
