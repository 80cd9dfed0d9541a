/*
 * A named destination of the config file. What a type of connection has for fields, and what makes them sound, is stated by its owner (a sink
 * driver) as a ConnectionType: config/ keeps name, type and the fields' texts, and compares no types. Immutable once loaded. Secrets are read
 * at each connect and never kept, shown or logged.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/span.h"
#include "config/expansions.h"
#include "config/refusal.h"

typedef struct Connection Connection;

/* A field, or one entry of a map: what an error is about. */
typedef struct ConnectionPlace {
    const char *field;
    Span entry; /* its name; empty: the field itself */
} ConnectionPlace;

/* One row a field: the parser, --print-config and the errors come from it. */
typedef struct ConnectionField {
    const char *name; /* as in the config file; NULL ends the table */
    size_t bytes_most;
    /* A map of names to texts, numbers and booleans; bytes_most is of one value. Its text has a line `NAME=VALUE` for each, by name: see
     * connection_next. */
    bool is_map;
    const Refusal *refused_names; /* of a map; NULL: none */
    const char *needed;           /* required: what to say when it is missing, behind `needs `; NULL: optional */
    const char *local_value;      /* what the connection "local" has where the field is missing; NULL: nothing */
    const char *default_value;    /* what connection_effective gives where it is missing; NULL: nothing */
    bool is_secret_file;          /* names a file that others should not read */
    const char *sentence;         /* what it is, for the documents */
} ConnectionField;

typedef struct ConnectionType {
    const char *name; /* as in the config file: "sqlite" */
    const ConnectionField *fields;
    const Refusal *refused; /* NULL: none */
    const char *place;      /* the field that says where: connections with equal ones are one destination */
    bool one_a_place;       /* a second connection with the same place is refused */
    /* Are the fields sound together? 0; or -EINVAL, `ret_place` is the one that is not, and the text follows `Field "x" `. NULL: always. */
    int (*validate)(const Connection *connection, ConnectionPlace *ret_place, Error *error);
} ConnectionType;

struct Connection {
    char *name;
    const ConnectionType *type;
    char **values;                /* by index of type->fields; NULL: not given */
    const Expansions *expansions; /* of its Connections: what no message may show; NULL: nothing */
};

typedef struct Connections {
    Connection *items; /* "local" (of the first type) is always there */
    size_t count;
    Expansions *expansions; /* of the config file; owned; NULL: none was read */
} Connections;

/* The text of a field that the type has; NULL: not given. */
const char *connection_value(const Connection *connection, const char *field);
/* The same, or the default of the field. */
const char *connection_effective(const Connection *connection, const char *field);
const char *connection_place(const Connection *connection);

/* The next entry of a map's text, at *at, which begins as the text itself and may be NULL; false: there is none. */
bool connection_next(const char **at, Span *ret_name, Span *ret_value);

/* The fields of a type as a Markdown table. */
void connection_document(const ConnectionType *type, Buffer *out);

const Connection *connections_find(const Connections *connections, const char *name); /* NULL: none */
void connections_deinit(Connections *connections);
