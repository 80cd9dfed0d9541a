#include "config/stream_manifest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/checksum.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "config/column_name.h"
#include "config/definition.h"
#include "config/stream_parts.h"
#include "config/units.h"
#include "config/yaml_scalar.h"

#define FIELDS_MOST 128

bool stream_manifest_is(const json_t *document) {
    const char *type = json_string_value(json_object_get(document, "type"));
    return type && strcmp(type, "nilus") == 0;
}

/* ---- what has been read --------------------------------------------------------------------------------------------------------------- */

static const char *pointer_of(const Node *node, char out[static sizeof((Fault *)0)->path]) {
    Fault scratch = {0};
    (void)fault_plain(&scratch, node, "here");
    memcpy(out, scratch.path, sizeof scratch.path);
    return out;
}

static void add_origin(Stream *stream, const char *to, const char *from) {
    array_extend(stream->result.origins, stream->result.origin_count);
    stream->result.origins[stream->result.origin_count++] = (StreamOrigin){.to = text_copy(to), .from = text_copy(from)};
}

void stream_set(Stream *stream, json_t *object, const char *field, json_t *take_value, const char *pointer, const StreamGiven *given) {
    char from[sizeof((Fault *)0)->path], to[600];
    check(take_value && json_object_set_new(object, field, take_value) == 0);
    bool in_part = object == stream->part;
    (void)snprintf(to, sizeof to, "%s%s%s", in_part ? stream->place_kind : "", in_part ? "/" : "", pointer);
    add_origin(stream, to, pointer_of(given->node, from));
}

void stream_ignore(Stream *stream, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    json_t *name = json_vsprintf(format, arguments);
    va_end(arguments);
    check(json_array_append_new(stream->result.ignored, name) == 0);
}

int stream_refuse(Stream *stream, const StreamGiven *given, const char *format, ...) {
    _cleanup_free_ char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    check(vasprintf(&text, format, arguments) >= 0);
    va_end(arguments);
    if (!given->parameter) return fault_at(stream->fault, given->node, "%s", text);
    return fault_at(stream->fault, given->node, "has the parameter \"%s\", which %s", given->parameter, text);
}

int stream_text(Stream *stream, const StreamGiven *given, const char **ret_text) {
    if (!given->text) return stream_refuse(stream, given, "must be a text, not %s", json_kind(given->node->value));
    if (!*given->text) return stream_refuse(stream, given, "must not be empty");
    *ret_text = given->text;
    return 0;
}

int stream_bool(Stream *stream, const StreamGiven *given, bool *ret_value) {
    const json_t *value = given->node->value;
    bool is_true = given->text ? strcasecmp(given->text, "true") == 0 : json_is_true(value);
    bool is_false = given->text ? strcasecmp(given->text, "false") == 0 : json_is_false(value);
    if (!is_true && !is_false) return stream_refuse(stream, given, "must be true or false");
    *ret_value = is_true;
    return 0;
}

/* ---- placeholders ----------------------------------------------------------------------------------------------------------------------- */

static int read_value(Stream *stream, const char *name, Buffer *out, Error *error) {
    const char *value = getenv(name);
    if (value) {
        buffer_append_text(out, value);
        return 0;
    }
    char variable[264];
    (void)snprintf(variable, sizeof variable, "%s_FILE", name);
    const char *file = getenv(variable);
    if (!file) return error_set(error, -EINVAL, "names {%s}, and the environment has neither \"%s\" nor \"%s\"", name, name, variable);
    Error why = {0};
    int r = yaml_scalar_expand_file("", file, out, &why);
    return r < 0 ? error_set(error, r, "names {%s}, and %s", name, why.text) : 0;
}

static const char *find_value(StreamValues *values, Span span, Error *error) {
    Stream *stream = (Stream *)values;
    char name[256];
    if (span.size >= sizeof name) {
        (void)error_set(error, -EINVAL, "has a placeholder with a name that is too long");
        return NULL;
    }
    (void)snprintf(name, sizeof name, "%.*s", (int)span.size, span.data);
    const json_t *known = json_object_get(stream->known, name);
    if (known) return json_string_value(known);
    if (!json_object_get(stream->projected, name)) {
        (void)error_set(error, -EINVAL, "names {%s}, which stands neither in \"spec.envs\" nor in the envVars of \"spec.use.projection\"",
                        name);
        return NULL;
    }
    _cleanup_(buffer_deinit) Buffer value = {0};
    if (read_value(stream, name, &value, error) < 0) return NULL;
    json_t *text = json_stringn(value.data ? value.data : "", value.size);
    if (!text || strlen(json_string_value(text)) != value.size) {
        json_decref(text);
        (void)error_set(error, -EINVAL, "names {%s}, whose value is no text", name);
        return NULL;
    }
    char shown[260];
    (void)snprintf(shown, sizeof shown, "{%s}", name);
    expansions_add(stream->expansions, span_of(shown), buffer_span(&value));
    check(json_object_set_new(stream->known, name, text) == 0);
    return json_string_value(text);
}

