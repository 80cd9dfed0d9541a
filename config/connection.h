/* A named destination of the config file. Immutable once loaded. Secrets are read at each connect and never kept, shown or logged. */
#pragma once

#include <stddef.h>

#include "base/error.h"
#include "config/expansions.h"

typedef enum ConnectionType { CONNECTION_SQLITE, CONNECTION_POSTGRES } ConnectionType;

typedef struct Connection {
    char *name;
    ConnectionType type;
    char *path;                   /* sqlite: relative to the data directory unless absolute */
    char *uri;                    /* postgres: libpq URI without password */
    char *password_file;          /* postgres: NULL for none; read at each connect, one trailing newline is dropped */
    char *ledger_table;           /* NULL: the driver's default ("sluice.files", "_sluice_files") */
    const Expansions *expansions; /* of its Connections: what no message may show; NULL: nothing */
} Connection;

typedef struct Connections {
    Connection *items; /* "local" (sqlite, tables.db) is always there */
    size_t count;
    Expansions *expansions; /* of the config file; owned; NULL: none was read */
} Connections;

const Connection *connections_find(const Connections *connections, const char *name); /* NULL: none */
void connections_deinit(Connections *connections);
