#include "config/manifest.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "config/definition_parts.h"
#include "config/settings_parts.h"
#include "config/source_bridge.h"
#include "config/source_kind.h"
#include "config/stream_manifest.h"

void manifest_source_deinit(ManifestSource *source) {
    json_decref(source->source);
    json_decref(source->settings);
    json_decref(source->connections);
    json_decref(source->ignored);
    for (size_t i = 0; i < source->sink_count; i++) {
        json_decref(source->sinks[i]);
        json_decref(source->sink_settings[i]);
    }
    free(source->sinks);
    free(source->sink_settings);
    *source = (ManifestSource){0};
}

void manifest_deinit(Manifest *manifest) {
    for (size_t i = 0; i < manifest->count; i++) manifest_source_deinit(&manifest->sources[i]);
    free(manifest->sources);
    json_decref(manifest->needed);
    expansions_deinit(&manifest->expansions);
    *manifest = (Manifest){0};
}

static void json_drop(json_t **json) {
    json_decref(*json);
}

/* A shallow copy without what is not the API's. */
static json_t *body_of(const json_t *object, const char *const *without) {
    json_t *body = json_copy((json_t *)(uintptr_t)object);
    check(body != NULL);
    for (; *without; without++) (void)json_object_del(body, *without);
    return body;
}

/* Settings in either form into the API's list; NULL when there are none. */
static int read_settings(Fault *fault, const Node *owner, json_t **ret_settings) {
    Node node = node_member(owner, "settings");
    Settings settings = {0};
    if (!node_given(&node)) return 0;
    int r = settings_apply_any(fault, &settings, &node);
    if (r < 0) return r;
    if (json_is_array(node.value)) {
        *ret_settings = json_incref((json_t *)(uintptr_t)node.value);
        return 0;
    }
    json_t *items = json_array();
    check(items != NULL);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)node.value, key, value)
        check(json_array_append_new(items, json_pack("{s:s, s:O}", "key", key, "value", value)) == 0);
    *ret_settings = items;
    return 0;
}

