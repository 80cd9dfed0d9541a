#include "sinks/nats_key.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* The pair in NATS' own documentation of nkeys. */
#define SEED "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
#define PUBLIC "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"

static void a_seed_has_its_public_key(void **state) {
    char public[NATS_KEY_SIZE];
    assert_int_equal(nats_key_public(SPAN(SEED), public, NULL), 0);
    assert_string_equal(public, PUBLIC);
    assert_int_equal(nats_key_public(SPAN(" \t" SEED "\r\n"), public, NULL), 0);
    assert_string_equal(public, PUBLIC);
}

static void each_wrong_letter_is_noticed(void **state) {
    char seed[sizeof SEED], public[NATS_KEY_SIZE];
    for (size_t i = 0; i + 1 < sizeof SEED; i++) {
        for (const char *other = "A2Za1"; *other; other++) {
            memcpy(seed, SEED, sizeof seed);
            if (seed[i] == *other) continue;
            seed[i] = *other;
            Error error = {0};
            int r = nats_key_public((Span){seed, sizeof seed - 1}, public, &error);
            /* The last letter has bits that mean nothing. */
            if (i + 2 == sizeof SEED && r == 0) continue;
            assert_int_equal(r, -EINVAL);
            assert_null(strstr(error.text, "CSSL3UAH"));
        }
    }
}

static void what_is_no_seed_is_refused(void **state) {
    static const char *const wrong[] = {
        "", " ", "SU", PUBLIC, SEED "A", "-----BEGIN USER NKEY SEED-----", "SAAJVQKLQKKKZTDGQKPP7DAZC4KQPXX3TUQ2ZQX57WZFIDQZ5ZJ2ZJ2ZJU"};
    char public[NATS_KEY_SIZE];
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_int_equal(nats_key_public(span_of(wrong[i]), public, NULL), -EINVAL);
    for (size_t size = 0; size + 1 < sizeof SEED; size++) assert_int_equal(nats_key_public((Span){SEED, size}, public, NULL), -EINVAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_seed_has_its_public_key),
        cmocka_unit_test(each_wrong_letter_is_noticed),
        cmocka_unit_test(what_is_no_seed_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
