#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/arena.h"
#include "base/random.h"

static void allocations_are_aligned_and_apart(void **state) {
    Arena arena = {0};
    Random random = {.state = 1};
    unsigned char *pieces[500];
    size_t sizes[500];
    for (size_t i = 0; i < 500; i++) {
        sizes[i] = random_below(&random, i % 50 == 0 ? 200000 : 900);
        pieces[i] = arena_alloc(&arena, sizes[i]);
        assert_int_equal((uintptr_t)pieces[i] % 16, 0);
        memset(pieces[i], (int)(i % 256), sizes[i]);
    }
    for (size_t i = 0; i < 500; i++)
        for (size_t at = 0; at < sizes[i]; at++) assert_int_equal(pieces[i][at], i % 256);
    arena_deinit(&arena);
    assert_null(arena.blocks);
}

static void nothing_still_has_a_place_of_its_own(void **state) {
    Arena arena = {0};
    assert_ptr_not_equal(arena_alloc(&arena, 0), arena_alloc(&arena, 0));
    arena_deinit(&arena);
}

static void zalloc_clears_memory_that_was_used(void **state) {
    Arena arena = {0};
    memset(arena_alloc(&arena, 1000), 'x', 1000);
    arena_reset(&arena);
    const char *zeros = arena_zalloc(&arena, 1000);
    for (int i = 0; i < 1000; i++) assert_int_equal(zeros[i], 0);
    arena_deinit(&arena);
}

static void copies_end_with_nul(void **state) {
    Arena arena = {0};
    assert_string_equal(arena_copy(&arena, (Span){.data = "hello world", .size = 5}), "hello");
    assert_string_equal(arena_copy(&arena, (Span){0}), "");
    arena_deinit(&arena);
}

static void reset_keeps_one_block_and_counts_from_zero(void **state) {
    Arena arena = {0};
    void *first = arena_alloc(&arena, 100);
    (void)arena_alloc(&arena, 1000000);
    assert_true(arena.used_bytes >= 1000100);
    arena_reset(&arena);
    assert_int_equal(arena.used_bytes, 0);
    assert_ptr_equal(arena_alloc(&arena, 100), first);

    /* a large one only: nothing of usual size is there to keep */
    arena_deinit(&arena);
    (void)arena_alloc(&arena, 1000000);
    arena_reset(&arena);
    assert_null(arena.blocks);
    arena_deinit(&arena);
}

static void a_large_allocation_does_not_waste_the_open_block(void **state) {
    Arena arena = {0};
    char *small = arena_alloc(&arena, 16);
    (void)arena_alloc(&arena, 1000000);
    assert_ptr_equal(arena_alloc(&arena, 16), small + 16);
    arena_deinit(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocations_are_aligned_and_apart),          cmocka_unit_test(nothing_still_has_a_place_of_its_own),
        cmocka_unit_test(zalloc_clears_memory_that_was_used),         cmocka_unit_test(copies_end_with_nul),
        cmocka_unit_test(reset_keeps_one_block_and_counts_from_zero), cmocka_unit_test(a_large_allocation_does_not_waste_the_open_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