/* ---- one value -------------------------------------------------------------------------------------------------------------------------- */

static int take_count(Stream *stream, const StreamField *field, const StreamGiven *given) {
    int64_t value = -1;
    if (given->text) {
        char *end;
        errno = 0;
        value = *given->text >= '0' && *given->text <= '9' ? strtoll(given->text, &end, 10) : -1;
        if (value >= 0 && (*end || errno)) value = -1;
    } else if (json_is_integer(given->node->value)) {
        value = json_integer_value(given->node->value);
    }
    if (value < field->least || value > field->most)
        return stream_refuse(stream, given, "must be a number of %lld to %lld", (long long)field->least, (long long)field->most);
    stream_set(stream, stream->part, field->field, json_integer(value), field->field, given);
    return 0;
}

static int take_seconds(Stream *stream, const StreamField *field, const StreamGiven *given) {
    double seconds = 0;
    if (given->text) {
        char *end;
        seconds = *given->text >= '0' && *given->text <= '9' ? strtod(given->text, &end) : 0;
        if (seconds > 0 && *end) seconds = 0;
    } else if (json_is_number(given->node->value)) {
        seconds = json_number_value(given->node->value);
    }
    if (!(seconds >= 0.001 && seconds <= 60)) return stream_refuse(stream, given, "must be a number of seconds, 0.001 to 60");
    long milliseconds = (long)(seconds * 1000 + 0.5);
    json_t *text = milliseconds % 1000 ? json_sprintf("%ldms", milliseconds) : json_sprintf("%lds", milliseconds / 1000);
    stream_set(stream, stream->part, field->field, text, field->field, given);
    return 0;
}

static void set_secret(Stream *stream, const char *field, const char *parameter, const char *value) {
    char shown[128];
    (void)snprintf(shown, sizeof shown, "(%s)", parameter);
    expansions_add(stream->expansions, span_of(shown), span_of(value));
    check(json_object_set_new(stream->files, field, json_string(value)) == 0);
}

static int take_file(Stream *stream, const StreamField *field, const StreamGiven *given, const char *path) {
    _cleanup_(buffer_deinit) Buffer text = {0};
    Error why = {0};
    if (yaml_scalar_expand_file(stream->name, path, &text, &why) < 0) return stream_refuse(stream, given, "cannot be used: %s", why.text);
    json_t *value = json_stringn(text.data ? text.data : "", text.size);
    if (!value) return stream_refuse(stream, given, "names a file that is no text");
    check(json_object_set_new(stream->files, field->field, value) == 0);
    return 0;
}

static int take_value(Stream *stream, const StreamField *field, const StreamGiven *given) {
    if (field->take) return field->take(stream, field, given);
    if (field->form == STREAM_OWN || field->into == STREAM_NOWHERE) return 0; /* read by its owner */
    if (field->form == STREAM_COUNT) return take_count(stream, field, given);
    if (field->form == STREAM_SECONDS) return take_seconds(stream, field, given);
    const char *text;
    int r = stream_text(stream, given, &text);
    if (r < 0) return r;
    char pointer[64];
    switch (field->into) {
    case STREAM_NOWHERE: unreachable();
    case STREAM_PART: stream_set(stream, stream->part, field->field, json_string(text), field->field, given); return 0;
    case STREAM_CONNECTION: check(json_object_set_new(stream->connection, field->field, json_string(text)) == 0); return 0;
    case STREAM_SECRET: set_secret(stream, field->field, field->name, text); return 0;
    case STREAM_FILE: return take_file(stream, field, given, text);
    case STREAM_TABLE:
        (void)snprintf(pointer, sizeof pointer, "sinks/0/table/%s", field->field);
        stream_set(stream, stream->table, field->field, json_string(text), pointer, given);
        return 0;
    }
    unreachable();
}

