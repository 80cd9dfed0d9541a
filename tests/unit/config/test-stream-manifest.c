#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "config/manifest.h"
#include "config/stream_manifest.h"

/* The translation alone, without what the definitions say of it. */
static int translate(const char *text, StreamTranslation *ret_translation, Expansions *expansions, Error *error) {
    YamlDocument **documents;
    size_t count;
    if (yaml_parse("m.yaml", text, strlen(text), &documents, &count, error) < 0) fail_msg("%s", error->text);
    assert_int_equal(count, 1);
    Fault fault = {.error = error};
    Node root = {.value = yaml_json(documents[0])};
    assert_true(stream_manifest_is(root.value));
    int r = stream_manifest_translate(&fault, &root, "m.yaml", expansions, ret_translation);
    yaml_documents_free(documents, count);
    return r;
}

static void assert_json(const json_t *value, const char *wanted) {
    json_error_t why;
    json_t *expected = json_loads(wanted, 0, &why);
    if (!expected) fail_msg("%s: %s", wanted, why.text);
    char *text = json_dumps(value, JSON_ENCODE_ANY);
    if (!json_equal(value, expected)) fail_msg("%s\nis not\n%s", text, wanted);
    free(text);
    json_decref(expected);
}

static void assert_becomes(const char *text, const char *source, const char *connections) {
    StreamTranslation translation;
    Expansions expansions = {0};
    Error error = {0};
    if (translate(text, &translation, &expansions, &error) < 0) fail_msg("%s", error.text);
    assert_json(translation.source, source);
    if (connections) {
        size_t index;
        json_t *item;
        json_array_foreach(translation.connections, index, item)(void) json_object_del(item, "name");
        assert_json(translation.connections, connections);
    }
    stream_translation_deinit(&translation);
    expansions_deinit(&expansions);
}

#define SETTINGS(staging)                                                                                                                  \
    "\"settings\":{\"storage.level.staging.upload.trigger.interval\":\"" staging                                                           \
    "\",\"storage.level.target.import.trigger.interval\":\"30s\"}"

static void by_connections(void **state) {
    (void)state;
    assert_becomes(
        "name: My Orders\ntype: nilus\nversion: v1alpha\ndescription: d\n"
        "spec:\n  type: stream\n  source:\n    address: dataos://events?purpose=ro\n    options: {source-table: \"a, b\"}\n"
        "  sink:\n    address: dataos://w?acl=rw\n    options: {dest-table: raw.o, incremental-strategy: append}\n",
        "{\"kind\":\"source\",\"sourceId\":\"my-orders\",\"name\":\"My Orders\",\"description\":\"d\",\"type\":\"kafka\","
        "\"kafka\":{\"connection\":\"events\",\"topics\":[\"a\",\"b\"],\"batchSize\":3000,\"batchTimeout\":\"3s\",\"loop\":false},"
        "\"sinks\":[{\"sinkId\":\"my-orders\",\"type\":\"table\"," SETTINGS(
            "3s") ",\"table\":{\"connection\":\"w\","
                  "\"tableId\":\"raw.o\",\"strategy\":\"append\",\"mapping\":{\"infer\":{\"depth\":1}}}}]}",
        "[]");
    /* NATS is known by its parameters. */
    assert_becomes(
        "name: n\ntype: nilus\nspec:\n  type: stream\n  source:\n    address: dataos://events?subject=o.%3E&durable=d&start_sequence=7\n"
        "    options: {source_table: S, run_in_loop: true, batch_timeout: 0.25, batch_size: \"9\"}\n"
        "  sink:\n    address: dataos://w\n    options: {dest_table: o, incremental_strategy: append}\n",
        "{\"kind\":\"source\",\"sourceId\":\"n\",\"name\":\"n\",\"type\":\"nats\",\"nats\":{\"connection\":\"events\",\"stream\":\"S\","
        "\"subject\":\"o.>\",\"durable\":\"d\",\"startFrom\":{\"sequence\":7},\"batchSize\":9,\"batchTimeout\":\"250ms\",\"loop\":true},"
        "\"sinks\":[{\"sinkId\":\"n\",\"type\":\"table\"," SETTINGS(
            "1s") ",\"table\":{\"connection\":\"w\",\"tableId\":\"o\","
                  "\"strategy\":\"append\",\"mapping\":{\"infer\":{\"depth\":1}}}}]}",
        "[]");
}

