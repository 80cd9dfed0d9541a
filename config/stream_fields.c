/* The table of what a stream manifest may have, and what becomes of it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "config/definition.h"
#include "config/stream_parts.h"

#define NAMES_MAX 100

/* ---- values that are not just a text or a number --------------------------------------------- */

static int take_name(Stream *stream, const StreamField *field, const StreamGiven *given) {
    (void)field;
    const char *text;
    int r = stream_text(stream, given, &text);
    if (r < 0) return r;
    _cleanup_free_ char *id = identifier_slug(text);
    if (!*id) return stream_refuse(stream, given, "must have a letter or digit");
    stream_set(stream, stream->source, "sourceId", json_string(id), "sourceId", given);
    stream_set(stream, stream->sink, "sinkId", json_string(id), "sinks/0/sinkId", given);
    /* A longer one is told by the id alone. */
    if (text_characters(span_of(text)) <= 40) stream_set(stream, stream->source, "name", json_string(text), "name", given);
    return 0;
}

static int take_description(Stream *stream, const StreamField *field, const StreamGiven *given) {
    (void)field;
    const char *text;
    int r = stream_text(stream, given, &text);
    if (r == 0) stream_set(stream, stream->source, "description", json_string(text), "description", given);
    return r;
}

static int take_loop(Stream *stream, const StreamField *field, const StreamGiven *given) {
    (void)field;
    bool loop;
    int r = stream_bool(stream, given, &loop);
    if (r == 0) stream_set(stream, stream->part, "loop", json_boolean(loop), "loop", given);
    return r;
}

/* Calls for each name of a list, or of a text with commas between the names. */
static int each_name(Stream *stream, const StreamGiven *given, const char *what,
                     int (*visit)(Stream *stream, const StreamGiven *given, Span name, void *context), void *context) {
    if (given->text) {
        size_t count = 0;
        for (const char *at = given->text;; at++) {
            size_t size = strcspn(at, ",");
            Span name = text_trim((Span){at, size});
            if (name.size == 0) return stream_refuse(stream, given, "must be %s, comma-separated", what);
            if (++count > NAMES_MAX) return stream_refuse(stream, given, "must have at most %d names", NAMES_MAX);
            int r = visit(stream, given, name, context);
            if (r < 0) return r;
            at += size;
            if (!*at) return 0;
        }
    }
    if (!json_is_array(given->node->value))
        return stream_refuse(stream, given, "must be %s: a list, or a comma-separated text, not %s", what, json_kind(given->node->value));
    int r = node_array(stream->fault, given->node, 1, NAMES_MAX);
    for (size_t i = 0; r == 0 && i < json_array_size(given->node->value); i++) {
        Node item = node_item(given->node, i);
        const char *text;
        r = node_text(stream->fault, &item, 1, 1024, &text);
        if (r == 0) r = visit(stream, &(StreamGiven){.node = &item, .text = text}, span_of(text), context);
    }
    return r;
}

static int add_name(Stream *stream, const StreamGiven *given, Span name, void *context) {
    (void)stream, (void)given;
    check(json_array_append_new(context, json_stringn(name.data, name.size)) == 0);
    return 0;
}

/* Of Kafka topics; of NATS the stream, or with a stream in the address a subject of it. */
static int take_source_table(Stream *stream, const StreamField *field, const StreamGiven *given) {
    (void)field;
    if (!stream->is_nats) {
        json_t *topics = json_array();
        check(topics);
        int r = each_name(stream, given, "names of topics", add_name, topics);
        stream_set(stream, stream->part, "topics", topics, "topics", given);
        return r;
    }
    const char *text;
    int r = stream_text(stream, given, &text);
    bool is_subject = json_object_get(stream->part, "stream") != NULL;
    if (r == 0 && is_subject && json_object_get(stream->part, "subject"))
        return stream_refuse(stream, given, "is not allowed: the address has \"stream\" and \"subject\"");
    const char *name = is_subject ? "subject" : "stream";
    if (r == 0) stream_set(stream, stream->part, name, json_string(text), name, given);
    return r;
}

