/* The manifests that a command names: files, directories of them, the standard input. One
 * thread. */
#pragma once

#include "config/manifest.h"

/* Loaded files, as they were named. */
typedef struct ManifestFile {
    char *name;
    Manifest manifest; /* empty when it is not valid */
} ManifestFile;

typedef struct ManifestFiles {
    ManifestFile *items;
    size_t count;
} ManifestFiles;

/* Adds the files that `path` means: itself, or of a directory all that end in .yaml or .yml, by
 * name; not those below. -ENOENT: there is none. */
int manifest_files_add(ManifestFiles *files, const char *path, Error *error);
/* Loads one of them, as manifest_load with a reader. A source that an earlier file has is reported
 * as well. */
int manifest_files_load(ManifestFiles *files, size_t index, const ManifestReader *reader);
void manifest_files_deinit(ManifestFiles *files);
