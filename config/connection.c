#include "config/connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/span.h"
#include "base/text.h"
#include "config/connection_parts.h"
#include "config/definition.h"

#define CONNECTIONS_MAX 1000
#define PLACE_BYTES_MAX 4096 /* of a path or URI */
#define LEDGER_BYTES_MAX 127

static const char *const type_names[] = {"sqlite", "postgres", NULL};

const char *connection_type_name(ConnectionType type) {
    check(type <= CONNECTION_POSTGRES);
    return type_names[type];
}

const Connection *connections_find(const Connections *connections, const char *name) {
    for (size_t i = 0; i < connections->count; i++)
        if (strcmp(connections->items[i].name, name) == 0) return &connections->items[i];
    return NULL;
}

void connections_deinit(Connections *connections) {
    for (size_t i = 0; i < connections->count; i++) {
        Connection *connection = &connections->items[i];
        free(connection->name);
        free(connection->path);
        free(connection->uri);
        free(connection->password_file);
        free(connection->ledger_table);
    }
    free(connections->items);
    if (connections->expansions) expansions_deinit(connections->expansions);
    free(connections->expansions);
    *connections = (Connections){0};
}

void connections_keep_expansions(Connections *connections, const Expansions *expansions) {
    check(!connections->expansions);
    connections->expansions = calloc(1, sizeof *connections->expansions);
    check(connections->expansions);
    expansions_add_all(connections->expansions, expansions);
    for (size_t i = 0; i < connections->count; i++) connections->items[i].expansions = connections->expansions;
}

