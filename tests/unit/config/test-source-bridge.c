/* Sources of type kafka and nats. */
/* clang-format off */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
/* clang-format on */

#include "base/cleanup.h"
#include "config/definition_parts.h"
#include "config/manifest.h"
#include "config/source_kafka.h"
#include "config/source_nats.h"

static Source *source_of(const char *text) {
    Error error = {0};
    Source *source = NULL;
    json_t *body = json_loads(text, 0, NULL);
    assert_non_null(body);
    if (source_from_request(body, &source, &error) < 0) fail_msg("%s: %s", text, error.text);
    json_decref(body);
    return source;
}

static void the_tables_are_sound(void **state) {
    (void)state;
    definition_check_tables();
}

#define KAFKA(fields) "{\"sourceId\":\"s\",\"type\":\"kafka\",\"kafka\":{\"connection\":\"c\",\"topics\":[\"a.b_c-D9\"]" fields "}}"
#define NATS(fields) "{\"sourceId\":\"s\",\"type\":\"nats\",\"nats\":{\"connection\":\"c\",\"stream\":\"ORDERS\"" fields "}}"

static void what_is_missing_gets_its_default(void **state) {
    (void)state;
    _cleanup_(cleanup_source_unref) Source *source = source_of(KAFKA(""));
    const KafkaSource *kafka = source_kafka(source);
    assert_non_null(kafka);
    assert_null(source_nats(source));
    assert_ptr_equal(source_bridge(source), &kafka->bridge);
    assert_string_equal(kafka->bridge.connection, "c");
    assert_int_equal(kafka->topic_count, 1);
    assert_string_equal(kafka->topics[0], "a.b_c-D9");
    assert_null(kafka->group_id);
    assert_int_equal(kafka->bridge.start.kind, BRIDGE_START_EARLIEST);
    assert_int_equal(kafka->bridge.batch_size, 3000);
    assert_int_equal(kafka->bridge.batch_timeout, 100 * USEC_MS);
    assert_int_equal(kafka->bridge.value, RECORD_JSON);
    assert_null(kafka->bridge.registry_url);
    assert_true(kafka->bridge.loop);
    assert_int_equal(kafka->bridge.max_waiting_bytes, 256 << 20);
    assert_false(kafka->tombstones_are_events);
    assert_false(source_first_sink_rejects(source));
    assert_int_equal(source_meta_fields(source), META_KAFKA);
    assert_int_equal(source_framing(source), FRAMING_SINGLE);
    assert_non_null(strstr(source_without_sink(source), "nothing is read"));

    _cleanup_(cleanup_source_unref) Source *other = source_of(NATS(""));
    const NatsSource *nats = source_nats(other);
    assert_non_null(nats);
    assert_null(source_kafka(other));
    assert_ptr_equal(source_bridge(other), &nats->bridge);
    assert_string_equal(nats->stream, "ORDERS");
    assert_null(nats->subject);
    assert_null(nats->durable);
    assert_int_equal(nats->bridge.batch_size, 100);
    assert_int_equal(nats->bridge.batch_timeout, 100 * USEC_MS);
    assert_true(nats->bridge.loop);
    assert_int_equal(source_meta_fields(other), META_NATS);

    _cleanup_(cleanup_source_unref) Source *http = source_of("{\"sourceId\":\"s\"}");
    assert_null(source_bridge(http));
}

static json_t *stored(const Source *source) {
    Source *copy = source_copy(source), *loaded;
    Error error = {0};
    source_stamp(copy, 1, 2, "me", "");
    json_t *json = source_store(copy);
    assert_int_equal(source_load(json, &loaded, &error), 0);
    json_t *again = source_store(loaded);
    assert_true(json_equal(json, again));
    json_decref(again);
    source_unref(copy);
    source_unref(loaded);
    return json;
}

