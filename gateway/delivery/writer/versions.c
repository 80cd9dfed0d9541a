#include "gateway/delivery/writer/versions.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "base/cursor.h"
#include "gateway/delivery/writer/connections.h"
#include "gateway/delivery/writer/sink_log.h"
#include "gateway/flow/messages.h"
#include "storage/catalog.h"

uint64_t target_digest(const char *target) {
    return checksum_of(target, strlen(target));
}

static int parse_target(const char *text, SinkTarget *ret_target, Error *error) {
    json_error_t fault;
    json_t *stored = json_loads(text, 0, &fault);
    if (!stored) return error_set(error, -EBADMSG, "a table target is not JSON: %s", fault.text);
    int r = sink_target_load(stored, ret_target, error);
    json_decref(stored);
    return r;
}

static bool is_keyed(const SinkTarget *target) {
    for (size_t i = 0; i < target->column_count; i++)
        if (target->columns[i].primary_key) return true;
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

static uint64_t place_of(const SinkTarget *target) {
    const char *name = sink_target_name(target);
    uint64_t parts[] = {(uint64_t)target->type, checksum_of(target->connection, strlen(target->connection)),
                        checksum_of(name, strlen(name))};
    return checksum_of(parts, sizeof parts);
}

static void note_target(SinkVersion *version, ConnectionTable *connections, const SinkTarget *target) {
    version->keyed = is_keyed(target);
    version->place = place_of(target);
    version->connection = connection_added(connections, target->connection);
}

void versions_put(SinkVersions *versions, ConnectionTable *connections, uint32_t version, char *take_target, const SinkTarget *parsed) {
    SinkVersion *at = versions_find(versions, version);
    if (at) {
        free(at->target);
    } else {
        versions->items = realloc(versions->items, (versions->count + 1) * sizeof *versions->items);
        check(versions->items);
        at = &versions->items[versions->count++];
    }
    *at = (SinkVersion){.version = version, .target = take_target, .digest = target_digest(take_target)};
    if (parsed) note_target(at, connections, parsed);
}

static int read_target(SinkVersion *version, ConnectionTable *connections, Error *error) {
    SinkTarget parsed;
    if (version->connection) return 0;
    int r = parse_target(version->target, &parsed, error);
    if (r < 0) return r;
    note_target(version, connections, &parsed);
    sink_target_deinit(&parsed);
    return 0;
}

int versions_read(SinkVersions *versions, ConnectionTable *connections, Error *error) {
    int r = 0;
    for (size_t i = 0; i < versions->count && r == 0; i++) r = read_target(&versions->items[i], connections, error);
    return r;
}

bool versions_go_to(SinkVersions *versions, ConnectionTable *connections, const SinkTarget *target) {
    Error error = {0};
    SinkVersion *version = versions_find(versions, versions_current(versions));
    if (!version) return true;
    return read_target(version, connections, &error) == 0 && version->place == place_of(target);
}

WriterConnection *versions_connection_of(SinkVersions *versions, ConnectionTable *connections, const char *target, bool *ret_keyed,
                                         Error *error) {
    uint64_t digest = target_digest(target);
    for (size_t i = 0; i < versions->count; i++) {
        SinkVersion *version = &versions->items[i];
        if (version->digest != digest) continue;
        if (read_target(version, connections, error) < 0) return NULL;
        *ret_keyed = version->keyed;
        return version->connection;
    }
    SinkTarget parsed;
    if (parse_target(target, &parsed, error) < 0) return NULL;
    WriterConnection *connection = connection_added(connections, parsed.connection);
    *ret_keyed = is_keyed(&parsed);
    sink_target_deinit(&parsed);
    return connection;
}

/* ---- in the catalog: 't', sink, version -> target -------------------------------------------- */

static Span version_key(uint32_t sink, uint32_t version, char out[static 9]) {
    out[0] = 't';
    store_be32(out + 1, sink);
    store_be32(out + 5, version);
    return (Span){.data = out, .size = 9};
}

static bool is_needed(const SinkLog *log, const SinkVersion *version, uint32_t current) {
    return version->version >= current || sink_log_has_version(log, version->version);
}

int versions_drop(SinkVersions *versions, Txn *txn, uint32_t sink, const SinkLog *log, Error *error) {
    if (versions->count < 2) return 0;
    uint32_t current = versions_current(versions);
    /* The one before the latest stays: loops may still map with it until the change is through. */
    uint32_t before = 0;
    for (size_t i = 0; i < versions->count; i++)
        if (versions->items[i].version < current && versions->items[i].version > before) before = versions->items[i].version;
    size_t kept = 0;
    for (size_t i = 0; i < versions->count; i++) {
        if (is_needed(log, &versions->items[i], before)) {
            versions->items[kept++] = versions->items[i];
            continue;
        }
        char key[9];
        int r = catalog_remove(txn, CATALOG_VERSIONS, version_key(sink, versions->items[i].version, key), error);
        if (r < 0) {
            while (i < versions->count) versions->items[kept++] = versions->items[i++];
            versions->count = kept;
            return r;
        }
        free(versions->items[i].target);
    }
    versions->count = kept;
    return 0;
}

int versions_store(Txn *txn, uint32_t sink, uint32_t version, const char *target, Error *error) {
    char key[9];
    Span at = version_key(sink, version, key), stored;
    bool same = catalog_get(txn, CATALOG_VERSIONS, at, &stored, NULL) == 0 && span_equal(stored, span_of(target));
    return same ? 0 : catalog_put(txn, CATALOG_VERSIONS, at, span_of(target), error);
}

int versions_find_stored(Txn *txn, uint32_t sink, uint32_t version, Span *ret_target, Error *error) {
    char key[9];
    return catalog_get(txn, CATALOG_VERSIONS, version_key(sink, version, key), ret_target, error);
}

int versions_sink_of(Span key, uint32_t *ret_sink, Error *error) {
    if (key.size != 9) return error_set(error, -EBADMSG, "the catalog holds a key of %zu bytes among the versions of targets", key.size);
    *ret_sink = load_be32(key.data + 1);
    return 0;
}

void versions_load(SinkVersions *versions, Span key, Span document) {
    check(key.size == 9); /* versions_sink_of was asked before */
    char *target = strndup(document.data, document.size);
    check(target);
    versions_put(versions, NULL, load_be32(key.data + 5), target, NULL);
}

void versions_deinit(SinkVersions *versions) {
    for (size_t i = 0; i < versions->count; i++) free(versions->items[i].target);
    free(versions->items);
    *versions = (SinkVersions){0};
}
