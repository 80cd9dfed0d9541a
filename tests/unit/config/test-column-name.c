/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
/* clang-format on */

#include "base/cleanup.h"
#include "base/text.h"
#include "config/column_name.h"
#include "config/inferred_type.h"

/* Names that are taken: a list that ends with NULL. */
static bool is_taken(void *context, const char *name) {
    const char *const *names = context;
    for (size_t i = 0; names[i]; i++)
        if (span_equal_nocase(span_of(names[i]), span_of(name))) return true;
    return false;
}

static void a_name_is_made_of_the_path(void **state) {
    static const struct {
        const char *path, *name;
    } cases[] = {
        {"amount", "amount"},
        {"Amount", "amount"},
        {"[\"Order-ID\"]", "order_id"},
        {"a.b", "a__b"},
        {"[\"a.b\"]", "a_b"},
        {"[\"1st\"]", "_1st"},
        {"[\"\"]", "_"},
        {"[\"\\u00e9t\\u00e9\"]", "\xc3\xa9t\xc3\xa9"},
        {"[\"x\\\"y\\\\z\"]", "x_y_z"},
        {"[\"tab\\u0009\"]", "tab_"},
        {"[\"\xc2\x85\"]", "_"}, /* a control character beyond ASCII */
        {"[\"a b\"][\"c d\"]", "a_b__c_d"},
        {"_id", "_id_b6f7460b"},
        {"_Rest", "_rest_525577e2"},
        {"XMIN", "xmin_94a414fa"},
        /* 64 bytes: cut, and not within a character */
        {"a123456789b123456789c123456789d123456789e123456789f1234567890123",
         "a123456789b123456789c123456789d123456789e123456789f123456789012"},
        {"[\"a123456789b123456789c123456789d123456789e123456789f1234567890\xc3\xa9\xc3\xa9\"]",
         "a123456789b123456789c123456789d123456789e123456789f1234567890\xc3\xa9"},
    };
    const char *none[] = {NULL};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[COLUMN_NAME_SIZE];
        column_name_of_field(span_of(cases[i].path), is_taken, none, name);
        assert_string_equal(name, cases[i].name);
        assert_true(strlen(name) < sizeof name && text_is_plain(span_of(name)));
    }
}

static void a_name_that_is_taken_gets_a_hash_of_the_path(void **state) {
    char one[COLUMN_NAME_SIZE], other[COLUMN_NAME_SIZE], third[COLUMN_NAME_SIZE];
    const char *taken[] = {"AMOUNT", NULL, NULL, NULL};
    column_name_of_field(SPAN("amount"), is_taken, taken, one);
    assert_memory_equal(one, "amount_", 7);
    assert_int_equal(strlen(one), 15);
    column_name_of_field(SPAN("Amount"), is_taken, taken, other);
    assert_memory_equal(other, "amount_", 7);
    assert_string_not_equal(one, other);
    taken[1] = one;
    column_name_of_field(SPAN("amount"), is_taken, taken, third); /* even that one is taken */
    assert_string_not_equal(third, one);
    assert_int_equal(strlen(third), 15);
    taken[1] = NULL;
    column_name_of_field(SPAN("amount"), is_taken, taken, third); /* a function of path and map only */
    assert_string_equal(third, one);
    static const char long_path[] = "a123456789b123456789c123456789d123456789e123456789f123456789g123456789";
    const char *cut[] = {"a123456789b123456789c123456789d123456789e123456789f123456789g12", NULL};
    column_name_of_field(span_of(long_path), is_taken, cut, one);
    assert_int_equal(strlen(one), 63);
    assert_memory_equal(one, "a123456789b123456789c123456789d123456789e123456789f123_", 55);
}

static void a_variant_is_named_after_its_column(void **state) {
    const char *none[] = {NULL};
    char name[COLUMN_NAME_SIZE];
    column_name_of_variant("amount", SPAN("amount"), DATA_TEXT, is_taken, none, name);
    assert_string_equal(name, "amount__v_text");
    column_name_of_variant("a123456789b123456789c123456789d123456789e123456789f123456789012", SPAN("x"), DATA_INTEGER, is_taken, none,
                           name);
    assert_string_equal(name, "a123456789b123456789c123456789d123456789e123456789f1__v_integer");
    const char *taken[] = {"amount__v_text", NULL};
    column_name_of_variant("amount", SPAN("amount"), DATA_TEXT, is_taken, taken, name);
    assert_memory_equal(name, "amount__v_text_", 15);
    assert_int_equal(strlen(name), 23);
}

