#include "gateway/control/tokens.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "storage/catalog.h"
#include "tests/unit/storage/fixture.h"

static void test_find(void **state) {
    (void)state;
    _cleanup_(tokens_deinit) Tokens tokens = {0};
    char texts[20][TOKEN_CHARACTERS + 1];
    for (size_t i = 0; i < 20; i++) (void)tokens_make(&tokens, (Role)(i % 3), "x", 5, texts[i]);
    for (size_t i = 0; i < 20; i++) {
        const Token *token = tokens_find(&tokens, span_of(texts[i]));
        assert_non_null(token);
        assert_int_equal(token->role, i % 3);
        texts[i][7] = texts[i][7] == 'a' ? 'b' : 'a';
        assert_null(tokens_find(&tokens, span_of(texts[i])));
    }
    assert_null(tokens_find(&tokens, (Span){0}));
    for (size_t i = 1; i < tokens.count; i++) assert_true(memcmp(tokens.items[i - 1].hash, tokens.items[i].hash, TOKEN_HASH_BYTES) < 0);
}

static void put(Environment *environment, Span key, const char *document) {
    Error error = {0};
    Txn *txn;
    assert_int_equal(txn_begin_write(environment, &txn, &error), 0);
    assert_int_equal(catalog_put(txn, CATALOG_TOKENS, key, span_of(document), &error), 0);
    assert_int_equal(txn_commit(txn, &error), 0);
}

/* The catalog holds no token, and what it holds finds the same one. */
static void test_stored(void **state) {
    (void)state;
    Error error = {0};
    Fixture fixture;
    fixture_init(&fixture, 4 << 20);
    Environment *environment = fixture.environment;
    Tokens made = {0};
    char text[TOKEN_CHARACTERS + 1];
    const Token *token = tokens_make(&made, ROLE_OPERATOR, "night shift", 77, text);
    json_t *stored = token_store(token);
    _cleanup_free_ char *document = json_dumps(stored, 0);
    json_decref(stored);
    assert_null(strstr(document, text));
    put(environment, (Span){.data = (const char *)token->hash, .size = TOKEN_HASH_BYTES}, document);

    Tokens loaded;
    assert_int_equal(tokens_load(&loaded, environment, &error), 0);
    const Token *found = tokens_find(&loaded, span_of(text));
    assert_non_null(found);
    assert_int_equal(found->role, ROLE_OPERATOR);
    assert_string_equal(found->description, "night shift");
    assert_int_equal(found->created, 77);
    tokens_deinit(&loaded);
    tokens_deinit(&made);

    put(environment, SPAN("short"), "{}");
    assert_int_equal(tokens_load(&loaded, environment, &error), -EBADMSG);
    fixture_deinit(&fixture);
}

static void test_damaged(void **state) {
    (void)state;
    static const char *const documents[] = {"{}", "no JSON", "{\"role\":\"king\"}", "{\"role\":1}"};
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++) {
        Error error = {0};
        Fixture fixture;
        fixture_init(&fixture, 4 << 20);
        Environment *environment = fixture.environment;
        put(environment, SPAN("0123456789abcdef0123456789abcdef"), documents[i]);
        Tokens loaded;
        assert_int_equal(tokens_load(&loaded, environment, &error), -EBADMSG);
        fixture_deinit(&fixture);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_stored),
        cmocka_unit_test(test_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
