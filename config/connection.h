/*
 * A named destination of the config file, or one that was declared through the management API. What
 * a type of connection has for fields, and what makes them sound, is stated by its owner (a sink
 * driver) as a ConnectionType: config/ keeps name, type and the fields' texts, and compares no
 * types. Immutable once loaded. Secrets are read at each connect and never kept, shown or logged.
 */
#pragma once

#include <stdatomic.h>
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
    size_t bytes_max;
    /* A map of names to texts, numbers and booleans; bytes_max is of one value. Its text has a line
     * `NAME=VALUE` for each, by name: see connection_next. */
    bool is_map;
    const Refusal *refused_names; /* of a map; NULL: none */
    const char *needed;           /* required: what to say when it is missing, behind `needs `; NULL: optional */
    const char *local_value;      /* what the connection "local" has where the field is missing; NULL: nothing */
    const char *default_value;    /* what connection_effective gives where it is missing; NULL: nothing */
    bool is_secret_file;          /* names a file that others should not read */
    bool is_open_file;            /* names a file that others may read */
    const char *sentence;         /* what it is, for the documents */
} ConnectionField;

typedef struct ConnectionType {
    const char *name; /* as in the config file: "sqlite" */
    const ConnectionField *fields;
    const Refusal *refused; /* NULL: none */
    const char *place;      /* the field that says where: connections with equal ones are one destination */
    bool one_a_place;       /* a second connection with the same place is refused */
    /* Are the fields sound together? 0; or -EINVAL, `ret_place` is the one that is not, and the
     * text follows `Field "x" `. NULL: always. */
    int (*validate)(const Connection *connection, ConnectionPlace *ret_place, Error *error);
    bool may_be_declared; /* through the management API (declared.h) */
    /* Then: refuses what would reach files or sockets of the gateway's host beside the fields that
     * name files. NULL: there is none. */
    int (*validate_declared)(const Connection *connection, ConnectionPlace *ret_place, Error *error);
} ConnectionType;

struct Connection {
    char *name;
    const ConnectionType *type;
    char **values;                /* by index of type->fields; NULL: not given */
    const Expansions *expansions; /* of its Connections: what no message may show; NULL: nothing */
};

/* One that was declared. It lives as long as its Connections: other threads may have it. */
typedef struct DeclaredConnection DeclaredConnection;

/*
 * Those of the config file do not change. One thread declares and withdraws (control; before there
 * are others, who starts them); any thread looks for them.
 */
typedef struct Connections {
    Connection *items; /* "local" (of the first type) is always there */
    size_t count;
    Expansions *expansions;                 /* of the config file; owned; NULL: none was read */
    _Atomic(DeclaredConnection *) declared; /* the newest of a list; owned */
} Connections;

/* The text of a field that the type has; NULL: not given. */
const char *connection_value(const Connection *connection, const char *field);
/* The same, or the default of the field. */
const char *connection_effective(const Connection *connection, const char *field);
const char *connection_place(const Connection *connection);

/* The next entry of a map's text, at *at, which begins as the text itself and may be NULL; false:
 * there is none. */
bool connection_next(const char **at, Span *ret_name, Span *ret_value);

/* The fields of a type as a Markdown table. */
void connection_document(const ConnectionType *type, Buffer *out);

static inline bool connection_field_is_file(const ConnectionField *field) {
    return field->is_secret_file || field->is_open_file;
}

const Connection *connections_find(const Connections *connections, const char *name); /* NULL: none */
/* All have a number from 0 on, which stays: those of the config file first. `total` only grows. */
size_t connections_total(const Connections *connections);
const Connection *connections_at(const Connections *connections, size_t number); /* NULL: withdrawn */
size_t connections_number(const Connections *connections, const Connection *connection);
bool connections_is_declared(const Connections *connections, const Connection *connection);
/* Adds one, whose name is free; the connection is taken. */
const Connection *connections_declare(Connections *connections, Connection *take_connection);
/* The one of that name, which was declared, becomes this one, and keeps its number. The one before
 * stays valid for who has it. */
const Connection *connections_replace(Connections *connections, const Connection *connection, Connection *take_connection);
size_t connections_declared(const Connections *connections); /* how many were declared or replaced since the start */
/* It is not found any more. */
void connections_withdraw(Connections *connections, const Connection *connection);
void connections_deinit(Connections *connections);