static const char uris[] =
    "name: n\ntype: nilus\nspec:\n  type: stream\n  envs: {T: 5, B: \"a:1,b:2\"}\n"
    "  use: {projection: {secrets: [], projections: {envVars: [{key: STREAM_TEST_SECRET, template: x}]}}}\n"
    "  source:\n    address: kafka://?bootstrap_servers={B}&group_id=g&security_protocol=SASL_SSL&sasl_mechanisms=PLAIN"
    "&sasl_username=u%40v&sasl_password={STREAM_TEST_SECRET}&batch_timeout={T}\n"
    "    options: {source_table: t, type_hints: \"id:bigint,price:double,at:timestamp\", mask: {email: \"hash\"}}\n"
    "  sink:\n    address: postgresql://us:{STREAM_TEST_SECRET}@h:5432/d%20b?sslmode=require\n"
    "    options: {dest_table: r.t, incremental_strategy: merge, primary_key: \"id, Ort.Name\"}\n";

static void by_uris(void **state) {
    (void)state;
    assert_int_equal(setenv("STREAM_TEST_SECRET", "p&=%41", 1), 0);
    StreamTranslation translation;
    Expansions expansions = {0};
    Error error = {0};
    if (translate(uris, &translation, &expansions, &error) < 0) fail_msg("%s", error.text);
    json_t *part = json_object_get(translation.source, "kafka");
    const char *name = json_string_value(json_object_get(json_array_get(translation.connections, 0), "name"));
    assert_string_equal(json_string_value(json_object_get(part, "connection")), name);
    assert_int_equal(strncmp(name, "kafka-", 6), 0);
    (void)json_object_del(part, "connection");
    assert_json(part, "{\"topics\":[\"t\"],\"groupId\":\"g\",\"batchSize\":3000,\"batchTimeout\":\"5s\",\"loop\":false}");
    json_t *mapping = json_object_get(json_object_get(json_array_get(json_object_get(translation.source, "sinks"), 0), "table"), "mapping");
    assert_json(mapping,
                "{\"columns\":[{\"name\":\"id\",\"type\":\"path\",\"path\":\"id\",\"dataType\":\"integer\",\"primaryKey\":true},"
                "{\"name\":\"ort__name\",\"type\":\"path\",\"path\":\"Ort.Name\",\"dataType\":\"text\",\"rawString\":true,"
                "\"primaryKey\":true},{\"name\":\"email\",\"type\":\"path\",\"path\":\"email\",\"dataType\":\"text\",\"rawString\":true,"
                "\"mask\":\"hash\"}],"
                "\"infer\":{\"depth\":1,\"typeHints\":{\"price\":\"decimal\",\"at\":\"timestamp\"}}}");
    assert_json(json_object_get(json_array_get(translation.connections, 0), "connection"),
                "{\"type\":\"kafka\",\"brokers\":\"a:1,b:2\",\"securityProtocol\":\"SASL_SSL\",\"saslMechanism\":\"PLAIN\","
                "\"saslUsername\":\"u@v\",\"files\":{\"saslPasswordFile\":\"p&=%41\"}}");
    assert_json(json_object_get(json_array_get(translation.connections, 1), "connection"),
                "{\"type\":\"postgres\",\"uri\":\"postgresql://us@h:5432/d%20b?sslmode=require\",\"files\":{\"passwordFile\":\"p&=%41\"}}");
    /* Its value is shown nowhere, and the name of the connection does not depend on it. */
    char *text = json_dumps(translation.source, 0);
    assert_null(strstr(text, "p&="));
    free(text);
    assert_true(expansions.count > 0);
    char first[64];
    (void)snprintf(first, sizeof first, "%s", name);
    stream_translation_deinit(&translation);
    expansions_deinit(&expansions);
    assert_int_equal(setenv("STREAM_TEST_SECRET", "another", 1), 0);
    assert_int_equal(translate(uris, &translation, &expansions, &error), 0);
    assert_string_equal(json_string_value(json_object_get(json_array_get(translation.connections, 0), "name")), first);
    stream_translation_deinit(&translation);
    expansions_deinit(&expansions);
    assert_int_equal(unsetenv("STREAM_TEST_SECRET"), 0);
    assert_int_equal(translate(uris, &translation, &expansions, &error), -EINVAL);
    assert_non_null(strstr(error.text, "names {STREAM_TEST_SECRET}, and the environment has neither"));
}

