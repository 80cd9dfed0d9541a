#include "gateway/commands/manifest_files.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/text.h"

static void add(ManifestFiles *files, char *take_name) {
    array_extend(files->items, files->count);
    files->items[files->count++] = (ManifestFile){.name = take_name};
}

static int is_manifest(const struct dirent *entry) {
    Span name = span_of(entry->d_name);
    return entry->d_name[0] != '.' && (text_ends(name, SPAN(".yaml")) || text_ends(name, SPAN(".yml")));
}

static int add_directory(ManifestFiles *files, const char *path, Error *error) {
    struct dirent **entries;
    int count = scandir(path, &entries, is_manifest, alphasort);
    if (count < 0) return error_set(error, -errno, "%s: %s", path, strerror(errno));
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--;
    for (int i = 0; i < count; i++) {
        char *name;
        check(asprintf(&name, "%.*s/%s", (int)length, path, entries[i]->d_name) > 0);
        add(files, name);
        free(entries[i]);
    }
    free(entries);
    return count > 0 ? 0 : error_set(error, -ENOENT, "%s: no file in it ends in .yaml or .yml", path);
}

int manifest_files_add(ManifestFiles *files, const char *path, Error *error) {
    struct stat status;
    if (strcmp(path, "-") != 0 && stat(path, &status) == 0 && S_ISDIR(status.st_mode)) return add_directory(files, path, error);
    add(files, text_copy(path));
    return 0;
}

static const char *id_of(const ManifestSource *source) {
    return json_string_value(json_object_get(source->source, "sourceId"));
}

static const char *file_with(const ManifestFiles *files, size_t before, const char *id) {
    for (size_t i = 0; i < before; i++)
        for (size_t k = 0; k < files->items[i].manifest.count; k++)
            if (strcmp(id_of(&files->items[i].manifest.sources[k]), id) == 0) return files->items[i].name;
    return NULL;
}

int manifest_files_load(ManifestFiles *files, size_t index, const ManifestReader *reader) {
    ManifestFile *file = &files->items[index];
    int r = manifest_load(file->name, reader, &file->manifest, NULL);
    for (size_t k = 0; r == 0 && k < file->manifest.count; k++) {
        const char *id = id_of(&file->manifest.sources[k]), *other = file_with(files, index, id);
        if (!other) continue;
        Error line = {0};
        (void)error_set(&line, -EEXIST, "%s:1:1: Source \"%s\" is defined in %s as well", file->name, id, other);
        reader->report(reader->context, line.text);
        r = line.code;
    }
    return r;
}

void manifest_files_deinit(ManifestFiles *files) {
    for (size_t i = 0; i < files->count; i++) {
        free(files->items[i].name);
        manifest_deinit(&files->items[i].manifest);
    }
    free(files->items);
    *files = (ManifestFiles){0};
}
