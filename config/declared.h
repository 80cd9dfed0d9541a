/*
 * Connections that the management API declares, beside those of the config file: the same fields,
 * but a file is given by what is in it, never by its name, so that who may use the API cannot make
 * the gateway read files of its host. What is kept of one is a document that names files in the
 * data directory (storage/declared_files.h).
 *
 * A connection of a name always says the same place (connections_same_place): another place has
 * another name. All else of it may change, as it is read at each connect: its login, what kind of
 * login it is, and what is in its files.
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
    char *text; /* what is in it; a secret */
} DeclaredFile;

typedef struct Declared {
    Connection connection; /* owned until it is taken out (all-zero then) */
    json_t *document;      /* {"type", …}, as declared_load takes it: what is kept */
    DeclaredFile *files;
    size_t file_count;
} Declared;

/*
 * What a request says: {"type", …, "files": {FIELD: text}}. `types` ends with NULL. -EINVAL: the
 * fault names the field. *ret_declared: declared_deinit().
 */
int declared_read(Fault *fault, const Node *body, const char *name, const ConnectionType *const *types, Declared *ret_declared);
/* What was kept: `document` of a Declared. -EINVAL. *ret_connection: connection_deinit(). */
int declared_load(const char *name, const json_t *document, const ConnectionType *const *types, Connection *ret_connection, Error *error);
void declared_deinit(Declared *declared);

/* ---- of config/connection.c ---- */

bool connection_equal(const Connection *a, const Connection *b); /* but for their names */
/* Of one type, and with the same text of the field that says where. */
bool connections_same_place(const Connection *a, const Connection *b);
void connection_deinit(Connection *connection);
