#include "gateway/commands/how_to_send.h"

#include <ctype.h>
#include <string.h>

#include "base/cleanup.h"
#include "gateway/commands/screen.h"

/* ---- an event that the sinks can map --------------------------------------------------------- */

static json_t *sample_time(const char *format, const char *rfc3339) {
    static const struct {
        const char *format;
        json_int_t value;
    } numbers[] = {{"unix", 1767225600}, {"unixMs", 1767225600000}, {"unixUs", 1767225600000000}, {"unixNs", 1767225600000000000}};
    if (!format[0] || strcmp(format, "rfc3339") == 0) return json_string(rfc3339);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (strcmp(format, numbers[i].format) == 0) return json_integer(numbers[i].value);
    return NULL; /* a pattern */
}

/* NULL: it is not known what would fit. */
static json_t *sample_value(const json_t *column) {
    const char *type = screen_text(column, "dataType"), *format = screen_text(column, "format");
    if (!type[0] || strcmp(type, "text") == 0) return json_string("text");
    if (strcmp(type, "integer") == 0) return json_integer(1);
    if (strcmp(type, "number") == 0 || strcmp(type, "decimal") == 0) return json_real(1.5);
    if (strcmp(type, "boolean") == 0) return json_true();
    if (strcmp(type, "json") == 0 || strcmp(type, "jsonText") == 0) return json_object();
    if (strcmp(type, "uuid") == 0) return json_string("00000000-0000-4000-8000-000000000000");
    if (strcmp(type, "timestamp") == 0) return sample_time(format, "2026-01-01T00:00:00Z");
    if (strcmp(type, "date") == 0) return sample_time(format, "2026-01-01");
    return NULL;
}

/* Sets the value at a path of plain keys. false: the path is another one, or meets a value. */
static bool set_at(json_t *event, const char *path, json_t *take_value) {
    if (strncmp(path, "$.", 2) == 0) path += 2;
    for (;;) {
        size_t size = 0;
        while (isalnum((unsigned char)path[size]) || (path[size] && strchr("_-", path[size]))) size++;
        bool is_last = path[size] == '\0';
        if (size == 0 || (!is_last && path[size] != '.')) break;
        _cleanup_free_ char *key = strndup(path, size);
        check(key);
        json_t *found = json_object_get(event, key);
        if (is_last) {
            if (!found) return json_object_set_new(event, key, take_value) == 0;
            bool same = json_equal(found, take_value);
            json_decref(take_value);
            return same;
        }
        if (!found) {
            found = json_object();
            check(found && json_object_set_new(event, key, found) == 0);
        }
        if (!json_is_object(found)) break;
        event = found;
        path += size + 1;
    }
    json_decref(take_value);
    return false;
}

/* false: nobody knows what an event of the sink looks like. */
static bool add_columns(json_t *event, const json_t *sink) {
    const json_t *mapping = json_object_get(json_object_get(sink, "table"), "mapping");
    if (json_object_get(mapping, "explode")) return false;
    size_t index;
    json_t *column;
    json_array_foreach(json_object_get(mapping, "columns"), index, column) {
        const char *type = screen_text(column, "type"), *path = screen_text(column, "path");
        if (strcmp(type, "template") == 0) return false;
        if (!path[0] || strcmp(path, ".") == 0 || strcmp(path, "$") == 0) continue;
        json_t *value = sample_value(column);
        if (!value || !set_at(event, path, value)) return false;
    }
    return true;
}

/* free(); NULL: nobody knows. */
static char *sample_event(const ManifestSource *declared) {
    json_t *event = json_object();
    check(event);
    bool is_known = true;
    for (size_t i = 0; i < declared->sink_count && is_known; i++) is_known = add_columns(event, declared->sinks[i]);
    if (json_object_size(event) == 0) check(json_object_set_new(event, "hello", json_string("world")) == 0);
    char *text = is_known ? json_dumps(event, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
    check(text || !is_known);
    json_decref(event);
    return text;
}

/* ---- lines ----------------------------------------------------------------------------------- */

static void put_curl(const char *framing, const ManifestSource *declared, const char *url, Buffer *out) {
    bool is_array = strcmp(framing, "array") == 0, is_lines = strcmp(framing, "ndjson") == 0;
    const char *type = is_lines ? "application/x-ndjson" : "application/json";
    _cleanup_free_ char *event = NULL;
    if (strcmp(framing, "lines") == 0)
        type = "text/plain";
    else
        event = sample_event(declared);
    buffer_printf(out, "  curl -H 'Content-Type: %s' ", type);
    if (event)
        buffer_printf(out, "-d '%s%s%s'", is_array ? "[" : "", event, is_array ? "]" : "");
    else
        buffer_printf(out, "--data-binary @%s", is_lines ? "events.ndjson" : strcmp(type, "text/plain") == 0 ? "events.txt" : "event.json");
    buffer_printf(out, " '%s'\n", url);
}

static void put_http(const json_t *source, const ManifestSource *declared, const Expansions *expansions, Buffer *out) {
    const char *url = screen_text(json_object_get(source, "http"), "url"), *secret = screen_text(declared->source, "secret");
    _cleanup_(buffer_deinit) Buffer name = {0};
    size_t size = strlen(url), secret_size = strlen(secret);
    bool ends = secret_size > 0 && size > secret_size && strcmp(url + size - secret_size, secret) == 0;
    if (ends && expansions_name(expansions, secret, &name)) {
        buffer_printf(out, "  send events to %.*s%s\n", (int)(size - secret_size), url, buffer_text(&name));
        return;
    }
    buffer_printf(out, "  send events to %s\n", url);
    put_curl(screen_text(source, "framing"), declared, url, out);
}

static void put_list(Buffer *out, const json_t *list) {
    for (size_t i = 0; i < json_array_size(list); i++)
        buffer_printf(out, "%s\"%s\"", i > 0 ? ", " : "", json_string_value(json_array_get(list, i)));
}

static void put_kafka(const json_t *kafka, Buffer *out) {
    const json_t *topics = json_object_get(kafka, "topics");
    const char *group = screen_text(kafka, "groupId");
    buffer_printf(out, "  reads topic%s ", json_array_size(topics) == 1 ? "" : "s");
    put_list(out, topics);
    buffer_printf(out, " of connection \"%s\"", screen_text(kafka, "connection"));
    if (group[0]) buffer_printf(out, " as consumer group \"%s\"", group);
    buffer_append_byte(out, '\n');
}

static void put_nats(const json_t *nats, Buffer *out) {
    const char *subject = screen_text(nats, "subject"), *durable = screen_text(nats, "durable");
    buffer_append_text(out, "  reads ");
    if (subject[0]) buffer_printf(out, "subject \"%s\" of ", subject);
    buffer_printf(out, "stream \"%s\" of connection \"%s\"", screen_text(nats, "stream"), screen_text(nats, "connection"));
    if (strcmp(durable, "none") == 0)
        buffer_append_text(out, " without a durable consumer");
    else if (durable[0])
        buffer_printf(out, " as durable consumer \"%s\"", durable);
    buffer_append_byte(out, '\n');
}

void how_to_send(const json_t *source, const ManifestSource *declared, const Expansions *expansions, Buffer *out) {
    const char *type = screen_text(source, "type");
    if (strcmp(type, "http") == 0) put_http(source, declared, expansions, out);
    if (strcmp(type, "kafka") == 0) put_kafka(json_object_get(source, "kafka"), out);
    if (strcmp(type, "nats") == 0) put_nats(json_object_get(source, "nats"), out);
}
