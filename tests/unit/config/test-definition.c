#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/definition.h"
#include "config/source_http.h"

#define SINK(columns, more)                                                                                                                \
    "{\"name\":\"Orders\",\"table\":{\"tableId\":\"in.c-shop.orders\"," more "\"mapping\":{\"columns\":[" columns "]}}}"
#define ID_COLUMN "{\"name\":\"id\",\"type\":\"id\"}"
#define KEY_COLUMN "{\"name\":\"id\",\"type\":\"id\",\"primaryKey\":true}"
#define SECRET "0123456789abcdefghijklmnopqrstuvwxyz_-AZ"

static json_t *parse(const char *text) {
    json_error_t error;
    json_t *json = json_loads(text, JSON_ALLOW_NUL, &error);
    if (json == NULL) fail_msg("%s: %s", text, error.text);
    return json;
}

static int make_source(const char *text, Source **ret_source, Error *error) {
    json_t *json = parse(text);
    int r = source_from_request(json, ret_source, error);
    json_decref(json);
    return r;
}

static int make_sink(const char *text, bool first, Sink **ret_sink, Error *error) {
    json_t *json = parse(text);
    int r = sink_from_request(json, first, ret_sink, error);
    json_decref(json);
    return r;
}

static Sink *good_sink(const char *text) {
    Sink *sink = NULL;
    Error error = {0};
    if (make_sink(text, false, &sink, &error) != 0) fail_msg("%s: %s", text, error.text);
    return sink;
}

static void assert_says(const Error *error, const char *text) {
    if (strstr(error->text, text) == NULL) fail_msg("\"%s\" lacks \"%s\"", error->text, text);
}

static void a_source_gets_its_defaults(void **state) {
    Source *source = NULL;
    assert_int_equal(make_source("{\"name\":\"My Source\"}", &source, NULL), 0);
    assert_string_equal(source->source_id, "my-source");
    assert_string_equal(source->name, "My Source");
    assert_string_equal(source->description, "");
    assert_int_equal(strlen(source_http(source)->secret), 48);
    assert_int_equal(source_http(source)->framing, FRAMING_SINGLE);
    assert_int_equal(source_http(source)->error_detail, ERROR_DETAIL_FULL);
    assert_int_equal(source_http(source)->rate_events, 0);
    source_unref(source);
    assert_int_equal(
        make_source("{\"sourceId\":\"a\",\"framing\":\"lines\",\"rate\":{\"events\":5},\"errorDetail\":\"minimal\",\"type\":\"http\","
                    "\"cors\":{\"origins\":[\"https://shop.example\",\"http://[::1]:8080\"]},\"secret\":\"" SECRET "\"}",
                    &source, NULL),
        0);
    assert_int_equal(source_http(source)->cors_origin_count, 2);
    assert_string_equal(source->name, "a");
    assert_int_equal(source_http(source)->framing, FRAMING_LINES);
    assert_int_equal(source_http(source)->rate_burst, 5);
    assert_string_equal(source_http(source)->secret, SECRET);
    source_unref(source);
}

