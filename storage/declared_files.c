#include "storage/declared_files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"

#define SUFFIX ".json"
#define DOCUMENT_BYTES_MAX (256u << 10)

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
    r = files_read_all(files, path, DOCUMENT_BYTES_MAX, &present, &size, &why);
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

static int remove_if_there(Files *files, const char *path, Error *error) {
    Error why = {0};
    int r = files->remove(files, path, &why);
    return r == 0 || r == -ENOENT ? 0 : error_set(error, r, "%s", why.text);
}

/* The file is one of the connection's, by its path in the data directory. */
static bool has_file(const Connection *connection, const char *path) {
    for (const ConnectionField *field = connection->type->fields; field->name; field++) {
        const char *file = connection_field_is_file(field) ? connection_value(connection, field->name) : NULL;
        if (file && strcmp(file, path) == 0) return true;
    }
    return false;
}

/* Those that `kept` has not; NULL: all. */
static int remove_files(Files *files, const Connection *connection, const Connection *kept, Error *error) {
    int r = 0;
    for (const ConnectionField *field = connection->type->fields; r == 0 && field->name; field++) {
        const char *file = connection_field_is_file(field) ? connection_value(connection, field->name) : NULL;
        if (file && !(kept && has_file(kept, file))) r = remove_if_there(files, file, error);
    }
    return r;
}

int declared_files_store(Files *files, const Declared *declared, const Connection *former, bool *ret_changed, Error *error) {
    _cleanup_free_ char *path = document_path(declared->connection.name), *text = document_text(declared);
    bool changed = false;
    Error why = {0};
    int r = files->make_directory(files, DECLARED_FOLDER, 0700, error);
    if (r == 0) r = files->sync_directory(files, "", error);
    for (size_t i = 0; r == 0 && i < declared->file_count; i++)
        r = replace(files, declared->files[i].path, declared->files[i].text, &changed, error);
    if (r == 0) r = replace(files, path, text, &changed, error);
    if (r < 0) return r;
    /* It is stored: what cannot be removed now is removed at the next start. */
    if (former && remove_files(files, former, &declared->connection, &why) < 0)
        log_warning("a file of connection %s could not be removed: %s", declared->connection.name, why.text);
    *ret_changed = changed;
    return 0;
}

int declared_files_remove(Files *files, const Connection *connection, Error *error) {
    _cleanup_free_ char *path = document_path(connection->name);
    int r = remove_if_there(files, path, error);
    if (r == 0) r = remove_files(files, connection, NULL, error);
    return r == 0 ? files->sync_directory(files, DECLARED_FOLDER, error) : r;
}

typedef struct DeclaredLoading {
    Files *files;
    const ConnectionType *const *types;
    Connections *connections;
    char **others; /* names of files that are no document, in the folder */
    size_t other_count;
} DeclaredLoading;

static int load(const DeclaredLoading *loading, const char *name, const char *path, Error *error) {
    _cleanup_free_ char *text = NULL;
    size_t size;
    Connection connection = {0};
    int r = files_read_all(loading->files, path, DOCUMENT_BYTES_MAX, &text, &size, error);
    if (r < 0) return r;
    json_error_t why;
    json_t *document = json_loadb(text, size, JSON_REJECT_DUPLICATES, &why);
    if (!document) return error_set(error, -EBADMSG, "it is not JSON: %s", why.text);
    r = declared_load(name, document, loading->types, &connection, error);
    json_decref(document);
    if (r < 0) return r;
    (void)connections_declare(loading->connections, &connection);
    return 0;
}

static int visit(void *context, const char *file, const FileInfo *info) {
    DeclaredLoading *loading = context;
    if (info->is_directory) return 0;
    if (!text_ends(span_of(file), span_of(SUFFIX))) {
        array_extend(loading->others, loading->other_count);
        loading->others[loading->other_count++] = text_copy(file);
        return 0;
    }
    _cleanup_free_ char *name = text_copy_span((Span){file, strlen(file) - strlen(SUFFIX)}), *path = document_path(name);
    if (connections_find(loading->connections, name)) {
        log_warning("the config file has a connection \"%s\": the declared one of %s is ignored", name, path);
        return 0;
    }
    Error error = {0};
    if (load(loading, name, path, &error) < 0) log_error("the declared connection of %s is ignored: %s", path, error.text);
    return 0;
}

/*
 * Does a document have this file, `connections/NAME.FIELD`? What a document has that could not be
 * read, or is left out, is not known: its files stay. `NAME.FIELD.new` is what a crash left of
 * files_replace.
 */
static int is_left(const DeclaredLoading *loading, const char *path, bool *ret_left) {
    const char *file = path + strlen(DECLARED_FOLDER "/");
    _cleanup_free_ char *name = text_copy_span((Span){file, strcspn(file, ".")}), *document = document_path(name);
    const Connection *known = connections_find(loading->connections, name);
    if (known && connections_is_declared(loading->connections, known)) {
        *ret_left = !has_file(known, path);
        return 0;
    }
    Error why = {0};
    int r = loading->files->info(loading->files, document, &(FileInfo){0}, &why);
    *ret_left = r == -ENOENT;
    return r == -ENOENT ? 0 : r;
}

static void remove_left(const DeclaredLoading *loading) {
    for (size_t i = 0; i < loading->other_count; i++) {
        _cleanup_free_ char *path = NULL;
        bool left = false;
        Error why = {0};
        check(asprintf(&path, DECLARED_FOLDER "/%s", loading->others[i]) > 0);
        if (is_left(loading, path, &left) < 0 || !left) continue;
        if (remove_if_there(loading->files, path, &why) < 0)
            log_warning("%s belongs to no connection, and cannot be removed: %s", path, why.text);
        else
            log_info("%s is removed: it belongs to no connection", path);
    }
}

int declared_files_load(Files *files, const ConnectionType *const *types, Connections *connections, Error *error) {
    DeclaredLoading loading = {.files = files, .types = types, .connections = connections};
    Error why = {0};
    int r = files->info(files, DECLARED_FOLDER, &(FileInfo){0}, &why);
    if (r == -ENOENT) return 0;
    r = files->list(files, DECLARED_FOLDER, visit, &loading, error);
    if (r == 0) remove_left(&loading);
    for (size_t i = 0; i < loading.other_count; i++) free(loading.others[i]);
    free(loading.others);
    return r;
}