static int take_sequence(Stream *stream, const StreamField *field, const StreamGiven *given) {
    (void)field;
    char *end;
    errno = 0;
    unsigned long long number = given->text && *given->text >= '0' && *given->text <= '9' ? strtoull(given->text, &end, 10) : 0;
    if (number < 1 || number > INT64_MAX || *end || errno) return stream_refuse(stream, given, "must be a sequence number, 1 or more");
    json_t *start = json_pack("{s:I}", "sequence", (json_int_t)number);
    check(start);
    stream_set(stream, stream->part, "startFrom", start, "startFrom", given);
    return 0;
}

static int take_strategy(Stream *stream, const StreamField *field, const StreamGiven *given) {
    (void)field;
    static const char *const names[] = {"append", "merge", "replace", NULL};
    const char *text;
    int r = stream_text(stream, given, &text);
    if (r < 0) return r;
    for (size_t i = 0; names[i]; i++) {
        if (strcmp(names[i], text) != 0) continue;
        stream_set(stream, stream->table, "strategy", json_string(text), "sinks/0/table/strategy", given);
        return 0;
    }
    char excerpt[TEXT_EXCERPT_SIZE];
    return stream_refuse(stream, given, "must be append, merge or replace, not \"%s\"", text_excerpt(span_of(text), excerpt));
}

static int take_keys(Stream *stream, const StreamField *field, const StreamGiven *given) {
    (void)field;
    if (!stream->keys) stream->keys = json_array();
    check(stream->keys && json_array_clear(stream->keys) == 0);
    return each_name(stream, given, "names of fields", add_name, stream->keys);
}

/* ---- NAME:VALUE, as a map, a list or a text -------------------------------------------------- */

typedef struct Pairs {
    json_t *into;
    const char *what;                                                                                    /* "id:integer" */
    int (*convert)(Stream *stream, const StreamGiven *given, const char *value, const char **ret_value); /* NULL: any text */
} Pairs;

static int add_pair(Stream *stream, const StreamGiven *given, Span name, const char *value, const Pairs *pairs) {
    _cleanup_free_ char *key = text_copy_span(name);
    const char *taken = value;
    int r = pairs->convert ? pairs->convert(stream, given, value, &taken) : 0;
    if (r < 0) return r;
    if (json_object_get(pairs->into, key)) {
        char excerpt[TEXT_EXCERPT_SIZE];
        return stream_refuse(stream, given, "names \"%s\" twice", text_excerpt(name, excerpt));
    }
    check(json_object_set_new(pairs->into, key, json_string(taken)) == 0);
    return 0;
}

static int add_pair_text(Stream *stream, const StreamGiven *given, Span text, void *context) {
    const Pairs *pairs = context;
    const char *colon = memchr(text.data, ':', text.size);
    if (!colon || colon == text.data || colon + 1 == text.data + text.size)
        return stream_refuse(stream, given, "must have the form %s", pairs->what);
    _cleanup_free_ char *value = text_copy_span((Span){colon + 1, text.size - (size_t)(colon + 1 - text.data)});
    return add_pair(stream, given, (Span){text.data, (size_t)(colon - text.data)}, value, pairs);
}

static int take_pairs(Stream *stream, const StreamGiven *given, Pairs *pairs) {
    if (!json_is_object(given->node->value)) return each_name(stream, given, pairs->what, add_pair_text, pairs);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)given->node->value, key, value) {
        Node member = {.value = value, .parent = given->node, .key = key};
        const char *text;
        int r = node_text(stream->fault, &member, 1, 1024, &text);
        if (r == 0) r = add_pair(stream, &(StreamGiven){.node = &member, .text = text}, span_of(key), text, pairs);
        if (r < 0) return r;
    }
    return 0;
}

static const struct {
    const char *name, *data_type;
} hint_types[] = {
    {"integer", "integer"}, {"int", "integer"},         {"bigint", "integer"},     {"long", "integer"},    {"decimal", "decimal"},
    {"double", "decimal"},  {"float", "decimal"},       {"number", "decimal"},     {"numeric", "decimal"}, {"boolean", "boolean"},
    {"bool", "boolean"},    {"timestamp", "timestamp"}, {"datetime", "timestamp"}, {"text", "text"},       {"string", "text"},
    {"varchar", "text"},    {"date", "text"},           {"time", "text"},          {"json", "json"},       {"complex", "json"},
};

