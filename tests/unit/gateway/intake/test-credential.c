#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/intake/credential.h"

#define SECRET "abcdefghijklmnopqrstuvwxyzABCDEF"

static void matches(void **state) {
    (void)state;
    assert_true(credential_matches(SECRET, SPAN(SECRET)));
    assert_false(credential_matches(SECRET, SPAN(SECRET "x")));
    assert_false(credential_matches(SECRET, SPAN("abcdefghijklmnopqrstuvwxyzABCDE")));
    assert_false(credential_matches(SECRET, SPAN("bbcdefghijklmnopqrstuvwxyzABCDEF")));
    assert_false(credential_matches(SECRET, SPAN("abcdefghijklmnopqrstuvwxyzABCDEG")));
    assert_false(credential_matches(SECRET, (Span){0}));
}

static void no_source_matches_nothing(void **state) {
    (void)state;
    assert_false(credential_matches(NULL, (Span){0}));
    assert_false(credential_matches(NULL, SPAN("")));
    assert_false(credential_matches("", SPAN("")));
    assert_false(credential_matches(NULL, SPAN(SECRET)));
    assert_false(credential_matches(SECRET, SPAN(SECRET "\0\0")));
}

static void longest(void **state) {
    (void)state;
    char secret[CREDENTIAL_BYTES_MAX + 2];
    memset(secret, 'a', sizeof secret);
    secret[CREDENTIAL_BYTES_MAX] = 0;
    assert_true(credential_matches(secret, (Span){secret, CREDENTIAL_BYTES_MAX}));
    secret[CREDENTIAL_BYTES_MAX] = 'a';
    assert_false(credential_matches(SECRET, (Span){secret, CREDENTIAL_BYTES_MAX + 1}));
}

static void each_bit_counts(void **state) {
    (void)state;
    char secret[CREDENTIAL_BYTES_MAX + 1] = "", given[CREDENTIAL_BYTES_MAX];
    for (size_t size = 1; size <= CREDENTIAL_BYTES_MAX; size++) {
        memset(secret, 'a', size);
        memcpy(given, secret, size);
        for (size_t i = 0; i < size; i++) {
            for (unsigned bit = 1; bit < 256; bit <<= 1) {
                given[i] = (char)(secret[i] ^ (char)bit);
                assert_false(credential_matches(secret, (Span){given, size}));
            }
            given[i] = secret[i];
        }
        assert_true(credential_matches(secret, (Span){given, size}));
    }
}

static void headers(void **state) {
    (void)state;
    const Span none = {0};
    assert_true(credential_in_headers(SECRET, SPAN("Bearer " SECRET), none));
    assert_true(credential_in_headers(SECRET, SPAN("bEARER  " SECRET), none));
    assert_false(credential_in_headers(SECRET, SPAN("Bearer" SECRET), none));
    assert_false(credential_in_headers(SECRET, SPAN(SECRET), none));
    assert_true(credential_in_headers(SECRET, none, SPAN(SECRET)));
    assert_true(credential_in_headers(SECRET, SPAN("Bearer other"), SPAN(SECRET)));
    assert_false(credential_in_headers(SECRET, none, SPAN("x")));
    assert_false(credential_in_headers(SECRET, none, none));
    assert_false(credential_in_headers(NULL, SPAN("Bearer " SECRET), SPAN(SECRET)));
    /* user:SECRET, with and without padding; :SECRET; a user alone */
    assert_true(credential_in_headers(SECRET, SPAN("Basic dXNlcjphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ekFCQ0RFRg=="), none));
    assert_true(credential_in_headers(SECRET, SPAN("basic dXNlcjphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ekFCQ0RFRg"), none));
    assert_true(credential_in_headers(SECRET, SPAN("Basic OmFiY2RlZmdoaWprbG1ub3BxcnN0dXZ3eHl6QUJDREVG"), none));
    assert_false(credential_in_headers(SECRET, SPAN("Basic YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXpBQkNERUY="), none));
    assert_false(credential_in_headers(SECRET, SPAN("Basic !!!!"), none));
    assert_false(credential_in_headers(SECRET, SPAN("Basic "), none));
}

static void a_long_basic_password_is_none(void **state) {
    (void)state;
    char text[4096] = "Basic ";
    memset(text + 6, 'Q', sizeof text - 6);
    assert_false(credential_in_headers(SECRET, (Span){text, sizeof text}, (Span){0}));
}

/* What OpenSSL's decoder would pass over or pad by itself is not base64 here; the alphabet for URLs
 * is. */
static void base64_is_decoded_strictly(void **state) {
    (void)state;
    static const struct {
        Span header;
        bool matches;
    } cases[] = {
        {SPAN("Basic OmE/Yj5jPw=="), true}, /* ":a?b>c?" */
        {SPAN("Basic OmE_Yj5jPw"), true},
        {SPAN("Basic OmE_Yj5jPw="), true},
        {SPAN("Basic OmE/ Yj5jPw=="), false},
        {SPAN("Basic OmE/Yj5jPw==\n"), false},
        {SPAN("Basic Om=/Yj5jPw=="), false},
        {SPAN("Basic OmE/Yj5jP"), false},
        {SPAN("Basic =="), false},
        {SPAN("Basic "), false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(credential_in_headers("a?b>c?", cases[i].header, (Span){0}), cases[i].matches);
    /* Longer than any user and password. */
    char longest[4096] = "Basic ";
    memset(longest + 6, 'A', sizeof longest - 6);
    assert_false(credential_in_headers(SECRET, (Span){longest, sizeof longest}, (Span){0}));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches),
        cmocka_unit_test(no_source_matches_nothing),
        cmocka_unit_test(longest),
        cmocka_unit_test(each_bit_counts),
        cmocka_unit_test(headers),
        cmocka_unit_test(base64_is_decoded_strictly),
        cmocka_unit_test(a_long_basic_password_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
