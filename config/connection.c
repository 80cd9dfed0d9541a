#include "config/connection.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/span.h"
#include "base/text.h"
#include "config/connection_parts.h"
#include "config/declared.h"
#include "config/definition.h"

#define CONNECTIONS_MAX 1000
#define LOCAL "local"

static size_t field_count(const ConnectionType *type) {
    size_t count = 0;
    while (type->fields[count].name) count++;
    return count;
}

static const ConnectionField *find_field(const ConnectionType *type, const char *name) {
    for (const ConnectionField *field = type->fields; field->name; field++)
        if (strcmp(field->name, name) == 0) return field;
    return NULL;
}

const char *connection_value(const Connection *connection, const char *field) {
    const ConnectionField *found = find_field(connection->type, field);
    check(found);
    return connection->values[found - connection->type->fields];
}

const char *connection_effective(const Connection *connection, const char *field) {
    const char *value = connection_value(connection, field);
    return value ? value : find_field(connection->type, field)->default_value;
}

const char *connection_place(const Connection *connection) {
    return connection_value(connection, connection->type->place);
}

bool connection_next(const char **at, Span *ret_name, Span *ret_value) {
    if (!*at || !**at) return false;
    const char *equals = strchr(*at, '='), *end = strchr(*at, '\n');
    check(equals && end && equals < end);
    *ret_name = (Span){*at, (size_t)(equals - *at)};
    *ret_value = (Span){equals + 1, (size_t)(end - equals - 1)};
    *at = end + 1;
    return true;
}

/* ---- all of them ----------------------------------------------------------------------------- */

struct DeclaredConnection {
    Connection connection;
    DeclaredConnection *older;
    size_t number; /* the same for all that one name had without a break */
    size_t total;  /* numbers that were given */
    size_t age;    /* the place in the list, from 1 on */
    atomic_bool withdrawn;
};

const Connection *connections_find(const Connections *connections, const char *name) {
    for (size_t i = 0; i < connections->count; i++)
        if (strcmp(connections->items[i].name, name) == 0) return &connections->items[i];
    for (const DeclaredConnection *at = atomic_load(&connections->declared); at; at = at->older)
        if (strcmp(at->connection.name, name) == 0 && !atomic_load(&at->withdrawn)) return &at->connection;
    return NULL;
}

size_t connections_total(const Connections *connections) {
    const DeclaredConnection *newest = atomic_load(&connections->declared);
    return newest ? newest->total : connections->count;
}

const Connection *connections_at(const Connections *connections, size_t number) {
    if (number < connections->count) return &connections->items[number];
    for (const DeclaredConnection *at = atomic_load(&connections->declared); at; at = at->older)
        if (at->number == number) return atomic_load(&at->withdrawn) ? NULL : &at->connection;
    unreachable();
}

static DeclaredConnection *declared_of(const Connections *connections, const Connection *connection) {
    for (DeclaredConnection *at = atomic_load(&connections->declared); at; at = at->older)
        if (&at->connection == connection) return at;
    return NULL;
}

size_t connections_number(const Connections *connections, const Connection *connection) {
    const DeclaredConnection *declared = declared_of(connections, connection);
    if (declared) return declared->number;
    check(connection >= connections->items && connection < connections->items + connections->count);
    return (size_t)(connection - connections->items);
}

bool connections_is_declared(const Connections *connections, const Connection *connection) {
    return declared_of(connections, connection) != NULL;
}

size_t connections_declared(const Connections *connections) {
    const DeclaredConnection *newest = atomic_load(&connections->declared);
    return newest ? newest->age : 0;
}

static const Connection *add(Connections *connections, Connection *take_connection, size_t number) {
    DeclaredConnection *declared = calloc(1, sizeof *declared);
    check(declared);
    size_t total = connections_total(connections);
    declared->connection = *take_connection;
    declared->number = number;
    declared->total = number < total ? total : number + 1;
    declared->age = connections_declared(connections) + 1;
    declared->older = atomic_load(&connections->declared);
    *take_connection = (Connection){0};
    atomic_store(&connections->declared, declared);
    return &declared->connection;
}

const Connection *connections_declare(Connections *connections, Connection *take_connection) {
    check(!connections_find(connections, take_connection->name));
    return add(connections, take_connection, connections_total(connections));
}

