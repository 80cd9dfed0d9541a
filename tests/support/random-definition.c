#include "tests/support/random-definition.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "config/definition_parts.h"
#include "config/manifest.h"
#include "config/source_kind.h"

#define VALUES_MAX 6
#define SECRET "0123456789abcdef0123456789abcdef-_"

/* Values of a field as JSON, none of them the default. */
typedef struct Row {
    const char *path;
    bool always; /* it is needed */
    const char *values[VALUES_MAX];
} Row;

static const Row source_rows[] = {
    {"name", false, {"\"A name\"", "\"Gr\\u00f6\\u00dfe: # 1\"", "\"yes\"", "\"0x1F\""}},
    {"description", false, {"\"one\\ntwo\"", "\" \"", "\"a: b # c\"", "\"'\\\"\\\\\""}},
    {"bodyPolicy", false, {"\"keep\""}},
    {0},
};

static const Row http_rows[] = {
    {"framing", false, {"\"ndjson\"", "\"array\"", "\"concatenated\"", "\"lines\""}},
    {"rate.events", false, {"1", "5000"}},
    {"rate.burst", false, {"7", "10000000"}},
    {"cors.origins", false, {"[\"https://shop.example\"]", "[\"https://a.example:8443\",\"http://[::1]:80000\",\"http://b\"]"}},
    {"discard", false, {"true"}},
    {"errorDetail", false, {"\"minimal\""}},
    {"secret", false, {"\"" SECRET "\""}},
    {0},
};

#define READING_ROWS(kind)                                                                                                                 \
    {kind ".connection", true, {"\"broker\"", "\"2nd\""}}, {kind ".batchSize", false, {"1", "77", "100000"}},                              \
        {kind ".batchTimeout", false, {"\"1ms\"", "\"1s\"", "\"1m\""}},                                                                    \
        {kind ".value", false, {"\"text\"", "\"avro\"", "\"jsonSchema\""}}, {kind ".registry.url", false, {"\"http://registry:8081\""}},   \
        {kind ".registry.user", false, {"\"no\""}}, {kind ".registry.passwordFile", false, {"\"secrets/registry\""}},                      \
        {kind ".loop", false, {"false"}}, {                                                                                                \
        kind ".maxWaiting", false, {                                                                                                       \
            "\"1MB\"", "\"3GB\"", "\"1000001B\""                                                                                           \
        }                                                                                                                                  \
    }

static const Row kafka_rows[] = {
    READING_ROWS("kafka"),
    {"kafka.topics", true, {"[\"orders\"]", "[\"^shop[.].*\",\"1\",\"true\"]"}},
    {"kafka.groupId", false, {"\"group 1\"", "\"12\""}},
    {"kafka.startFrom", false, {"\"latest\"", "\"2026-01-31T12:00:00Z\"", "\"2026-01-31T12:00:00.123456Z\""}},
    {"kafka.tombstones", false, {"\"event\""}},
    {0},
};

static const Row nats_rows[] = {
    READING_ROWS("nats"),
    {"nats.stream", true, {"\"ORDERS\"", "\"null\""}},
    {"nats.subject", false, {"\"orders.>\"", "\"*.eu\""}},
    {"nats.durable", false, {"\"none\"", "\"d1\""}},
    {"nats.startFrom", false, {"\"latest\"", "{\"sequence\":17}", "\"2026-01-31T12:00:00Z\""}},
    {0},
};

static const Row sink_rows[] = {
    {"name", false, {"\"A sink\"", "\"off\""}},
    {"description", false, {"\"text\"", "\"- a\\n- b\\n\""}},
    {"onInvalid", false, {"\"reject\"", "\"quarantine\""}},
    {"startFrom", false, {"\"earliest\"", "\"latest\"", "\"2026-01-31T12:00:00Z\"", "{\"sequence\":3}"}},
    {"table.connection", false, {"\"warehouse\"", "\"1e3\""}},
    {"table.tableId", true, {"\"orders\"", "\"in.c-shop.orders\"", "\"007\""}},
    {"table.strategy", false, {"\"append\"", "\"merge\"", "\"replace\""}},
    {"table.allowEmpty", false, {"true"}},
    {"table.mergeIf.newerBy", false, {"\"n\""}},
    {"table.deleteOn.path", false, {"\"op\"", "\"a[\\\"x.y\\\"]\""}},
    {"table.deleteOn.equals", false, {"\"d\"", "\"true\"", "\"\""}},
    {"table.deleteOn.tombstone", false, {"true"}},
    {"table.onSchemaDrift", false, {"\"fail\"", "\"evolve\"", "\"ignore\""}},
    {"table.mapping.infer.depth", false, {"2", "5"}},
    {"table.mapping.infer.typeHints", false, {"{\"a.b\":\"integer\",\"t\":\"timestamp\"}", "{\"x\":\"text\"}"}},
    {"table.mapping.infer.exclude", false, {"[\"password\"]", "[\"a\",\"b[0]\"]"}},
    {"table.mapping.infer.maxColumns", false, {"50", "1000"}},
    {"table.mapping.explode", false, {"\"items\"", "\"a[0]\""}},
    {0},
};

