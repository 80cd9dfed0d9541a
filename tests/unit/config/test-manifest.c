#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config/definition.h"
#include "config/manifest.h"

#define HEAD "kind: source\nname: Shop\n"
#define SINKS                                                                                                                              \
    "sinks:\n  - name: Orders\n    table:\n      tableId: orders\n      mapping:\n        columns:\n          - {name: id, type: id}\n"

static void assert_refused(const char *text, const char *says) {
    Manifest manifest = {0};
    Error error = {0};
    assert_int_equal(manifest_parse("m.yaml", text, strlen(text), NULL, &manifest, &error), -EINVAL);
    assert_int_equal(manifest.count, 0);
    if (strstr(error.text, says) == NULL) fail_msg("\"%s\" lacks \"%s\"", error.text, says);
}

static char *example(const char *name) {
    char *path;
    assert_true(asprintf(&path, "%s/config/examples/%s", getenv("SLUICE_TREE") ? getenv("SLUICE_TREE") : ".", name) > 0);
    return path;
}

static void ids_are_filled_in_and_settings_become_a_list(void **state) {
    static const char text[] = HEAD "settings: {storage.level.target.import.trigger.count: 5}\n" SINKS
                                    "    settings: [{key: storage.level.staging.upload.trigger.size, value: 1MB}]\n---\n" HEAD
                                    "sourceId: b\n---\n";
    Manifest manifest;
    Error error = {0};
    if (manifest_parse("m.yaml", text, sizeof text - 1, NULL, &manifest, &error) != 0) fail_msg("%s", error.text);
    assert_int_equal(manifest.count, 2);
    const ManifestSource *source = &manifest.sources[0];
    char *json = json_dumps(source->source, JSON_COMPACT);
    assert_string_equal(json, "{\"name\":\"Shop\",\"sourceId\":\"shop\"}");
    free(json);
    json = json_dumps(source->settings, JSON_COMPACT);
    assert_string_equal(json, "[{\"key\":\"storage.level.target.import.trigger.count\",\"value\":5}]");
    free(json);
    assert_int_equal(source->sink_count, 1);
    json = json_dumps(source->sinks[0], JSON_COMPACT);
    assert_string_equal(
        json, "{\"name\":\"Orders\",\"table\":{\"tableId\":\"orders\",\"mapping\":{\"columns\":[{\"name\":\"id\",\"type\":\"id\"}]}},"
              "\"sinkId\":\"orders\"}");
    free(json);
    json = json_dumps(source->sink_settings[0], JSON_COMPACT);
    assert_string_equal(json, "[{\"key\":\"storage.level.staging.upload.trigger.size\",\"value\":\"1MB\"}]");
    free(json);
    assert_string_equal(json_string_value(json_object_get(manifest.sources[1].source, "sourceId")), "b");
    assert_null(manifest.sources[1].settings);
    assert_int_equal(manifest.sources[1].sink_count, 0);
    manifest_deinit(&manifest);
}