const Connection *connections_replace(Connections *connections, const Connection *connection, Connection *take_connection) {
    DeclaredConnection *former = declared_of(connections, connection);
    check(former && !atomic_load(&former->withdrawn) && strcmp(connection->name, take_connection->name) == 0);
    const Connection *added = add(connections, take_connection, former->number);
    atomic_store(&former->withdrawn, true); /* the newest is found first: there is no moment without one */
    return added;
}

void connections_withdraw(Connections *connections, const Connection *connection) {
    DeclaredConnection *declared = declared_of(connections, connection);
    check(declared && !atomic_load(&declared->withdrawn));
    atomic_store(&declared->withdrawn, true);
}

void connection_deinit(Connection *connection) {
    free(connection->name);
    for (size_t k = 0; connection->values && k < field_count(connection->type); k++) free(connection->values[k]);
    free(connection->values);
    *connection = (Connection){0};
}

void connections_deinit(Connections *connections) {
    for (size_t i = 0; i < connections->count; i++) connection_deinit(&connections->items[i]);
    free(connections->items);
    for (DeclaredConnection *at = atomic_load(&connections->declared), *older; at; at = older) {
        older = at->older;
        connection_deinit(&at->connection);
        free(at);
    }
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

bool connection_equal(const Connection *a, const Connection *b) {
    if (a->type != b->type) return false;
    for (size_t i = 0; i < field_count(a->type); i++)
        if (!same(a->values[i], b->values[i])) return false;
    return true;
}

bool connections_same_place(const Connection *a, const Connection *b) {
    return a->type == b->type && same(connection_place(a), connection_place(b));
}

bool connections_equal(const Connections *a, const Connections *b) {
    if (a->count != b->count) return false;
    for (size_t i = 0; i < a->count; i++) {
        const Connection *other = connections_find(b, a->items[i].name);
        if (!other || !connection_equal(&a->items[i], other)) return false;
    }
    return true;
}

#define TYPES_MAX 16
#define FIELDS_MAX 32
#define REFUSALS_MAX 128
#define MAP_ENTRIES_MAX 200

/* A field of another type is refused by its name; so is what the type itself knows to be wrong. */
static size_t add_refusals(const ConnectionType *const *types, const ConnectionType *type, Refusal *refusals, char (*reasons)[96]) {
    size_t count = 0;
    for (const Refusal *known = type->refused; known && known->name; known++) refusals[count++] = *known;
    for (size_t i = 0; types[i]; i++) {
        for (const ConnectionField *field = types[i]->fields; field->name; field++) {
            if (find_field(type, field->name)) continue;
            check(count < REFUSALS_MAX);
            (void)snprintf(reasons[count], sizeof *reasons, "is only for connections of type \"%s\"", types[i]->name);
            refusals[count] = (Refusal){field->name, reasons[count]};
            count++;
        }
    }
    refusals[count] = (Refusal){0};
    return count;
}

/* ---- maps ------------------------------------------------------------------------------------ */

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int read_map_name(Fault *fault, const Node *entry, const ConnectionField *field) {
    for (const Refusal *refused = field->refused_names; refused && refused->name; refused++) {
        if (strcmp(refused->name, entry->key) != 0) continue;
        (void)fault_at(fault, entry, "%s", refused->reason);
        fault->at_key = true;
        return -EINVAL;
    }
    if (entry->key[0] && text_is_plain(span_of(entry->key)) && !strchr(entry->key, '=')) return 0;
    int r = fault_at(fault, entry, "has a name that is empty, or contains control characters or a '='");
    fault->at_key = true;
    return r;
}

static int read_map_value(Fault *fault, const Node *entry, const ConnectionField *field, Buffer *out) {
    const char *text;
    if (json_is_boolean(entry->value)) {
        buffer_append_text(out, json_is_true(entry->value) ? "true" : "false");
        return 0;
    }
    if (json_is_integer(entry->value)) {
        buffer_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(entry->value));
        return 0;
    }
    int r = node_text(fault, entry, 0, field->bytes_max, &text);
    if (r < 0) return r;
    if (!text_is_plain(span_of(text))) return fault_at(fault, entry, "must not contain control characters");
    buffer_append_text(out, text);
    return 0;
}

