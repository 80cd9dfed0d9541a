#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/random.h"

static void the_sequence_is_splitmix64(void **state) {
    Random random = {.state = 1234567};
    static const uint64_t expected[] = {6457827717110365317u, 3203168211198807973u, 9817491932198370423u, 4593380528125082431u};
    for (size_t i = 0; i < 4; i++) assert_true(random_next(&random) == expected[i]);
}

static void below_stays_below_and_reaches_all(void **state) {
    Random random = {0};
    unsigned seen[7] = {0};
    for (int i = 0; i < 70000; i++) seen[random_below(&random, 7)]++;
    for (int i = 0; i < 7; i++) assert_in_range(seen[i], 9000, 11000);
    assert_int_equal(random_below(&random, 1), 0);
    for (int i = 0; i < 100; i++) assert_true(random_below(&random, (1ul << 63) + 1) <= 1ul << 63);
}

static void bytes_fill_all_and_only_what_was_asked(void **state) {
    unsigned char bytes[1002], seen[1000] = {0};
    memset(bytes, 0, sizeof bytes);
    for (int round = 0; round < 20; round++) {
        random_bytes(bytes + 1, 1000);
        for (size_t i = 0; i < 1000; i++) seen[i] |= bytes[i + 1];
    }
    for (size_t i = 0; i < 1000; i++) assert_int_not_equal(seen[i], 0);
    assert_int_equal(bytes[0], 0);
    assert_int_equal(bytes[1001], 0);
}

static void secrets_use_the_whole_alphabet(void **state) {
    char secret[20002];
    unsigned seen[256] = {0};
    secret[20001] = '!';
    random_secret(secret, 20000);
    assert_int_equal(strlen(secret), 20000);
    assert_int_equal(secret[20001], '!');
    for (size_t i = 0; i < 20000; i++) seen[(unsigned char)secret[i]]++;
    for (int byte = 0; byte < 256; byte++) {
        if (strchr("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", byte) && byte) {
            assert_in_range(seen[byte], 180, 500); /* 323 expected, 18 is one deviation */
        } else {
            assert_int_equal(seen[byte], 0);
        }
    }
    random_secret(secret, 0);
    assert_string_equal(secret, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sequence_is_splitmix64),
        cmocka_unit_test(below_stays_below_and_reaches_all),
        cmocka_unit_test(bytes_fill_all_and_only_what_was_asked),
        cmocka_unit_test(secrets_use_the_whole_alphabet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
