#include "config/stream_manifest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "config/stream_parts.h"
#include "config/units.h"
#include "config/yaml_scalar.h"

bool stream_manifest_is(const json_t *document) {
    const char *type = json_string_value(json_object_get(document, "type"));
    return type && strcmp(type, "nilus") == 0;
}

/* ---- what has been read ---------------------------------------------------------------------- */

const char *stream_pointer_of(const Node *node, char out[static STREAM_POINTER_SIZE]) {
    Fault scratch = {0};
    (void)fault_plain(&scratch, node, "here");
    memcpy(out, scratch.path, sizeof scratch.path);
    return out;
}

void stream_add_origin(Stream *stream, const char *to, const char *from) {
    array_extend(stream->result.origins, stream->result.origin_count);
    stream->result.origins[stream->result.origin_count++] = (StreamOrigin){.to = text_copy(to), .from = text_copy(from)};
}

void stream_set(Stream *stream, json_t *object, const char *field, json_t *take_value, const char *pointer, const StreamGiven *given) {
    char from[STREAM_POINTER_SIZE], to[600];
    check(take_value && json_object_set_new(object, field, take_value) == 0);
    bool in_part = object == stream->part;
    (void)snprintf(to, sizeof to, "%s%s%s", in_part ? stream->place_kind : "", in_part ? "/" : "", pointer);
    stream_add_origin(stream, to, stream_pointer_of(given->node, from));
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

/* ---- placeholders ---------------------------------------------------------------------------- */

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
        (void)error_set(error, -EINVAL, "names {%s}, which is neither in \"spec.envs\" nor in the envVars of \"spec.use.projection\"",
                        name);
        return NULL;
    }
    _cleanup_(buffer_deinit) Buffer value = {0};
    if (read_value(stream, name, &value, error) < 0) return NULL;
    json_t *text = json_stringn(value.data ? value.data : "", value.size);
    if (!text || strlen(json_string_value(text)) != value.size) {
        json_decref(text);
        (void)error_set(error, -EINVAL, "names {%s}, whose value is not a text", name);
        return NULL;
    }
    char shown[260];
    (void)snprintf(shown, sizeof shown, "{%s}", name);
    expansions_add(stream->expansions, span_of(shown), buffer_span(&value));
    check(json_object_set_new(stream->known, name, text) == 0);
    return json_string_value(text);
}

/* ---- one value ------------------------------------------------------------------------------- */

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

void stream_set_secret(Stream *stream, const char *field, const char *parameter, const char *value) {
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
    if (!value) return stream_refuse(stream, given, "names a file that is not text");
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
    case STREAM_SECRET: stream_set_secret(stream, field->field, field->name, text); return 0;
    case STREAM_FILE: return take_file(stream, field, given, text);
    case STREAM_TABLE:
        (void)snprintf(pointer, sizeof pointer, "sinks/0/table/%s", field->field);
        stream_set(stream, stream->table, field->field, json_string(text), pointer, given);
        return 0;
    }
    unreachable();
}

/* ---- the fields of an object or address ------------------------------------------------------ */

const StreamField *stream_find_field(unsigned place, const char *name) {
    for (const StreamField *field = stream_fields; field->name; field++) {
        if (!(field->places & place)) continue;
        if (strcmp(field->name, name) == 0 || (field->alias && strcmp(field->alias, name) == 0)) return field;
    }
    return NULL;
}

static size_t names_of(unsigned place, const char *names[static STREAM_FIELDS_MAX]) {
    size_t count = 0;
    for (const StreamField *field = stream_fields; field->name; field++) {
        check(count < STREAM_FIELDS_MAX);
        if ((field->places & place) && field->use == STREAM_TAKEN) names[count++] = field->name;
    }
    return count;
}