/* A request with all fields is shown and stored as it was given. */
static void all_fields_come_back(void **state) {
    (void)state;
    static const struct {
        const char *name, *text;
    } cases[] = {
        {"kafka", "{\"connection\":\"c\",\"topics\":[\"a\",\"^b\\\\..*$\"],\"groupId\":\"g\",\"startFrom\":\"2026-01-31T10:20:30.123Z\","
                  "\"batchSize\":7,\"batchTimeout\":\"2s\",\"value\":\"avro\",\"registry\":{\"url\":\"https://r:8081/apis\",\"user\":\"u\","
                  "\"passwordFile\":\"p\"},\"loop\":false,\"maxWaiting\":\"3MB\",\"tombstones\":\"event\"}"},
        {"nats",
         "{\"connection\":\"c\",\"stream\":\"S\",\"subject\":\"a.*.>\",\"durable\":\"d\",\"startFrom\":{\"sequence\":17},\"batchSize\":7,"
         "\"batchTimeout\":\"2s\",\"value\":\"text\",\"loop\":false,\"maxWaiting\":\"3MB\"}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char body[1000];
        (void)snprintf(body, sizeof body, "{\"sourceId\":\"s\",\"type\":\"%s\",\"%s\":%s}", cases[i].name, cases[i].name, cases[i].text);
        _cleanup_(cleanup_source_unref) Source *source = source_of(body);
        json_t *shown = source_to_json(source, "http://x", 1, false), *kept = stored(source), *given = json_loads(cases[i].text, 0, NULL);
        const json_t *part = json_object_get(shown, cases[i].name);
        if (!json_equal(part, given)) fail_msg("%s", json_dumps(part, 0));
        assert_true(json_equal(json_object_get(json_object_get(kept, "definition"), cases[i].name), given));
        json_decref(shown);
        json_decref(kept);
        json_decref(given);
    }
}

static void a_start_is_kept_as_it_was_meant(void **state) {
    (void)state;
    static const struct {
        const char *given, *shown; /* JSON */
        BridgeStart start;
    } cases[] = {
        {"\"earliest\"", NULL, {.kind = BRIDGE_START_EARLIEST}},
        {"\"latest\"", NULL, {.kind = BRIDGE_START_LATEST}},
        {"{\"sequence\":9223372036854775807}", NULL, {.kind = BRIDGE_START_SEQUENCE, .sequence = INT64_MAX}},
        {"\"1970-01-01T00:00:00.000Z\"", NULL, {.kind = BRIDGE_START_TIME}},
        {"\"2026-01-31T10:20:30+01:00\"", "\"2026-01-31T09:20:30.000Z\"", {.kind = BRIDGE_START_TIME, .time = 1769851230000000}},
        {"\"2026-01-31T09:20:30.1234567Z\"", "\"2026-01-31T09:20:30.123456Z\"", {.kind = BRIDGE_START_TIME, .time = 1769851230123456}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char body[300];
        (void)snprintf(body, sizeof body, NATS(",\"startFrom\":%s"), cases[i].given);
        _cleanup_(cleanup_source_unref) Source *source = source_of(body);
        const BridgeStart *start = &source_bridge(source)->start;
        assert_int_equal(start->kind, cases[i].start.kind);
        assert_int_equal(start->time, cases[i].start.time);
        assert_int_equal(start->sequence, cases[i].start.sequence);
        json_t *shown = source_to_json(source, "http://x", 1, false);
        const json_t *value = json_object_get(json_object_get(shown, "nats"), "startFrom");
        _cleanup_free_ char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        assert_string_equal(text, cases[i].shown ? cases[i].shown : cases[i].given);
        json_decref(shown);
    }
}

static void wrong_fields_are_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *body, *says;
    } cases[] = {
        {"{\"sourceId\":\"s\",\"type\":\"kafka\"}", "The definition needs \"kafka\" with \"connection\" and \"topics\""},
        {"{\"sourceId\":\"s\",\"type\":\"nats\"}", "The definition needs \"nats\" with \"connection\" and \"stream\""},
        {"{\"sourceId\":\"s\",\"type\":\"stream\"}", "\"stream\", which is not supported by this build yet"},
        {"{\"sourceId\":\"s\",\"kafka\":{}}", "Field \"kafka\" is only for sources of type \"kafka\""},
        {"{\"sourceId\":\"s\",\"type\":\"kafka\",\"nats\":{}}", "Field \"nats\" is only for sources of type \"nats\""},
        {"{\"sourceId\":\"s\",\"type\":\"kafka\",\"framing\":\"lines\"}", "Field \"framing\" is only for sources of type \"http\""},
        {"{\"sourceId\":\"s\",\"type\":\"kafka\",\"kafka\":1}", "Field \"kafka\" must be an object, not an integer"},
        {"{\"sourceId\":\"s\",\"type\":\"kafka\",\"kafka\":{\"topics\":[\"a\"]}}",
         "Field \"kafka\" needs \"connection\": the name of a connection of type kafka"},
        {"{\"sourceId\":\"s\",\"type\":\"kafka\",\"kafka\":{\"connection\":\"c\"}}", "Field \"kafka\" needs \"topics\": a list of names"},
        {"{\"sourceId\":\"s\",\"type\":\"nats\",\"nats\":{\"connection\":\"c\"}}",
         "Field \"nats\" needs \"stream\": the name of a JetStream stream"},
        {"{\"sourceId\":\"s\",\"type\":\"kafka\",\"kafka\":{\"connection\":\"C\",\"topics\":[\"a\"]}}",
         "Field \"kafka.connection\" must be the name of a connection: 1 to 48 characters (a-z, 0-9, '-' and '_')"},
        {"{\"sourceId\":\"s\",\"type\":\"kafka\",\"kafka\":{\"connection\":\"c\",\"topics\":[]}}",
         "Field \"kafka.topics\" must have 1 to 100 items, not 0"},
        {"{\"sourceId\":\"s\",\"type\":\"kafka\",\"kafka\":{\"connection\":\"c\",\"topics\":\"a\"}}",
         "Field \"kafka.topics\" must be an array, not a string"},
        {"{\"sourceId\":\"s\",\"type\":\"kafka\",\"kafka\":{\"connection\":\"c\",\"topics\":[\"a\",\"a b\"]}}",
         "Field \"kafka.topics[1]\" is \"a b\": a topic has 1 to 249 of 0-9, A-Z, a-z, '.', '_' and '-'"},
        {"{\"sourceId\":\"s\",\"type\":\"kafka\",\"kafka\":{\"connection\":\"c\",\"topics\":[\"..\"]}}",
         "Field \"kafka.topics[0]\" is \"..\""},
        {"{\"sourceId\":\"s\",\"type\":\"kafka\",\"kafka\":{\"connection\":\"c\",\"topics\":[\"a\",\"a\"]}}",
         "Field \"kafka.topics[1]\" is a duplicate of item 0"},
        {"{\"sourceId\":\"s\",\"type\":\"kafka\",\"kafka\":{\"connection\":\"c\",\"topics\":[\"^a(b\"]}}",
         "Field \"kafka.topics[0]\" begins with '^' but is not a regular expression (POSIX, extended): Unmatched ( or \\("},
        {KAFKA(",\"groupId\":\"\""), "Field \"kafka.groupId\" must have 1 to 249 bytes, not 0"},
        {KAFKA(",\"groupId\":\"a\\tb\""), "Field \"kafka.groupId\" must not contain control characters"},
        {KAFKA(",\"startFrom\":\"yesterday\""),
         "Field \"kafka.startFrom\" must be earliest, latest or a time as 2006-01-02T15:04:05Z (RFC 3339), not \"yesterday\""},
        {KAFKA(",\"startFrom\":{\"sequence\":1}"), "Field \"kafka.startFrom\" must be earliest, latest or a time as"},
        {KAFKA(",\"startFrom\":\"1969-12-31T23:59:59Z\""), "Field \"kafka.startFrom\" must not be before 1970"},
        {NATS(",\"startFrom\":5"), "(RFC 3339), or {sequence: N}, not an integer"},
        {NATS(",\"startFrom\":{}"), "Field \"nats.startFrom\" needs a \"sequence\""},
        {NATS(",\"startFrom\":{\"sequence\":0}"), "Field \"nats.startFrom.sequence\" must be 1 to 9223372036854775807, not 0"},
        {NATS(",\"startFrom\":{\"sequence\":1,\"time\":2}"), "Field \"nats.startFrom.time\" is not known here"},
        {KAFKA(",\"batchSize\":0"), "Field \"kafka.batchSize\" must be 1 to 100000, not 0"},
        {KAFKA(",\"batchSize\":1e4"), "Field \"kafka.batchSize\" must be an integer, not a number with a fraction or an exponent"},
        {NATS(",\"batchSize\":100001"), "Field \"nats.batchSize\" must be 1 to 100000, not 100001"},
        {KAFKA(",\"batchTimeout\":\"2m\""), "Field \"kafka.batchTimeout\" must be a length of time such as 30s in 1ms..1m, not \"2m\""},
        {KAFKA(",\"value\":\"protobuf\""), "Field \"kafka.value\" must be one of json, text, bytes, avro, jsonSchema, not \"protobuf\""},
        {KAFKA(",\"value\":\"avro\""), "Field \"kafka\" needs a \"registry\" with the \"url\" of a schema registry"},
        {NATS(",\"value\":\"jsonSchema\""), "Field \"nats\" needs a \"registry\""},
        {KAFKA(",\"registry\":{\"url\":\"http://h\"}"),
         "Field \"kafka.registry\" is only for sources of value \"avro\" and \"jsonSchema\""},
        {KAFKA(",\"value\":\"avro\",\"registry\":{}"), "Field \"kafka.registry\" needs the \"url\" of a schema registry"},
        {KAFKA(",\"value\":\"avro\",\"registry\":{\"url\":\"r:8081\"}"),
         "Field \"kafka.registry.url\" must begin with http:// or https:// and a host"},
        {KAFKA(",\"value\":\"avro\",\"registry\":{\"url\":\"http://u:p@r\"}"), "Field \"kafka.registry.url\" must not contain a user"},
        {KAFKA(",\"value\":\"avro\",\"registry\":{\"url\":\"http://r\",\"password\":\"p\"}"),
         "Field \"kafka.registry.password\" is not allowed here: put it in a file"},
        {KAFKA(",\"value\":\"avro\",\"registry\":{\"url\":\"http://r\",\"passwordFile\":\"p\"}"),
         "Field \"kafka.registry.passwordFile\" needs \"user\" with it"},
        {KAFKA(",\"loop\":\"no\""), "Field \"kafka.loop\" must be true or false, not a string"},
        {KAFKA(",\"maxWaiting\":\"1KB\""), "Field \"kafka.maxWaiting\" must be a size such as 8MB in 1MB..1TB, not \"1KB\""},
        {KAFKA(",\"tombstones\":\"delete\""), "Field \"kafka.tombstones\" must be one of skip, event, not \"delete\""},
        {KAFKA(",\"topic\":\"a\""), "Field \"kafka.topic\" is not known here: did you mean \"topics\"?"},
        {NATS(",\"tombstones\":\"skip\""), "Field \"nats.tombstones\" is not known here"},
        {NATS(",\"subject\":\"a..b\""), "Field \"nats.subject\" must be a subject as orders.*.eu or orders.>"},
        {NATS(",\"durable\":\"a.b\""), "Field \"nats.durable\" must be 1 to 255 bytes without spaces"},
        {"{\"sourceId\":\"s\",\"type\":\"nats\",\"nats\":{\"connection\":\"c\",\"stream\":\"A>\"}}",
         "Field \"nats.stream\" must be 1 to 255 bytes without spaces"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Source *source = NULL;
        Error error = {0};
        json_t *body = json_loads(cases[i].body, 0, NULL);
        assert_non_null(body);
        int r = source_from_request(body, &source, &error);
        if (r != -EINVAL) fail_msg("%s is taken", cases[i].body);
        if (!strstr(error.text, cases[i].says)) fail_msg("%s: \"%s\" lacks \"%s\"", cases[i].body, error.text, cases[i].says);
        json_decref(body);
    }
}

#define WITH_VALUE(value, column)                                                                                                          \
    "kind: source\nsourceId: s\ntype: kafka\nkafka: {connection: c, topics: [a], value: " value "}\nsinks:\n- sinkId: k\n  table:\n"       \
    "    tableId: k\n    mapping: {columns: [{name: o, type: id}, {name: a, type: " column "}]}\n"

static void an_error_of_a_manifest_has_its_place(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"kind: source\nsourceId: s\ntype: kafka\nkafka:\n  connection: c\n  topics: [a, \"^(\"]\n",
         "m:6:15: Field \"kafka.topics[1]\" begins"},
        {"kind: source\nsourceId: s\ntype: kafka\nkafka:\n  connection: c\n  topics: [a]\n  startFrom: 2026-13-01T00:00:00Z\n",
         "m:7:14: Field \"kafka.startFrom\" must be"},
        {"kind: source\nsourceId: s\ntype: kafka\nkafka:\n  connection: c\n  topics: [a]\n  value: avro\n  registry:\n    url: r\n",
         "m:9:10: Field \"kafka.registry.url\" must begin"},
        {"kind: source\nsourceId: s\ntype: kafka\nkafka:\n  connection: c\n  topics: [a]\n  registry: {url: \"http://r\"}\n",
         "m:7:3: Field \"kafka.registry\" is only for"},
        {"kind: source\nsourceId: s\ntype: nats\nnats:\n  connection: c\n", "m:4:1: Field \"nats\" needs \"stream\""},
        {"kind: source\nsourceId: s\ntype: nats\nnats:\n  connection: c\n  stream: S\n  startFrom: {sequence: -1}\n",
         "m:7:25: Field \"nats.startFrom.sequence\" must be"},
        {"kind: source\nsourceId: s\ntype: nats\nnats:\n  connection: c\n  stream: S\n  batch: 1\n",
         "m:7:3: Field \"nats.batch\" is not known here: did you mean \"batchSize\", \"batchTimeout\"?"},
        {WITH_VALUE("text", "path, path: a"),
         "m:9:62: Field \"sinks[0].table.mapping.columns[1].type\" of column \"a\" is \"path\", but the \"value\" of the source is "
         "\"text\", which has no paths: use \"body\""},
        {WITH_VALUE("bytes", "path, path: a"), "but the \"value\" of the source is \"bytes\", which has no paths: use \"body\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Manifest manifest;
        Error error = {0};
        assert_int_equal(manifest_parse("m", cases[i].text, strlen(cases[i].text), NULL, &manifest, &error), -EINVAL);
        if (!strstr(error.text, cases[i].says)) fail_msg("\"%s\" lacks \"%s\"", error.text, cases[i].says);
    }
}