static void wrong_sources_are_refused_by_name(void **state) {
    static const struct {
        const char *body, *says;
    } cases[] = {
        {"[]", "The definition must be an object, not an array"},
        {"{}", "needs a \"name\""},
        {"{\"name\":5}", "Field \"name\" must be a string, not an integer"},
        {"{\"name\":\"\"}", "Field \"name\" must have 1 to"},
        {"{\"name\":\"   \"}", "blank"},
        {"{\"name\":\"a\\u0000b\"}", "NUL"},
        {"{\"name\":\"a\\nb\"}", "control characters"},
        {"{\"name\":\"01234567890123456789012345678901234567890\"}", "1 to 40 characters, not 41"},
        {"{\"name\":\"\\u65e5\\u672c\"}", "give \"sourceId\" as well"},
        {"{\"name\":\"a\",\"sourceId\":\"A\"}", "Field \"sourceId\" must have 1 to 48 characters"},
        {"{\"name\":\"a\",\"secret\":\"short\"}", "Field \"secret\" must be 32 to 256 of"},
        {"{\"name\":\"a\",\"secret\":\"0123456789012345678901234567890/\"}", "Field \"secret\" must be"},
        {"{\"name\":\"a\",\"type\":\"stream\"}", "not supported by this build yet"},
        {"{\"name\":\"a\",\"type\":\"ftp\"}", "must be one of http, kafka, nats, not \"ftp\""},
        {"{\"name\":\"a\",\"idempotency\":{}}", "Field \"idempotency\" is not supported by this build yet"},
        {"{\"name\":\"a\",\"framing\":\"line\"}", "must be one of single, ndjson, array, concatenated, lines, not \"line\""},
        {"{\"name\":\"a\",\"framng\":\"lines\"}",
         "Field \"framng\" is not known here: did you mean \"framing\"? (allowed: sourceId, name,"},
        {"{\"name\":\"a\",\"rate\":{\"events\":0}}", "Field \"rate.events\" must be 1 to 10000000, not 0"},
        {"{\"name\":\"a\",\"rate\":{\"burst\":1}}", "Field \"rate\" needs \"events\""},
        {"{\"name\":\"a\",\"rate\":{\"events\":1,\"x\":2}}", "Field \"rate.x\" is not known here (allowed: events, burst)"},
        {"{\"name\":\"a\",\"cors\":{}}", "Field \"cors\" needs \"origins\""},
        {"{\"name\":\"a\",\"cors\":{\"origins\":[]}}", "Field \"cors.origins\""},
        {"{\"name\":\"a\",\"cors\":{\"origins\":[\"*\"]}}", "leave \"cors\" out"},
        {"{\"name\":\"a\",\"cors\":{\"origins\":[\"shop.example\"]}}", "an origin is \"https://HOST\""},
        {"{\"name\":\"a\",\"cors\":{\"origins\":[\"https://shop.example/\"]}}", "without path and slash"},
        {"{\"name\":\"a\",\"cors\":{\"origins\":[\"https://Shop.example\"]}}", "in small letters"},
        {"{\"name\":\"a\",\"cors\":{\"origins\":[\"https://shop.example:443\"]}}", "leaves out the default port"},
        {"{\"name\":\"a\",\"cors\":{\"origins\":[\"https://[::1\"]}}", "without path and slash"},
        {"{\"name\":\"a\",\"version\":{}}", "Field \"version\" is set by the server"},
        {"{\"name\":\"a\",\"sinks\":[]}", "has its own endpoint"},
        {"{\"name\":\"a\",\"description\":[]}", "Field \"description\" must be a string, not an array"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Source *source = NULL;
        Error error = {0};
        assert_int_equal(make_source(cases[i].body, &source, &error), -EINVAL);
        assert_null(source);
        assert_says(&error, cases[i].says);
    }
    assert_int_equal(source_from_request(NULL, &(Source *){NULL}, NULL), -EINVAL);
}

static void a_secret_is_never_in_an_error(void **state) {
    Source *source = NULL;
    Error error = {0};
    assert_int_equal(make_source("{\"name\":\"a\",\"secret\":\"hush-hush\"}", &source, &error), -EINVAL);
    assert_null(strstr(error.text, "hush"));
}

static void masks_and_what_is_kept_of_bodies(void **state) {
    Sink *sink = good_sink(SINK("{\"name\":\"m\",\"type\":\"path\",\"path\":\"a\",\"mask\":\"fixed:a:b\"}", ""));
    assert_string_equal(sink->target.columns[0].mask, "fixed:a:b");
    assert_true(sink_masks(sink));
    Sink *copy = sink_copy(sink);
    assert_string_equal(copy->target.columns[0].mask, "fixed:a:b");
    assert_false(sink_target_differs(sink, copy));
    copy->target.columns[0].mask[6] = 'c';
    assert_true(sink_target_differs(sink, copy));
    sink_unref(copy);
    json_t *shown = sink_to_json(sink);
    json_t *column = json_array_get(json_object_get(json_object_get(json_object_get(shown, "table"), "mapping"), "columns"), 0);
    assert_string_equal(json_string_value(json_object_get(column, "mask")), "fixed:a:b");
    json_decref(shown);
    sink_unref(sink);
    sink = good_sink(SINK(ID_COLUMN, ""));
    assert_false(sink_masks(sink));
    sink_unref(sink);

    Source *source, *kept;
    Error error = {0};
    assert_int_equal(make_source("{\"name\":\"a\",\"bodyPolicy\":\"throw\"}", &source, &error), -EINVAL);
    assert_says(&error, "Field \"bodyPolicy\" must be one of drop, keep, not \"throw\"");
    assert_int_equal(make_source("{\"name\":\"a\"}", &source, &error), 0);
    assert_int_equal(source->body_policy, BODY_POLICY_DROP);
    source_unref(source);
    assert_int_equal(make_source("{\"name\":\"a\",\"bodyPolicy\":\"keep\"}", &source, &error), 0);
    kept = source_copy(source);
    assert_int_equal(kept->body_policy, BODY_POLICY_KEEP);
    source_unref(kept);
    source_unref(source);
}

static void a_sink_gets_its_defaults(void **state) {
    Sink *sink = good_sink(SINK(ID_COLUMN ",{\"name\":\"a\",\"type\":\"json\",\"path\":\"a.b\",\"defaultValue\":\"\"}", ""));
    assert_string_equal(sink->sink_id, "orders");
    assert_string_equal(sink->target.connection, "local");
    assert_int_equal(sink->target.table.strategy, STRATEGY_APPEND);
    assert_int_equal(sink->target.table.on_schema_drift, SCHEMA_DRIFT_FAIL);
    assert_int_equal(sink->on_invalid, ON_INVALID_QUARANTINE);
    assert_int_equal(sink->target.column_count, 2);
    assert_int_equal(sink->target.columns[1].type, COLUMN_PATH);
    assert_string_equal(sink->target.columns[1].default_value, "");
    sink_unref(sink);
    assert_int_equal(make_sink(SINK("{\"name\":\"id\",\"type\":\"uuid\"}", ""), true, &sink, NULL), 0);
    assert_int_equal(sink->on_invalid, ON_INVALID_REJECT);
    assert_int_equal(sink->target.columns[0].type, COLUMN_ID);
    sink_unref(sink);
    sink = good_sink(SINK(KEY_COLUMN, ""));
    assert_int_equal(sink->target.table.strategy, STRATEGY_MERGE);
    sink_unref(sink);
    sink = good_sink(SINK(KEY_COLUMN, "\"strategy\":\"append\","));
    assert_int_equal(sink->target.table.strategy, STRATEGY_APPEND);
    sink_unref(sink);
}

static void a_merge_may_have_a_condition(void **state) {
    const char *text = SINK(KEY_COLUMN ",{\"name\":\"n\",\"type\":\"datetime\",\"dataType\":\"timestamp\"}",
                            "\"mergeIf\":{\"newerBy\":\"n\"},");
    Sink *sink = good_sink(text), *plain = NULL, *loaded = NULL;
    assert_string_equal(sink->target.table.newer_by, "n");
    json_t *stored = sink_store(sink), *patch = parse("{\"table\":{\"mergeIf\":null}}");
    assert_int_equal(sink_load(stored, &loaded, NULL), 0);
    assert_false(sink_target_differs(sink, loaded));
    assert_int_equal(sink_patched(sink, patch, &plain, NULL), 0);
    assert_null(plain->target.table.newer_by);
    assert_true(sink_target_differs(sink, plain)); /* rows of the two never share a file */
    json_decref(stored);
    json_decref(patch);
    sink_unref(sink);
    sink_unref(plain);
    sink_unref(loaded);
}

static void a_merge_may_delete(void **state) {
    Sink *plain = good_sink(SINK(KEY_COLUMN, "")), *loaded = NULL;
    Sink *sink = good_sink(SINK(KEY_COLUMN, "\"deleteOn\":{\"path\":\"op\",\"equals\":\"\"},"));
    assert_string_equal(sink->target.table.delete_on.path, "op");
    assert_string_equal(sink->target.table.delete_on.equals, "");
    assert_int_equal(sink_target_cells(&plain->target), 1);
    assert_int_equal(sink_target_cells(&sink->target), 2);
    assert_true(sink_target_differs(sink, plain)); /* rows of the two never share a file */
    json_t *stored = sink_store(sink);
    assert_int_equal(sink_load(stored, &loaded, NULL), 0);
    assert_false(sink_target_differs(sink, loaded));
    json_decref(stored);
    sink_unref(sink);
    sink_unref(plain);
    sink_unref(loaded);
}

static void wrong_sinks_are_refused_by_name(void **state) {
    static const struct {
        const char *body, *says;
    } cases[] = {
        {"{\"name\":\"a\"}", "needs a \"table\""},
        {"{\"name\":\"a\",\"table\":5}", "Field \"table\" must be an object, not an integer"},
        {"{\"name\":\"a\",\"table\":{}}", "Field \"table\" needs a \"tableId\""},
        {"{\"name\":\"a\",\"table\":{\"tableId\":\"t\"}}", "needs a \"mapping\""},
        {SINK("", ""), "Field \"table.mapping.columns\" must have 1 to 100 items, not 0"},
        {SINK(ID_COLUMN, "\"strategy\":\"merge\","), "Field \"table.strategy\" is \"merge\", which needs a column"},
        {SINK(ID_COLUMN, "\"allowEmpty\":true,"), "Field \"table.allowEmpty\" is only for the strategy \"replace\""},
        {SINK(ID_COLUMN, "\"strategy\":\"replace\",\"onSchemaDrift\":\"ignore\","),
         "Field \"table.onSchemaDrift\" is \"ignore\", which is not possible with the strategy \"replace\": it must be \"fail\" or "
         "\"evolve\""},
        {SINK(ID_COLUMN, "\"strategy\":\"replace\",\"mergeIf\":{\"newerBy\":\"id\"},"),
         "is only for the strategy \"merge\", and for \"replace\" with a primary key"},
        {"{\"name\":\"a\",\"table\":{\"strategy\":\"replace\",\"tableId\":\"s.t12345678901234567890123456789012345678901234567890123456\","
         "\"mapping\":{\"columns\":[" ID_COLUMN "]}}}",
         "Field \"table.tableId\" must have at most 54 bytes after the last dot with the strategy \"replace\""},
        {SINK(ID_COLUMN, "\"mergeIf\":{\"newerBy\":\"id\"},"), "Field \"table.mergeIf\" is only for the strategy \"merge\""},
        {SINK(KEY_COLUMN, "\"strategy\":\"append\",\"mergeIf\":{\"newerBy\":\"id\"},"), "is only for the strategy \"merge\""},
        {SINK(KEY_COLUMN, "\"mergeIf\":{},"), "Field \"table.mergeIf\" needs \"newerBy\""},
        {SINK(KEY_COLUMN, "\"mergeIf\":{\"newerBy\":\"n\"},"),
         "Field \"table.mergeIf.newerBy\" is \"n\", which is not the name of a column"},
        {SINK(KEY_COLUMN, "\"mergeIf\":{\"newerBy\":\"id\"},"), "newerBy\" is \"id\", which is part of the primary key"},
        {SINK(KEY_COLUMN ",{\"name\":\"n\",\"type\":\"body\"}", "\"mergeIf\":{\"newerBy\":\"n\"},"),
         "newerBy\" is \"n\" of dataType \"text\", and must be of \"integer\""},
        {SINK(ID_COLUMN, "\"deleteOn\":{\"path\":\"op\",\"equals\":\"d\"},"),
         "Field \"table.deleteOn\" is only for the strategy \"merge\""},
        {SINK(KEY_COLUMN, "\"deleteOn\":{},"), "Field \"table.deleteOn\" needs \"path\" and \"equals\", or \"tombstone\": true"},
        {SINK(KEY_COLUMN, "\"deleteOn\":{\"path\":\"op\"},"), "Field \"table.deleteOn\" needs \"path\" and \"equals\" together"},
        {SINK(KEY_COLUMN, "\"deleteOn\":{\"equals\":\"d\"},"), "needs \"path\" and \"equals\" together"},
        {SINK(KEY_COLUMN, "\"deleteOn\":{\"path\":\"op\",\"equals\":1},"), "Field \"table.deleteOn.equals\" must be a string"},
        {SINK(KEY_COLUMN, "\"deleteOn\":{\"tombstone\":true},"), "Field \"table.deleteOn.tombstone\" needs columns of type \"meta\" or "
                                                                 "\"template\" as the primary key: a tombstone has no value for "
                                                                 "column \"id\" of type \"id\""},
        {SINK(ID_COLUMN, "\"connection\":\"../x\","), "Field \"table.connection\" must be the name"},
        {SINK(ID_COLUMN, "\"columns\":[],"), "Field \"table.columns\" is not known here"},
        {SINK("{\"name\":\"m\",\"type\":\"meta\"}", ""), "needs a \"field\""},
        {SINK("{\"name\":\"m\",\"type\":\"id\",\"mask\":\"x\"}", ""),
         "Field \"table.mapping.columns[0].mask\" has no mask \"x\": there are hash[:plain], hmac:KEYNAME, md5, redact"},
        {SINK("{\"name\":\"m\",\"type\":\"id\",\"mask\":\"stars:2\"}", ""),
         "columns[0].mask\" must be \"stars\": this mask has no parameter"},
        {SINK("{\"name\":\"m\",\"type\":\"id\",\"mask\":5}", ""), "columns[0].mask\" must be a string, not an integer"},
        {SINK("{\"name\":\"m\",\"type\":\"id\",\"mask\":\"\"}", ""), "columns[0].mask\" must have 1 to 1024 bytes"},
        {SINK("{\"name\":\"m\",\"type\":\"path\",\"path\":\"a\",\"dataType\":\"integer\",\"mask\":\"stars\"}", ""),
         "columns[0].mask\" is \"stars\", which is for columns of dataType \"text\", not \"integer\""},
        {SINK("{\"name\":\"m\",\"type\":\"id\",\"primaryKey\":true,\"mask\":\"redact\"}", ""), "a primary key may have \"hash\""},
        {SINK(KEY_COLUMN ",{\"name\":\"m\",\"type\":\"path\",\"path\":\"a\",\"dataType\":\"integer\",\"mask\":\"round:5\"}",
              "\"mergeIf\":{\"newerBy\":\"m\"},"),
         "mergeIf.newerBy\" is \"m\", which has a mask"},
        {SINK("{\"name\":\"m\",\"type\":\"path\"}", ""), "needs a \"path\""},
        {SINK("{\"name\":\"m\",\"type\":\"id\",\"path\":\"a\"}", ""), "columns[0].path\" is only for columns of type \"path\""},
        {SINK("{\"name\":\"m\",\"type\":\"body\",\"defaultValue\":\"a\"}", ""), "defaultValue\" is only for"},
        {SINK("{\"name\":\"m\",\"type\":\"path\",\"path\":\"a\",\"template\":{}}", ""), "template\" is only for"},
        {SINK("{\"name\":\"m\",\"type\":\"template\"}", ""), "needs a \"template\""},
        {SINK("{\"name\":\"m\",\"type\":\"template\",\"template\":{\"language\":\"lua\",\"content\":\"1\"}}", ""),
         "must be one of jsonnet, not \"lua\""},
        {SINK("{\"name\":\"m\",\"type\":\"template\",\"template\":{\"content\":\"1\"}}", ""), "template\" needs a \"language\""},
        {SINK("{\"name\":\"m\",\"type\":\"template\",\"template\":{\"language\":\"jsonnet\"}}", ""), "template\" needs a \"content\""},
        {SINK("{\"name\":\"m\",\"type\":\"body\",\"rawString\":true}", ""), "rawString\" is only for"},
        {SINK("{\"name\":\"m\",\"type\":\"id\",\"dataType\":\"integer\"}", ""),
         "is \"integer\", which a column of type \"id\" can never have"},
        {SINK("{\"name\":\"m\",\"type\":\"body\",\"dataType\":\"int\"}", ""), "must be one of text, integer, number"},
        {SINK("{\"name\":\"m\",\"type\":\"body\",\"dataType\":\"json\",\"primaryKey\":true}", ""), "cannot be used with dataType \"json\""},
        {SINK("{\"name\":\"m\",\"type\":\"id\",\"primaryKey\":\"yes\"}", ""), "primaryKey\" must be true or false, not a string"},
        {SINK("{\"name\":\"m\"}", ""), "Field \"table.mapping.columns[0]\" needs a \"type\""},
        {SINK("{\"type\":\"id\"}", ""), "Field \"table.mapping.columns[0]\" needs a \"name\""},
        {SINK("{\"name\":\"a\\u0007\",\"type\":\"id\"}", ""), "control characters"},
        {SINK("{\"name\":\"0123456789012345678901234567890123456789012345678901234567890123\",\"type\":\"id\"}", ""),
         "1 to 63 bytes, not 64"},
        {SINK(ID_COLUMN ",{\"name\":\"ID\",\"type\":\"ip\"}", ""), "columns[1].name\" is \"ID\", the same name as column 0"},
        {SINK("5", ""), "Field \"table.mapping.columns[0]\" must be an object, not an integer"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Sink *sink = NULL;
        Error error = {0};
        assert_int_equal(make_sink(cases[i].body, false, &sink, &error), -EINVAL);
        assert_null(sink);
        assert_says(&error, cases[i].says);
    }
}

static void table_ids_have_rules(void **state) {
    static const char *const good[] = {"orders", "public.orders", "in.c-shop.orders", "o r", "\xC3\xA9t\xC3\xA9"};
    static const char *const bad[] = {"",
                                      ".",
                                      "a.",
                                      ".a",
                                      "a\\\"b",
                                      "a\\\\b",
                                      "a/b",
                                      "a\\nb",
                                      " a",
                                      "a ",
                                      "a .b",
                                      "a. b",
                                      "sqlite_x",
                                      "SQLite_x",
                                      "x._sluice_files",
                                      "sluice.files",
                                      "0123456789012345678901234567890123456789012345678901234567890123"};
    for (size_t i = 0; i < sizeof good / sizeof *good + sizeof bad / sizeof *bad; i++) {
        bool is_good = i < sizeof good / sizeof *good;
        char text[400];
        (void)snprintf(text, sizeof text, "{\"name\":\"a\",\"table\":{\"tableId\":\"%s\",\"mapping\":{\"columns\":[" ID_COLUMN "]}}}",
                       is_good ? good[i] : bad[i - sizeof good / sizeof *good]);
        Sink *sink = NULL;
        Error error = {0};
        int r = make_sink(text, false, &sink, &error);
        if ((r == 0) != is_good) fail_msg("%s: %s", text, error.text);
        if (!is_good) assert_says(&error, "Field \"table.tableId\"");
        sink_unref(sink);
    }
}

static void at_most_100_columns(void **state) {
    for (int count = 100; count <= 101; count++) {
        json_t *sink = parse(SINK(ID_COLUMN, ""));
        json_t *columns = json_object_get(json_object_get(json_object_get(sink, "table"), "mapping"), "columns");
        for (int i = 1; i < count; i++)
            assert_int_equal(json_array_append_new(columns, json_pack("{s:o,s:s}", "name", json_sprintf("c%d", i), "type", "ip")), 0);
        Sink *made = NULL;
        assert_int_equal(sink_from_request(sink, false, &made, NULL), count == 100 ? 0 : -EINVAL);
        sink_unref(made);
        json_decref(sink);
    }
}

static void a_patch_is_a_merge(void **state) {
    Source *old = NULL, *new = NULL;
    assert_int_equal(
        make_source("{\"name\":\"A\",\"description\":\"d\",\"rate\":{\"events\":5,\"burst\":9},\"secret\":\"" SECRET "\"}", &old, NULL), 0);
    old->number = 7;
    old->created = 123;
    ((HttpSource *)old->part)->discard = true;
    source_stamp(old, 3, 456, "me", "made");
    json_t *patch = parse("{\"description\":null,\"rate\":{\"burst\":10},\"sourceId\":\"a\",\"secret\":null}");
    assert_int_equal(source_patched(old, patch, &new, NULL), 0);
    json_decref(patch);
    assert_string_equal(new->description, "");
    assert_int_equal(source_http(new)->rate_events, 5);
    assert_int_equal(source_http(new)->rate_burst, 10);
    assert_string_equal(source_http(new)->secret, SECRET);
    assert_int_equal(new->number, 7);
    assert_int_equal(new->created, 123);
    assert_int_equal(new->version.number, 3);
    assert_string_equal(new->version.by, "me");
    assert_true(source_http(new)->discard);
    source_unref(new);
    static const struct {
        const char *patch, *says;
    } cases[] = {{"{\"sourceId\":\"b\"}", "Field \"sourceId\" cannot be changed"},
                 {"{\"sourceId\":null}", "Field \"sourceId\" cannot be changed"},
                 {"{\"colour\":null}", "\"colour\""},
                 {"{\"rate\":{\"colour\":null,\"events\":1}}", "colour"},
                 {"[1]", "must be an object, not an array"},
                 {"{\"rate\":{\"events\":null}}", "Field \"rate\" needs \"events\""},
                 {"{\"http\":{\"url\":\"x\"}}", "Field \"http\" is set by the server"},
                 {"{\"framing\":{}}", "Field \"framing\" must be a string, not an object"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Error error = {0};
        patch = parse(cases[i].patch);
        assert_int_equal(source_patched(old, patch, &new, &error), -EINVAL);
        assert_says(&error, cases[i].says);
        json_decref(patch);
    }
    source_unref(old);
}

static void a_patched_table_gets_a_new_mapping_version(void **state) {
    Sink *old = good_sink(SINK(ID_COLUMN, "")), *new = NULL;
    sink_stamp(old, 1, 1, "me", "");
    assert_int_equal(old->mapping_version, 1);
    json_t *patch = parse("{\"name\":\"B\",\"onInvalid\":null,\"description\":null}");
    assert_int_equal(sink_patched(old, patch, &new, NULL), 0);
    sink_stamp(new, 2, 2, "me", "");
    assert_int_equal(new->mapping_version, 1);
    assert_int_equal(new->on_invalid, old->on_invalid);
    assert_false(sink_target_differs(old, new));
    sink_unref(new);
    json_decref(patch);
    /* columns is replaced whole */
    patch = parse("{\"table\":{\"mapping\":{\"columns\":[{\"name\":\"b\",\"type\":\"body\"}]}}}");
    assert_int_equal(sink_patched(old, patch, &new, NULL), 0);
    json_decref(patch);
    assert_int_equal(new->target.column_count, 1);
    assert_string_equal(new->target.table.table_id, "in.c-shop.orders");
    assert_true(sink_target_differs(old, new));
    assert_int_equal(new->version.number, 1);
    sink_stamp(new, 2, 2, "me", "");
    assert_int_equal(new->mapping_version, 2);
    sink_unref(new);
    sink_unref(old);
}

static void deep_patches_end_in_an_error(void **state) {
    char text[3000];
    size_t used = 0;
    for (int i = 0; i < 400; i++) used += (size_t)snprintf(text + used, sizeof text - used, "{\"a\":");
    text[used++] = '1';
    for (int i = 0; i < 400; i++) text[used++] = '}';
    text[used] = 0;
    Sink *old = good_sink(SINK(ID_COLUMN, "")), *new = NULL;
    json_t *patch = parse(text);
    Error error = {0};
    assert_int_equal(sink_patched(old, patch, &new, &error), -EINVAL);
    assert_says(&error, "nested deeper");
    assert_int_equal(sink_from_request(patch, false, &new, &error), -EINVAL);
    json_decref(patch);
    sink_unref(old);
}

static void the_api_form_is_complete(void **state) {
    Source *source = NULL;
    assert_int_equal(make_source("{\"name\":\"A\",\"rate\":{\"events\":5},\"secret\":\"" SECRET "\"}", &source, NULL), 0);
    source->created = 1136214245000000;
    source_stamp(source, 2, 1136214246000000, "me", "why");
    json_t *json = source_to_json(source, "https://x.example/", 1, true);
    char *text = json_dumps(json, JSON_COMPACT);
    assert_string_equal(text, "{\"sourceId\":\"a\",\"name\":\"A\",\"description\":\"\",\"type\":\"http\",\"framing\":\"single\","
                              "\"rate\":{\"events\":5,\"burst\":5},\"errorDetail\":\"full\","
                              "\"http\":{\"url\":\"https://x.example/stream/1/a/" SECRET "\"},"
                              "\"version\":{\"number\":2,\"at\":\"2006-01-02T15:04:06.000Z\",\"by\":\"me\",\"description\":\"why\"},"
                              "\"created\":\"2006-01-02T15:04:05.000Z\"}");
    free(text);
    json_decref(json);
    source->disabled = true;
    source->deleted = 1136214247000000;
    json = source_to_json(source, "http://h:7000", 12, false);
    assert_string_equal(json_string_value(json_object_get(json_object_get(json, "http"), "url")), "http://h:7000/stream/12/a/***");
    assert_true(json_is_true(json_object_get(json, "disabled")));
    assert_string_equal(json_string_value(json_object_get(json, "deleted")), "2006-01-02T15:04:07.000Z");
    text = json_dumps(json, 0);
    assert_null(strstr(text, SECRET));
    free(text);
    json_decref(json);
    source_unref(source);
}

static const char *const full_sink =
    "{\"sinkId\":\"s\",\"name\":\"S\",\"description\":\"d\",\"type\":\"table\",\"onInvalid\":\"reject\",\"table\":{\"connection\":"
    "\"warehouse\","
    "\"tableId\":\"a.b\",\"strategy\":\"merge\",\"onSchemaDrift\":\"evolve\",\"mapping\":{\"columns\":["
    "{\"name\":\"id\",\"type\":\"id\",\"primaryKey\":true},{\"name\":\"d\",\"type\":\"datetime\",\"dataType\":\"timestamp\"},"
    "{\"name\":\"p\",\"type\":\"path\",\"dataType\":\"integer\",\"path\":\"a[0]\",\"defaultValue\":\"0\",\"rawString\":true},"
    "{\"name\":\"t\",\"type\":\"template\",\"template\":{\"language\":\"jsonnet\",\"content\":\"Body('a')\"}}]}}}";

static void a_sink_goes_through_the_catalog_unchanged(void **state) {
    Sink *sink = good_sink(full_sink), *loaded = NULL;
    sink->number = 9;
    sink->created = 5;
    sink->disabled = true;
    sink->deleted = 6;
    sink->settings.set[SETTING_IMPORT_COUNT] = true;
    sink->settings.value[SETTING_IMPORT_COUNT] = 1;
    sink_stamp(sink, 4, 7, "bad \xFF name", NULL);
    sink->mapping_version = 2;
    json_t *stored = sink_store(sink);
    Error error = {0};
    if (sink_load(stored, &loaded, &error) != 0) fail_msg("%s", error.text);
    json_t *again = sink_store(loaded), *copy_stored;
    assert_true(json_equal(stored, again));
    assert_int_equal(loaded->mapping_version, 2);
    assert_int_equal(loaded->number, 9);
    assert_string_equal(loaded->version.by, "bad ? name");
    assert_true(settings_equal(&loaded->settings, &sink->settings));
    Sink *copy = sink_copy(loaded);
    copy_stored = sink_store(copy);
    assert_true(json_equal(stored, copy_stored));
    assert_false(sink_target_differs(sink, copy));
    json_t *json = sink_to_json(copy), *want = parse(full_sink);
    const char *key;
    json_t *value;
    json_object_foreach(want, key, value) assert_true(json_equal(json_object_get(json, key), value));
    json_decref(want);
    json_decref(json);
    json_decref(copy_stored);
    json_decref(again);
    json_decref(stored);
    sink_unref(copy);
    sink_unref(loaded);
    sink_unref(sink);
}

static void a_source_goes_through_the_catalog_unchanged(void **state) {
    Source *source = NULL, *loaded = NULL;
    assert_int_equal(
        make_source("{\"name\":\"A\",\"framing\":\"array\",\"rate\":{\"events\":5},\"errorDetail\":\"minimal\"}", &source, NULL), 0);
    source->number = UINT32_MAX;
    ((HttpSource *)source->part)->discard = true;
    source_stamp(source, 1, 2, "x", "y");
    json_t *stored = source_store(source);
    assert_int_equal(source_load(stored, &loaded, NULL), 0);
    Source *copy = source_copy(loaded);
    json_t *again = source_store(copy);
    assert_true(json_equal(stored, again));
    assert_string_equal(source_http(copy)->secret, source_http(source)->secret);
    json_decref(again);
    source_unref(copy);
    source_unref(loaded);
    source_unref(source);
    /* Whatever one part of it turns into, damage is an error and no crash. */
    const char *key;
    json_t *value, *state_object = json_object_get(stored, "state");
    json_object_foreach(state_object, key, value) {
        json_t *damaged = json_deep_copy(stored);
        json_object_set_new(json_object_get(damaged, "state"), key, json_string("damaged"));
        assert_int_equal(source_load(damaged, &loaded, NULL), -EINVAL);
        json_object_del(json_object_get(damaged, "state"), key);
        assert_int_equal(source_load(damaged, &loaded, NULL), -EINVAL);
        json_decref(damaged);
    }
    assert_int_equal(source_load(NULL, &loaded, NULL), -EINVAL);
    assert_int_equal(source_load(state_object, &loaded, NULL), -EINVAL);
    json_decref(stored);
}

static void differences_are_named(void **state) {
    json_t *body = json_loads(
        "{\"name\":\"K\",\"table\":{\"tableId\":\"t\",\"mapping\":{\"columns\":[{\"name\":\"id\",\"type\":\"id\"}]}}}", 0, NULL);
    Sink *old, *now;
    Error error = {0};
    assert_int_equal(sink_from_request(body, true, &old, &error), 0);
    json_t *list = sink_differences(old, old);
    assert_int_equal(json_array_size(list), 0);
    json_decref(list);
    json_t *patch = json_loads(
        "{\"description\":\"d\",\"table\":{\"tableId\":\"u\",\"mapping\":{\"columns\":[{\"name\":\"b\",\"type\":\"body\"}]}}}", 0, NULL);
    assert_int_equal(sink_patched(old, patch, &now, &error), 0);
    now->settings.set[SETTING_IMPORT_COUNT] = true;
    now->settings.value[SETTING_IMPORT_COUNT] = 5;
    list = sink_differences(old, now);
    char *text = json_dumps(list, JSON_COMPACT);
    assert_string_equal(
        text, "[\"description\",\"table.tableId\",\"table.mapping.columns\",\"settings.storage.level.target.import.trigger.count\"]");
    free(text);
    json_decref(list);
    json_decref(patch);
    json_decref(body);
    sink_unref(old);
    sink_unref(now);
}

static void a_pause_goes_through_the_catalog(void **state) {
    json_t *body = json_loads("{\"name\":\"S\"}", 0, NULL);
    Source *source, *loaded;
    Error error = {0};
    assert_int_equal(source_from_request(body, &source, &error), 0);
    json_t *stored = source_store(source);
    assert_null(json_object_get(json_object_get(stored, "state"), "paused"));
    json_decref(stored);
    pause_begin(&source->paused, 77, 7, "ann");
    pause_begin(&source->paused, 88, 8, "ben"); /* it has begun */
    stored = source_store(source);
    source_stamp(source, 1, 1, "x", "");
    assert_int_equal(source_load(stored, &loaded, &error), 0);
    assert_int_equal(loaded->paused.at, 77);
    assert_int_equal(loaded->paused.running, 7);
    assert_string_equal(loaded->paused.by, "ann");
    source_unref(loaded);
    json_object_del(json_object_get(json_object_get(stored, "state"), "paused"), "running"); /* of a program that did not keep it */
    assert_int_equal(source_load(stored, &loaded, &error), 0);
    assert_int_equal(loaded->paused.at, 77);
    assert_int_equal(loaded->paused.running, 0);
    json_object_set_new(json_object_get(json_object_get(stored, "state"), "paused"), "at", json_string("x"));
    assert_int_equal(source_load(stored, &loaded, &error), -EINVAL);
    source_unref(loaded);
    source_unref(source);
    json_decref(stored);
    json_decref(body);
}

static void each_column_has_the_data_types_that_fit(void **state) {
    static const struct {
        ColumnType type;
        const char *fit;
    } cases[] = {
        {COLUMN_ID, "text bytes uuid "},
        {COLUMN_IP, "text bytes "},
        {COLUMN_DATETIME, "text timestamp date bytes "},
        {COLUMN_HEADERS, "text json bytes jsonText "},
        {COLUMN_BODY, "text integer number decimal boolean timestamp date json bytes uuid jsonText "},
        {COLUMN_PATH, "text integer number decimal boolean timestamp date json bytes uuid jsonText "},
        {COLUMN_TEMPLATE, "text integer number decimal boolean timestamp date json bytes uuid jsonText "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char fit[128] = "";
        for (unsigned type = 0; type < DATA_TYPE_COUNT; type++) {
            Column column = {.type = cases[i].type, .data_type = (DataType)type};
            if (!column_type_fits(&column)) continue;
            strcat(fit, data_type_name((DataType)type));
            strcat(fit, " ");
        }
        assert_string_equal(fit, cases[i].fit);
    }
}

static void a_table_stands_alone(void **state) {
    Sink *sink = good_sink(full_sink);
    json_t *stored = sink_target_store(&sink->target);
    SinkTarget table;
    assert_int_equal(sink_target_load(stored, &table, NULL), 0);
    json_t *again = sink_target_store(&table);
    assert_true(json_equal(stored, again));
    assert_string_equal(sink_target_name(&table), json_string_value(json_object_get(stored, "tableId")));
    sink_target_deinit(&table);
    Error error = {0};
    json_object_del(stored, "tableId");
    assert_int_equal(sink_target_load(stored, &table, &error), -EINVAL);
    assert_says(&error, "Field \"table\" needs a \"tableId\"");
    json_decref(stored);
    json_decref(again);
    sink_unref(sink);
}

static bool is_stored(Sink *sink) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)close(STDERR_FILENO);
        json_decref(sink_store(sink));
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* A fault of the program ends it before the catalog has what no start could read. */
static void refuses_sink(const char *text, const char *words) {
    Sink *sink = NULL;
    Error error = {0};
    assert_int_equal(make_sink(text, false, &sink, &error), -EINVAL);
    assert_says(&error, words);
}

static void a_default_is_what_it_was_declared(void **state) {
    static const struct {
        const char *json;
        ScalarKind kind;
        const char *text;
    } rows[] = {{"\"x\"", SCALAR_TEXT, "x"},
                {"null", SCALAR_NULL, "null"},
                {"\"null\"", SCALAR_TEXT, "null"},
                {"5", SCALAR_LITERAL, "5"},
                {"-0.1", SCALAR_LITERAL, "-0.1"},
                {"1e300", SCALAR_LITERAL, "1e300"},
                {"true", SCALAR_LITERAL, "true"},
                {"false", SCALAR_LITERAL, "false"},
                {"0.30000000000000004", SCALAR_LITERAL, "0.30000000000000004"},
                {"\"\"", SCALAR_TEXT, ""}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[256];
        (void)snprintf(text, sizeof text, SINK("{\"name\":\"a\",\"type\":\"path\",\"path\":\"a\",\"defaultValue\":%s}", ""), rows[i].json);
        Sink *sink = good_sink(text), *loaded = NULL, *patched = NULL, *copy = sink_copy(sink);
        const Column *column = &sink->target.columns[0];
        assert_int_equal(column->default_kind, rows[i].kind);
        assert_string_equal(column->default_value, rows[i].text);
        json_t *stored = sink_store(sink), *patch = parse("{\"name\":\"other\"}");
        assert_int_equal(sink_load(stored, &loaded, NULL), 0);
        assert_int_equal(sink_patched(sink, patch, &patched, NULL), 0);
        assert_false(sink_target_differs(sink, loaded));
        assert_false(sink_target_differs(sink, patched));
        assert_false(sink_target_differs(sink, copy));
        json_decref(stored);
        json_decref(patch);
        sink_unref(sink);
        sink_unref(copy);
        sink_unref(loaded);
        sink_unref(patched);
    }
    Sink *text = good_sink(SINK("{\"name\":\"a\",\"type\":\"path\",\"path\":\"a\",\"defaultValue\":\"5\"}", ""));
    Sink *number = good_sink(SINK("{\"name\":\"a\",\"type\":\"path\",\"path\":\"a\",\"defaultValue\":5}", ""));
    assert_true(sink_target_differs(text, number));
    sink_unref(text);
    sink_unref(number);
    refuses_sink(SINK("{\"name\":\"a\",\"type\":\"path\",\"path\":\"a\",\"defaultValue\":[]}", ""),
                 "Field \"table.mapping.columns[0].defaultValue\" must be a text, a number, a boolean or null, not an array");
    refuses_sink(SINK("{\"name\":\"a\",\"type\":\"path\",\"path\":\"a\",\"defaultValue\":null,\"primaryKey\":true}", ""),
                 "\"table.mapping.columns[0].defaultValue\" is null, but a primary key cannot be NULL");
    refuses_sink(SINK("{\"name\":\"a\",\"type\":\"path\",\"path\":\"a\",\"defaultValue\":null,\"optional\":true}", ""),
                 "cannot be combined with \"defaultValue\"");
    refuses_sink(SINK("{\"name\":\"a\",\"type\":\"id\",\"defaultValue\":null}", ""), "is only for columns of type \"path\"");
}

/* An earlier program took a leading `$`, and spellings that are refused now, for keys. */
static void stored_paths_keep_their_meaning(void **state) {
    Sink *sink = good_sink("{\"name\":\"x\",\"table\":{\"tableId\":\"t\",\"strategy\":\"merge\","
                           "\"deleteOn\":{\"path\":\"$.op\",\"equals\":\"d\"},\"mapping\":{\"infer\":{\"exclude\":[\"$.secret\"],"
                           "\"typeHints\":{\"$.n\":\"text\"}},\"columns\":["
                           "{\"name\":\"k\",\"type\":\"path\",\"path\":\"$.a\",\"primaryKey\":true}]}}}");
    refuses_sink(SINK("{\"name\":\"a\",\"type\":\"path\",\"path\":\"/a/0\"}", ""),
                 "Field \"table.mapping.columns[0].path\" is a JSON pointer, write it as a.0");
    refuses_sink("{\"name\":\"x\",\"table\":{\"tableId\":\"t\",\"mapping\":{\"infer\":{\"exclude\":[\"a\", \" b\"]}}}}",
                 "Field \"table.mapping.infer.exclude[1]\" has blanks before or after it, write it as b");
    refuses_sink("{\"name\":\"x\",\"table\":{\"tableId\":\"t\",\"mapping\":{\"infer\":{\"typeHints\":{\"'b'\":\"text\"}}}}}",
                 "has quotes around it, write it as b");
    refuses_sink("{\"name\":\"x\",\"table\":{\"tableId\":\"t\",\"mapping\":{\"explode\":\"a\\\\.b\",\"columns\":[" ID_COLUMN "]}}}",
                 "Field \"table.mapping.explode\" has a backslash outside of a quoted step, write it as [\"a.b\"]");
    SinkTarget *target = &sink->target;
    assert_string_equal(target->columns[0].path, "a");
    assert_string_equal(target->table.delete_on.path, "op");
    assert_string_equal(target->infer->exclude[0], "secret");
    assert_string_equal(target->infer->hints[0].path, "n");
    json_t *stored = sink_target_store(target);
    json_t *mapping = json_object_get(stored, "mapping"), *infer = json_object_get(mapping, "infer");
    json_t *column = json_array_get(json_object_get(mapping, "columns"), 0);
    json_object_set_new(column, "path", json_string("$.a"));
    json_object_set_new(json_object_get(stored, "deleteOn"), "path", json_string("/op"));
    json_object_set_new(infer, "exclude", json_pack("[s]", "a\\b.c"));
    json_object_set_new(infer, "typeHints", json_pack("{s:s}", " n", "text"));
    SinkTarget loaded;
    assert_int_equal(sink_target_load(stored, &loaded, NULL), 0);
    assert_string_equal(loaded.columns[0].path, "[\"$\"].a");
    assert_string_equal(loaded.table.delete_on.path, "[\"/op\"]");
    assert_string_equal(loaded.infer->exclude[0], "[\"a\\\\b\"].c");
    assert_string_equal(loaded.infer->hints[0].path, "[\" n\"]");
    sink_target_deinit(&loaded);
    json_decref(stored);
    sink_unref(sink);
}

/* Only the target of a file says so. */
static void existing_rows_are_kept_by_stored_targets_only(void **state) {
    Sink *sink = good_sink(full_sink);
    SinkTarget loaded;
    assert_false(sink->target.table.keeps_rows);
    sink->target.table.keeps_rows = true;
    json_t *stored = sink_target_store(&sink->target);
    assert_string_equal(json_string_value(json_object_get(stored, "existingRows")), "keep");
    assert_int_equal(sink_target_load(stored, &loaded, NULL), 0);
    assert_true(sink_target_keeps_rows(&loaded));
    sink_target_deinit(&loaded);
    json_object_del(stored, "existingRows");
    assert_int_equal(sink_target_load(stored, &loaded, NULL), 0);
    assert_false(loaded.table.keeps_rows);
    sink_target_deinit(&loaded);
    json_decref(stored);
    sink_unref(sink);
    refuses_sink("{\"name\":\"x\",\"table\":{\"tableId\":\"t\",\"existingRows\":\"keep\",\"mapping\":{\"columns\":[" ID_COLUMN "]}}}",
                 "existingRows");
}

static void what_no_request_makes_is_not_stored(void **state) {
    Sink *sink = good_sink(full_sink);
    sink_stamp(sink, 1, 2, "x", "");
    assert_true(is_stored(sink));
    sink->on_invalid = (OnInvalid)7;
    assert_false(is_stored(sink));
    sink->on_invalid = ON_INVALID_REJECT;
    sink->settings.set[SETTING_IMPORT_COUNT] = true;
    assert_false(is_stored(sink));
    sink->settings.set[SETTING_IMPORT_COUNT] = false;
    sink->target.columns[2].type = COLUMN_BODY; /* with a path */
    assert_false(is_stored(sink));
    sink->target.columns[2].type = COLUMN_PATH;
    assert_true(is_stored(sink));
    sink_unref(sink);
}

static void references_are_counted(void **state) {
    Sink *sink = good_sink(SINK(ID_COLUMN, ""));
    Sink *second = sink_ref(sink);
    assert_ptr_equal(second, sink);
    sink_unref(sink);
    assert_string_equal(second->sink_id, "orders");
    sink_unref(second);
    sink_unref(NULL);
    source_unref(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_source_gets_its_defaults),
        cmocka_unit_test(wrong_sources_are_refused_by_name),
        cmocka_unit_test(a_secret_is_never_in_an_error),
        cmocka_unit_test(masks_and_what_is_kept_of_bodies),
        cmocka_unit_test(a_sink_gets_its_defaults),
        cmocka_unit_test(a_merge_may_have_a_condition),
        cmocka_unit_test(a_merge_may_delete),
        cmocka_unit_test(wrong_sinks_are_refused_by_name),
        cmocka_unit_test(table_ids_have_rules),
        cmocka_unit_test(at_most_100_columns),
        cmocka_unit_test(a_patch_is_a_merge),
        cmocka_unit_test(a_patched_table_gets_a_new_mapping_version),
        cmocka_unit_test(deep_patches_end_in_an_error),
        cmocka_unit_test(the_api_form_is_complete),
        cmocka_unit_test(a_sink_goes_through_the_catalog_unchanged),
        cmocka_unit_test(a_source_goes_through_the_catalog_unchanged),
        cmocka_unit_test(differences_are_named),
        cmocka_unit_test(a_pause_goes_through_the_catalog),
        cmocka_unit_test(each_column_has_the_data_types_that_fit),
        cmocka_unit_test(a_table_stands_alone),
        cmocka_unit_test(a_default_is_what_it_was_declared),
        cmocka_unit_test(stored_paths_keep_their_meaning),
        cmocka_unit_test(existing_rows_are_kept_by_stored_targets_only),
        cmocka_unit_test(what_no_request_makes_is_not_stored),
        cmocka_unit_test(references_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
