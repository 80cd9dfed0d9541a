#include "tests/unit/storage/fixture.h"

#include "base/cursor.h"
#include "storage/catalog.h"

static void test_put_get_remove(void **state) {
    Fixture fixture;
    Span document;
    fixture_init(&fixture, 1 << 20);
    Txn *txn = fixture_write(&fixture);
    assert_int_equal(catalog_get(txn, CATALOG_TASKS, SPAN("t"), &document, NULL), CATALOG_NOT_FOUND);
    assert_ok(catalog_put(txn, CATALOG_TASKS, SPAN("t"), SPAN("{\"a\":1}"), error));
    assert_ok(catalog_put(txn, CATALOG_TASKS, SPAN("t"), SPAN("{\"a\":2}"), error));
    assert_ok(catalog_put(txn, CATALOG_TASKS, SPAN("empty"), SPAN(""), error));
    assert_int_equal(catalog_get(txn, CATALOG_TOKENS, SPAN("t"), &document, NULL), CATALOG_NOT_FOUND); /* another collection */
    fixture_commit(txn);
    fixture_reopen(&fixture);
    txn = fixture_write(&fixture);
    assert_ok(catalog_get(txn, CATALOG_TASKS, SPAN("t"), &document, error));
    assert_true(span_equal(document, SPAN("{\"a\":2}")));
    assert_ok(catalog_get(txn, CATALOG_TASKS, SPAN("empty"), &document, error));
    assert_int_equal(document.size, 0);
    assert_ok(catalog_remove(txn, CATALOG_TASKS, SPAN("t"), error));
    assert_ok(catalog_remove(txn, CATALOG_TASKS, SPAN("t"), error));
    assert_int_equal(catalog_get(txn, CATALOG_TASKS, SPAN("t"), &document, NULL), CATALOG_NOT_FOUND);
    txn_abort(txn);
    fixture_deinit(&fixture);
}

/* Keys come from people, too: too long is not found, and cannot be stored. */
static void test_keys_of_any_length(void **state) {
    Fixture fixture;
    Span document;
    char key[600];
    memset(key, 'k', sizeof key);
    fixture_init(&fixture, 1 << 20);
    Txn *txn = fixture_write(&fixture);
    Span longest = {.data = key, .size = 510}, longer = {.data = key, .size = 511};
    assert_ok(catalog_put(txn, CATALOG_META, longest, SPAN("1"), error));
    assert_ok(catalog_get(txn, CATALOG_META, longest, &document, error));
    assert_fails(catalog_put(txn, CATALOG_META, longer, SPAN("1"), error), -EINVAL);
    assert_fails(catalog_put(txn, CATALOG_META, (Span){0}, SPAN("1"), error), -EINVAL);
    assert_int_equal(catalog_get(txn, CATALOG_META, longer, &document, NULL), CATALOG_NOT_FOUND);
    assert_int_equal(catalog_get(txn, CATALOG_META, (Span){0}, &document, NULL), CATALOG_NOT_FOUND);
    assert_ok(catalog_remove(txn, CATALOG_META, longer, error));
    txn_abort(txn);
    fixture_deinit(&fixture);
}

typedef struct Seen {
    char text[200];
    int most;
} Seen;

static int see(void *context, Span key, Span document, Error *error) {
    Seen *seen = context;
    if (seen->most-- == 0) return -ECANCELED;
    strncat(seen->text, key.data, key.size);
    strcat(seen->text, "=");
    strncat(seen->text, document.data, document.size);
    strcat(seen->text, " ");
    return 0;
}