static void errors_say_where(void **state) {
    assert_refused("", "m.yaml:1:1: the manifest has no source");
    assert_refused("- 1\n", "m.yaml:1:1: A manifest document must be a map");
    assert_refused("name: x\n", "m.yaml:1:1: A manifest document needs a \"kind\": source");
    assert_refused("name: x\nkind: table\n", "m.yaml:2:7: Field \"kind\" must be one of source, not \"table\"");
    assert_refused("name: x\ntype: nilus\nspec: {type: cdc}\n", "m.yaml:3:14: Field \"spec.type\" is \"cdc\", which follows the changes");
    assert_refused("name: x\ntype: nilus\nspec: {type: stream, source: 1, sink: 1}\n",
                   "m.yaml:3:30: Field \"spec.source\" must be an object");
    assert_refused(HEAD "framng: lines\n", "m.yaml:3:1: Field \"framng\" is not known here: did you mean \"framing\"?");
    assert_refused(HEAD "type: ftp\n", "m.yaml:3:7: Field \"type\" must be one of http, kafka, nats, not \"ftp\"");
    assert_refused(HEAD "framing: line\n", "m.yaml:3:10: Field \"framing\" must be one of single");
    assert_refused(HEAD "sinks: 5\n", "m.yaml:3:8: Field \"sinks\" must be an array, not an integer");
    assert_refused(HEAD "sinks:\n  - 5\n", "m.yaml:4:5: Field \"sinks[0]\" must be an object");
    assert_refused(HEAD "sinks:\n  - name: a\n", "m.yaml:4:5: Field \"sinks[0]\" needs a \"table\"");
    assert_refused(HEAD SINKS "          - {name: x, type: pth}\n",
                   "m.yaml:10:29: Field \"sinks[0].table.mapping.columns[1].type\" must be one of");
    assert_refused(HEAD SINKS "          - {name: x, type: id, mask: 1}\n",
                   "m.yaml:10:39: Field \"sinks[0].table.mapping.columns[1].mask\" must be a string, not an integer");
    assert_refused(HEAD SINKS "  - sinkId: orders\n    table: {tableId: t, mapping: {columns: [{name: id, type: id}]}}\n",
                   "m.yaml:10:5: Field \"sinks[1]\" has the id \"orders\" of another sink");
    assert_refused(HEAD SINKS "    settings:\n      storage.level.target.import.trigger.count: 0\n",
                   "m.yaml:11:50: Setting \"storage.level.target.import.trigger.count\" must be 1 to 10000000");
    assert_refused(HEAD SINKS "    settings:\n      - {key: nothing, value: 0}\n", "m.yaml:11:10: There is no setting \"nothing\"");
    assert_refused(HEAD "settings:\n  nothing: 0\n", "m.yaml:4:3: There is no setting \"nothing\"");
    assert_refused(HEAD "settings: 5\n", "m.yaml:3:11: Field \"settings\" must be a list");
    assert_refused(HEAD "---\n" HEAD, "m.yaml:4:1: Source \"shop\" is defined twice");
    assert_refused(HEAD "secret: short\n", "m.yaml:3:9: Field \"secret\" must be 32");
    assert_refused(HEAD "type: stream\n", "m.yaml:3:7: Field \"type\" is \"stream\", which is not supported");
}

static void at_most_20_sinks(void **state) {
    for (int count = 20; count <= 21; count++) {
        char text[4000] = HEAD "sinks:\n";
        for (int i = 0; i < count; i++) {
            size_t used = strlen(text);
            (void)snprintf(text + used, sizeof text - used,
                           "  - {sinkId: s%d, table: {tableId: t, mapping: {columns: [{name: id, type: id}]}}}\n", i);
        }
        Manifest manifest = {0};
        assert_int_equal(manifest_parse("m.yaml", text, strlen(text), NULL, &manifest, NULL), count == 20 ? 0 : -EINVAL);
        manifest_deinit(&manifest);
    }
}

