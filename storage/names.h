/* The names of the files in a folder, sorted: collected before anything is changed, since a walk
 * over a folder that changes gives what it likes. Any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/files.h"

typedef struct Names {
    char **names; /* owned, each */
    size_t count, capacity;
} Names;

/* Folders are left out. A folder that is not there has none. */
int names_list(Files *files, const char *folder, Names *ret_names, Error *error);
void names_add(Names *names, const char *name); /* at the end, whatever the order */
bool names_have(const Names *names, const char *name);
void names_deinit(Names *names);

char *name_in(const char *folder, const char *name); /* "FOLDER/NAME"; free() */
