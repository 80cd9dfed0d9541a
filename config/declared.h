/*
 * Connections that the management API declares, in addition to those of the config file. They have
 * the same fields, except that a request gives the content of a file and never its name. So a user
 * of the API cannot make the gateway read files of its host. The gateway stores such a connection
 * as a document that names files in the data directory (storage/declared_files.h).
 *
 * A connection never changes its place (connections_same_place). Another place needs another name.
 * All other fields may change, since they are read at each connect: the login, its kind, and the
 * content of the files.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "config/connection.h"
#include "config/field.h"

#define DECLARED_FOLDER "connections"
#define DECLARED_FILE_BYTES_MAX (64u << 10)
#define DECLARED_MAX 1000

typedef struct DeclaredFile {
    char *path; /* "connections/NAME.FIELD", in the data directory */
    char *text; /* its content; a secret */
} DeclaredFile;

typedef struct Declared {
    Connection connection; /* owned; all-zero after the caller has taken it */
    json_t *document;      /* {"type", …}: the stored form, for declared_load */
    DeclaredFile *files;
    size_t file_count;
} Declared;

/*
 * Reads the body of a request: {"type", …, "files": {FIELD: text}}. `types` ends with NULL. Returns
 * 0 or -EINVAL; the fault names the field. The caller frees *ret_declared with declared_deinit().
 */
int declared_read(Fault *fault, const Node *body, const char *name, const ConnectionType *const *types, Declared *ret_declared);
/* Reads the stored `document` of a Declared. Returns 0 or -EINVAL. The caller frees *ret_connection
 * with connection_deinit(). */
int declared_load(const char *name, const json_t *document, const ConnectionType *const *types, Connection *ret_connection, Error *error);
void declared_deinit(Declared *declared);

/* ---- of config/connection.c ---- */

bool connection_equal(const Connection *a, const Connection *b); /* ignores the names */
/* Returns whether both have the same type and the same place (connection_place). */
bool connections_same_place(const Connection *a, const Connection *b);
void connection_deinit(Connection *connection);