static void test_visit_in_order(void **state) {
    Fixture fixture;
    fixture_init(&fixture, 1 << 20);
    Txn *txn = fixture_write(&fixture);
    static const char *const keys[] = {"b", "a", "ab", "aa", "c"};
    for (size_t i = 0; i < 5; i++) assert_ok(catalog_put(txn, CATALOG_VERSIONS, span_of(keys[i]), span_of(keys[i]), error));
    assert_ok(catalog_put(txn, CATALOG_TOKENS, SPAN("a"), SPAN("x"), error));
    Seen all = {.most = 9}, prefixed = {.most = 9}, none = {.most = 9}, two = {.most = 2};
    assert_ok(catalog_visit(txn, CATALOG_VERSIONS, (Span){0}, see, &all, error));
    assert_string_equal(all.text, "a=a aa=aa ab=ab b=b c=c ");
    assert_ok(catalog_visit(txn, CATALOG_VERSIONS, SPAN("a"), see, &prefixed, error));
    assert_string_equal(prefixed.text, "a=a aa=aa ab=ab ");
    assert_ok(catalog_visit(txn, CATALOG_AUDIT, (Span){0}, see, &none, error));
    assert_string_equal(none.text, "");
    assert_int_equal(catalog_visit(txn, CATALOG_VERSIONS, (Span){0}, see, &two, NULL), -ECANCELED);
    assert_string_equal(two.text, "a=a aa=aa ");
    txn_abort(txn);
    fixture_deinit(&fixture);
}

static void test_damage(void **state) {
    Fixture fixture;
    Span document;
    Seen seen = {.most = 9};
    fixture_init(&fixture, 1 << 20);
    Txn *txn = fixture_write(&fixture);
    assert_ok(catalog_put(txn, CATALOG_META, SPAN("k"), SPAN("document"), error));
    assert_ok(catalog_put(txn, CATALOG_META, SPAN("l"), SPAN("other"), error));
    fixture_commit(txn);
    for (size_t bit = 0; bit < 8 * (2 + 8 + 8); bit++) {
        fixture_flip(&fixture, DB_CATALOG, SPAN("Mk"), bit);
        txn = fixture_read(&fixture);
        assert_fails(catalog_get(txn, CATALOG_META, SPAN("k"), &document, error), -EBADMSG);
        /* It costs this one only. */
        seen = (Seen){.most = 9};
        assert_ok(catalog_visit(txn, CATALOG_META, (Span){0}, see, &seen, error));
        assert_string_equal(seen.text, "l=other ");
        txn_abort(txn);
        fixture_flip(&fixture, DB_CATALOG, SPAN("Mk"), bit);
    }
    fixture_deinit(&fixture);
}

static void test_a_definition_is_read_from_its_newest_version(void **state) {
    Fixture fixture;
    Seen seen = {.most = 9};
    static const char key[] = "\0\0\0\1\0\0\0\7", versions[][10] = {"k\0\0\0\7\0\0\0\1", "k\0\0\0\7\0\0\0\2", "k\0\0\0\10\0\0\0\3"};
    fixture_init(&fixture, 1 << 20);
    Txn *txn = fixture_write(&fixture);
    assert_ok(catalog_put(txn, CATALOG_SINKS, (Span){.data = key, .size = 8}, SPAN("now"), error));
    assert_ok(catalog_put(txn, CATALOG_VERSIONS, (Span){.data = versions[0], .size = 9}, SPAN("old"), error));
    assert_ok(catalog_put(txn, CATALOG_VERSIONS, (Span){.data = versions[1], .size = 9}, SPAN("now"), error));
    assert_ok(catalog_put(txn, CATALOG_VERSIONS, (Span){.data = versions[2], .size = 9}, SPAN("another"), error));
    fixture_commit(txn);
    fixture_flip(&fixture, DB_CATALOG, (Span){.data = "K\0\0\0\1\0\0\0\7", .size = 9}, 20);
    txn = fixture_read(&fixture);
    assert_ok(catalog_visit(txn, CATALOG_SINKS, (Span){0}, see, &seen, error));
    assert_non_null(strstr(seen.text, "=now"));
    txn_abort(txn);
    fixture_deinit(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_get_remove),
        cmocka_unit_test(test_keys_of_any_length),
        cmocka_unit_test(test_visit_in_order),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_a_definition_is_read_from_its_newest_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