static int check_hint(Stream *stream, const StreamGiven *given, const char *value, const char **ret_value) {
    for (size_t i = 0; i < sizeof hint_types / sizeof *hint_types; i++) {
        if (strcmp(hint_types[i].name, value) != 0) continue;
        *ret_value = hint_types[i].data_type;
        return 0;
    }
    char excerpt[TEXT_EXCERPT_SIZE];
    return stream_refuse(stream, given, "has the type \"%s\": types are integer, decimal, boolean, timestamp, text and json",
                         text_excerpt(span_of(value), excerpt));
}

static int take_hints(Stream *stream, const StreamField *field, const StreamGiven *given) {
    (void)field;
    return take_pairs(stream, given, &(Pairs){.into = stream->hints, .what = "id:integer,price:decimal", .convert = check_hint});
}

static int take_masks(Stream *stream, const StreamField *field, const StreamGiven *given) {
    (void)field;
    return take_pairs(stream, given, &(Pairs){.into = stream->masks, .what = "email:hash,phone:partial:3"});
}

static int take_columns(Stream *stream, const StreamField *field, const StreamGiven *given) {
    (void)field;
    if (!json_is_array(given->node->value)) return stream_refuse(stream, given, "must be a list of columns");
    stream->columns = json_deep_copy(given->node->value);
    check(stream->columns);
    stream_set(stream, stream->table, "mapping", json_pack("{s:o}", "columns", stream->columns), "sinks/0/table/mapping/columns", given);
    return 0;
}

/* What libpq takes of the address; the list keeps to what names no file of the gateway's host. */
static int take_postgres(Stream *stream, const StreamField *field, const StreamGiven *given) {
    const char *text;
    int r = stream_text(stream, given, &text);
    if (r < 0) return r;
    buffer_printf(&stream->parameters, "%s%s=", stream->parameters.size > 0 ? "&" : "", field->name);
    stream_put_encoded(&stream->parameters, text);
    return 0;
}

/* ---- placeholders ---------------------------------------------------------------------------- */

static int take_envs(Stream *stream, const StreamField *field, const StreamGiven *given) {
    (void)field;
    if (!json_is_object(given->node->value)) return stream_refuse(stream, given, "must be a map of names to values");
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)given->node->value, key, value) {
        Node member = {.value = value, .parent = given->node, .key = key};
        char *text = NULL;
        if (json_is_string(value))
            text = text_copy(json_string_value(value));
        else if (json_is_boolean(value))
            text = text_copy(json_is_true(value) ? "true" : "false");
        else if (json_is_number(value))
            text = json_dumps(value, JSON_ENCODE_ANY);
        if (!text) return fault_at(stream->fault, &member, "must be a text, a number or a boolean, not %s", json_kind(value));
        check(json_object_set_new(stream->known, key, json_string(text)) == 0);
        free(text);
    }
    return 0;
}

static int read_env_vars(Stream *stream, const Node *list) {
    static const char *const names[] = {"key", "template", NULL};
    if (!node_given(list)) return 0;
    int r = node_array(stream->fault, list, 0, 1000);
    for (size_t i = 0; r == 0 && i < json_array_size(list->value); i++) {
        Node item = node_item(list, i), key = node_member(&item, "key");
        const char *name;
        r = node_object(stream->fault, &item, names, NULL);
        if (r == 0 && !node_given(&key)) r = fault_at(stream->fault, &item, "needs a \"key\"");
        if (r == 0) r = node_text(stream->fault, &key, 1, 255, &name);
        if (r == 0) check(json_object_set_new(stream->projected, name, json_true()) == 0);
    }
    return r;
}

/* The templates say where the cluster keeps the secrets; here the names alone count. */
static int take_use(Stream *stream, const StreamField *field, const StreamGiven *given) {
    (void)field;
    static const char *const outer[] = {"projection", NULL}, *const middle[] = {"secrets", "projections", NULL},
                             *const inner[] = {"envVars", "files", NULL};
    Node projection = node_member(given->node, "projection"), projections = node_member(&projection, "projections"),
         variables = node_member(&projections, "envVars"), files = node_member(&projections, "files");
    int r = node_object(stream->fault, given->node, outer, NULL);
    if (r == 0 && node_given(&projection)) r = node_object(stream->fault, &projection, middle, NULL);
    if (r == 0 && node_given(&projections)) r = node_object(stream->fault, &projections, inner, NULL);
    if (r == 0) r = read_env_vars(stream, &variables);
    if (r == 0 && node_given(&files)) stream_ignore(stream, "spec.use.projection.projections.files");
    return r;
}

