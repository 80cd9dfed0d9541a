/*
 * A connection is a named destination. It comes from the config file or from the management API.
 * The owner of a connection type (a sink driver) states its fields and their validation as a
 * ConnectionType. config/ keeps the name, the type and the texts of the fields. It never compares
 * types. A connection is immutable once loaded. Secrets are read at each connect. They are never
 * kept, shown or logged.
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

/* The field, or the entry of a map, that an error is about. */
typedef struct ConnectionPlace {
    const char *field;
    Span entry; /* name of the entry; empty: the field itself */
} ConnectionPlace;

/* One row per field. The parser, --print-config and the error texts use the rows. */
typedef struct ConnectionField {
    const char *name; /* as in the config file; NULL ends the table */
    size_t bytes_max;
    /* The field is a map of names to texts, numbers and booleans. bytes_max applies to each value.
     * The text of the field has one line `NAME=VALUE` per entry, sorted by name: see
     * connection_next. */
    bool is_map;
    const Refusal *refused_names; /* names of a map that are refused; NULL: none */
    const char *needed;           /* required: the text after `needs ` when the field is missing; NULL: optional */
    const char *local_value;      /* value of a missing field of the connection "local"; NULL: none */
    const char *default_value;    /* what connection_effective returns for a missing field; NULL: nothing */
    bool is_secret_file;          /* names a file that other users should not read */
    bool is_open_file;            /* names a file that other users may read */
    const char *sentence;         /* description for the documents */
} ConnectionField;

typedef struct ConnectionType {
    const char *name; /* as in the config file: "sqlite" */
    const ConnectionField *fields;
    const Refusal *refused; /* names that are refused; NULL: none */
    const char *place;      /* name of the field that identifies the destination: equal texts mean the same destination */
    bool one_a_place;       /* a second connection with the same place is refused */
    /* Checks that the fields are valid together. Returns 0 or -EINVAL. On -EINVAL, ret_place is the
     * field at fault, and the text of the error follows `Field "x" `. NULL: they always are. */
    int (*validate)(const Connection *connection, ConnectionPlace *ret_place, Error *error);
    bool may_be_declared; /* the management API may declare it (declared.h) */
    /* For connections of the management API: refuses values that would reach files or sockets of the
     * gateway's host in any other way than by a field that names a file. NULL: no value can. */
    int (*validate_declared)(const Connection *connection, ConnectionPlace *ret_place, Error *error);
} ConnectionType;

struct Connection {
    char *name;
    const ConnectionType *type;
    char **values;                /* texts by index of type->fields; NULL: not given */
    const Expansions *expansions; /* borrowed from its Connections: values that no message may show; NULL: none */
};

/* A connection of the management API. It lives as long as its Connections, since other threads may
 * hold it. */
typedef struct DeclaredConnection DeclaredConnection;

/*
 * All connections of the gateway. Those of the config file do not change. Only the control thread
 * declares, replaces and withdraws connections; before it runs, its starter does. Any thread may
 * look connections up.
 */
typedef struct Connections {
    Connection *items; /* "local" (of the first type) is always there */
    size_t count;
    Expansions *expansions;                 /* values that the config file had replaced; owned; NULL: no file was read */
    _Atomic(DeclaredConnection *) declared; /* head of a list, the newest first; owned */
} Connections;

/* Returns the text of a field of the connection's type, borrowed; NULL: not given. */
const char *connection_value(const Connection *connection, const char *field);
/* Returns the same, or the default of the field when none is given. */
const char *connection_effective(const Connection *connection, const char *field);
const char *connection_place(const Connection *connection);

/* Takes the next entry of a map's text from *at and advances *at. At first *at is the text itself,
 * which may be NULL. Returns false when there is no further entry. */
bool connection_next(const char **at, Span *ret_name, Span *ret_value);

/* Appends the fields of a type as a Markdown table. */
void connection_document(const ConnectionType *type, Buffer *out);

static inline bool connection_field_is_file(const ConnectionField *field) {
    return field->is_secret_file || field->is_open_file;
}

const Connection *connections_find(const Connections *connections, const char *name); /* borrowed; NULL: none */
/* Each connection has a number that never changes, from 0. Those of the config file come first. The
 * total never shrinks. */
size_t connections_total(const Connections *connections);
const Connection *connections_at(const Connections *connections, size_t number); /* NULL: withdrawn */
size_t connections_number(const Connections *connections, const Connection *connection);
bool connections_is_declared(const Connections *connections, const Connection *connection);
/* Adds a connection and takes ownership of it. No other connection may have its name. */
const Connection *connections_declare(Connections *connections, Connection *take_connection);
/* Replaces a declared connection by a new one, which is taken and gets its number. The old
 * connection stays valid for those that hold it. */
const Connection *connections_replace(Connections *connections, const Connection *connection, Connection *take_connection);
size_t connections_declared(const Connections *connections); /* number of declarations and replacements since the start */
/* Removes a declared connection from the lookups. It stays valid for those that hold it. */
void connections_withdraw(Connections *connections, const Connection *connection);
void connections_deinit(Connections *connections);