static void assert_mapping(const char *address, const char *options, const char *sink_options, const char *wanted) {
    char text[1024];
    (void)snprintf(text, sizeof text,
                   "name: n\ntype: nilus\nspec:\n  type: stream\n  source:\n    address: %s\n    options: {source_table: t%s}\n"
                   "  sink:\n    address: dataos://w\n    options: {dest_table: o, incremental_strategy: merge, %s}\n",
                   address, options, sink_options);
    StreamTranslation translation;
    Expansions expansions = {0};
    Error error = {0};
    if (translate(text, &translation, &expansions, &error) < 0) {
        if (!strstr(error.text, wanted)) fail_msg("%s: %s", error.text, wanted);
        return;
    }
    json_t *table = json_object_get(json_array_get(json_object_get(translation.source, "sinks"), 0), "table");
    assert_json(json_object_get(table, "mapping"), wanted);
    stream_translation_deinit(&translation);
    expansions_deinit(&expansions);
}

/* Where the message or record stands, and its id and time: the columns that inference makes, not
 * fields of the event. */
static void base_columns_may_be_keys(void **state) {
    (void)state;
    const char *nats = "nats+jetstream://h", *kafka = "kafka://?bootstrap_servers=b";
    assert_mapping(nats, "", "primary_key: [_sequence]",
                   "{\"columns\":[{\"name\":\"_sequence\",\"type\":\"meta\",\"dataType\":\"integer\",\"field\":\"sequence\","
                   "\"primaryKey\":true}],\"infer\":{\"depth\":1}}");
    assert_mapping(kafka, ", type_hints: {_offset: bigint}, mask: {_topic: hash}", "primary_key: \"_partition,_offset,_id,_at\"",
                   "{\"columns\":[{\"name\":\"_partition\",\"type\":\"meta\",\"dataType\":\"integer\",\"field\":\"partition\","
                   "\"primaryKey\":true},{\"name\":\"_offset\",\"type\":\"meta\",\"dataType\":\"integer\",\"field\":\"offset\","
                   "\"primaryKey\":true},{\"name\":\"_id\",\"type\":\"id\",\"dataType\":\"text\",\"primaryKey\":true},"
                   "{\"name\":\"_at\",\"type\":\"datetime\",\"dataType\":\"timestamp\",\"primaryKey\":true},"
                   "{\"name\":\"_topic\",\"type\":\"meta\",\"dataType\":\"text\",\"field\":\"topic\",\"mask\":\"hash\"}],"
                   "\"infer\":{\"depth\":1}}");
    assert_mapping(kafka, "", "primary_key: [id, _sequence]", "Field \"spec.sink.options.primary_key[1]\" names \"_sequence\"");
    assert_mapping(nats, "", "primary-key: [_rest]", "Field \"spec.sink.options.primary-key[0]\" names \"_rest\"");
    assert_mapping(nats, ", type_hints: {_sequence: text}", "primary_key: [_sequence]",
                   "Field \"spec.source.options.type_hints._sequence\" names \"_sequence\", a column whose type is fixed");
}