/* ---- the fields of an object or address ---------------------------------------------------------------------------------------------------- */

static const StreamField *find_field(unsigned place, const char *name) {
    for (const StreamField *field = stream_fields; field->name; field++) {
        if (!(field->places & place)) continue;
        if (strcmp(field->name, name) == 0 || (field->alias && strcmp(field->alias, name) == 0)) return field;
    }
    return NULL;
}

static size_t names_of(unsigned place, const char *names[static FIELDS_MOST]) {
    size_t count = 0;
    for (const StreamField *field = stream_fields; field->name; field++) {
        check(count < FIELDS_MOST);
        if ((field->places & place) && field->use == STREAM_TAKEN) names[count++] = field->name;
    }
    return count;
}

/* `is not known here: did you mean "x"?`, or which there are. */
static const char *unknown_words(unsigned place, const char *name, Buffer *out) {
    const char *names[FIELDS_MOST];
    size_t count = names_of(place, names);
    _cleanup_(buffer_deinit) Buffer near = {0};
    text_near(&near, span_of(name), names, count);
    buffer_append_text(out, "is not known here");
    if (near.size > 0) {
        buffer_printf(out, ": did you mean %s?", buffer_text(&near));
    } else {
        buffer_append_text(out, " (allowed: ");
        for (size_t i = 0; i < count; i++) buffer_printf(out, "%s%s", i > 0 ? ", " : "", names[i]);
        buffer_append_byte(out, ')');
    }
    return buffer_text(out);
}

/* Without the period: an error goes on or ends by itself. */
static int refuse_known(Stream *stream, const StreamField *field, const StreamGiven *given) {
    int r = stream_refuse(stream, given, "%.*s", (int)strlen(field->sentence) - 1, field->sentence);
    stream->fault->at_key = !given->parameter;
    return r;
}

static int read_member(Stream *stream, unsigned place, const char *prefix, const Node *member, const StreamField *field) {
    StreamGiven given = {.node = member};
    if (field->use == STREAM_REFUSED) return refuse_known(stream, field, &given);
    if (field->use == STREAM_IGNORED) {
        stream_ignore(stream, "%s%s", prefix, field->name);
        return 0;
    }
    _cleanup_free_ char *text = NULL;
    bool takes_text = (place & (STREAM_SOURCE_OPTIONS | STREAM_SINK_OPTIONS | STREAM_TOP)) && json_is_string(member->value);
    if (takes_text) {
        const char *raw;
        Error why = {0};
        int r = node_text(stream->fault, member, 0, 4096, &raw);
        if (r == 0 && stream_fill(&stream->values, raw, &text, &why) < 0) r = fault_at(stream->fault, member, "%s", why.text);
        if (r < 0) return r;
        given.text = text;
    }
    return take_value(stream, field, &given);
}

/* `has`: the rows that were found, by their index. */
static int read_object(Stream *stream, unsigned place, const char *prefix, const Node *object) {
    if (!json_is_object(object->value)) return fault_at(stream->fault, object, "must be an object, not %s", json_kind(object->value));
    bool has[FIELDS_MOST] = {false};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object->value, key, value) {
        Node member = {.value = value, .parent = object, .key = key};
        _cleanup_free_ char *name = text_copy(key);
        for (char *c = name; *c && (place & (STREAM_SOURCE_OPTIONS | STREAM_SINK_OPTIONS)); c++)
            if (*c == '-') *c = '_';
        const StreamField *field = find_field(place, name);
        if (!field) {
            _cleanup_(buffer_deinit) Buffer words = {0};
            int r = fault_at(stream->fault, &member, "%s", unknown_words(place, name, &words));
            stream->fault->at_key = true;
            return r;
        }
        if (!node_given(&member)) continue;
        if (has[field - stream_fields]) {
            int r = fault_at(stream->fault, &member, "stands there in another spelling, too");
            stream->fault->at_key = true;
            return r;
        }
        has[field - stream_fields] = true;
        int r = read_member(stream, place, prefix, &member, field);
        if (r < 0) return r;
    }
    for (const StreamField *field = stream_fields; field->name; field++)
        if ((field->places & place) && field->needed && !has[field - stream_fields])
            return fault_at(stream->fault, object, "needs %s", field->needed);
    return 0;
}

