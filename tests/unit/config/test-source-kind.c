/* The seam of kinds of sources, with a second kind: the list that this program defines goes before
 * that of config/source_kind.c. */
/* clang-format off */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
/* clang-format on */

#include "base/text.h"
#include "config/definition_parts.h"
#include "config/manifest.h"
#include "config/source_http.h"
#include "config/source_kind.h"

/* ---- a kind that drips ----------------------------------------------------------------------- */

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

static const SourceKind drip = {.name = "drip",
                                .fields = &drip_fields,
                                .first_sink_rejects = quarantines,
                                .framing = one_by_one,
                                .without_sink = runs_dry,
                                .meta_fields = META_BIT(META_TOPIC) | META_BIT(META_OFFSET) | META_BIT(META_KEY) |
                                               META_BIT(META_TIMESTAMP)};

const SourceKind *const source_kinds[] = {&source_kind_http, &drip, NULL};
const char *const source_kind_names[] = {"http", "drip", NULL};
const char *const kinds_not_built[] = {"brook", NULL};

/* ---- tests ----------------------------------------------------------------------------------- */

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
         "Field \"framing\" is only for sources of type \"http\""},
        {"{\"name\":\"a\",\"type\":\"brook\"}", "Field \"type\" is \"brook\", which is not supported by this build yet: use http"},
        {"{\"name\":\"a\",\"brook\":{}}", "Field \"brook\" is not supported by this build yet"},
        {"{\"name\":\"a\",\"drip\":{\"well\":\"w\"}}", "Field \"drip\" is only for sources of type \"drip\""},
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

/* The type meta is there since one of the kinds has meta fields. */
#define SINK(column) "{\"name\":\"k\",\"table\":{\"tableId\":\"k\",\"mapping\":{\"columns\":[" column "]}}}"

static int make_sink(const char *text, Sink **ret_sink, Error *error) {
    json_t *body = json_loads(text, 0, NULL);
    assert_non_null(body);
    int r = sink_from_request(body, true, ret_sink, error);
    json_decref(body);
    return r;
}

static void a_column_takes_a_meta_field(void **state) {
    (void)state;
    Sink *sink, *loaded, *copy, *other;
    Error error = {0};
    assert_int_equal(make_sink(SINK("{\"name\":\"o\",\"type\":\"meta\",\"field\":\"offset\",\"dataType\":\"integer\",\"primaryKey\":true}"),
                               &sink, &error),
                     0);
    assert_int_equal(sink->target.columns[0].type, COLUMN_META);
    assert_int_equal(sink->target.columns[0].meta_field, META_OFFSET);
    sink_stamp(sink, 1, 2, "me", "");
    json_t *stored = sink_store(sink), *again, *shown = sink_to_json(sink);
    assert_int_equal(sink_load(stored, &loaded, &error), 0);
    copy = sink_copy(loaded);
    again = sink_store(copy);
    assert_true(json_equal(stored, again));
    const json_t *columns = json_object_get(json_object_get(json_object_get(shown, "table"), "mapping"), "columns");
    assert_string_equal(json_string_value(json_object_get(json_array_get(columns, 0), "field")), "offset");
    assert_int_equal(make_sink(SINK("{\"name\":\"o\",\"type\":\"meta\",\"field\":\"key\",\"primaryKey\":true}"), &other, &error), 0);
    assert_true(sink_target_differs(sink, other));
    assert_false(sink_target_differs(sink, copy));
    json_decref(stored);
    json_decref(again);
    json_decref(shown);
    sink_unref(sink);
    sink_unref(loaded);
    sink_unref(copy);
    sink_unref(other);
}

static void wrong_meta_columns_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *body, *says;
    } cases[] = {
        {SINK("{\"name\":\"o\",\"type\":\"meta\"}"), "needs a \"field\""},
        {SINK("{\"name\":\"o\",\"type\":\"meta\",\"field\":\"header\"}"),
         "columns[0].field\" must be one of topic, partition, offset, key, subject, stream, sequence, timestamp, bridge, not \"header\""},
        {SINK("{\"name\":\"o\",\"type\":\"meta\",\"field\":\"topic\",\"path\":\"a\"}"), "is only for columns of type"},
        {SINK("{\"name\":\"o\",\"type\":\"id\",\"field\":\"topic\"}"), "columns[0].field\" is only for columns of type \"meta\""},
        {SINK("{\"name\":\"o\",\"type\":\"meta\",\"field\":\"offset\",\"dataType\":\"json\"}"),
         "columns[0].dataType\" is \"json\", which the meta field \"offset\" can never have"},
        {SINK("{\"name\":\"o\",\"type\":\"meta\",\"field\":\"bridge\",\"dataType\":\"integer\"}"),
         "which the meta field \"bridge\" can never have"},
        {SINK("{\"name\":\"o\",\"type\":\"mta\"}"),
         "must be one of id, datetime, ip, body, headers, path, template, meta, rest, uuid, json, not"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Sink *sink = NULL;
        Error error = {0};
        assert_int_equal(make_sink(cases[i].body, &sink, &error), -EINVAL);
        if (!strstr(error.text, cases[i].says)) fail_msg("\"%s\" lacks \"%s\"", error.text, cases[i].says);
    }
}

static void the_documents_offer_what_some_kind_has(void **state) {
    (void)state;
    Buffer text = {0};
    field_table_document(&column_fields, &text);
    assert_non_null(strstr(buffer_text(&text), "`template`, `meta`, `rest`, `uuid`"));
    assert_non_null(strstr(buffer_text(&text), "| `field` | choice | (required) | `topic`, `partition`"));
    buffer_deinit(&text);
}

static void a_manifest_holds_what_its_source_has(void **state) {
    (void)state;
    static const struct {
        const char *type, *field, *says; /* NULL: sound */
    } cases[] = {
        {"drip", "offset", NULL},
        {"drip", "subject",
         "m:5:39: Field \"sinks[0].table.mapping.columns[0].field\" is \"subject\", but sources of type \"drip\" have topic, offset, key, "
         "timestamp"},
        {"http", "offset",
         "m:5:39: Field \"sinks[0].table.mapping.columns[0].field\" is \"offset\", but sources of type \"http\" have no meta fields"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[400];
        int size = snprintf(text, sizeof text,
                            "{kind: source, sourceId: s, name: s, type: %s, %s sinks: [{sinkId: k, name: k, table: {tableId: k,\n"
                            "  mapping: {\n"
                            "  columns:\n"
                            "  [\n"
                            "  {name: c, type: meta,        field: %s}]}}}]}\n",
                            cases[i].type, strcmp(cases[i].type, "drip") == 0 ? "drip: {well: w}," : "", cases[i].field);
        Manifest manifest;
        Error error = {0};
        int r = manifest_parse("m", text, (size_t)size, NULL, &manifest, &error);
        assert_int_equal(r, cases[i].says ? -EINVAL : 0);
        if (r == 0) manifest_deinit(&manifest);
        if (cases[i].says && !strstr(error.text, cases[i].says)) fail_msg("\"%s\" lacks \"%s\"", error.text, cases[i].says);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tables_are_sound),
        cmocka_unit_test(each_kind_has_its_own_part),
        cmocka_unit_test(wrong_kinds_and_fields_of_others_are_refused),
        cmocka_unit_test(a_source_stays_of_its_kind),
        cmocka_unit_test(a_column_takes_a_meta_field),
        cmocka_unit_test(wrong_meta_columns_are_refused),
        cmocka_unit_test(the_documents_offer_what_some_kind_has),
        cmocka_unit_test(a_manifest_holds_what_its_source_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
