/* Reading `connections:` of the config file; internal to config/. */
#pragma once

#include "config/connection.h"
#include "config/field.h"

/* The map of names to connections of these types (ends with NULL), and "local", which is of the
 * first one, where it is not in it. `node` may be missing or null: then only "local". */
int connections_read(Fault *fault, const Node *node, const ConnectionType *const *types, Connections *ret_connections);
/* Copies what the file that they were read from had replaced, once. */
void connections_keep_expansions(Connections *connections, const Expansions *expansions);
bool connections_equal(const Connections *a, const Connections *b);
/* One connection of that name, from its object. */
int connection_read(Fault *fault, const Node *node, const char *name, const ConnectionType *const *types, Connection *ret_connection);