static int read_map(Fault *fault, const Node *node, const ConnectionField *field, char **ret_text) {
    if (!json_is_object(node->value)) return fault_at(fault, node, "must be a map of names to values, not %s", json_kind(node->value));
    size_t count = json_object_size(node->value), at = 0;
    if (count > MAP_ENTRIES_MAX) return fault_at(fault, node, "must have at most %d entries", MAP_ENTRIES_MAX);
    if (count == 0) return 0;
    const char *names[MAP_ENTRIES_MAX], *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)node->value, name, value) names[at++] = name;
    qsort(names, count, sizeof *names, compare_names);
    _cleanup_(buffer_deinit) Buffer out = {0};
    for (size_t i = 0; i < count; i++) {
        Node entry = node_member(node, names[i]);
        int r = read_map_name(fault, &entry, field);
        if (r < 0) return r;
        buffer_printf(&out, "%s=", names[i]);
        r = read_map_value(fault, &entry, field, &out);
        if (r < 0) return r;
        buffer_append_byte(&out, '\n');
    }
    *ret_text = text_copy(buffer_text(&out));
    return 0;
}

/* ---- connections ----------------------------------------------------------------------------- */

static int read_field(Fault *fault, const Node *object, const ConnectionField *field, bool is_local, char **ret_text) {
    Node node = node_member(object, field->name);
    if (!node_given(&node)) {
        if (is_local && field->local_value) *ret_text = text_copy(field->local_value);
        return *ret_text || !field->needed ? 0 : fault_at(fault, object, "needs %s", field->needed);
    }
    if (field->is_map) return read_map(fault, &node, field, ret_text);
    const char *text;
    int r = node_text(fault, &node, 1, field->bytes_max, &text);
    if (r < 0) return r;
    if (!text_is_plain(span_of(text))) return fault_at(fault, &node, "must not contain control characters");
    *ret_text = text_copy(text);
    return 0;
}

static int read_fields(Fault *fault, const Node *node, const ConnectionType *const *types, bool is_local, Connection *connection) {
    const ConnectionType *type = connection->type;
    size_t count = field_count(type);
    const char *names[FIELDS_MAX + 2] = {"type"};
    Refusal refusals[REFUSALS_MAX + 1];
    char reasons[REFUSALS_MAX][96];
    check(count <= FIELDS_MAX);
    for (size_t i = 0; i < count; i++) names[i + 1] = type->fields[i].name;
    (void)add_refusals(types, type, refusals, reasons);
    int r = node_object(fault, node, names, refusals);
    connection->values = calloc(count + 1, sizeof *connection->values);
    check(connection->values);
    for (size_t i = 0; r == 0 && i < count; i++) r = read_field(fault, node, &type->fields[i], is_local, &connection->values[i]);
    if (r < 0 || !type->validate) return r;
    Error wrong = {0};
    ConnectionPlace place = {0};
    if (type->validate(connection, &place, &wrong) == 0) return 0;
    check(place.field);
    Node field = node_member(node, place.field);
    if (place.entry.size == 0) return fault_at(fault, &field, "%s", wrong.text);
    _cleanup_free_ char *name = text_copy_span(place.entry);
    Node entry = node_member(&field, name);
    return fault_at(fault, &entry, "%s", wrong.text);
}

static int read_connection(Fault *fault, const Node *node, const ConnectionType *const *types, Connection *connection) {
    bool is_local = strcmp(connection->name, LOCAL) == 0;
    const char *names[TYPES_MAX + 1] = {0};
    _cleanup_(buffer_deinit) Buffer list = {0};
    for (size_t i = 0; types[i]; i++) {
        check(i < TYPES_MAX);
        names[i] = types[i]->name;
        buffer_printf(&list, "%s%s", i == 0 ? "" : types[i + 1] ? ", " : " or ", names[i]);
    }
    if (!json_is_object(node->value)) return fault_at(fault, node, "must be an object, not %s", json_kind(node->value));
    Node type = node_member(node, "type");
    int choice;
    if (!node_given(&type)) return fault_at(fault, node, "needs a \"type\": %s", buffer_text(&list));
    int r = node_choice(fault, &type, names, NULL, &choice);
    if (r < 0) return r;
    if (is_local && choice != 0) return fault_at(fault, &type, "of the connection \"" LOCAL "\" is always %s", names[0]);
    connection->type = types[choice];
    return read_fields(fault, node, types, is_local, connection);
}

int connection_read(Fault *fault, const Node *node, const char *name, const ConnectionType *const *types, Connection *ret_connection) {
    Connection connection = {.name = text_copy(name), .type = types[0]};
    int r = read_connection(fault, node, types, &connection);
    if (r < 0) {
        connection_deinit(&connection);
        return r;
    }
    *ret_connection = connection;
    return 0;
}