static void the_examples_are_right(void **state) {
    static const struct {
        const char *file, *id, *sink, *connection;
        Strategy strategy;
    } cases[] = {{"demo.yaml", "demo", "orders", "local", STRATEGY_APPEND},
                 {"postgres.yaml", "demo-postgres", "orders", "warehouse", STRATEGY_MERGE},
                 {"kafka.yaml", "shop-orders", "orders", "warehouse", STRATEGY_APPEND},
                 {"nats.yaml", "sensors", "readings", "local", STRATEGY_MERGE}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *path = example(cases[i].file);
        Manifest manifest;
        Error error = {0};
        if (manifest_load(path, NULL, &manifest, &error) != 0) fail_msg("%s", error.text);
        free(path);
        assert_int_equal(manifest.count, 1);
        const ManifestSource *source = &manifest.sources[0];
        assert_string_equal(json_string_value(json_object_get(source->source, "sourceId")), cases[i].id);
        assert_int_equal(source->sink_count, 1);
        Sink *sink = NULL;
        assert_int_equal(sink_from_request(source->sinks[0], true, &sink, &error), 0);
        assert_string_equal(sink->sink_id, cases[i].sink);
        assert_string_equal(sink->target.connection, cases[i].connection);
        assert_int_equal(sink->target.table.strategy, cases[i].strategy);
        Settings settings = {0};
        assert_int_equal(settings_apply(&settings, source->sink_settings[0], &error), 0);
        assert_int_equal(settings_effective(SETTING_UPLOAD_COUNT, NULL, &settings), 1);
        assert_int_equal(settings_effective(SETTING_IMPORT_COUNT, NULL, &settings), 1);
        sink_unref(sink);
        manifest_deinit(&manifest);
    }
    Manifest manifest;
    Error error = {0};
    assert_int_equal(manifest_load("/nonexistent/m.yaml", NULL, &manifest, &error), -ENOENT);
}

/* Whatever single byte is wrong: read, or refused with a place; never a crash (the sanitizers
 * watch). */
static void broken_manifests_do_no_harm(void **state) {
    static const char good[] =
        "kind: source\nname: a\nrate: {events: 5}\nsettings: {storage.level.target.import.trigger.size: 5MB}\nsinks:\n  - name: b\n"
        "    onInvalid: reject\n    table: {tableId: a.b, strategy: merge, mapping: {columns: [{name: i, type: id, primaryKey: true},"
        " {name: p, type: path, path: a, dataType: json},"
        " {name: t, type: template, template: {language: jsonnet, content: '1'}}]}}\n";
    static const char changes[] = "\n:[}&'5\xFF~";
    size_t accepted = 0, refused = 0;
    for (size_t at = 0; at < sizeof good - 1; at++) {
        for (size_t i = 0; i < sizeof changes - 1; i++) {
            char text[sizeof good];
            memcpy(text, good, sizeof good);
            text[at] = changes[i];
            Manifest manifest = {0};
            Error error = {0};
            if (manifest_parse("m.yaml", text, sizeof good - 1, NULL, &manifest, &error) == 0) {
                accepted++;
            } else {
                assert_int_equal(strncmp(error.text, "m.yaml:", 7), 0);
                refused++;
            }
            manifest_deinit(&manifest);
        }
    }
    assert_true(accepted > 0 && refused > accepted);
}

static void a_document_of_the_api_is_of_the_source_in_its_path(void **state) {
    ManifestSource source;
    Error error = {0};
    json_t *document = json_loads("{\"sinks\":[{\"name\":\"Orders\",\"settings\":{\"storage.level.target.import.trigger.count\":5},"
                                  "\"table\":{\"tableId\":\"orders\",\"mapping\":{\"columns\":[{\"name\":\"id\",\"type\":\"id\"}]}}}]}",
                                  0, NULL);
    assert_int_equal(manifest_source_parse(document, "shop", &source, &error), 0);
    assert_string_equal(json_string_value(json_object_get(source.source, "sourceId")), "shop");
    assert_null(json_object_get(document, "sourceId")); /* it is the caller's */
    assert_int_equal(source.sink_count, 1);
    assert_int_equal(json_array_size(source.sink_settings[0]), 1);
    manifest_source_deinit(&source);
    json_object_set_new(document, "sourceId", json_string("other"));
    assert_int_equal(manifest_source_parse(document, "shop", &source, &error), -EINVAL);
    assert_non_null(strstr(error.text, "\"shop\", as in the path"));
    json_decref(document);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_document_of_the_api_is_of_the_source_in_its_path),
        cmocka_unit_test(ids_are_filled_in_and_settings_become_a_list),
        cmocka_unit_test(errors_say_where),
        cmocka_unit_test(at_most_20_sinks),
        cmocka_unit_test(the_examples_are_right),
        cmocka_unit_test(broken_manifests_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
