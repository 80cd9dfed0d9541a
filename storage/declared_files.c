#include "storage/declared_files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"

#define SUFFIX ".json"
#define DOCUMENT_BYTES_MOST (256u << 10)

static char *document_path(const char *name) {
    char *path = NULL;
    check(asprintf(&path, DECLARED_FOLDER "/%s" SUFFIX, name) > 0);
    return path;
}

static char *document_text(const Declared *declared) {
    char *text = json_dumps(declared->document, JSON_SORT_KEYS | JSON_INDENT(1));
    check(text);
    return text;
}

/* Is exactly this text in the file? */
static int holds(Files *files, const char *path, const char *text, bool *ret_holds, Error *error) {
    _cleanup_free_ char *present = NULL;
    size_t size = 0;
    Error why = {0};
    int r = files->info(files, path, &(FileInfo){0}, &why);
    *ret_holds = false;
    if (r == -ENOENT) return 0;
    r = files_read_all(files, path, DOCUMENT_BYTES_MOST, &present, &size, &why);
    if (r < 0 && r != -EFBIG) return error_set(error, r, "%s", why.text);
    *ret_holds = r == 0 && size == strlen(text) && memcmp(present, text, size) == 0;
    if (present) explicit_bzero(present, size);
    return 0;
}

static int replace(Files *files, const char *path, const char *text, bool *changed, Error *error) {
    bool same;
    int r = holds(files, path, text, &same, error);
    if (r < 0 || same) return r;
    *changed = true;
    return files_replace(files, path, span_of(text), 0600, error);
}

int declared_files_differ(Files *files, const Declared *declared, bool *ret_differs, Error *error) {
    _cleanup_free_ char *path = document_path(declared->connection.name), *text = document_text(declared);
    bool same;
    int r = holds(files, path, text, &same, error);
    for (size_t i = 0; r == 0 && same && i < declared->file_count; i++)
        r = holds(files, declared->files[i].path, declared->files[i].text, &same, error);
    if (r == 0) *ret_differs = !same;
    return r;
}

int declared_files_store(Files *files, const Declared *declared, bool *ret_changed, Error *error) {
    _cleanup_free_ char *path = document_path(declared->connection.name), *text = document_text(declared);
    bool changed = false;
    int r = files->make_directory(files, DECLARED_FOLDER, 0700, error);
    if (r == 0) r = files->sync_directory(files, "", error);
    for (size_t i = 0; r == 0 && i < declared->file_count; i++)
        r = replace(files, declared->files[i].path, declared->files[i].text, &changed, error);
    if (r == 0) r = replace(files, path, text, &changed, error);
    if (r == 0) *ret_changed = changed;
    return r;
}

static int remove_if_there(Files *files, const char *path, Error *error) {
    Error why = {0};
    int r = files->remove(files, path, &why);
    return r == 0 || r == -ENOENT ? 0 : error_set(error, r, "%s", why.text);
}

int declared_files_remove(Files *files, const Connection *connection, Error *error) {
    _cleanup_free_ char *path = document_path(connection->name);
    int r = remove_if_there(files, path, error);
    for (const ConnectionField *field = connection->type->fields; r == 0 && field->name; field++) {
        const char *file = connection_field_is_file(field) ? connection_value(connection, field->name) : NULL;
        if (file) r = remove_if_there(files, file, error);
    }
    return r == 0 ? files->sync_directory(files, DECLARED_FOLDER, error) : r;
}

typedef struct DeclaredLoading {
    Files *files;
    const ConnectionType *const *types;
    Connections *connections;
} DeclaredLoading;

static int load(const DeclaredLoading *loading, const char *name, const char *path, Error *error) {
    _cleanup_free_ char *text = NULL;
    size_t size;
    Connection connection = {0};
    int r = files_read_all(loading->files, path, DOCUMENT_BYTES_MOST, &text, &size, error);
    if (r < 0) return r;
    json_error_t why;
    json_t *document = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);
    if (!document) return error_set(error, -EBADMSG, "it is no JSON: %s", why.text);
    r = declared_load(name, document, loading->types, &connection, error);
    json_decref(document);
    if (r < 0) return r;
    (void)connections_declare(loading->connections, &connection);
    return 0;
}

static int visit(void *context, const char *file, const FileInfo *info) {
    const DeclaredLoading *loading = context;
    (void)info;
    if (!text_ends(span_of(file), span_of(SUFFIX))) return 0;
    _cleanup_free_ char *name = text_copy_span((Span){file, strlen(file) - strlen(SUFFIX)}), *path = document_path(name);
    if (connections_find(loading->connections, name)) {
        log_warning("the config file has a connection \"%s\": the one of %s is left out", name, path);
        return 0;
    }
    Error error = {0};
    if (load(loading, name, path, &error) < 0) log_error("the connection of %s is left out: %s", path, error.text);
    return 0;
}

int declared_files_load(Files *files, const ConnectionType *const *types, Connections *connections, Error *error) {
    DeclaredLoading loading = {.files = files, .types = types, .connections = connections};
    Error why = {0};
    int r = files->info(files, DECLARED_FOLDER, &(FileInfo){0}, &why);
    if (r == -ENOENT) return 0;
    return files->list(files, DECLARED_FOLDER, visit, &loading, error);
}