static int refuse_shared_place(Fault *fault, const Node *node, const Connections *connections) {
    const Connection *last = &connections->items[connections->count - 1];
    for (size_t i = 0; last->type->one_a_place && i + 1 < connections->count; i++) {
        const Connection *other = &connections->items[i];
        if (other->type == last->type && same(connection_place(other), connection_place(last)))
            return fault_at(fault, node, "has the %s of connection \"%s\"", last->type->place, other->name);
    }
    return 0;
}

static int add_connection(Fault *fault, const Node *node, const ConnectionType *const *types, Connections *connections) {
    if (!identifier_valid(node->key)) {
        int r = fault_at(fault, node, "must have a name of 1 to 48 characters (a-z, 0-9, '-' and '_') that begins with a letter or digit");
        fault->at_key = true;
        return r;
    }
    Connection *connection = &connections->items[connections->count++];
    connection->name = text_copy(node->key);
    connection->type = types[0];
    int r = read_connection(fault, node, types, connection);
    return r < 0 ? r : refuse_shared_place(fault, node, connections);
}

static void add_local(const ConnectionType *type, Connections *connections) {
    Connection *local = &connections->items[connections->count++];
    size_t count = field_count(type);
    *local = (Connection){.name = text_copy(LOCAL), .type = type, .values = calloc(count + 1, sizeof *local->values)};
    check(local->values);
    for (size_t i = 0; i < count; i++) local->values[i] = text_copy(type->fields[i].local_value);
}

/* Into all-zero connections, which the caller releases when this fails. */
static int fill_connections(Fault *fault, const Node *node, const ConnectionType *const *types, Connections *connections) {
    size_t given = 0;
    if (node_given(node)) {
        if (!json_is_object(node->value))
            return fault_at(fault, node, "must be a map of names to connections, not %s", json_kind(node->value));
        given = json_object_size(node->value);
    }
    if (given > CONNECTIONS_MAX) return fault_at(fault, node, "must have at most %d connections", CONNECTIONS_MAX);
    connections->items = calloc(given + 1, sizeof *connections->items);
    check(connections->items != NULL);
    if (given == 0 || json_object_get(node->value, LOCAL) == NULL) add_local(types[0], connections);
    if (given == 0) return 0;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)node->value, key, value) {
        Node member = {.value = value, .parent = node, .key = key};
        int r = add_connection(fault, &member, types, connections);
        if (r < 0) return r;
    }
    return 0;
}

/* What the owner of a type promises. */
static void check_type(const ConnectionType *type) {
    check(type->name && find_field(type, type->place) && field_count(type) <= FIELDS_MAX);
    for (const ConnectionField *field = type->fields; field->name; field++) {
        size_t sentence = field->sentence ? strlen(field->sentence) : 0;
        check(sentence > 1 && field->sentence[sentence - 1] == '.' && field->bytes_max > 0);
        check(find_field(type, field->name) == field && strcmp(field->name, "type") != 0);
        check(!field->needed || !field->default_value);
        check(field->is_map ? !field->needed && !field->default_value && !field->local_value : !field->refused_names);
    }
    for (const Refusal *refused = type->refused; refused && refused->name; refused++) check(!find_field(type, refused->name));
}

int connections_read(Fault *fault, const Node *node, const ConnectionType *const *types, Connections *ret_connections) {
    check(types && types[0]);
    for (size_t i = 0; types[i]; i++) {
        check_type(types[i]);
        for (size_t k = 0; k < i; k++) check(strcmp(types[i]->name, types[k]->name) != 0);
    }
    Connections connections = {0};
    int r = fill_connections(fault, node, types, &connections);
    if (r < 0) {
        connections_deinit(&connections);
        return r;
    }
    *ret_connections = connections;
    return 0;
}

void connection_document(const ConnectionType *type, Buffer *out) {
    buffer_append_text(out, "| field | default | range | meaning |\n|---|---|---|---|\n");
    for (const ConnectionField *field = type->fields; field->name; field++) {
        const char *missing = field->needed ? "(required)" : field->default_value ? field->default_value : "(none)";
        const char *least = field->is_map ? "a map; values of 0" : "1";
        buffer_printf(out, "| `%s` | %s | %s..%zu bytes | %s", field->name, missing, least, field->bytes_max, field->sentence);
        if (field->local_value) buffer_printf(out, " `" LOCAL "` has `%s` by default.", field->local_value);
        buffer_append_text(out, " |\n");
    }
}