static void a_path_has_one_canonical_form(void **state) {
    static const struct {
        const char *path, *canonical; /* NULL: it is no path of fields */
    } cases[] = {
        {"a", "a"},
        {"a.b", "a.b"},
        {"[\"a\"].b", "a.b"},
        {"a[\"b\"]", "a.b"},
        {"a[\"x.y\"].c", "a[\"x.y\"].c"},
        {"order-id", "[\"order-id\"]"},
        {"a.1", "a[\"1\"]"},
        {"a[1]", "a[\"1\"]"},
        {"[\"\\u0041\\n\"]", "[\"A\\u000a\"]"},
        {"\xc3\xa9", "[\"\xc3\xa9\"]"},
        {"[\"\"]", "[\"\"]"},
        {".", NULL},
        {"", NULL},
        {"a..b", NULL},
        {"a[", NULL},
        {"a[\"b", NULL},
        {"a[\"b\\\"]", NULL},
        {"a]", NULL},
        {"a[\"b\"]c", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        _cleanup_(buffer_deinit) Buffer out = {0}, again = {0};
        bool found = field_path_canonical(span_of(cases[i].path), &out);
        if (found != (cases[i].canonical != NULL)) fail_msg("%s", cases[i].path);
        if (!found) continue;
        assert_string_equal(buffer_text(&out), cases[i].canonical);
        assert_true(field_path_canonical(buffer_span(&out), &again));
        assert_string_equal(buffer_text(&again), cases[i].canonical);
    }
    assert_true(field_path_within(SPAN("a.b"), SPAN("a")));
    assert_true(field_path_within(SPAN("a"), SPAN("a")));
    assert_true(field_path_within(SPAN("a[\"-\"]"), SPAN("a")));
    assert_false(field_path_within(SPAN("ab"), SPAN("a")));
    assert_false(field_path_within(SPAN("a"), SPAN("a.b")));
}

static void types_are_widened_in_any_order(void **state) {
    static const DataType types[] = {DATA_INTEGER, DATA_DECIMAL, DATA_BOOLEAN, DATA_TIMESTAMP, DATA_TEXT, DATA_JSON};
    const size_t count = sizeof types / sizeof *types;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < count; k++) {
            DataType both = inferred_type_widen(types[i], types[k]);
            assert_int_equal(both, inferred_type_widen(types[k], types[i]));
            if (i == k) assert_int_equal(both, types[i]);
            for (size_t m = 0; m < count; m++)
                assert_int_equal(inferred_type_widen(both, types[m]),
                                 inferred_type_widen(types[i], inferred_type_widen(types[k], types[m])));
        }
    assert_int_equal(inferred_type_widen(DATA_INTEGER, DATA_DECIMAL), DATA_DECIMAL);
    assert_int_equal(inferred_type_widen(DATA_TIMESTAMP, DATA_TEXT), DATA_TEXT);
    assert_int_equal(inferred_type_widen(DATA_INTEGER, DATA_TEXT), DATA_JSON);
    assert_int_equal(inferred_type_widen(DATA_BOOLEAN, DATA_INTEGER), DATA_JSON);
    assert_int_equal(inferred_type_of_variant(DATA_TIMESTAMP), DATA_TEXT);
    assert_int_equal(inferred_type_of_variant(DATA_INTEGER), DATA_INTEGER);
    assert_false(inferred_type_valid(DATA_NUMBER));
    for (size_t i = 0; i < count; i++) {
        DataType named = DATA_NUMBER;
        assert_true(inferred_type_named(data_type_name(types[i]), &named));
        assert_int_equal(named, types[i]);
    }
    DataType type;
    assert_false(inferred_type_named("number", &type)); /* of declared columns alone */
    assert_false(inferred_type_named("Integer", &type));
    assert_false(inferred_type_named("", &type));
}

static bool is_free(void *context, const char *name) {
    (void)context, (void)name;
    return false;
}

static void assert_plain_name(const char *key, const char *wanted) {
    char name[COLUMN_NAME_SIZE];
    _cleanup_(buffer_deinit) Buffer path = {0};
    field_path_append(&path, span_of(key));
    column_name_of_field(buffer_span(&path), is_free, NULL, name);
    assert_string_equal(name, wanted);
}

static void what_nobody_sees_is_in_no_name(void **state) {
    (void)state;
    assert_plain_name("a\u00a0b", "a_b"); /* a space that does not break */
    assert_plain_name("a\u00adb", "a_b"); /* a soft hyphen */
    assert_plain_name("a\u200bb", "a_b"); /* no width */
    assert_plain_name("a\u202eb", "a_b"); /* from right to left */
    assert_plain_name("a\u2028b\u3000c", "a_b_c");
    assert_plain_name("\ufeffid", "_id_d1d2d478");
    assert_plain_name("a\ue000b", "a_b"); /* private use */
    assert_plain_name("a\uffffb", "a_b");
    assert_plain_name("a\U000e0041b", "a_b"); /* a tag */
    assert_plain_name("a\U0010ffffb", "a_b");
    assert_plain_name("Größe", "größe");
    assert_plain_name("価格", "価格");
    assert_plain_name("x\U0001f600", "x\U0001f600");
    assert_plain_name("a\u00a1b\u0378c", "a\u00a1b\u0378c"); /* not assigned: perhaps a letter, some day */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_nobody_sees_is_in_no_name),
        cmocka_unit_test(a_name_is_made_of_the_path),
        cmocka_unit_test(a_name_that_is_taken_gets_a_hash_of_the_path),
        cmocka_unit_test(a_variant_is_named_after_its_column),
        cmocka_unit_test(a_path_has_one_canonical_form),
        cmocka_unit_test(types_are_widened_in_any_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
