/*
 * The connections that were declared through the management API, in the folder `connections/` of
 * the data directory (docs/formats.md): for each a document NAME.json, which names the files of the
 * connection; these are in the same folder. One thread.
 */
#pragma once

#include <stdbool.h>

#include "base/files.h"
#include "config/declared.h"

/*
 * Stores it, its files first; then removes the files that only `former` has. `former`: what the name is up to now; NULL: nothing.
 * *ret_changed: something of it was not there, or different.
 */
int declared_files_store(Files *files, const Declared *declared, const Connection *former, bool *ret_changed, Error *error);
/* Would that change something? */
int declared_files_differ(Files *files, const Declared *declared, bool *ret_differs, Error *error);
/* Removes the document, then its files. */
int declared_files_remove(Files *files, const Connection *connection, Error *error);
/*
 * Declares all that are there. One that cannot be read, or whose name the config file has, is
 * logged and left out. Files that belong to none of the documents, which a crash left, are removed.
 */
int declared_files_load(Files *files, const ConnectionType *const *types, Connections *connections, Error *error);