static int read_parameters(Stream *stream, unsigned place, const char *prefix, const Node *address, const StreamUri *uri) {
    bool has[FIELDS_MOST] = {false};
    for (size_t i = 0; i < uri->parameter_count; i++) {
        const StreamParameter *parameter = &uri->parameters[i];
        char excerpt[TEXT_EXCERPT_SIZE];
        StreamGiven given = {.node = address, .parameter = text_excerpt(span_of(parameter->name), excerpt), .text = parameter->value};
        const StreamField *field = find_field(place, parameter->name);
        if (!field) {
            _cleanup_(buffer_deinit) Buffer words = {0};
            return stream_refuse(stream, &given, "%s", unknown_words(place, parameter->name, &words));
        }
        if (field->use == STREAM_REFUSED) return refuse_known(stream, field, &given);
        if (field->use == STREAM_IGNORED) {
            stream_ignore(stream, "%s?%s", prefix, field->name);
            continue;
        }
        if (has[field - stream_fields]) return stream_refuse(stream, &given, "stands there under another name, too");
        has[field - stream_fields] = true;
        int r = take_value(stream, field, &given);
        if (r < 0) return r;
    }
    for (const StreamField *field = stream_fields; field->name; field++)
        if ((field->places & place) && field->needed && !has[field - stream_fields])
            return fault_at(stream->fault, address, "needs the parameter %s", field->needed);
    return 0;
}

/* ---- addresses ---------------------------------------------------------------------------------------------------------------------------- */

static int parse_address(Stream *stream, const Node *owner, Node *ret_address, StreamUri *ret_uri) {
    *ret_address = node_member(owner, "address");
    const char *text;
    Error why = {0};
    if (!node_given(ret_address)) {
        const StreamField *field = find_field(strcmp(owner->key, "sink") == 0 ? STREAM_SINK : STREAM_SOURCE, "address");
        return fault_at(stream->fault, owner, "needs %s", field->needed);
    }
    int r = node_text(stream->fault, ret_address, 1, STREAM_ADDRESS_BYTES_MOST, &text);
    if (r < 0) return r;
    if (stream_uri_parse(text, &stream->values, ret_uri, &why) < 0) return fault_at(stream->fault, ret_address, "%s", why.text);
    return 0;
}

/* dataos://NAME: the name of a connection of the gateway. */
static int read_depot(Stream *stream, const Node *address, const StreamUri *uri) {
    if (uri->user || *uri->path || !identifier_valid(uri->host))
        return fault_at(stream->fault, address, "must be as dataos://NAME: the name of a connection, 1 to 48 of a-z, 0-9, '-' and '_'");
    return 0;
}

/* The connection is known by what it is: the same address gives the same one, and a changed address another. */
static const char *declare_connection(Stream *stream, const char *type, char name[static 40]) {
    json_t *body = json_pack("{s:s}", "type", type);
    check(body && json_object_update(body, stream->connection) == 0);
    _cleanup_free_ char *text = json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS);
    check(text);
    (void)snprintf(name, 40, "%s-%012llx", type, (unsigned long long)(checksum_of(text, strlen(text)) >> 16));
    if (json_object_size(stream->files) > 0) check(json_object_set(body, "files", stream->files) == 0);
    check(json_array_append_new(stream->result.connections, json_pack("{s:s, s:o}", "name", name, "connection", body)) == 0);
    return name;
}

static void begin_connection(Stream *stream) {
    json_decref(stream->connection);
    json_decref(stream->files);
    stream->connection = json_object();
    stream->files = json_object();
    check(stream->connection && stream->files);
}

/* user:password@host, or token@host. */
static int read_nats_host(Stream *stream, const Node *address, const StreamUri *uri) {
    if (!*uri->host) return fault_at(stream->fault, address, "needs a host, as nats+jetstream://host:4222");
    if (*uri->path) return fault_at(stream->fault, address, "must not hold a path: the stream is \"source_table\"");
    _cleanup_(buffer_deinit) Buffer servers = {0};
    for (const char *at = uri->host;; at++) {
        size_t size = strcspn(at, ",");
        buffer_printf(&servers, "%snats://%.*s", servers.size > 0 ? "," : "", (int)size, at);
        at += size;
        if (!*at) break;
    }
    check(json_object_set_new(stream->connection, "servers", json_string(buffer_text(&servers))) == 0);
    if (!uri->user) return 0;
    if (!*uri->user) return fault_at(stream->fault, address, "has an empty login before its host");
    if (!uri->password) {
        set_secret(stream, "tokenFile", "token", uri->user);
    } else {
        check(json_object_set_new(stream->connection, "user", json_string(uri->user)) == 0);
        set_secret(stream, "passwordFile", "password", uri->password);
    }
    return 0;
}