/* ---- the table ------------------------------------------------------------------------------- */

#define BATCH_SIZE                                                                                                                         \
    .name = "batch_size", .form = STREAM_COUNT, .into = STREAM_PART, .field = "batchSize", .least = 1, .most = 100000,                     \
    .default_words = "3000; NATS: 100", .sentence = "Maximum number of records in a micro-batch."
#define BATCH_TIMEOUT                                                                                                                      \
    .form = STREAM_SECONDS, .into = STREAM_PART, .field = "batchTimeout", .default_words = "3; NATS: 10",                                  \
    .sentence = "Maximum time in seconds that records wait for more of them. It is also the sink's staging interval. The sink's import "   \
                "interval is 30 s."

const StreamField stream_fields[] = {
    /* the document */
    {.places = STREAM_TOP,
     .name = "name",
     .form = STREAM_OWN,
     .take = take_name,
     .needed = "a \"name\"",
     .becomes = "`sourceId` and `name`, `sinkId`",
     .sentence = "Name of the source and its sink."},
    {.places = STREAM_TOP, .name = "type", .becomes = "", .needed = "\"type\": nilus", .sentence = "`nilus`."},
    {.places = STREAM_TOP,
     .name = "description",
     .form = STREAM_OWN,
     .take = take_description,
     .becomes = "`description`",
     .sentence = "Description for people."},
    {.places = STREAM_TOP,
     .name = "spec",
     .form = STREAM_OWN,
     .becomes = "",
     .needed = "a \"spec\"",
     .sentence = "What is read and written."},
    {.places = STREAM_TOP, .name = "version", .use = STREAM_IGNORED, .sentence = "Version of the format."},
    {.places = STREAM_TOP, .name = "tags", .use = STREAM_IGNORED, .sentence = "Labels."},
    {.places = STREAM_TOP, .name = "layer", .use = STREAM_IGNORED, .sentence = "Place in the cluster."},
    {.places = STREAM_TOP, .name = "owner", .use = STREAM_IGNORED, .sentence = "Owner in the cluster."},
    {.places = STREAM_TOP, .name = "workspace", .use = STREAM_IGNORED, .sentence = "Place in the cluster."},
    /* spec */
    {.places = STREAM_SPEC,
     .name = "type",
     .form = STREAM_OWN,
     .becomes = "",
     .needed = "a \"type\": stream",
     .sentence = "`stream`. `batch`, `cdc` and `metadata` are refused."},
    {.places = STREAM_SPEC, .name = "source", .form = STREAM_OWN, .becomes = "", .needed = "a \"source\"", .sentence = "What is read."},
    {.places = STREAM_SPEC,
     .name = "sink",
     .form = STREAM_OWN,
     .becomes = "",
     .needed = "a \"sink\"",
     .sentence = "Where the rows are written."},
    {.places = STREAM_SPEC,
     .name = "envs",
     .form = STREAM_OWN,
     .take = take_envs,
     .becomes = "values of placeholders",
     .sentence = "Names and values of placeholders `{NAME}`."},
    {.places = STREAM_SPEC,
     .name = "use",
     .form = STREAM_OWN,
     .take = take_use,
     .becomes = "names of placeholders",
     .sentence = "`projection.projections.envVars` has the names of placeholders whose values come from the environment of the command, or "
                 "from files. `secrets`, `template` and `files` are ignored."},
    {.places = STREAM_SPEC,
     .name = "schedule",
     .use = STREAM_REFUSED,
     .sentence = "is not possible: a stream is read continuously. Leave it out."},
    {.places = STREAM_SPEC, .name = "compute", .use = STREAM_IGNORED, .sentence = "Place in the cluster."},
    {.places = STREAM_SPEC, .name = "resources", .use = STREAM_IGNORED, .sentence = "Processors and memory in the cluster."},
    {.places = STREAM_SPEC, .name = "logLevel", .use = STREAM_IGNORED, .sentence = "Use the option `log-level` of the gateway."},
    {.places = STREAM_SPEC, .name = "replicas", .use = STREAM_IGNORED, .sentence = "Number of processes in the cluster."},
    {.places = STREAM_SPEC, .name = "stack", .use = STREAM_IGNORED, .sentence = "The program in the cluster."},
    {.places = STREAM_SPEC, .name = "runAsUser", .use = STREAM_IGNORED, .sentence = "A user of the cluster."},
    /* source */
    {.places = STREAM_SOURCE,
     .name = "address",
     .form = STREAM_OWN,
     .becomes = "`type`, and `connection` of `kafka` or `nats`",
     .needed = "an \"address\": dataos://NAME, kafka://?bootstrap_servers=… or nats+jetstream://host:4222",
     .sentence = "`dataos://NAME` (the connection of that name), or a URI of the broker."},
    {.places = STREAM_SOURCE,
     .name = "options",
     .form = STREAM_OWN,
     .becomes = "",
     .needed = "\"options\" with \"source_table\"",
     .sentence = "What is read, and how."},
    {.places = STREAM_SOURCE_OPTIONS,
     .name = "source_table",
     .form = STREAM_OWN,
     .take = take_source_table,
     .becomes = "`kafka.topics`, `nats.stream`",
     .needed = "\"source_table\": the name of a topic, or of a stream",
     .sentence = "Kafka: a topic, or several topics, comma-separated. NATS: the stream; if the address has `stream`, a subject."},
    {.places = STREAM_SOURCE_OPTIONS,
     .name = "run_in_loop",
     .form = STREAM_OWN,
     .take = take_loop,
     .default_words = "false",
     .becomes = "`loop`",
     .sentence = "`true`: the source reads until it is stopped. `false`: it reads to the present end, imports, and is finished."},
    {.places = STREAM_SOURCE_OPTIONS | STREAM_IN_KAFKA | STREAM_IN_NATS, BATCH_SIZE},
    {.places = STREAM_SOURCE_OPTIONS | STREAM_IN_KAFKA, .name = "batch_timeout", BATCH_TIMEOUT},
    {.places = STREAM_SOURCE_OPTIONS,
     .name = "type_hints",
     .form = STREAM_OWN,
     .take = take_hints,
     .becomes = "`typeHints` of `infer`, or `dataType` of a column",
     .sentence =
         "Types of fields: a map, or `id:integer,price:decimal`. The type names of Nilus are accepted: `bigint` means integer, `double` "
         "and `float` mean decimal, `bool` means boolean, `datetime` means timestamp, `date` and `time` mean text, `complex` means json."},
    {.places = STREAM_SOURCE_OPTIONS,
     .name = "mask",
     .form = STREAM_OWN,
     .take = take_masks,
     .becomes = "`mask` of a column",
     .sentence = "Masks of fields: a map, or `email:hash,phone:partial:3`."},
    {.places = STREAM_SOURCE_OPTIONS,
     .name = "incremental_key",
     .use = STREAM_REFUSED,
     .sentence = "is for batches only: the positions of a stream record what was read."},
    {.places = STREAM_SOURCE_OPTIONS, .name = "page_size", .use = STREAM_IGNORED, .sentence = "Page size of batches."},
    {.places = STREAM_SOURCE_OPTIONS, .name = "extract_parallelism", .use = STREAM_IGNORED, .sentence = "Number of threads of batches."},
    /* kafka:// */
    {.places = STREAM_KAFKA,
     .name = "bootstrap_servers",
     .into = STREAM_CONNECTION,
     .field = "brokers",
     .needed = "bootstrap_servers=host:port",
     .sentence = "Some brokers as host:port, comma-separated."},
    {.places = STREAM_IN_KAFKA,
     .name = "group_id",
     .into = STREAM_PART,
     .field = "groupId",
     .default_words = "sluice-PROJECT-SOURCE",
     .sentence = "The consumer group."},
    {.places = STREAM_KAFKA,
     .name = "security_protocol",
     .into = STREAM_CONNECTION,
     .field = "securityProtocol",
     .default_words = "plaintext",
     .sentence = "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."},
    {.places = STREAM_KAFKA,
     .name = "sasl_mechanism",
     .alias = "sasl_mechanisms",
     .into = STREAM_CONNECTION,
     .field = "saslMechanism",
     .sentence = "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512."},
    {.places = STREAM_KAFKA,
     .name = "sasl_username",
     .into = STREAM_CONNECTION,
     .field = "saslUsername",
     .sentence = "User name of the login."},
    {.places = STREAM_KAFKA,
     .name = "sasl_password",
     .into = STREAM_SECRET,
     .field = "saslPasswordFile",
     .sentence = "Password of the user."},
    {.places = STREAM_KAFKA,
     .name = "ssl_ca_location",
     .into = STREAM_FILE,
     .field = "sslCa",
     .sentence = "PEM file with the trusted certificate authorities, on the host of the command."},
    {.places = STREAM_KAFKA,
     .name = "ssl_certificate_location",
     .into = STREAM_FILE,
     .field = "sslCertificate",
     .sentence = "PEM file with the client certificate, on the host of the command."},
    {.places = STREAM_KAFKA,
     .name = "ssl_key_location",
     .into = STREAM_FILE,
     .field = "sslKey",
     .sentence = "PEM file with the key of the client certificate, on the host of the command."},
    {.places = STREAM_KAFKA,
     .name = "ssl_key_password",
     .into = STREAM_SECRET,
     .field = "sslKeyPasswordFile",
     .sentence = "Password of the key."},
    {.places = STREAM_KAFKA,
     .name = "client_id",
     .into = STREAM_CONNECTION,
     .field = "clientId",
     .sentence = "Name of this client at the brokers."},
#define TRUSTSTORE "is for a Java trust store: export the certificates as PEM and use \"ssl_ca_location\"."
    {.places = STREAM_KAFKA, .name = "ssl_truststore_location", .use = STREAM_REFUSED, .sentence = TRUSTSTORE},
    {.places = STREAM_KAFKA, .name = "ssl_truststore_password", .use = STREAM_REFUSED, .sentence = TRUSTSTORE},
    {.places = STREAM_KAFKA, .name = "ssl_truststore_type", .use = STREAM_REFUSED, .sentence = TRUSTSTORE},
#define REGISTRY "is possible only in a manifest in Sluice's own format: `value: avro` or `value: jsonSchema` with a `registry`."
    {.places = STREAM_IN_KAFKA, .name = "schema_registry_url", .use = STREAM_REFUSED, .sentence = REGISTRY},
    {.places = STREAM_IN_KAFKA, .name = "schema_registry_username", .use = STREAM_REFUSED, .sentence = REGISTRY},
    {.places = STREAM_IN_KAFKA, .name = "schema_registry_password", .use = STREAM_REFUSED, .sentence = REGISTRY},
    /* nats+jetstream:// */
    {.places = STREAM_IN_NATS,
     .name = "subject",
     .into = STREAM_PART,
     .field = "subject",
     .default_words = "all subjects",
     .sentence = "Only messages of this subject."},
    {.places = STREAM_IN_NATS,
     .name = "stream",
     .into = STREAM_PART,
     .field = "stream",
     .default_words = "`source_table`",
     .sentence = "The stream. `source_table` is then a subject of it."},
    {.places = STREAM_IN_NATS,
     .name = "durable",
     .into = STREAM_PART,
     .field = "durable",
     .default_words = "none",
     .sentence = "Name of a durable consumer. Without it, the position is kept at the destination."},
    {.places = STREAM_IN_NATS, .name = "timeout", .alias = "batch_timeout", BATCH_TIMEOUT},
    {.places = STREAM_IN_NATS,
     .name = "start_sequence",
     .form = STREAM_OWN,
     .take = take_sequence,
     .default_words = "1",
     .becomes = "`nats.startFrom`",
     .sentence = "Sequence at which reading begins if there is no position yet."},
    {.places = STREAM_NATS,
     .name = "token",
     .into = STREAM_SECRET,
     .field = "tokenFile",
     .sentence = "Token of a login. It may also be given as `token@host`. A user is given as `user:password@host`."},
    {.places = STREAM_NATS,
     .name = "nkeys_seed",
     .alias = "nkey_seed",
     .into = STREAM_SECRET,
     .field = "nkeySeedFile",
     .sentence = "Seed of a user's nkey."},
    /* dataos:// */
    {.places = STREAM_KAFKA_DEPOT | STREAM_NATS_DEPOT | STREAM_SINK_DEPOT,
     .name = "purpose",
     .alias = "acl",
     .use = STREAM_IGNORED,
     .sentence = "The permissions are those of the connection."},
    /* sink */
    {.places = STREAM_SINK,
     .name = "address",
     .form = STREAM_OWN,
     .becomes = "`table.connection`",
     .needed = "an \"address\": dataos://NAME or postgresql://user:password@host:5432/database",
     .sentence = "`dataos://NAME` (the connection of that name), or a URI of a PostgreSQL database."},
    {.places = STREAM_SINK,
     .name = "options",
     .form = STREAM_OWN,
     .becomes = "",
     .needed = "\"options\" with \"dest_table\"",
     .sentence = "What is written, and how."},
    {.places = STREAM_SINK_OPTIONS,
     .name = "dest_table",
     .into = STREAM_TABLE,
     .field = "tableId",
     .needed = "\"dest_table\": \"schema.table\"",
     .sentence = "The table, as schema.table. SQLite has no schemas: the whole text is the name and must be quoted in SQL."},
    {.places = STREAM_SINK_OPTIONS,
     .name = "incremental_strategy",
     .form = STREAM_OWN,
     .take = take_strategy,
     .becomes = "`table.strategy`",
     .needed = "an \"incremental_strategy\": append, merge or replace",
     .sentence =
         "`append`, `merge` (needs `primary_key`), or `replace` (not with `run_in_loop`). With `replace`, each run replaces all rows."},
    {.places = STREAM_SINK_OPTIONS | STREAM_SOURCE_OPTIONS,
     .name = "primary_key",
     .form = STREAM_OWN,
     .take = take_keys,
     .becomes = "columns with `primaryKey: true`",
     .sentence = "The key fields of `merge` or `replace`: a list, or a comma-separated text. `append` does not use it."},
    {.places = STREAM_SINK_OPTIONS,
     .name = "columns",
     .form = STREAM_OWN,
     .take = take_columns,
     .default_words = "inferred",
     .becomes = "`table.mapping.columns`",
     .sentence = "The columns in Sluice's own format. Nilus has no such option."},
    {.places = STREAM_SINK_OPTIONS, .name = "loader_file_size", .use = STREAM_IGNORED, .sentence = "File size of the Nilus loader."},
    {.places = STREAM_SINK_OPTIONS, .name = "loader_file_format", .use = STREAM_IGNORED, .sentence = "File format of the Nilus loader."},
    {.places = STREAM_SINK_OPTIONS,
     .name = "partition_by",
     .use = STREAM_REFUSED,
     .sentence = "is not supported: create the partitioned table before the first import, and leave this out."},
    {.places = STREAM_SINK_OPTIONS, .name = "cluster_by", .use = STREAM_REFUSED, .sentence = "is not supported: leave it out."},
    {.places = STREAM_SINK_OPTIONS | STREAM_SOURCE_OPTIONS,
     .name = "max_table_nesting",
     .use = STREAM_REFUSED,
     .sentence = "is not supported: an object or array becomes one JSON column. Leave it out."},
/* postgresql:// */
#define POSTGRES(parameter, words)                                                                                                         \
    {                                                                                                                                      \
        .places = STREAM_POSTGRES, .name = (parameter), .form = STREAM_OWN, .take = take_postgres, .becomes = "`uri` of the connection",   \
        .sentence = (words)                                                                                                                \
    }
    POSTGRES("sslmode", "Encryption of the connection, as in libpq."),
    POSTGRES("connect_timeout", "Seconds, as in libpq."),
    POSTGRES("application_name", "As in libpq."),
    POSTGRES("target_session_attrs", "As in libpq."),
    POSTGRES("channel_binding", "As in libpq."),
#define OF_CONFIG "names a file: define the connection in the config file, and use dataos://NAME."
    {.places = STREAM_POSTGRES, .name = "sslrootcert", .use = STREAM_REFUSED, .sentence = OF_CONFIG},
    {.places = STREAM_POSTGRES, .name = "sslcert", .use = STREAM_REFUSED, .sentence = OF_CONFIG},
    {.places = STREAM_POSTGRES, .name = "sslkey", .use = STREAM_REFUSED, .sentence = OF_CONFIG},
    {0},
};