static bool same(const char *a, const char *b) {
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

bool connections_equal(const Connections *a, const Connections *b) {
    if (a->count != b->count) return false;
    for (size_t i = 0; i < a->count; i++) {
        const Connection *x = &a->items[i], *y = connections_find(b, x->name);
        if (y == NULL || x->type != y->type || !same(x->path, y->path) || !same(x->uri, y->uri) ||
            !same(x->password_file, y->password_file) || !same(x->ledger_table, y->ledger_table))
            return false;
    }
    return true;
}

static int read_text(Fault *fault, const Node *object, const char *field, size_t most, char **ret_text) {
    Node node = node_member(object, field);
    if (!node_given(&node)) return 0;
    const char *text;
    int r = node_text(fault, &node, 1, most, &text);
    if (r < 0) return r;
    if (!text_is_plain(span_of(text))) return fault_at(fault, &node, "must not hold control characters");
    *ret_text = text_copy(text);
    return 0;
}

/* Is the (percent-encoded) name of a URI parameter this word? */
static bool parameter_is(Span name, const char *word) {
    size_t at = 0;
    for (; at < name.size; word++) {
        char c = name.data[at++];
        if (c == '%' && at + 1 < name.size && text_hex(name.data[at]) >= 0 && text_hex(name.data[at + 1]) >= 0) {
            c = (char)(text_hex(name.data[at]) * 16 + text_hex(name.data[at + 1]));
            at += 2;
        }
        if (*word == 0 || c != *word) return false;
    }
    return *word == 0;
}

/* Userinfo with a colon, or a parameter that is a password. Rather one URI too many: what is refused here is never shown or logged. */
static bool has_password(const char *uri) {
    const char *rest = strstr(uri, "://") + 3, *query = strchr(rest, '?');
    size_t size = query ? (size_t)(query - rest) : strlen(rest);
    const char *at = memrchr(rest, '@', size);
    if (at && memchr(rest, ':', (size_t)(at - rest))) return true;
    while (query) {
        const char *name = query + 1;
        Span parameter = {name, strcspn(name, "=&")};
        if (parameter_is(parameter, "password") || parameter_is(parameter, "sslpassword")) return true;
        query = strchr(name, '&');
    }
    return false;
}

static int read_postgres(Fault *fault, const Node *node, Connection *connection) {
    static const char *const fields[] = {"type", "uri", "passwordFile", "ledgerTable", NULL};
    static const Refusal refused[] = {{"password", "must not stand here: put it in a file and name that in \"passwordFile\""},
                                      {"path", "belongs to connections of type \"sqlite\""},
                                      {0}};
    int r = node_object(fault, node, fields, refused);
    if (r == 0) r = read_text(fault, node, "uri", PLACE_BYTES_MAX, &connection->uri);
    if (r == 0) r = read_text(fault, node, "passwordFile", PLACE_BYTES_MAX, &connection->password_file);
    if (r < 0) return r;
    Node uri = node_member(node, "uri");
    if (connection->uri == NULL) return fault_at(fault, node, "needs a \"uri\": \"postgresql://user@host:port/database\"");
    if (strncmp(connection->uri, "postgresql://", 13) != 0 && strncmp(connection->uri, "postgres://", 11) != 0)
        return fault_at(fault, &uri, "must begin with postgresql://");
    if (has_password(connection->uri))
        return fault_at(fault, &uri, "must not hold a password: put it in a file and name that in \"passwordFile\"");
    return 0;
}

static int read_sqlite(Fault *fault, const Node *node, bool is_local, Connection *connection) {
    static const char *const fields[] = {"type", "path", "ledgerTable", NULL};
    static const Refusal refused[] = {
        {"uri", "belongs to connections of type \"postgres\""}, {"passwordFile", "belongs to connections of type \"postgres\""}, {0}};
    int r = node_object(fault, node, fields, refused);
    if (r == 0) r = read_text(fault, node, "path", PLACE_BYTES_MAX, &connection->path);
    if (r < 0) return r;
    if (connection->path == NULL && !is_local) return fault_at(fault, node, "needs a \"path\"");
    if (connection->path == NULL) connection->path = text_copy("tables.db");
    return 0;
}

static int read_connection(Fault *fault, const Node *node, Connection *connection) {
    bool is_local = strcmp(node->key, "local") == 0;
    if (!json_is_object(node->value)) return fault_at(fault, node, "must be an object, not %s", json_kind(node->value));
    Node type = node_member(node, "type");
    int choice;
    if (!node_given(&type)) return fault_at(fault, node, "needs a \"type\": sqlite or postgres");
    int r = node_choice(fault, &type, type_names, NULL, &choice);
    if (r < 0) return r;
    connection->type = (ConnectionType)choice;
    if (is_local && connection->type != CONNECTION_SQLITE) return fault_at(fault, &type, "of the connection \"local\" is always sqlite");
    r = connection->type == CONNECTION_SQLITE ? read_sqlite(fault, node, is_local, connection) : read_postgres(fault, node, connection);
    return r < 0 ? r : read_text(fault, node, "ledgerTable", LEDGER_BYTES_MAX, &connection->ledger_table);
}

/* One SQLite file has one writer, and a connection is what has one. */
static int refuse_shared_file(Fault *fault, const Node *node, const Connections *connections) {
    const Connection *last = &connections->items[connections->count - 1];
    for (size_t i = 0; last->path && i + 1 < connections->count; i++)
        if (same(connections->items[i].path, last->path))
            return fault_at(fault, node, "has the path of connection \"%s\"", connections->items[i].name);
    return 0;
}

static int add_connection(Fault *fault, const Node *node, Connections *connections) {
    if (!identifier_valid(node->key)) {
        int r = fault_at(fault, node, "must be named with 1 to 48 of a-z, 0-9, '-' and '_', and begin with a letter or digit");
        fault->at_key = true;
        return r;
    }
    Connection *connection = &connections->items[connections->count++];
    connection->name = text_copy(node->key);
    int r = read_connection(fault, node, connection);
    return r < 0 ? r : refuse_shared_file(fault, node, connections);
}

/* Into all-zero connections, which the caller releases when this fails. */
static int fill_connections(Fault *fault, const Node *node, Connections *connections) {
    size_t given = 0;
    if (node_given(node)) {
        if (!json_is_object(node->value))
            return fault_at(fault, node, "must be a map of names to connections, not %s", json_kind(node->value));
        given = json_object_size(node->value);
    }
    if (given > CONNECTIONS_MAX) return fault_at(fault, node, "must have at most %d connections", CONNECTIONS_MAX);
    connections->items = calloc(given + 1, sizeof *connections->items);
    check(connections->items != NULL);
    if (given == 0 || json_object_get(node->value, "local") == NULL)
        connections->items[connections->count++] = (Connection){
            .name = text_copy("local"), .type = CONNECTION_SQLITE, .path = text_copy("tables.db")};
    if (given == 0) return 0;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)node->value, key, value) {
        Node member = {.value = value, .parent = node, .key = key};
        int r = add_connection(fault, &member, connections);
        if (r < 0) return r;
    }
    return 0;
}

int connections_read(Fault *fault, const Node *node, Connections *ret_connections) {
    Connections connections = {0};
    int r = fill_connections(fault, node, &connections);
    if (r < 0) {
        connections_deinit(&connections);
        return r;
    }
    *ret_connections = connections;
    return 0;
}
