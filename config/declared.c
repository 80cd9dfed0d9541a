#include "config/declared.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "config/connection_parts.h"
#include "config/definition.h"

void declared_deinit(Declared *declared) {
    connection_deinit(&declared->connection);
    json_decref(declared->document);
    for (size_t i = 0; i < declared->file_count; i++) {
        free(declared->files[i].path);
        explicit_bzero(declared->files[i].text, strlen(declared->files[i].text));
        free(declared->files[i].text);
    }
    free(declared->files);
    *declared = (Declared){0};
}

static const ConnectionType *type_of(const char *name, const ConnectionType *const *types) {
    for (; *types; types++)
        if (strcmp((*types)->name, name) == 0) return *types;
    return NULL;
}

static const ConnectionField *file_field(const ConnectionType *type, const char *name) {
    for (const ConnectionField *field = type->fields; field->name; field++)
        if (strcmp(field->name, name) == 0) return connection_field_is_file(field) ? field : NULL;
    return NULL;
}

/* Which type it is, and whether it may come this way. */
static int read_type(Fault *fault, const Node *body, const ConnectionType *const *types, const ConnectionType **ret_type) {
    if (!json_is_object(body->value)) return fault_at(fault, body, "must be an object, not %s", json_kind(body->value));
    Node node = node_member(body, "type");
    const char *name;
    if (!node_given(&node)) return fault_at(fault, body, "needs a \"type\"");
    int r = node_text(fault, &node, 1, 64, &name);
    if (r < 0) return r;
    *ret_type = type_of(name, types);
    if (*ret_type && (*ret_type)->may_be_declared) return 0;
    char excerpt[TEXT_EXCERPT_SIZE];
    return fault_at(fault, &node, "is \"%s\": connections of type kafka, nats and postgres can be declared here, others in the config file",
                    text_excerpt(span_of(name), excerpt));
}

static int refuse_names_of_files(Fault *fault, const Node *body, const ConnectionType *type) {
    for (const ConnectionField *field = type->fields; field->name; field++) {
        Node node = node_member(body, field->name);
        if (!node_given(&node)) continue;
        if (connection_field_is_file(field))
            return fault_at(fault, &node, "must not name a file of the gateway's host: give its contents as \"files\": {\"%s\": …}",
                            field->name);
        if (field->is_map) return fault_at(fault, &node, "can be given in the config file only");
    }
    return 0;
}

static int add_file(Fault *fault, const Node *node, const char *name, const ConnectionType *type, json_t *document, Declared *declared) {
    const ConnectionField *field = file_field(type, node->key);
    if (!field) {
        int r = fault_at(fault, node, "is not a file of a connection of type %s", type->name);
        fault->at_key = true;
        return r;
    }
    const char *text;
    int r = node_text(fault, node, 1, DECLARED_FILE_BYTES_MAX, &text);
    if (r < 0) return r;
    array_extend(declared->files, declared->file_count);
    DeclaredFile *file = &declared->files[declared->file_count++];
    *file = (DeclaredFile){.text = text_copy(text)};
    check(asprintf(&file->path, DECLARED_FOLDER "/%s.%s", name, field->name) > 0);
    check(json_object_set_new(document, field->name, json_string(file->path)) == 0);
    return 0;
}

static int add_files(Fault *fault, const Node *body, const char *name, const ConnectionType *type, json_t *document, Declared *declared) {
    Node files = node_member(body, "files");
    if (!node_given(&files)) return 0;
    if (!json_is_object(files.value)) return fault_at(fault, &files, "must be a map of fields to texts, not %s", json_kind(files.value));
    const char *key;
    json_t *value;
    int r = 0;
    json_object_foreach((json_t *)(uintptr_t)files.value, key, value) {
        Node node = {.value = value, .parent = &files, .key = key};
        if (r == 0) r = add_file(fault, &node, name, type, document, declared);
    }
    return r;
}

/* Into all-zero `declared`, which the caller releases. */
static int read_declared(Fault *fault, const Node *body, const char *name, const ConnectionType *const *types, Declared *declared) {
    const ConnectionType *type = NULL;
    int r = read_type(fault, body, types, &type);
    if (r == 0) r = refuse_names_of_files(fault, body, type);
    if (r < 0) return r;
    declared->document = json_copy((json_t *)(uintptr_t)body->value);
    check(declared->document);
    (void)json_object_del(declared->document, "files");
    r = add_files(fault, body, name, type, declared->document, declared);
    if (r < 0) return r;
    Node root = {.value = declared->document};
    r = connection_read(fault, &root, name, types, &declared->connection);
    if (r < 0) return r;
    ConnectionPlace place = {0};
    Error wrong = {0};
    if (!type->validate_declared || type->validate_declared(&declared->connection, &place, &wrong) == 0) return 0;
    Node field = node_member(body, place.field);
    return fault_at(fault, &field, "%s", wrong.text);
}

int declared_read(Fault *fault, const Node *body, const char *name, const ConnectionType *const *types, Declared *ret_declared) {
    Declared declared = {0};
    if (!identifier_valid(name))
        return fault_plain(fault, body,
                           "The name of a connection has 1 to 48 characters (a-z, 0-9, '-' and '_') and begins with a letter or digit");
    int r = read_declared(fault, body, name, types, &declared);
    if (r < 0) {
        declared_deinit(&declared);
        return r;
    }
    *ret_declared = declared;
    return 0;
}

int declared_load(const char *name, const json_t *document, const ConnectionType *const *types, Connection *ret_connection, Error *error) {
    Fault fault = {.error = error};
    Node root = {.value = document};
    if (!identifier_valid(name)) return error_set(error, -EINVAL, "\"%.60s\" is not a name of a connection", name);
    return connection_read(&fault, &root, name, types, ret_connection);
}