/* Columns that a sink has or not, in any order. Together they have each field. */
static const char *const columns[] = {
    ("{\"name\":\"k\",\"type\":\"template\",\"template\":{\"language\":\"jsonnet\",\"content\":\"Header('x', 'y')\\n+ \\\"# %s\\\"\"},"
     "\"primaryKey\":true,\"rawString\":true}"),
    "{\"name\":\"n\",\"type\":\"path\",\"path\":\"n\",\"dataType\":\"integer\",\"defaultValue\":\"7\"}",
    "{\"name\":\"id\",\"type\":\"uuid\"}",
    "{\"name\":\"at\",\"type\":\"datetime\"}",
    "{\"name\":\"null\",\"type\":\"json\",\"path\":\"$.a\",\"rawString\":true,\"defaultValue\":null}",
    "{\"name\":\"Big One\",\"type\":\"path\",\"path\":\"a.b\",\"optional\":true}",
    "{\"name\":\"when\",\"type\":\"path\",\"path\":\"w\",\"dataType\":\"timestamp\",\"format\":\"unixMs\",\"optional\":true}",
    "{\"name\":\"day\",\"type\":\"path\",\"path\":\"d\",\"dataType\":\"date\",\"format\":\"%d.%m.%Y\",\"defaultValue\":null}",
    "{\"name\":\"mail\",\"type\":\"path\",\"path\":\"mail\",\"rawString\":true,\"mask\":\"hmac:crm\",\"defaultValue\":\"\"}",
    "{\"name\":\"gone\",\"type\":\"path\",\"path\":\"gone\",\"mask\":\"redact\",\"defaultValue\":true}",
    "{\"name\":\"b\",\"type\":\"path\",\"path\":\"b\",\"dataType\":\"boolean\",\"defaultValue\":false}",
    "{\"name\":\"d\",\"type\":\"path\",\"path\":\"d\",\"dataType\":\"decimal\",\"defaultValue\":1.5}",
    "{\"name\":\"h\",\"type\":\"headers\",\"dataType\":\"json\"}",
    "{\"name\":\"all\",\"type\":\"body\",\"dataType\":\"bytes\"}",
    "{\"name\":\"p\",\"type\":\"meta\",\"field\":\"partition\",\"dataType\":\"integer\",\"primaryKey\":true}",
    "{\"name\":\"s\",\"type\":\"meta\",\"field\":\"sequence\",\"inferred\":\"declared\"}",
    "{\"name\":\"ip\",\"type\":\"ip\",\"mask\":\"hash\"}",
};
#define COLUMN_COUNT (sizeof columns / sizeof *columns)

static json_t *parse(const char *text) {
    json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
    check(json);
    return json;
}

/* ---- making ---------------------------------------------------------------------------------- */

static json_t *object_at(json_t *object, const char *key, size_t size) {
    json_t *member = json_object_getn(object, key, size);
    if (member) return member;
    member = json_object();
    check(member && json_object_setn_new(object, key, size, member) == 0);
    return member;
}

static void set_path(json_t *object, const char *path, const char *value) {
    for (const char *dot; (dot = strchr(path, '.')); path = dot + 1) object = object_at(object, path, (size_t)(dot - path));
    check(json_object_set_new(object, path, parse(value)) == 0);
}

static const char *any_value(RandomJson *random, const Row *row) {
    uint32_t count = 0;
    while (count < VALUES_MAX && row->values[count]) count++;
    return row->values[random_json_below(random, count)];
}

static void fill(RandomJson *random, const Row *rows, json_t *object) {
    uint32_t often = 2 + random_json_below(random, 8); /* few fields are seldom in each other's way */
    for (; rows->path; rows++)
        if (rows->always || random_json_below(random, often) == 0) set_path(object, rows->path, any_value(random, rows));
}

static const Row *rows_of_kind(const char *kind) {
    return strcmp(kind, "http") == 0 ? http_rows : strcmp(kind, "kafka") == 0 ? kafka_rows : nats_rows;
}

/* A source whose tables may be replaced: few are by chance. */
static void make_ending(const char *kind, json_t *body) {
    json_t *part = json_object_get(body, kind);
    if (!part) return;
    (void)json_object_del(part, "startFrom");
    check(json_object_set_new(part, "loop", json_false()) == 0);
    if (strcmp(kind, "nats") == 0) check(json_object_set_new(part, "durable", json_string("none")) == 0);
}

json_t *random_source(RandomJson *random, const char *kind, const char *source_id) {
    for (;;) {
        json_t *body = json_pack("{s:s, s:s}", "sourceId", source_id, "type", kind);
        check(body);
        fill(random, source_rows, body);
        fill(random, rows_of_kind(kind), body);
        if (random_json_below(random, 3) == 0) make_ending(kind, body);
        Source *source;
        if (source_from_request(body, &source, NULL) == 0) {
            source_unref(source);
            return body;
        }
        json_decref(body);
    }
}

