/* The addresses of a stream manifest: the broker or database that one names, and the connection
 * that it declares. */
#include <stdio.h>
#include <string.h>

#include "base/checksum.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "config/definition.h"
#include "config/stream_parts.h"

static int parse_address(Stream *stream, const Node *owner, Node *ret_address, StreamUri *ret_uri) {
    *ret_address = node_member(owner, "address");
    const char *text;
    Error why = {0};
    if (!node_given(ret_address)) {
        const StreamField *field = stream_find_field(strcmp(owner->key, "sink") == 0 ? STREAM_SINK : STREAM_SOURCE, "address");
        return fault_at(stream->fault, owner, "needs %s", field->needed);
    }
    int r = node_text(stream->fault, ret_address, 1, STREAM_ADDRESS_BYTES_MAX, &text);
    if (r < 0) return r;
    if (stream_uri_parse(text, &stream->values, ret_uri, &why) < 0) return fault_at(stream->fault, ret_address, "%s", why.text);
    return 0;
}

/* dataos://NAME: the name of a connection of the gateway. */
static int read_depot(Stream *stream, const Node *address, const StreamUri *uri) {
    if (uri->user || *uri->path || !identifier_valid(uri->host))
        return fault_at(stream->fault, address,
                        "must have the form dataos://NAME: the name of a connection has 1 to 48 characters (a-z, 0-9, '-' and '_')");
    return 0;
}

/* The connection is known by what it is: the same address gives the same one, and a changed address
 * another. */
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
    if (*uri->path) return fault_at(stream->fault, address, "must not contain a path: the stream is \"source_table\"");
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
        stream_set_secret(stream, "tokenFile", "token", uri->user);
    } else {
        check(json_object_set_new(stream->connection, "user", json_string(uri->user)) == 0);
        stream_set_secret(stream, "passwordFile", "password", uri->password);
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
    stream_add_origin(stream, stream->place_kind, "spec/source");
}

int stream_read_source_address(Stream *stream, const Node *source) {
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
        if (r == 0)
            r = stream_read_parameters(stream, is_nats ? STREAM_NATS_DEPOT : STREAM_KAFKA_DEPOT, "spec.source.address", &address, &uri);
        connection = uri.host;
    } else if (strcmp(uri.scheme, "kafka") == 0) {
        begin_part(stream, false);
        if (uri.user || *uri.host || *uri.path)
            return fault_at(stream->fault, &address, "must have the form kafka://?bootstrap_servers=host:port, with parameters only");
        r = stream_read_parameters(stream, STREAM_KAFKA, "spec.source.address", &address, &uri);
        if (r == 0) (void)declare_connection(stream, "kafka", name);
    } else if (strcmp(uri.scheme, "nats+jetstream") == 0) {
        begin_part(stream, true);
        r = read_nats_host(stream, &address, &uri);
        if (r == 0) r = stream_read_parameters(stream, STREAM_NATS, "spec.source.address", &address, &uri);
        if (r == 0) (void)declare_connection(stream, "nats", name);
    } else {
        char excerpt[TEXT_EXCERPT_SIZE];
        return fault_at(stream->fault, &address, "begins with %s://: a stream is read from dataos://, kafka:// or nats+jetstream://",
                        text_excerpt(span_of(uri.scheme), excerpt));
    }
    if (r == 0) stream_set(stream, stream->part, "connection", json_string(connection), "connection", &given);
    return r;
}

void stream_put_encoded(Buffer *out, const char *text) {
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
    int r = stream_read_parameters(stream, STREAM_POSTGRES, "spec.sink.address", address, uri);
    if (r < 0) return r;
    _cleanup_(buffer_deinit) Buffer text = {0};
    buffer_append_text(&text, "postgresql://");
    if (uri->user && *uri->user) {
        stream_put_encoded(&text, uri->user);
        buffer_append_byte(&text, '@');
    }
    buffer_printf(&text, "%s/", uri->host);
    stream_put_encoded(&text, uri->path);
    if (stream->parameters.size > 0) buffer_printf(&text, "?%s", buffer_text(&stream->parameters));
    check(json_object_set_new(stream->connection, "uri", json_string(buffer_text(&text))) == 0);
    if (uri->password && *uri->password) stream_set_secret(stream, "passwordFile", "password", uri->password);
    return 0;
}

int stream_read_sink_address(Stream *stream, const Node *sink) {
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
        if (r == 0) r = stream_read_parameters(stream, STREAM_SINK_DEPOT, "spec.sink.address", &address, &uri);
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
