#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/error.h"
#include "config/path_text.h"

static void roots(void **state) {
    static const struct {
        const char *path;
        size_t size;
    } rows[] = {{"$", 1},      {"$.a", 2}, {"$[0]", 1}, {"$[\"a\"]", 1}, {"$.", 0},     {"$a", 0},
                {"$oid.x", 0}, {"a.$", 0}, {"a", 0},    {"", 0},         {"[\"$\"]", 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) assert_int_equal(path_root_size(span_of(rows[i].path)), rows[i].size);
}

static void misspelt_paths_have_a_right_spelling(void **state) {
    static const struct {
        const char *path, *what, *right;
    } rows[] = {
        {"/a/b", "is a JSON pointer", "a.b"},
        {"/items/0/sku", "is a JSON pointer", "items.0.sku"},
        {"/a~1b/c~0d/x.y", "is a JSON pointer", "[\"a/b\"][\"c~d\"][\"x.y\"]"},
        {"/", "is a JSON pointer", "."},
        {"$./a/b", "is a JSON pointer", "a.b"},
        {"\"a.b\"", "has quotes around it", "a.b"},
        {"'a.b'", "has quotes around it", "a.b"},
        {"\"/a/b\"", "has quotes around it", "a.b"},
        {"\"\"", "has quotes around it", "."},
        {" a.b", "has blanks before or after it", "a.b"},
        {"a.b\n", "has blanks before or after it", "a.b"},
        {"\t 'a' ", "has blanks before or after it", "a"},
        {"  ", "has blanks before or after it", "."},
        {"$. a", "has blanks before or after it", "a"},
        {"$.a ", "has blanks before or after it", "a"},
        {" $.a", "has blanks before or after it", "$.a"},
        {"$.'a'", "has quotes around it", "a"},
        {"a\\.b.c", "has a backslash outside of a quoted step", "[\"a.b\"].c"},
        {"a\\b", "has a backslash outside of a quoted step", "[\"a\\\\b\"]"},
        {"a[\"x\\\"y\"].b\\c.1", "has a backslash outside of a quoted step", "a[\"x\\\"y\"][\"b\\\\c\"].1"},
        {"$.a\\[0\\]", "has a backslash outside of a quoted step", "[\"a[0]\"]"},
        {".a.b", "begins with a dot", "a.b"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Buffer right = {0};
        const char *what = NULL;
        assert_true(path_is_misspelt(span_of(rows[i].path), &what, &right));
        assert_string_equal(what, rows[i].what);
        assert_string_equal(buffer_text(&right), rows[i].right);
        Buffer again = {0};
        assert_false(path_is_misspelt(buffer_span(&right), &what, &again)); /* the advice can be followed */
        buffer_deinit(&right);
        buffer_deinit(&again);
    }
    static const char *const right[] = {"a.b", ".",       "$",  "$.a", "a b",      "a.b c.d", "a[\"x\\\\y\"]", "a[\"/b\"]", "a/b",
                                        "\"a", "\"a\".b", "..", "",    "[\"a\\\"", "$.",      "a.\"b\""};
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        Buffer text = {0};
        const char *what;
        if (path_is_misspelt(span_of(right[i]), &what, &text)) fail_msg("%s %s", right[i], what);
        assert_int_equal(text.size, 0);
    }
}

static void keeps(const char *path, bool is_stored, const char *expected) {
    char *kept = path_keep(path, is_stored);
    assert_string_equal(kept, expected);
    char *again = path_keep(kept, true);
    assert_string_equal(again, expected); /* stored once more it stays what it is */
    free(kept);
    free(again);
}

static void a_root_is_not_kept(void **state) {
    keeps("$", false, ".");
    keeps("$.issue.id", false, "issue.id");
    keeps("$[0].a", false, "[0].a");
    keeps("$[\"a\"]", false, "[\"a\"]");
    keeps("$oid", false, "$oid");
    keeps("a.$", false, "a.$");
    keeps("$.$.a", false, "[\"$\"].a");
    keeps("$.$", false, "[\"$\"]");
    keeps("$.", false, "$.");
}

static void stored_paths_keep_their_meaning(void **state) {
    keeps("$", true, "[\"$\"]");
    keeps("$.a.0", true, "[\"$\"].a.0");
    keeps("$[0]", true, "[\"$\"][0]");
    keeps("/a/b", true, "[\"/a/b\"]");
    keeps("'a'.b'", true, "[\"'a'\"][\"b'\"]");
    keeps(" a.1", true, "[\" a\"].1");
    keeps("a\\.b[\"x.y\"]", true, "[\"a\\\\\"].b[\"x.y\"]");
    keeps("a.b", true, "a.b");
    keeps(".", true, ".");
    keeps("$oid", true, "$oid");
    char lengthy[1025];
    memset(lengthy, '\\', 1024);
    lengthy[1024] = 0;
    keeps(lengthy, true, lengthy); /* its new spelling would be too long */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roots),
        cmocka_unit_test(misspelt_paths_have_a_right_spelling),
        cmocka_unit_test(a_root_is_not_kept),
        cmocka_unit_test(stored_paths_keep_their_meaning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