static const char *text_member(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* The definitions of a source while it is read. */
typedef struct Definitions {
    Source *source; /* NULL: it is not valid */
    Sink *sinks[SINKS_A_SOURCE_MAX];
    size_t sink_count; /* that are valid: of all of them when no error was kept */
} Definitions;

static void definitions_deinit(Definitions *definitions) {
    for (size_t i = 0; i < definitions->sink_count; i++) sink_unref(definitions->sinks[i]);
    source_unref(definitions->source);
}

static int refuse_twin_sink(Fault *fault, const Node *node, const ManifestSource *source, size_t index, const char *id) {
    for (size_t i = 0; i < index; i++)
        if (strcmp(text_member(source->sinks[i], "sinkId"), id) == 0)
            return fault_at(fault, node, "has the id \"%s\" of another sink of this source", id);
    return 0;
}

static bool replaces(const json_t *sink) {
    const char *strategy = json_string_value(json_object_get(json_object_get(sink, "table"), "strategy"));
    return strategy && strcmp(strategy, "replace") == 0;
}

static int refuse_other_strategy(Fault *fault, const Node *body, const ManifestSource *source, const Sink *sink) {
    if (replaces(source->sinks[0]) == (sink->target.table.strategy == STRATEGY_REPLACE)) return 0;
    Node table = node_member(body, "table"), strategy = node_member(&table, "strategy");
    return fault_at(fault, &strategy, "must be \"replace\" in all sinks of a source, or in none");
}

static int read_sink(Fault *fault, const Node *node, Definitions *definitions, ManifestSource *source, size_t index) {
    static const char *const without[] = {"settings", NULL};
    if (!json_is_object(node->value)) return fault_at(fault, node, "must be an object, not %s", json_kind(node->value));
    source->sinks[index] = body_of(node->value, without);
    source->sink_count = index + 1;
    Node body = {.value = source->sinks[index], .parent = node->parent, .key = node->key, .index = node->index};
    _cleanup_(cleanup_sink_unref) Sink *sink = NULL;
    bool first_rejects = index == 0 && definitions->source && source_first_sink_rejects(definitions->source);
    int r = sink_read(fault, &body, first_rejects, NULL, &sink);
    if (r == 0 && definitions->source) r = sink_suits(fault, &body, definitions->source, sink);
    if (r == 0) r = refuse_other_strategy(fault, &body, source, sink);
    if (r == 0) r = refuse_twin_sink(fault, node, source, index, sink->sink_id);
    if (!fault_goes_on(fault, r)) return r;
    int of_settings = read_settings(fault, node, &source->sink_settings[index]);
    if (r < 0 || of_settings < 0) return r < 0 ? r : of_settings;
    check(json_object_set_new(source->sinks[index], "sinkId", json_string(sink->sink_id)) == 0);
    definitions->sinks[definitions->sink_count++] = steal(sink);
    return 0;
}

static int read_sinks(Fault *fault, const Node *root, Definitions *definitions, ManifestSource *source) {
    Node sinks = node_member(root, "sinks");
    if (!node_given(&sinks)) return 0;
    int r = node_array(fault, &sinks, 0, SINKS_A_SOURCE_MAX);
    if (r < 0) return r;
    size_t count = json_array_size(sinks.value);
    source->sinks = calloc(count + 1, sizeof(json_t *));
    source->sink_settings = calloc(count + 1, sizeof(json_t *));
    check(source->sinks != NULL && source->sink_settings != NULL);
    for (size_t i = 0; i < count; i++) {
        Node sink = node_item(&sinks, i);
        int one = read_sink(fault, &sink, definitions, source, i);
        if (one == 0) continue;
        r = one;
        if (!fault_goes_on(fault, one)) return r;
    }
    return r;
}

static int read_source(Fault *fault, const Node *root, Definitions *definitions, ManifestSource *source) {
    static const char *const without[] = {"kind", "sinks", "settings", NULL};
    source->source = body_of(root->value, without);
    Node body = {.value = source->source};
    int r = source_read(fault, &body, NULL, &definitions->source);
    if (!fault_goes_on(fault, r)) return r;
    int of_settings = read_settings(fault, root, &source->settings);
    if (!fault_goes_on(fault, of_settings)) return of_settings;
    int of_sinks = read_sinks(fault, root, definitions, source);
    if (of_sinks < 0) return of_sinks;
    if (r < 0 || of_settings < 0) return r < 0 ? r : of_settings;
    check(json_object_set_new(source->source, "sourceId", json_string(definitions->source->source_id)) == 0);
    return 0;
}

/* Only `kind: source` is read here; a stream manifest was translated before. */
static int check_kind(Fault *fault, const Node *root) {
    if (!json_is_object(root->value))
        return fault_plain(fault, root, "A manifest document must be a map that begins with \"kind: source\"");
    Node type = node_member(root, "type"), kind = node_member(root, "kind");
    if (stream_manifest_is(root->value))
        return fault_plain(fault, &type, "A stream manifest (type: nilus) is translated by `sluice apply` and is not accepted here");
    if (!node_given(&kind)) return fault_plain(fault, root, "A manifest document needs a \"kind\": source");
    static const char *const kinds[] = {"source", NULL};
    int choice;
    return node_choice(fault, &kind, kinds, NULL, &choice);
}

int manifest_source_parse(const json_t *document, const char *source_id, ManifestSource *ret_source, Error *error) {
    Fault fault = {.error = error};
    _cleanup_(json_drop) json_t *complete = body_of(document, (const char *const[]){NULL});
    if (!json_object_get(complete, "kind")) check(json_object_set_new(complete, "kind", json_string("source")) == 0);
    if (!json_object_get(complete, "sourceId")) check(json_object_set_new(complete, "sourceId", json_string(source_id)) == 0);
    Node root = {.value = complete}, id = node_member(&root, "sourceId");
    ManifestSource source = {0};
    _cleanup_(definitions_deinit) Definitions definitions = {0};
    int r = check_kind(&fault, &root);
    if (r == 0) r = read_source(&fault, &root, &definitions, &source);
    if (r == 0 && strcmp(text_member(source.source, "sourceId"), source_id) != 0)
        r = fault_at(&fault, &id, "must be \"%s\", as in the path", source_id);
    if (r < 0) {
        manifest_source_deinit(&source);
        return r;
    }
    *ret_source = source;
    return 0;
}

/* ---- files ----------------------------------------------------------------------------------- */

typedef struct ManifestReading {
    const ManifestReader *reader; /* NULL: the first error ends it */
    const char *name;
    Manifest manifest;
    const YamlDocument *document; /* at hand */
    const json_t *declared;       /* by the document that is read: [{"name", …}]; NULL: nothing */
} ManifestReading;

struct ManifestPlace {
    const ManifestReading *reading;
    const Node *root;
    const StreamTranslation *translation; /* NULL: it is no stream manifest */
};

static int set_place(const YamlDocument *document, const Fault *fault, Error *error) {
    if (fault->at_key) return yaml_error_at_key(document, fault->path, error, "%s", fault->error->text);
    return yaml_error(document, fault->path, error, "%s", fault->error->text);
}

static void keep(void *context, const Fault *fault) {
    const ManifestReading *reading = context;
    Error line = {0};
    (void)set_place(reading->document, fault, &line);
    reading->reader->report(reading->reader->context, line.text);
}

void manifest_find(ManifestPlace *place, const char *path, const char *format, ...) {
    _cleanup_free_ char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    check(vasprintf(&text, format, arguments) >= 0);
    va_end(arguments);
    Error why = {0}, line = {0};
    Fault fault = {.error = &why};
    (void)error_set(&why, -EINVAL, "%s", text);
    (void)snprintf(fault.path, sizeof fault.path, "%s", path);
    if (place->translation) stream_translation_locate(place->translation, place->root, &fault);
    expansions_hide(&place->reading->manifest.expansions, &why);
    (void)set_place(place->reading->document, &fault, &line);
    place->reading->reader->report(place->reading->reader->context, line.text);
}

/* ---- connections ----------------------------------------------------------------------------- */

static bool is_declared(const ManifestReading *reading, const char *name) {
    size_t index;
    json_t *item;
    json_array_foreach((json_t *)(uintptr_t)reading->declared, index, item) if (strcmp(text_member(item, "name"), name) == 0) return true;
    return false;
}

static int unknown_connection(const Connections *const *known, Fault *fault, const Node *node, const char *name) {
    _cleanup_(buffer_deinit) Buffer names = {0};
    char excerpt[TEXT_EXCERPT_SIZE];
    for (const Connections *const *list = known; *list; list++)
        for (size_t i = list == known ? 0 : 1; i < (*list)->count; i++) /* "local" is in each */
            buffer_printf(&names, "%s\"%s\"", names.size > 0 ? ", " : "", (*list)->items[i].name);
    return fault_at(fault, node, "names the connection \"%s\", which the config file does not have. There are: %s",
                    text_excerpt(span_of(name), excerpt), buffer_text(&names));
}

/* `type`: of the connection, for a source that reads a broker; NULL: of a sink. */
static int check_connection(const ManifestReading *reading, Fault *fault, const Node *node, const char *type) {
    const Connections *const *known = reading->reader ? reading->reader->known : NULL;
    const char *name = json_string_value(node->value);
    const Connection *found = NULL;
    if (!name || is_declared(reading, name)) return 0;
    check(json_object_set_new(reading->manifest.needed, name, json_true()) == 0);
    if (!known) return 0;
    for (const Connections *const *list = known; *list && !found; list++) found = connections_find(*list, name);
    if (!found) return unknown_connection(known, fault, node, name);
    if (type && strcmp(found->type->name, type) != 0)
        return fault_at(fault, node, "names the connection \"%s\" of type %s, but a source of type %s needs a connection of type %s", name,
                        found->type->name, type, type);
    for (const SourceKind *const *kind = source_kinds; *kind && !type; kind++)
        if ((*kind)->bridge && strcmp((*kind)->bridge->connection_type, found->type->name) == 0)
            return fault_at(fault, node, "names the connection \"%s\" of type %s, which is for sources only", name, found->type->name);
    return 0;
}

static int check_connections(const ManifestReading *reading, Fault *fault, const Node *root) {
    int r = 0;
    for (const SourceKind *const *kind = source_kinds; *kind; kind++) {
        Node part = node_member(root, (*kind)->name), connection = node_member(&part, "connection");
        int one = (*kind)->bridge ? check_connection(reading, fault, &connection, (*kind)->bridge->connection_type) : 0;
        if (!fault_goes_on(fault, one)) return one;
        if (one < 0) r = one;
    }
    Node sinks = node_member(root, "sinks");
    for (size_t i = 0; i < json_array_size(sinks.value); i++) {
        Node sink = node_item(&sinks, i), table = node_member(&sink, "table"), connection = node_member(&table, "connection");
        int one = check_connection(reading, fault, &connection, NULL);
        if (!fault_goes_on(fault, one)) return one;
        if (one < 0) r = one;
    }
    return r;
}

/* ---- documents ------------------------------------------------------------------------------- */

static int refuse_twin_source(Fault *fault, const Node *root, const Manifest *manifest, const char *id) {
    for (size_t i = 0; i + 1 < manifest->count; i++)
        if (strcmp(text_member(manifest->sources[i].source, "sourceId"), id) == 0)
            return fault_plain(fault, root, "Source \"%s\" is defined twice in this manifest", id);
    return 0;
}

static int add_source(ManifestReading *reading, Fault *fault, const Node *root, const StreamTranslation *translation) {
    Manifest *manifest = &reading->manifest;
    _cleanup_(definitions_deinit) Definitions definitions = {0};
    int r = check_kind(fault, root);
    if (r < 0) return r;
    array_extend(manifest->sources, manifest->count);
    ManifestSource *source = &manifest->sources[manifest->count++];
    *source = (ManifestSource){0};
    r = read_source(fault, root, &definitions, source);
    if (!fault_goes_on(fault, r)) return r;
    reading->declared = translation ? translation->connections : NULL;
    int of_connections = check_connections(reading, fault, root);
    if (!fault_goes_on(fault, of_connections)) return of_connections;
    if (r == 0) r = refuse_twin_source(fault, root, manifest, text_member(source->source, "sourceId"));
    if (r < 0) return r;
    if (translation) {
        source->connections = json_incref(translation->connections);
        source->ignored = json_incref(translation->ignored);
    }
    for (size_t i = 0; i < definitions.sink_count; i++) sink_complete(definitions.source, definitions.sinks[i]);
    ManifestPlace place = {.reading = reading, .root = root, .translation = translation};
    if (reading->reader && reading->reader->examine)
        reading->reader->examine(reading->reader->context, definitions.source, definitions.sinks, definitions.sink_count, &place);
    return of_connections;
}

static int add_stream(ManifestReading *reading, Fault *fault, const Node *root) {
    _cleanup_(stream_translation_deinit) StreamTranslation translation = {0};
    int r = stream_manifest_translate(fault, root, reading->name, &reading->manifest.expansions, &translation);
    if (r < 0) return r;
    Node translated = {.value = translation.source};
    r = add_source(reading, fault, &translated, &translation);
    if (r == 0) return 0;
    stream_translation_locate(&translation, root, fault);
    expansions_hide(&reading->manifest.expansions, fault->error);
    return r;
}

static int read_document(ManifestReading *reading, const YamlDocument *document, Error *error) {
    Error why = {0};
    Fault fault = {.error = &why};
    Node root = {.value = yaml_json(document)};
    bool is_stream = stream_manifest_is(root.value);
    if (json_is_null(root.value)) return 0;
    reading->document = document;
    if (reading->reader && !is_stream) { /* where an error of a translation belongs is known behind it only */
        fault.keep = keep;
        fault.context = reading;
    }
    int r = is_stream ? add_stream(reading, &fault, &root) : add_source(reading, &fault, &root, NULL);
    if (r == 0 || why.code == 0) return r; /* kept */
    return set_place(document, &fault, error);
}

/* Gives the reader the error; the result says that there was one. */
static int report(const ManifestReader *reader, Error *error, int result) {
    if (result == 0 || !reader) return result;
    if (error->code != 0) reader->report(reader->context, error->text);
    *error = (Error){0};
    return result;
}

int manifest_parse(const char *name, const char *text, size_t size, const ManifestReader *reader, Manifest *ret_manifest, Error *error) {
    YamlDocument **documents = NULL;
    size_t count = 0;
    Error own = {0};
    if (!error) error = &own;
    ManifestReading reading = {.reader = reader, .name = name, .manifest = {.needed = json_object()}};
    check(reading.manifest.needed);
    int r = report(reader, error, yaml_parse(name, text, size, &documents, &count, error));
    if (r == 0 && count > 0) expansions_add_all(&reading.manifest.expansions, yaml_expansions(documents[0]));
    for (size_t i = 0; i < count && (r == 0 || reader); i++) {
        int one = report(reader, error, read_document(&reading, documents[i], error));
        if (r == 0) r = one;
    }
    if (r == 0 && reading.manifest.count == 0)
        r = report(reader, error, error_set(error, -EINVAL, "%s:1:1: the manifest has no source", name));
    yaml_documents_free(documents, count);
    if (r < 0) {
        manifest_deinit(&reading.manifest);
        return r;
    }
    *ret_manifest = reading.manifest;
    return 0;
}

int manifest_load(const char *file, const ManifestReader *reader, Manifest *ret_manifest, Error *error) {
    _cleanup_free_ char *text = NULL;
    size_t size;
    Error own = {0};
    if (!error) error = &own;
    int r = yaml_read_file(strcmp(file, "-") == 0 ? "/dev/stdin" : file, &text, &size, error);
    return r < 0 ? report(reader, error, r) : manifest_parse(file, text, size, reader, ret_manifest, error);
}