static bool has_any(const StreamUri *uri, const char *const *names) {
    for (; *names; names++)
        if (stream_uri_find(uri, *names)) return true;
    return false;
}

/* The manifest does not say of which type the connection is; its parameters may. */
static bool is_nats_depot(const StreamUri *uri) {
    static const char *const names[] = {"subject", "stream", "durable", "timeout", "start_sequence", NULL};
    return has_any(uri, names);
}

static void begin_part(Stream *stream, bool is_nats) {
    stream->is_nats = is_nats;
    stream->place_kind = is_nats ? "nats" : "kafka";
    stream->part = is_nats ? json_pack("{s:s, s:i, s:s, s:b}", "durable", "none", "batchSize", 100, "batchTimeout", "10s", "loop", 0)
                           : json_pack("{s:i, s:s, s:b}", "batchSize", 3000, "batchTimeout", "3s", "loop", 0);
    check(stream->part && json_object_set_new(stream->source, "type", json_string(stream->place_kind)) == 0);
    check(json_object_set_new(stream->source, stream->place_kind, stream->part) == 0);
    add_origin(stream, stream->place_kind, "spec/source");
}

static int read_source_address(Stream *stream, const Node *source) {
    _cleanup_(stream_uri_deinit) StreamUri uri = {0};
    Node address;
    char name[40];
    int r = parse_address(stream, source, &address, &uri);
    if (r < 0) return r;
    begin_connection(stream);
    StreamGiven given = {.node = &address};
    const char *connection = name;
    if (strcmp(uri.scheme, "dataos") == 0) {
        bool is_nats = is_nats_depot(&uri);
        begin_part(stream, is_nats);
        r = read_depot(stream, &address, &uri);
        if (r == 0) r = read_parameters(stream, is_nats ? STREAM_NATS_DEPOT : STREAM_KAFKA_DEPOT, "spec.source.address", &address, &uri);
        connection = uri.host;
    } else if (strcmp(uri.scheme, "kafka") == 0) {
        begin_part(stream, false);
        if (uri.user || *uri.host || *uri.path)
            return fault_at(stream->fault, &address, "must be as kafka://?bootstrap_servers=host:port: all of it is parameters");
        r = read_parameters(stream, STREAM_KAFKA, "spec.source.address", &address, &uri);
        if (r == 0) (void)declare_connection(stream, "kafka", name);
    } else if (strcmp(uri.scheme, "nats+jetstream") == 0) {
        begin_part(stream, true);
        r = read_nats_host(stream, &address, &uri);
        if (r == 0) r = read_parameters(stream, STREAM_NATS, "spec.source.address", &address, &uri);
        if (r == 0) (void)declare_connection(stream, "nats", name);
    } else {
        char excerpt[TEXT_EXCERPT_SIZE];
        return fault_at(stream->fault, &address, "begins with %s://: a stream is read from dataos://, kafka:// or nats+jetstream://",
                        text_excerpt(span_of(uri.scheme), excerpt));
    }
    if (r == 0) stream_set(stream, stream->part, "connection", json_string(connection), "connection", &given);
    return r;
}

