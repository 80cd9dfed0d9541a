/* The names of the files in a directory, sorted. They are collected before anything is changed,
 * because a walk over a directory that changes is not reliable. Any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/files.h"

typedef struct Names {
    char **names; /* owned, each */
    size_t count, capacity;
} Names;

/* Lists the files, without subdirectories. A missing directory has none. */
int names_list(Files *files, const char *folder, Names *ret_names, Error *error);
void names_add(Names *names, const char *name); /* adds at the end, without sorting */
bool names_have(const Names *names, const char *name);
void names_deinit(Names *names);

char *name_in(const char *folder, const char *name); /* returns "FOLDER/NAME"; free() */