static void by_nats_uris(void **state) {
    (void)state;
    static const struct {
        const char *address, *connection;
    } cases[] = {
        {"nats+jetstream://u:p@a:1,b:2?stream=X",
         "{\"type\":\"nats\",\"servers\":\"nats://a:1,nats://b:2\",\"user\":\"u\",\"files\":{\"passwordFile\":\"p\"}}"},
        {"nats+jetstream://tok@a:1?stream=X", "{\"type\":\"nats\",\"servers\":\"nats://a:1\",\"files\":{\"tokenFile\":\"tok\"}}"},
        {"nats+jetstream://a?token=tok&stream=X", "{\"type\":\"nats\",\"servers\":\"nats://a\",\"files\":{\"tokenFile\":\"tok\"}}"},
        {"nats+jetstream://a?nkeys_seed=SU&stream=X", "{\"type\":\"nats\",\"servers\":\"nats://a\",\"files\":{\"nkeySeedFile\":\"SU\"}}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[1024];
        (void)snprintf(text, sizeof text,
                       "name: n\ntype: nilus\nspec:\n  type: stream\n  source:\n    address: %s\n    options: {source_table: o.new}\n"
                       "  sink:\n    address: dataos://w\n    options: {dest_table: o, incremental_strategy: append}\n",
                       cases[i].address);
        StreamTranslation translation;
        Expansions expansions = {0};
        Error error = {0};
        if (translate(text, &translation, &expansions, &error) < 0) fail_msg("%s", error.text);
        assert_json(json_object_get(json_array_get(translation.connections, 0), "connection"), cases[i].connection);
        json_t *part = json_object_get(translation.source, "nats");
        (void)json_object_del(part, "connection");
        assert_json(
            part,
            "{\"stream\":\"X\",\"subject\":\"o.new\",\"durable\":\"none\",\"batchSize\":100,\"batchTimeout\":\"10s\",\"loop\":false}");
        stream_translation_deinit(&translation);
        expansions_deinit(&expansions);
    }
}

/* What is found in the translated source is shown where the manifest has it. */
static void faults_of_the_source_are_found_in_the_manifest(void **state) {
    (void)state;
    StreamTranslation translation;
    Expansions expansions = {0};
    Error error = {0};
    assert_int_equal(setenv("STREAM_TEST_SECRET", "x", 1), 0);
    assert_int_equal(translate(uris, &translation, &expansions, &error), 0);
    static const char *const cases[][2] = {
        {"kafka/topics/0", "spec/source/options/source_table/0"},
        {"kafka/groupId", "spec/source/address"},
        {"kafka/maxWaiting", "spec/source/maxWaiting"},
        {"sinks/0/table/strategy", "spec/sink/options/incremental_strategy"},
        {"sinks/0/table/mapping/infer", "spec/sink/options/infer"},
        {"sinks/0/table/mapping/columns/0/primaryKey", "spec/sink/options/primary_key/primaryKey"},
        {"sinks/0/table/mapping/columns/2/mask", "spec/source/options/mask/email"},
        {"sinks/0/table/mapping/infer/typeHints/x", "spec/source/options/type_hints/x"},
        {"sinks/0", "spec/sink"},
        {"name", "name"},
        {"other", "spec"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Fault fault = {0};
        (void)snprintf(fault.path, sizeof fault.path, "%s", cases[i][0]);
        stream_translation_locate(&translation, &(Node){0}, &fault);
        assert_string_equal(fault.path, cases[i][1]);
    }
    stream_translation_deinit(&translation);
    expansions_deinit(&expansions);
}

static void the_table_is_sound(void **state) {
    (void)state;
    stream_manifest_check_table();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_connections),
        cmocka_unit_test(by_uris),
        cmocka_unit_test(by_nats_uris),
        cmocka_unit_test(base_columns_may_be_keys),
        cmocka_unit_test(faults_of_the_source_are_found_in_the_manifest),
        cmocka_unit_test(the_table_is_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
