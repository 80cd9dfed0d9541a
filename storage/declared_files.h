/*
 * The connections that were declared by the management API. They are in the directory
 * `connections/` of the data directory (docs/formats.md). Each has a document NAME.json, which
 * names the files of the connection in the same directory. One thread.
 */
#pragma once

#include <stdbool.h>

#include "base/files.h"
#include "config/declared.h"

/*
 * Stores a connection, its files first. Then it removes the files that only `former` has. `former`:
 * the connection of this name until now, or NULL. *ret_changed: something was missing or different.
 */
int declared_files_store(Files *files, const Declared *declared, const Connection *former, bool *ret_changed, Error *error);
/* Would declared_files_store change something? */
int declared_files_differ(Files *files, const Declared *declared, bool *ret_differs, Error *error);
/* Removes the document, then its files. */
int declared_files_remove(Files *files, const Connection *connection, Error *error);
/*
 * Declares all stored connections. A document is logged and left out if it cannot be read, or if
 * the config file has a connection of that name. Files that belong to no document were left by a
 * crash, and are removed.
 */
int declared_files_load(Files *files, const ConnectionType *const *types, Connections *connections, Error *error);
