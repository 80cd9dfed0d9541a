#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config/definition.h"

static void slugs_are_valid_ids(void **state) {
    static const struct {
        const char *name, *slug;
    } cases[] = {
        {"My Source", "my-source"},
        {"  --My__Source!!  ", "my__source"},
        {"P\xC5\x99\xC3\xADli\xC5\xA1 \xC5\xBElu\xC5\xA5ou\xC4\x8Dk\xC3\xBD k\xC5\xAF\xC5\x88", "prilis-zlutoucky-kun"},
        {"Stra\xC3\x9F"
         "e \xC3\x86ther",
         "strasse-aether"},
        {"e\xCC\x81t\xC3\xA9", "ete"},
        {"don't", "dont"},
        {"_x", "x"},
        {"\xE6\x97\xA5\xE6\x9C\xAC", ""},
        {"", ""},
        {"a\xFF"
         "b",
         "a-b"},
        {"a/b.c", "a-b-c"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *slug = identifier_slug(cases[i].name);
        assert_string_equal(slug, cases[i].slug);
        assert_true(slug[0] == 0 || identifier_valid(slug));
        free(slug);
    }
}

static void a_long_slug_is_cut_and_does_not_end_in_a_gap(void **state) {
    char name[201];
    memset(name, 'a', 200);
    name[200] = 0;
    char *slug = identifier_slug(name);
    assert_int_equal(strlen(slug), 48);
    free(slug);
    name[47] = ' ';
    slug = identifier_slug(name);
    assert_int_equal(strlen(slug), 47);
    free(slug);
}

static void ids_are_checked(void **state) {
    assert_true(identifier_valid("a"));
    assert_true(identifier_valid("0-a_b"));
    static const char *const bad[] = {"",    "-a",  "_a",       "A",   "a b",
                                      "a/b", "a.b", "\xC3\xA9", "a\n", "0123456789012345678901234567890123456789012345678"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(identifier_valid(bad[i]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slugs_are_valid_ids),
        cmocka_unit_test(a_long_slug_is_cut_and_does_not_end_in_a_gap),
        cmocka_unit_test(ids_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
