#include "gateway/delivery/writer/versions.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "gateway/delivery/writer/connections.h"
#include "gateway/flow/messages.h"

uint64_t target_digest(const char *target) {
    return checksum_of(target, strlen(target));
}

static int parse_target(const char *text, TableTarget *ret_table, Error *error) {
    json_error_t fault;
    json_t *stored = json_loads(text, 0, &fault);
    if (!stored) return error_set(error, -EBADMSG, "a table target is not JSON: %s", fault.text);
    int r = table_target_load(stored, ret_table, error);
    json_decref(stored);
    return r;
}

static bool is_keyed(const TableTarget *table) {
    for (size_t i = 0; i < table->column_count; i++)
        if (table->columns[i].primary_key) return true;
    return false;
}

SinkVersion *versions_find(const SinkVersions *versions, uint32_t version) {
    for (size_t i = 0; i < versions->count; i++)
        if (versions->items[i].version == version) return &versions->items[i];
    return NULL;
}

uint32_t versions_current(const SinkVersions *versions) {
    uint32_t current = 0;
    for (size_t i = 0; i < versions->count; i++)
        if (versions->items[i].version > current) current = versions->items[i].version;
    return current;
}

int versions_put(SinkVersions *versions, ConnectionTable *connections, uint32_t version, char *take_target, Error *error) {
    TableTarget table;
    int r = parse_target(take_target, &table, error);
    if (r < 0) {
        free(take_target);
        return r;
    }
    SinkVersion *at = versions_find(versions, version);
    if (at) {
        free(at->target);
    } else {
        versions->items = realloc(versions->items, (versions->count + 1) * sizeof *versions->items);
        check(versions->items);
        at = &versions->items[versions->count++];
    }
    *at = (SinkVersion){.version = version,
                        .target = take_target,
                        .digest = target_digest(take_target),
                        .keyed = is_keyed(&table),
                        .connection = connection_added(connections, table.connection)};
    table_target_deinit(&table);
    return 0;
}

WriterConnection *versions_connection_of(const SinkVersions *versions, ConnectionTable *connections, const char *target, bool *ret_keyed,
                                         Error *error) {
    uint64_t digest = target_digest(target);
    for (size_t i = 0; i < versions->count; i++) {
        if (versions->items[i].digest != digest) continue;
        *ret_keyed = versions->items[i].keyed;
        return versions->items[i].connection;
    }
    TableTarget table;
    if (parse_target(target, &table, error) < 0) return NULL;
    WriterConnection *connection = connection_added(connections, table.connection);
    *ret_keyed = is_keyed(&table);
    table_target_deinit(&table);
    return connection;
}

void versions_deinit(SinkVersions *versions) {
    for (size_t i = 0; i < versions->count; i++) free(versions->items[i].target);
    free(versions->items);
    *versions = (SinkVersions){0};
}
