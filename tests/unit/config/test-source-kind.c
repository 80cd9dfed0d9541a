/* The seam of kinds of sources, with a second kind: the list that this program defines goes before that of config/source_kind.c. */
/* clang-format off */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
/* clang-format on */

#include "base/text.h"
#include "config/source_http.h"
#include "config/source_kind.h"

/* ---- a kind that drips -------------------------------------------------------------------------------------------------------------------- */

typedef struct DripSource {
    char *well;
    uint32_t drops;
} DripSource;

static const FieldInfo well_rows[] = {
    {.name = "well",
     .type = FIELD_TEXT,
     .offset = offsetof(DripSource, well),
     .least = 1,
     .most = 20,
     .needed = "a \"well\"",
     .sentence = "Where from."},
    {.name = "drops",
     .type = FIELD_COUNT,
     .offset = offsetof(DripSource, drops),
     .default_value = "3",
     .least = 1,
     .most = 9,
     .unit = "drops",
     .sentence = "How many."},
    {0},
};
static const FieldTable well_fields = {.owners = "wells", .fields = well_rows, .size = sizeof(DripSource)};
static const FieldInfo drip_rows[] = {
    {.name = "drip", .type = FIELD_OBJECT, .fields = &well_fields, .needed = "a \"drip\"", .sentence = "The well."},
    {0},
};
static const FieldTable drip_fields = {.owners = "sources", .fields = drip_rows, .size = sizeof(DripSource)};

static bool quarantines(const void *part) {
    (void)part;
    return false;
}

static Framing one_by_one(const void *part) {
    (void)part;
    return FRAMING_SINGLE;
}

static const char *runs_dry(const void *part) {
    (void)part;
    return "the well stays full.";
}

static const SourceKind drip = {
    .name = "drip", .fields = &drip_fields, .first_sink_rejects = quarantines, .framing = one_by_one, .without_sink = runs_dry};

const SourceKind *const source_kinds[] = {&source_kind_http, &drip, NULL};
const char *const source_kind_names[] = {"http", "drip", NULL};

/* ---- tests -------------------------------------------------------------------------------------------------------------------------------- */

static int make(const char *text, Source **ret_source, Error *error) {
    json_t *body = json_loads(text, 0, NULL);
    assert_non_null(body);
    int r = source_from_request(body, ret_source, error);
    json_decref(body);
    return r;
}

static int patch(const Source *old, const char *text, Source **ret_source, Error *error) {
    json_t *body = json_loads(text, 0, NULL);
    assert_non_null(body);
    int r = source_patched(old, body, ret_source, error);
    json_decref(body);
    return r;
}

static void the_tables_are_sound(void **state) {
    (void)state;
    definition_check_tables();
}

static void each_kind_has_its_own_part(void **state) {
    (void)state;
    Source *source, *copy, *loaded;
    Error error = {0};
    assert_int_equal(make("{\"name\":\"D\",\"type\":\"drip\",\"drip\":{\"well\":\"deep\"}}", &source, &error), 0);
    assert_string_equal(source_kind_name(source), "drip");
    assert_null(source_http(source));
    assert_string_equal(((const DripSource *)source->part)->well, "deep");
    assert_int_equal(((const DripSource *)source->part)->drops, 3);
    assert_false(source_first_sink_rejects(source));
    assert_string_equal(source_without_sink(source), "the well stays full.");
    source_stamp(source, 1, 2, "me", "");
    json_t *json = source_to_json(source, "http://h", 1, true);
    assert_null(json_object_get(json, "http"));
    assert_null(json_object_get(json, "framing"));
    assert_string_equal(json_string_value(json_object_get(json_object_get(json, "drip"), "well")), "deep");
    json_decref(json);
    json_t *stored = source_store(source), *again;
    assert_int_equal(source_load(stored, &loaded, &error), 0);
    copy = source_copy(loaded);
    again = source_store(copy);
    assert_true(json_equal(stored, again));
    json_decref(stored);
    json_decref(again);
    source_unref(source);
    source_unref(copy);
    source_unref(loaded);
    assert_int_equal(make("{\"name\":\"H\"}", &source, &error), 0);
    assert_non_null(source_http(source));
    source_unref(source);
}

static void wrong_kinds_and_fields_of_others_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *body, *says;
    } cases[] = {
        {"{\"name\":\"a\",\"type\":\"ftp\"}", "Field \"type\" must be one of http, drip, not \"ftp\""},
        {"{\"name\":\"a\",\"type\":5}", "Field \"type\" must be a string, not an integer"},
        {"{\"name\":\"a\",\"type\":\"drip\"}", "needs a \"drip\""},
        {"{\"name\":\"a\",\"type\":\"drip\",\"drip\":{\"well\":\"w\",\"drops\":10}}", "Field \"drip.drops\" must be 1 to 9, not 10"},
        {"{\"name\":\"a\",\"type\":\"drip\",\"drip\":{\"well\":\"w\"},\"framing\":\"lines\"}",
         "Field \"framing\" belongs to sources of type \"http\""},
        {"{\"name\":\"a\",\"drip\":{\"well\":\"w\"}}", "Field \"drip\" belongs to sources of type \"drip\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Source *source = NULL;
        Error error = {0};
        assert_int_equal(make(cases[i].body, &source, &error), -EINVAL);
        assert_null(source);
        if (!strstr(error.text, cases[i].says)) fail_msg("\"%s\" lacks \"%s\"", error.text, cases[i].says);
    }
}

static void a_source_stays_of_its_kind(void **state) {
    (void)state;
    Source *old, *now;
    Error error = {0};
    assert_int_equal(make("{\"name\":\"D\",\"type\":\"drip\",\"drip\":{\"well\":\"deep\",\"drops\":4}}", &old, &error), 0);
    assert_int_equal(patch(old, "{\"drip\":{\"well\":\"deeper\"}}", &now, &error), 0);
    assert_string_equal(((const DripSource *)now->part)->well, "deeper");
    assert_int_equal(((const DripSource *)now->part)->drops, 4);
    json_t *fields = source_differences(old, now);
    assert_int_equal(json_array_size(fields), 1);
    assert_string_equal(json_string_value(json_array_get(fields, 0)), "drip.well");
    json_decref(fields);
    source_unref(now);
    assert_int_equal(patch(old, "{\"type\":\"http\",\"drip\":null}", &now, &error), -EINVAL);
    assert_string_equal(error.text, "Field \"type\" cannot be changed");
    source_unref(old);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tables_are_sound),
        cmocka_unit_test(each_kind_has_its_own_part),
        cmocka_unit_test(wrong_kinds_and_fields_of_others_are_refused),
        cmocka_unit_test(a_source_stays_of_its_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