/* `is not known here: did you mean "x"?`, or which there are. */
static const char *unknown_words(unsigned place, const char *name, Buffer *out) {
    const char *names[STREAM_FIELDS_MAX];
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
    bool has[STREAM_FIELDS_MAX] = {false};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object->value, key, value) {
        Node member = {.value = value, .parent = object, .key = key};
        _cleanup_free_ char *name = text_copy(key);
        for (char *c = name; *c && (place & (STREAM_SOURCE_OPTIONS | STREAM_SINK_OPTIONS)); c++)
            if (*c == '-') *c = '_';
        const StreamField *field = stream_find_field(place, name);
        if (!field) {
            _cleanup_(buffer_deinit) Buffer words = {0};
            int r = fault_at(stream->fault, &member, "%s", unknown_words(place, name, &words));
            stream->fault->at_key = true;
            return r;
        }
        if (!node_given(&member)) continue;
        if (has[field - stream_fields]) {
            int r = fault_at(stream->fault, &member, "is given twice, in two spellings");
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

int stream_read_parameters(Stream *stream, unsigned place, const char *prefix, const Node *address, const StreamUri *uri) {
    bool has[STREAM_FIELDS_MAX] = {false};
    for (size_t i = 0; i < uri->parameter_count; i++) {
        const StreamParameter *parameter = &uri->parameters[i];
        char excerpt[TEXT_EXCERPT_SIZE];
        StreamGiven given = {.node = address, .parameter = text_excerpt(span_of(parameter->name), excerpt), .text = parameter->value};
        const StreamField *field = stream_find_field(place, parameter->name);
        if (!field) {
            _cleanup_(buffer_deinit) Buffer words = {0};
            return stream_refuse(stream, &given, "%s", unknown_words(place, parameter->name, &words));
        }
        if (field->use == STREAM_REFUSED) return refuse_known(stream, field, &given);
        if (field->use == STREAM_IGNORED) {
            stream_ignore(stream, "%s?%s", prefix, field->name);
            continue;
        }
        if (has[field - stream_fields]) return stream_refuse(stream, &given, "is given twice, under two names");
        has[field - stream_fields] = true;
        int r = take_value(stream, field, &given);
        if (r < 0) return r;
    }
    for (const StreamField *field = stream_fields; field->name; field++)
        if ((field->places & place) && field->needed && !has[field - stream_fields])
            return fault_at(stream->fault, address, "needs the parameter %s", field->needed);
    return 0;
}

/* ---- the document ---------------------------------------------------------------------------- */

/* A stream's rows are wanted soon: they are staged as often as batches end there, and imported as
 * often as a sink may. */
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
    bool keyed = merges || strcmp(strategy, "replace") == 0;
    if (!keyed && stream->keys) {
        stream_ignore(stream, "primary_key (append does not use it)");
        check(json_array_clear(stream->keys) == 0);
    }
    set_intervals(stream);
    if (stream->columns) return stream_complete_columns(stream, &sink_options, &source_options);
    return stream_infer_columns(stream, &sink_options, &source_options);
}

static int check_type(Stream *stream, const Node *spec) {
    static const Refusal others[] = {
        {"batch", "which copies tables by a schedule: Sluice reads topics and streams continuously (\"stream\"). Copy a table with COPY or "
                  "pg_dump, or keep Nilus for it"},
        {"cdc", "which follows the changes of a database: let Debezium write them to a topic or send them by HTTP (docs/kafka-connect.md), "
                "and read that as a \"stream\""},
        {"metadata", "which catalogues a database: Sluice stores events and has no equivalent"},
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
    stream_add_origin(stream, "sinks/0", "spec/sink");
    r = json_is_object(source.value) ? stream_read_source_address(stream, &source) : 0;
    if (r == 0) r = read_object(stream, STREAM_SOURCE, "spec.source.", &source);
    if (r == 0) r = read_object(stream, STREAM_SOURCE_OPTIONS, "spec.source.options.", &source_options);
    if (r == 0 && json_is_object(sink.value)) r = stream_read_sink_address(stream, &sink);
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
