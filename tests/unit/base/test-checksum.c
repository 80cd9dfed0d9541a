#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/checksum.h"
#include "base/random.h"

static void known_values(void **state) {
    assert_true(checksum_of(NULL, 0) == 0x2D06800538D394C2u);
    assert_true(checksum_of("", 0) == 0x2D06800538D394C2u);
}

static void pieces_give_the_same_as_the_whole(void **state) {
    static unsigned char bytes[5000];
    Random random = {.state = 3};
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)random_next(&random);

    Checksum *checksum = checksum_new();
    for (int round = 0; round < 200; round++) {
        size_t size = random_below(&random, sizeof bytes + 1), at = 0;
        checksum_reset(checksum);
        checksum_add(checksum, NULL, 0);
        while (at < size) {
            size_t piece = random_below(&random, size - at) + 1;
            checksum_add(checksum, bytes + at, piece);
            at += piece;
        }
        assert_true(checksum_end(checksum) == checksum_of(bytes, size));
        assert_true(checksum_end(checksum) == checksum_of(bytes, size));
    }
    checksum_free(checksum);
    checksum_free(NULL);
}

static void a_flipped_bit_is_seen(void **state) {
    unsigned char bytes[300] = {0};
    uint64_t before = checksum_of(bytes, sizeof bytes);
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        assert_true(checksum_of(bytes, sizeof bytes) != before);
        bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    assert_true(checksum_of(bytes, sizeof bytes - 1) != before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_values),
        cmocka_unit_test(pieces_give_the_same_as_the_whole),
        cmocka_unit_test(a_flipped_bit_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
