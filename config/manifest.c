#include "config/manifest.h"

#include <errno.h>
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

static int refuse_twin_sink(Fault *fault, const Node *node, const ManifestSource *source, size_t index, const char *id) {
    for (size_t i = 0; i < index; i++)
        if (strcmp(json_string_value(json_object_get(source->sinks[i], "sinkId")), id) == 0)
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

static int read_sink(Fault *fault, const Node *node, const Source *definition, ManifestSource *source, size_t index) {
    static const char *const without[] = {"settings", NULL};
    if (!json_is_object(node->value)) return fault_at(fault, node, "must be an object, not %s", json_kind(node->value));
    source->sinks[index] = body_of(node->value, without);
    source->sink_count = index + 1;
    Node body = {.value = source->sinks[index], .parent = node->parent, .key = node->key, .index = node->index};
    _cleanup_(cleanup_sink_unref) Sink *sink = NULL;
    int r = sink_read(fault, &body, index == 0 && source_first_sink_rejects(definition), NULL, &sink);
    if (r == 0) r = sink_suits(fault, &body, definition, sink);
    if (r == 0) r = refuse_other_strategy(fault, &body, source, sink);
    if (r == 0) r = refuse_twin_sink(fault, node, source, index, sink->sink_id);
    if (r == 0) r = read_settings(fault, node, &source->sink_settings[index]);
    if (r < 0) return r;
    check(json_object_set_new(source->sinks[index], "sinkId", json_string(sink->sink_id)) == 0);
    return 0;
}

static int read_sinks(Fault *fault, const Node *root, const Source *definition, ManifestSource *source) {
    Node sinks = node_member(root, "sinks");
    if (!node_given(&sinks)) return 0;
    int r = node_array(fault, &sinks, 0, SINKS_A_SOURCE_MAX);
    if (r < 0) return r;
    size_t count = json_array_size(sinks.value);
    source->sinks = calloc(count + 1, sizeof(json_t *));
    source->sink_settings = calloc(count + 1, sizeof(json_t *));
    check(source->sinks != NULL && source->sink_settings != NULL);
    for (size_t i = 0; r == 0 && i < count; i++) {
        Node sink = node_item(&sinks, i);
        r = read_sink(fault, &sink, definition, source, i);
    }
    return r;
}

static int read_source(Fault *fault, const Node *root, ManifestSource *source) {
    static const char *const without[] = {"kind", "sinks", "settings", NULL};
    source->source = body_of(root->value, without);
    Node body = {.value = source->source};
    _cleanup_(cleanup_source_unref) Source *definition = NULL;
    int r = source_read(fault, &body, NULL, &definition);
    if (r == 0) r = read_settings(fault, root, &source->settings);
    if (r == 0) r = read_sinks(fault, root, definition, source);
    if (r < 0) return r;
    check(json_object_set_new(source->source, "sourceId", json_string(definition->source_id)) == 0);
    return 0;
}

static const char *text_member(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* Only `kind: source` is read here; a stream manifest was translated before. */
static int check_kind(Fault *fault, const Node *root) {
    if (!json_is_object(root->value))
        return fault_plain(fault, root, "A manifest document must be a map that begins with \"kind: source\"");
    Node type = node_member(root, "type"), kind = node_member(root, "kind");
    if (stream_manifest_is(root->value))
        return fault_plain(fault, &type, "A stream manifest (type: nilus) is translated by `sluice apply`: it is not taken here");
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
    int r = check_kind(&fault, &root);
    if (r == 0) r = read_source(&fault, &root, &source);
    if (r == 0 && strcmp(text_member(source.source, "sourceId"), source_id) != 0)
        r = fault_at(&fault, &id, "must be \"%s\", as in the path", source_id);
    if (r < 0) {
        manifest_source_deinit(&source);
        return r;
    }
    *ret_source = source;
    return 0;
}

static int refuse_twin_source(Fault *fault, const Node *root, const Manifest *manifest, const char *id) {
    for (size_t i = 0; i + 1 < manifest->count; i++)
        if (strcmp(text_member(manifest->sources[i].source, "sourceId"), id) == 0)
            return fault_plain(fault, root, "Source \"%s\" stands twice in this manifest", id);
    return 0;
}

/* ---- connections -------------------------------------------------------------------------------------------------------------------- */

/* What reading a manifest needs besides its text. */
typedef struct ManifestReading {
    Manifest *manifest;
    const Connections *const *known; /* see manifest_load */
    const json_t *declared;          /* by the document that is read: [{"name", …}]; NULL: nothing */
} ManifestReading;

static bool is_declared(const ManifestReading *reading, const char *name) {
    size_t index;
    json_t *item;
    json_array_foreach((json_t *)(uintptr_t)reading->declared, index, item) if (strcmp(text_member(item, "name"), name) == 0) return true;
    return false;
}

static int unknown_connection(const ManifestReading *reading, Fault *fault, const Node *node, const char *name) {
    _cleanup_(buffer_deinit) Buffer names = {0};
    char excerpt[TEXT_EXCERPT_SIZE];
    for (const Connections *const *list = reading->known; *list; list++)
        for (size_t i = list == reading->known ? 0 : 1; i < (*list)->count; i++) /* "local" is in each */
            buffer_printf(&names, "%s\"%s\"", names.size > 0 ? ", " : "", (*list)->items[i].name);
    return fault_at(fault, node, "names the connection \"%s\", which the config file does not have. There are: %s",
                    text_excerpt(span_of(name), excerpt), buffer_text(&names));
}

/* `type`: of the connection, for a source that reads a broker; NULL: of a sink. */
static int check_connection(const ManifestReading *reading, Fault *fault, const Node *node, const char *type) {
    const char *name = json_string_value(node->value);
    const Connection *found = NULL;
    if (!name || is_declared(reading, name)) return 0;
    check(json_object_set_new(reading->manifest->needed, name, json_true()) == 0);
    if (!reading->known) return 0;
    for (const Connections *const *list = reading->known; *list && !found; list++) found = connections_find(*list, name);
    if (!found) return unknown_connection(reading, fault, node, name);
    if (type && strcmp(found->type->name, type) != 0)
        return fault_at(fault, node, "names the connection \"%s\" of type %s, and a source of type %s reads one of type %s", name,
                        found->type->name, type, type);
    for (const SourceKind *const *kind = source_kinds; *kind && !type; kind++)
        if ((*kind)->bridge && strcmp((*kind)->bridge->connection_type, found->type->name) == 0)
            return fault_at(fault, node, "names the connection \"%s\" of type %s, which serves sources only", name, found->type->name);
    return 0;
}

static int check_connections(const ManifestReading *reading, Fault *fault, const Node *root) {
    int r = 0;
    for (const SourceKind *const *kind = source_kinds; r == 0 && *kind; kind++) {
        Node part = node_member(root, (*kind)->name), connection = node_member(&part, "connection");
        if ((*kind)->bridge) r = check_connection(reading, fault, &connection, (*kind)->bridge->connection_type);
    }
    Node sinks = node_member(root, "sinks");
    for (size_t i = 0; r == 0 && i < json_array_size(sinks.value); i++) {
        Node sink = node_item(&sinks, i), table = node_member(&sink, "table"), connection = node_member(&table, "connection");
        r = check_connection(reading, fault, &connection, NULL);
    }
    return r;
}

/* ---- documents ----------------------------------------------------------------------------------------------------------------------- */

static int add_source(Fault *fault, const Node *root, const ManifestReading *reading) {
    Manifest *manifest = reading->manifest;
    int r = check_kind(fault, root);
    if (r < 0) return r;
    array_extend(manifest->sources, manifest->count);
    ManifestSource *source = &manifest->sources[manifest->count++];
    *source = (ManifestSource){0};
    r = read_source(fault, root, source);
    if (r == 0) r = check_connections(reading, fault, root);
    return r < 0 ? r : refuse_twin_source(fault, root, manifest, text_member(source->source, "sourceId"));
}

static int add_stream(Fault *fault, const Node *root, const char *name, ManifestReading *reading) {
    Manifest *manifest = reading->manifest;
    _cleanup_(stream_translation_deinit) StreamTranslation translation = {0};
    int r = stream_manifest_translate(fault, root, name, &manifest->expansions, &translation);
    if (r < 0) return r;
    Node translated = {.value = translation.source};
    reading->declared = translation.connections;
    r = add_source(fault, &translated, reading);
    reading->declared = NULL;
    if (r < 0) {
        stream_translation_locate(&translation, root, fault);
        expansions_hide(&manifest->expansions, fault->error);
        return r;
    }
    ManifestSource *source = &manifest->sources[manifest->count - 1];
    source->connections = json_incref(translation.connections);
    source->ignored = json_incref(translation.ignored);
    return 0;
}

static int read_document(const YamlDocument *document, const char *name, ManifestReading *reading, Error *error) {
    Error why = {0};
    Fault fault = {.error = &why};
    Node root = {.value = yaml_json(document)};
    if (json_is_null(root.value)) return 0;
    int r = stream_manifest_is(root.value) ? add_stream(&fault, &root, name, reading) : add_source(&fault, &root, reading);
    if (r == 0) return 0;
    if (fault.at_key) return yaml_error_at_key(document, fault.path, error, "%s", why.text);
    return yaml_error(document, fault.path, error, "%s", why.text);
}

static int parse(const char *name, const char *text, size_t size, const Connections *const *known, Manifest *ret_manifest, Error *error) {
    YamlDocument **documents = NULL;
    size_t count = 0;
    Manifest manifest = {.needed = json_object()};
    ManifestReading reading = {.manifest = &manifest, .known = known};
    check(manifest.needed);
    int r = yaml_parse(name, text, size, &documents, &count, error);
    for (size_t i = 0; r == 0 && i < count; i++) r = read_document(documents[i], name, &reading, error);
    if (r == 0 && count > 0) expansions_add_all(&manifest.expansions, yaml_expansions(documents[0]));
    if (r == 0 && manifest.count == 0) r = error_set(error, -EINVAL, "%s:1:1: the manifest holds no source", name);
    yaml_documents_free(documents, count);
    if (r < 0) {
        manifest_deinit(&manifest);
        return r;
    }
    *ret_manifest = manifest;
    return 0;
}

int manifest_parse(const char *name, const char *text, size_t size, Manifest *ret_manifest, Error *error) {
    return parse(name, text, size, NULL, ret_manifest, error);
}

int manifest_load_known(const char *file, const Connections *const *known, Manifest *ret_manifest, Error *error) {
    _cleanup_free_ char *text = NULL;
    size_t size;
    int r = yaml_read_file(file, &text, &size, error);
    return r < 0 ? r : parse(file, text, size, known, ret_manifest, error);
}

int manifest_load(const char *file, Manifest *ret_manifest, Error *error) {
    return manifest_load_known(file, NULL, ret_manifest, error);
}