static void add_columns(RandomJson *random, json_t *mapping) {
    json_t *list = json_array();
    check(list);
    uint32_t count = random_json_below(random, 7), from = random_json_below(random, COLUMN_COUNT);
    for (uint32_t i = 0; i < COLUMN_COUNT && json_array_size(list) < count; i++)
        if (random_json_below(random, 2) == 0) check(json_array_append_new(list, parse(columns[(from + i * 5) % COLUMN_COUNT])) == 0);
    if (count > 0) check(json_object_set(mapping, "columns", list) == 0);
    json_decref(list);
}

static bool suits(const Source *source, const json_t *body) {
    Error why = {0};
    Fault fault = {.error = &why};
    Node root = {.value = body};
    Sink *sink;
    if (sink_from_request(body, false, &sink, NULL) < 0) return false;
    bool good = sink_suits(&fault, &root, source, sink) == 0;
    sink_unref(sink);
    return good;
}

json_t *random_sink(RandomJson *random, const Source *source, const char *sink_id) {
    for (;;) {
        json_t *body = json_pack("{s:s, s:{s:{}}}", "sinkId", sink_id, "table", "mapping");
        check(body);
        fill(random, sink_rows, body);
        if (random_json_below(random, 8) == 0) {
            set_path(body, "table.strategy", "\"replace\"");
            if (random_json_below(random, 2) == 0) set_path(body, "table.allowEmpty", "true");
        }
        json_t *mapping = json_object_get(json_object_get(body, "table"), "mapping");
        if (random_json_below(random, 4) == 0) (void)object_at(mapping, "infer", strlen("infer"));
        add_columns(random, mapping);
        if (suits(source, body)) return body;
        json_decref(body);
    }
}

json_t *random_settings(RandomJson *random) {
    static const char *const values[SETTING_COUNT_] = {"false", "123", "\"1MB\"", "\"7s\"", "4567", "\"2000B\"", "\"90s\""};
    json_t *settings = json_object();
    check(settings);
    for (int i = 0; i < SETTING_COUNT_; i++)
        if (random_json_below(random, 3) == 0)
            check(json_object_set_new(settings, settings_info((SettingId)i)->key, parse(values[i])) == 0);
    return settings;
}

/* ---- all fields are known -------------------------------------------------------------------- */

static void add_paths(const FieldTable *table, const char *before, json_t *paths) {
    for (const FieldInfo *field = table->fields; field->name; field++) {
        _cleanup_free_ char *path = NULL, *below = NULL;
        if (field->read_only || field->type == FIELD_WORD) continue;
        check(asprintf(&path, "%s%s", before, field->name) > 0);
        if (field->type == FIELD_LIST || field->type == FIELD_OBJECT || field->type == FIELD_OPTIONAL) {
            check(asprintf(&below, "%s%s.", path, field->type == FIELD_LIST ? "[]" : "") > 0);
            add_paths(field->fields, below, paths);
        } else {
            check(json_array_append_new(paths, json_string(path)) == 0);
        }
    }
}

json_t *random_definition_paths(const char *kind) {
    json_t *paths = json_array();
    check(paths);
    if (!kind) {
        add_paths(&sink_fields, "", paths);
        return paths;
    }
    add_paths(&source_fields, "", paths);
    for (const SourceKind *const *at = source_kinds; *at; at++)
        if (strcmp((*at)->name, kind) == 0) add_paths((*at)->fields, "", paths);
    return paths;
}

static bool has_row(const Row *rows, const char *path) {
    for (; rows->path; rows++)
        if (strcmp(rows->path, path) == 0) return true;
    return false;
}

/* In one of the columns, also within its template. */
static bool a_column_has(const char *name) {
    bool has = false;
    for (size_t i = 0; i < COLUMN_COUNT && !has; i++) {
        json_t *column = parse(columns[i]), *at = column;
        const char *rest = name;
        for (const char *dot; (dot = strchr(rest, '.')); rest = dot + 1) at = json_object_getn(at, rest, (size_t)(dot - rest));
        has = json_object_get(at, rest);
        json_decref(column);
    }
    return has;
}

static void check_paths(const char *kind) {
    static const char in_columns[] = "table.mapping.columns[].";
    json_t *paths = random_definition_paths(kind), *item;
    size_t i;
    json_array_foreach(paths, i, item) {
        const char *path = json_string_value(item);
        bool known = strcmp(path, "sourceId") == 0 || strcmp(path, "sinkId") == 0 || strcmp(path, "type") == 0;
        if (strncmp(path, in_columns, strlen(in_columns)) == 0)
            known = a_column_has(path + strlen(in_columns));
        else
            known = known || (kind ? has_row(source_rows, path) || has_row(rows_of_kind(kind), path) : has_row(sink_rows, path));
        if (!known) (void)fprintf(stderr, "random-definition.c has no value for %s of %s\n", path, kind ? kind : "sinks");
        check(known);
    }
    json_decref(paths);
}

void random_definition_check(void) {
    for (const SourceKind *const *kind = source_kinds; *kind; kind++) check_paths((*kind)->name);
    check_paths(NULL);
}
