#include "storage/names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/buffer.h"
#include "base/text.h"

void names_add(Names *names, const char *name) {
    check(*name);
    array_reserve(names->names, names->count, names->capacity);
    names->names[names->count++] = text_copy(name);
}

static int collect(void *context, const char *name, const FileInfo *info) {
    if (!info->is_directory) names_add(context, name);
    return 0;
}

static int compare(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int names_list(Files *files, const char *folder, Names *ret_names, Error *error) {
    Names names = {0};
    int result = files->names(files, folder, collect, &names, error);
    if (result < 0 && result != -ENOENT) {
        names_deinit(&names);
        return result;
    }
    if (names.count) qsort(names.names, names.count, sizeof *names.names, compare);
    *ret_names = names;
    return 0;
}

bool names_have(const Names *names, const char *name) {
    return names->count > 0 && bsearch(&name, names->names, names->count, sizeof *names->names, compare);
}

void names_deinit(Names *names) {
    for (size_t i = 0; i < names->count; i++) free(names->names[i]);
    free(names->names);
    *names = (Names){0};
}

char *name_in(const char *folder, const char *name) {
    check(*folder && *name);
    Buffer path = {0};
    buffer_printf(&path, "%s/%s", folder, name);
    return buffer_take(&path);
}