static void append_encoded(Buffer *out, const char *text) {
    static const char plain[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-._~";
    for (; *text; text++) {
        if (strchr(plain, *text))
            buffer_append_byte(out, *text);
        else
            buffer_printf(out, "%%%02X", (unsigned char)*text);
    }
}

static int read_postgres(Stream *stream, const Node *address, const StreamUri *uri) {
    if (!*uri->host || strpbrk(uri->host, "/@? "))
        return fault_at(stream->fault, address, "needs a host, as postgresql://user:password@host:5432/database");
    int r = read_parameters(stream, STREAM_POSTGRES, "spec.sink.address", address, uri);
    if (r < 0) return r;
    _cleanup_(buffer_deinit) Buffer text = {0};
    buffer_append_text(&text, "postgresql://");
    if (uri->user && *uri->user) {
        append_encoded(&text, uri->user);
        buffer_append_byte(&text, '@');
    }
    buffer_printf(&text, "%s/", uri->host);
    append_encoded(&text, uri->path);
    if (stream->parameters.size > 0) buffer_printf(&text, "?%s", buffer_text(&stream->parameters));
    check(json_object_set_new(stream->connection, "uri", json_string(buffer_text(&text))) == 0);
    if (uri->password && *uri->password) set_secret(stream, "passwordFile", "password", uri->password);
    return 0;
}

static int read_sink_address(Stream *stream, const Node *sink) {
    _cleanup_(stream_uri_deinit) StreamUri uri = {0};
    Node address;
    char name[40];
    int r = parse_address(stream, sink, &address, &uri);
    if (r < 0) return r;
    begin_connection(stream);
    StreamGiven given = {.node = &address};
    const char *connection = name;
    if (strcmp(uri.scheme, "dataos") == 0) {
        r = read_depot(stream, &address, &uri);
        if (r == 0) r = read_parameters(stream, STREAM_SINK_DEPOT, "spec.sink.address", &address, &uri);
        connection = uri.host;
    } else if (strcmp(uri.scheme, "postgresql") == 0 || strcmp(uri.scheme, "postgres") == 0) {
        r = read_postgres(stream, &address, &uri);
        if (r == 0) (void)declare_connection(stream, "postgres", name);
    } else {
        char excerpt[TEXT_EXCERPT_SIZE];
        return fault_at(stream->fault, &address, "begins with %s://: rows go to dataos:// or postgresql://",
                        text_excerpt(span_of(uri.scheme), excerpt));
    }
    if (r == 0) stream_set(stream, stream->table, "connection", json_string(connection), "sinks/0/table/connection", &given);
    return r;
}

/* ---- columns ------------------------------------------------------------------------------------------------------------------------------ */

/* The column of that path or name, of those that the manifest declares. */
static json_t *declared_column(const Stream *stream, const char *field) {
    size_t index;
    json_t *column;
    json_array_foreach(stream->columns, index, column) {
        const char *path = json_string_value(json_object_get(column, "path")), *name = json_string_value(json_object_get(column, "name"));
        if ((path && strcmp(path, field) == 0) || (name && strcmp(name, field) == 0)) return column;
    }
    return NULL;
}

static int lacks_column(Stream *stream, const Node *options, const char *option, const char *field) {
    char excerpt[TEXT_EXCERPT_SIZE];
    return fault_at(stream->fault, options, "has \"%s\" with \"%s\", which none of its \"columns\" has as its path or name", option,
                    text_excerpt(span_of(field), excerpt));
}

/* What the options say of columns that the manifest declares. */
static int complete_columns(Stream *stream, const Node *sink_options, const Node *source_options) {
    size_t index;
    const char *field;
    json_t *value, *column;
    json_array_foreach(stream->keys, index, value) {
        field = json_string_value(value);
        if (!(column = declared_column(stream, field))) return lacks_column(stream, sink_options, "primary_key", field);
        check(json_object_set_new(column, "primaryKey", json_true()) == 0);
    }
    json_object_foreach(stream->hints, field, value) {
        if (!(column = declared_column(stream, field))) return lacks_column(stream, source_options, "type_hints", field);
        if (!json_object_get(column, "dataType")) check(json_object_set(column, "dataType", value) == 0);
    }
    json_object_foreach(stream->masks, field, value) {
        if (!(column = declared_column(stream, field))) return lacks_column(stream, source_options, "mask", field);
        check(json_object_set(column, "mask", value) == 0);
    }
    return 0;
}

static bool is_taken(void *context, const char *name) {
    size_t index;
    json_t *column;
    json_array_foreach((json_t *)context, index, column) if (span_equal_nocase(span_of(json_string_value(json_object_get(column, "name"))),
                                                                               span_of(name))) return true;
    return false;
}

/* As inferred columns are named; a path that is none is found when the column is read. */
static json_t *column_name(json_t *columns, const char *path) {
    char name[COLUMN_NAME_SIZE];
    _cleanup_(buffer_deinit) Buffer canonical = {0};
    if (!field_path_canonical(span_of(path), &canonical)) return json_string(path);
    column_name_of_field(buffer_span(&canonical), is_taken, columns, name);
    return json_string(name);
}

/* Keys and masked fields are declared; all others are inferred. */
static json_t *add_column(Stream *stream, json_t *columns, const char *path) {
    size_t index;
    json_t *column;
    json_array_foreach(columns, index, column) if (strcmp(json_string_value(json_object_get(column, "path")), path) == 0) return column;
    const char *type = json_string_value(json_object_get(stream->hints, path));
    if (!type) type = "text";
    column = json_pack("{s:o, s:s, s:s, s:s}", "name", column_name(columns, path), "type", "path", "path", path, "dataType", type);
    check(column && json_array_append_new(columns, column) == 0);
    if (strcmp(type, "text") == 0) check(json_object_set_new(column, "rawString", json_true()) == 0);
    (void)json_object_del(stream->hints, path);
    return column;
}

static void infer_columns(Stream *stream) {
    json_t *columns = json_array(), *infer = json_pack("{s:i}", "depth", 1), *mapping = json_object();
    check(columns && infer && mapping);
    size_t index;
    const char *field;
    json_t *value;
    json_array_foreach(stream->keys, index, value)
        check(json_object_set_new(add_column(stream, columns, json_string_value(value)), "primaryKey", json_true()) == 0);
    json_object_foreach(stream->masks, field, value) {
        json_t *column = add_column(stream, columns, field);
        check(json_object_set(column, "mask", value) == 0);
    }
    if (json_object_size(stream->hints) > 0) check(json_object_set(infer, "typeHints", stream->hints) == 0);
    if (json_array_size(columns) > 0) check(json_object_set(mapping, "columns", columns) == 0);
    check(json_object_set_new(mapping, "infer", infer) == 0 && json_object_set_new(stream->table, "mapping", mapping) == 0);
    json_decref(columns);
    add_origin(stream, "sinks/0/table/mapping", "spec/sink/options");
}

/* A stream's rows are wanted soon: they are staged as often as batches end there, and imported as often as a sink may. */
static void set_intervals(Stream *stream) {
    const char *timeout = json_string_value(json_object_get(stream->part, "batchTimeout"));
    usec_t usec = 0;
    check(units_parse_time(span_of(timeout), &usec) == 0);
    const char *staging = usec < USEC_SECOND ? "1s" : timeout;
    json_t *settings = json_pack("{s:s, s:s}", "storage.level.staging.upload.trigger.interval", staging,
                                 "storage.level.target.import.trigger.interval", "30s");
    check(settings && json_object_set_new(stream->sink, "settings", settings) == 0);
}

static int complete(Stream *stream, const Node *spec) {
    Node source = node_member(spec, "source"), sink = node_member(spec, "sink");
    Node source_options = node_member(&source, "options"), sink_options = node_member(&sink, "options");
    const char *strategy = json_string_value(json_object_get(stream->table, "strategy"));
    bool merges = strcmp(strategy, "merge") == 0;
    if (merges && json_array_size(stream->keys) == 0)
        return fault_at(stream->fault, &sink_options, "needs a \"primary_key\", since its \"incremental_strategy\" is merge");
    if (strcmp(strategy, "replace") == 0 && json_is_true(json_object_get(stream->part, "loop")))
        return fault_at(stream->fault, &sink_options,
                        "has \"incremental_strategy\": replace, which needs a source that ends: \"run_in_loop\" "
                        "must be false");
    if (!merges && stream->keys) {
        stream_ignore(stream, "primary_key (only merge has a use for it)");
        check(json_array_clear(stream->keys) == 0);
    }
    set_intervals(stream);
    if (stream->columns) return complete_columns(stream, &sink_options, &source_options);
    infer_columns(stream);
    return 0;
}

/* ---- the document ------------------------------------------------------------------------------------------------------------------------- */

static int check_type(Stream *stream, const Node *spec) {
    static const Refusal others[] = {
        {"batch", "which copies tables by a schedule: Sluice reads topics and streams as they come (\"stream\"). Copy a table by COPY or "
                  "pg_dump, or keep Nilus for it"},
        {"cdc", "which follows the changes of a database: let Debezium write them to a topic or send them by HTTP (docs/kafka-connect.md), "
                "and read that as a \"stream\""},
        {"metadata", "which catalogues a database: Sluice stores events and has nothing in its place"},
        {0},
    };
    static const char *const types[] = {"stream", NULL};
    Node type = node_member(spec, "type");
    int choice;
    if (!json_is_object(spec->value)) return fault_at(stream->fault, spec, "must be an object, not %s", json_kind(spec->value));
    if (!node_given(&type)) return fault_at(stream->fault, spec, "needs a \"type\": stream");
    return node_choice(stream->fault, &type, types, others, &choice);
}

static int translate(Stream *stream, const Node *root) {
    Node spec = node_member(root, "spec");
    int r = node_given(&spec) ? check_type(stream, &spec) : 0;
    if (r == 0) r = read_object(stream, STREAM_TOP, "", root);
    if (r == 0) r = read_object(stream, STREAM_SPEC, "spec.", &spec);
    if (r < 0) return r;
    Node source = node_member(&spec, "source"), sink = node_member(&spec, "sink");
    Node source_options = node_member(&source, "options"), sink_options = node_member(&sink, "options");
    add_origin(stream, "sinks/0", "spec/sink");
    r = json_is_object(source.value) ? read_source_address(stream, &source) : 0;
    if (r == 0) r = read_object(stream, STREAM_SOURCE, "spec.source.", &source);
    if (r == 0) r = read_object(stream, STREAM_SOURCE_OPTIONS, "spec.source.options.", &source_options);
    if (r == 0 && json_is_object(sink.value)) r = read_sink_address(stream, &sink);
    if (r == 0) r = read_object(stream, STREAM_SINK, "spec.sink.", &sink);
    if (r == 0) r = read_object(stream, STREAM_SINK_OPTIONS, "spec.sink.options.", &sink_options);
    return r < 0 ? r : complete(stream, &spec);
}

int stream_manifest_translate(Fault *fault, const Node *root, const char *name, Expansions *expansions,
                              StreamTranslation *ret_translation) {
    Stream stream = {.values = {.find = find_value}, .fault = fault, .name = name, .expansions = expansions};
    stream.known = json_object();
    stream.projected = json_object();
    stream.hints = json_object();
    stream.masks = json_object();
    stream.table = json_object();
    stream.sink = json_pack("{s:s, s:O}", "type", "table", "table", stream.table);
    stream.source = json_pack("{s:s, s:[O]}", "kind", "source", "sinks", stream.sink);
    stream.result = (StreamTranslation){.source = stream.source, .connections = json_array(), .ignored = json_array()};
    check(stream.known && stream.projected && stream.hints && stream.masks && stream.sink && stream.source);
    check(stream.result.connections && stream.result.ignored);
    int r = translate(&stream, root);
    if (r < 0) expansions_hide(expansions, fault->error);
    json_decref(stream.known);
    json_decref(stream.projected);
    json_decref(stream.hints);
    json_decref(stream.masks);
    json_decref(stream.keys);
    json_decref(stream.table);
    json_decref(stream.sink);
    json_decref(stream.connection);
    json_decref(stream.files);
    buffer_deinit(&stream.parameters);
    if (r < 0) {
        stream_translation_deinit(&stream.result);
        return r;
    }
    *ret_translation = stream.result;
    return 0;
}

/* How many bytes of `path` are that origin's field, or hold it; 0: not. */
static size_t matches(const StreamOrigin *origin, const char *path) {
    size_t size = strlen(origin->to);
    return strncmp(path, origin->to, size) == 0 && (path[size] == '/' || !path[size]) ? size : 0;
}

void stream_translation_locate(const StreamTranslation *translation, Fault *fault) {
    const StreamOrigin *best = NULL;
    size_t most = 0;
    for (size_t i = 0; i < translation->origin_count; i++) { /* of equal ones the last: options come behind the address */
        size_t size = matches(&translation->origins[i], fault->path);
        if (size == 0 || size < most) continue;
        best = &translation->origins[i];
        most = size;
    }
    char path[2 * sizeof fault->path];
    (void)snprintf(path, sizeof path, "%s%s", best ? best->from : "spec", best ? fault->path + most : "");
    if (strlen(path) < sizeof fault->path) memcpy(fault->path, path, strlen(path) + 1);
}

void stream_translation_deinit(StreamTranslation *translation) {
    json_decref(translation->source);
    json_decref(translation->connections);
    json_decref(translation->ignored);
    for (size_t i = 0; i < translation->origin_count; i++) {
        free(translation->origins[i].to);
        free(translation->origins[i].from);
    }
    free(translation->origins);
    *translation = (StreamTranslation){0};
}