static void columns_suit_the_value_of_the_source(void **state) {
    (void)state;
    static const char *const texts[] = {WITH_VALUE("text", "body"), WITH_VALUE("bytes", "body"), WITH_VALUE("json", "path, path: a")};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        Manifest manifest;
        Error error = {0};
        if (manifest_parse("m", texts[i], strlen(texts[i]), NULL, &manifest, &error) < 0) fail_msg("%s", error.text);
        manifest_deinit(&manifest);
    }
}

/* Each option with a value that is wrong, in a line of its own. */
static void each_wrong_option_has_its_place(void **state) {
    (void)state;
    static const struct {
        const char *kind, *option, *value;
    } cases[] = {
        {"kafka", "connection", "No"},
        {"kafka", "topics", "orders"},
        {"kafka", "groupId", "\"\""},
        {"kafka", "startFrom", "tomorrow"},
        {"kafka", "batchSize", "1.5"},
        {"kafka", "batchTimeout", "100"},
        {"kafka", "value", "xml"},
        {"kafka", "loop", "never"},
        {"kafka", "maxWaiting", "10 MiB"},
        {"kafka", "tombstones", "true"},
        {"nats", "connection", "a b"},
        {"nats", "stream", "A.B"},
        {"nats", "subject", "a b"},
        {"nats", "durable", "\"*\""},
        {"nats", "startFrom", "2026-01-01"},
        {"nats", "batchSize", "-1"},
        {"nats", "batchTimeout", "0ms"},
        {"nats", "value", "1"},
        {"nats", "loop", "1"},
        {"nats", "maxWaiting", "2TB"},
    };
    static const char *const needed[][2] = {{"connection", "c"}, {"topics", "[a]"}, {"stream", "S"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Buffer text = {0};
        buffer_printf(&text, "kind: source\nsourceId: s\ntype: %s\n%s:\n", cases[i].kind, cases[i].kind);
        bool is_kafka = strcmp(cases[i].kind, "kafka") == 0;
        size_t line = 5;
        for (size_t k = 0; k < 3; k++) {
            if (k == (is_kafka ? 2 : 1) || strcmp(needed[k][0], cases[i].option) == 0) continue;
            buffer_printf(&text, "  %s: %s\n", needed[k][0], needed[k][1]);
            line++;
        }
        buffer_printf(&text, "  %s: %s\n", cases[i].option, cases[i].value);
        char says[200];
        (void)snprintf(says, sizeof says, "m:%zu:%zu: Field \"%s.%s\"", line, strlen(cases[i].option) + 5, cases[i].kind, cases[i].option);
        Manifest manifest;
        Error error = {0};
        assert_int_equal(manifest_parse("m", buffer_text(&text), text.size, NULL, &manifest, &error), -EINVAL);
        if (strncmp(error.text, says, strlen(says)) != 0) fail_msg("%s: \"%s\", not \"%s\"", buffer_text(&text), error.text, says);
        buffer_deinit(&text);
    }
}

static void the_group_has_a_default(void **state) {
    (void)state;
    static const struct {
        const char *body, *group, *durable, *reads[3];
    } cases[] = {
        {KAFKA(""), "sluice-12-s", NULL, {"a.b_c-D9", NULL}},
        {"{\"sourceId\":\"s\",\"type\":\"kafka\",\"kafka\":{\"connection\":\"c\",\"topics\":[\"a\",\"^b\"],\"groupId\":\"g\"}}",
         "g",
         NULL,
         {"a", "^b", NULL}},
        {NATS(""), "sluice-12-s", "sluice-12-s", {"ORDERS/sluice-12-s", NULL}},
        {NATS(",\"durable\":\"d\""), "d", "d", {"ORDERS/d", NULL}},
        {NATS(",\"durable\":\"none\""), "sluice-12-s", NULL, {"ORDERS", NULL}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        _cleanup_(cleanup_source_unref) Source *source = source_of(cases[i].body);
        const BridgeKind *kind = source->kind->bridge;
        _cleanup_free_ char *group = kind->group(source, 12);
        assert_string_equal(group, cases[i].group);
        for (size_t k = 0; k < 3; k++) {
            _cleanup_free_ char *text = kind->reads(source, 12, k);
            if (!cases[i].reads[k]) {
                assert_null(text);
                break;
            }
            assert_string_equal(text, cases[i].reads[k]);
        }
        if (!source_nats(source)) continue;
        _cleanup_free_ char *durable = nats_source_durable(source, 12);
        assert_true(durable && cases[i].durable ? strcmp(durable, cases[i].durable) == 0 : !durable == !cases[i].durable);
    }
}

static void a_change_of_the_key_is_known(void **state) {
    (void)state;
    static const struct {
        const char *body, *patch, *field;
    } cases[] = {
        {KAFKA(""), "{\"kafka\":{\"batchSize\":5,\"topics\":[\"other\"],\"startFrom\":\"latest\"}}", NULL},
        {KAFKA(""), "{\"kafka\":{\"connection\":\"d\"}}", "kafka.connection"},
        {KAFKA(""), "{\"kafka\":{\"groupId\":\"g\"}}", "kafka.groupId"},
        {KAFKA(""), "{\"kafka\":{\"groupId\":\"sluice-12-s\"}}", NULL},
        {NATS(""), "{\"nats\":{\"subject\":\"a.b\"}}", NULL},
        {NATS(""), "{\"nats\":{\"connection\":\"d\"}}", "nats.connection"},
        {NATS(""), "{\"nats\":{\"stream\":\"T\"}}", "nats.stream"},
        {NATS(""), "{\"nats\":{\"durable\":\"d\"}}", "nats.durable"},
        {NATS(""), "{\"nats\":{\"durable\":\"sluice-12-s\"}}", NULL},
        {NATS(""), "{\"nats\":{\"durable\":\"none\"}}", "nats.durable"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        _cleanup_(cleanup_source_unref) Source *source = source_of(cases[i].body), *patched = NULL;
        Error error = {0};
        json_t *patch = json_loads(cases[i].patch, 0, NULL);
        assert_int_equal(source_patched(source, patch, &patched, &error), 0);
        const char *field = source->kind->bridge->new_key(source, patched, 12);
        if (field && cases[i].field)
            assert_string_equal(field, cases[i].field);
        else
            assert_ptr_equal(field, cases[i].field);
        json_decref(patch);
    }
}

static void a_registry_comes_and_goes_with_the_value(void **state) {
    (void)state;
    _cleanup_(cleanup_source_unref) Source *source = source_of(KAFKA("")), *with = NULL, *without = NULL;
    Error error = {0};
    json_t *to_avro = json_loads("{\"kafka\":{\"value\":\"avro\",\"registry\":{\"url\":\"http://r\"}}}", 0, NULL);
    json_t *to_text = json_loads("{\"kafka\":{\"value\":\"text\"}}", 0, NULL);
    json_t *without_it = json_loads("{\"kafka\":{\"value\":\"text\",\"registry\":null}}", 0, NULL);
    assert_int_equal(source_patched(source, to_avro, &with, &error), 0);
    assert_string_equal(source_bridge(with)->registry_url, "http://r");
    assert_int_equal(source_patched(with, to_text, &without, &error), -EINVAL);
    assert_non_null(strstr(error.text, "Field \"kafka.registry\" is only for sources of value"));
    assert_int_equal(source_patched(with, without_it, &without, &error), 0);
    assert_null(source_bridge(without)->registry_url);
    json_decref(to_avro);
    json_decref(to_text);
    json_decref(without_it);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tables_are_sound),
        cmocka_unit_test(what_is_missing_gets_its_default),
        cmocka_unit_test(all_fields_come_back),
        cmocka_unit_test(a_start_is_kept_as_it_was_meant),
        cmocka_unit_test(wrong_fields_are_refused_by_name),
        cmocka_unit_test(an_error_of_a_manifest_has_its_place),
        cmocka_unit_test(columns_suit_the_value_of_the_source),
        cmocka_unit_test(each_wrong_option_has_its_place),
        cmocka_unit_test(the_group_has_a_default),
        cmocka_unit_test(a_change_of_the_key_is_known),
        cmocka_unit_test(a_registry_comes_and_goes_with_the_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
