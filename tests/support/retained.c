/*
 * Fills the data directory of a stopped gateway with what a long life leaves: copies of its first
 * source and sink, and packs that are imported and retained. Through the functions of storage, so
 * that a million of them take a minute. For the measurement of starts
 * (tests/system/test_retained.py).
 *
 *   retained DIRECTORY SINKS PACKS [SINKS-A-SOURCE]
 */
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cursor.h"
#include "base/error.h"
#include "base/uuid.h"
#include "storage/catalog.h"
#include "storage/environment.h"
#include "storage/ledger.h"
#include "storage/pack.h"
#include "storage/totals.h"

#define SINKS_A_SOURCE "10"
#define PACKS_A_TRANSACTION 5000
#define ROWS_A_PACK 10
#define DAY_AGO ((usec_t)1700000000 * USEC_SECOND)

typedef struct Filling {
    Environment *environment;
    const char *directory;
    Txn *txn;
    Error error;
    uint32_t sinks, sinks_a_source;
    uint64_t packs;
    json_t *source, *sink;
    char *target;
    UuidSource ids;
} Filling;

static void done(Filling *filling, int result) {
    if (result == 0) return;
    (void)fprintf(stderr, "retained: %s\n", filling->error.text);
    exit(1);
}

static void begin(Filling *filling) {
    done(filling, txn_begin_write(filling->environment, &filling->txn, &filling->error));
}

static void commit(Filling *filling) {
    done(filling, txn_commit(filling->txn, &filling->error));
}

static int take_first(void *context, Span key, Span document, Error *error) {
    json_t **first = context;
    if (!*first) *first = json_loadb(document.data, document.size, 0, NULL);
    return 0;
}

static int take_target(void *context, Span key, Span document, Error *error) {
    char **target = context;
    if (!*target) *target = strndup(document.data, document.size);
    return 0;
}

static void read_first(Filling *filling) {
    done(filling, txn_begin_read(filling->environment, &filling->txn, &filling->error));
    done(filling, catalog_visit(filling->txn, CATALOG_SOURCES, (Span){0}, take_first, &filling->source, &filling->error));
    done(filling, catalog_visit(filling->txn, CATALOG_SINKS, (Span){0}, take_first, &filling->sink, &filling->error));
    done(filling, catalog_visit(filling->txn, CATALOG_VERSIONS, SPAN("t"), take_target, &filling->target, &filling->error));
    txn_abort(filling->txn);
    if (!filling->source || !filling->sink || !filling->target) {
        (void)fprintf(stderr, "retained: the directory has no source with a sink\n");
        exit(1);
    }
}

static void put_copy(Filling *filling, Collection collection, Span key, json_t *document, const char *id_name, uint32_t number) {
    char id[32];
    json_t *copy = json_deep_copy(document);
    json_t *definition = json_object_get(copy, "definition");
    (void)snprintf(id, sizeof id, "copy%" PRIu32, number);
    (void)json_object_set_new(definition, id_name, json_string(id));
    (void)json_object_set_new(json_object_get(copy, "state"), "number", json_integer(number));
    json_t *table = json_object_get(definition, "table");
    if (table) (void)json_object_set_new(table, "tableId", json_string(id));
    char *text = json_dumps(copy, JSON_COMPACT);
    check(text);
    done(filling, catalog_put(filling->txn, collection, key, span_of(text), &filling->error));
    free(text);
    json_decref(copy);
}

static void define(Filling *filling) {
    begin(filling);
    for (uint32_t number = 2; number <= filling->sinks; number++) {
        char key[9] = {'t'};
        uint32_t source = 2 + (number - 2) / filling->sinks_a_source;
        if ((number - 2) % filling->sinks_a_source == 0) {
            store_be32(key, source);
            put_copy(filling, CATALOG_SOURCES, (Span){.data = key, .size = 4}, filling->source, "sourceId", source);
        }
        store_be32(key, source);
        store_be32(key + 4, number);
        put_copy(filling, CATALOG_SINKS, (Span){.data = key, .size = 8}, filling->sink, "sinkId", number);
        key[0] = 't';
        store_be32(key + 1, number);
        store_be32(key + 5, 1);
        done(filling,
             catalog_put(filling->txn, CATALOG_VERSIONS, (Span){.data = key, .size = 9}, span_of(filling->target), &filling->error));
    }
    char numbers[80];
    (void)snprintf(numbers, sizeof numbers, "{\"source\":%" PRIu32 ",\"sink\":%" PRIu32 "}",
                   2 + filling->sinks / filling->sinks_a_source + 1, filling->sinks + 1);
    done(filling, catalog_put(filling->txn, CATALOG_META, SPAN("control.numbers"), span_of(numbers), &filling->error));
    commit(filling);
}

static void make_file(const Filling *filling, const Uuid *id) {
    char name[64], path[4200];
    pack_path(id, name);
    (void)snprintf(path, sizeof path, "%s/%s", filling->directory, name);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    check(fd >= 0);
    (void)close(fd);
}

static void add_pack(Filling *filling, uint64_t index) {
    uint32_t sink = filling->sinks > 1 ? (uint32_t)(2 + index % (filling->sinks - 1)) : 1;
    uint64_t before = filling->sinks > 1 ? index / (filling->sinks - 1) : index;
    char label[] = "copy/copy";
    FileRecord file = {.sink = sink,
                       .mapping_version = 1,
                       .first_row = before * ROWS_A_PACK + 1,
                       .opened = DAY_AGO,
                       .target = filling->target,
                       .label = label};
    PackRecord pack = {.bytes = 1000};
    uuid_next(&filling->ids, DAY_AGO + (usec_t)index, &file.id);
    uuid_next(&filling->ids, DAY_AGO + (usec_t)index, &pack.id);
    SliceRecord slice = {.pack = pack.id,
                         .offset = 64,
                         .length = 900,
                         .sink = sink,
                         .mapping_version = 1,
                         .first_row = file.first_row,
                         .rows = ROWS_A_PACK,
                         .bytes = 200,
                         .first_time = DAY_AGO,
                         .last_time = DAY_AGO,
                         .file = file.id};
    Error *error = &filling->error;
    done(filling, ledger_open_file(filling->txn, &file, error));
    done(filling, ledger_add_pack(filling->txn, &pack, error));
    done(filling, ledger_add_slice(filling->txn, &file, &slice, NULL, error));
    done(filling, ledger_close_file(filling->txn, &file, CLOSE_COUNT, DAY_AGO, error));
    done(filling, ledger_end_file(filling->txn, &file, FILE_IMPORTED, DAY_AGO + (usec_t)index, (usec_t)index + 1, error));
    SinkTotals totals;
    totals_init(&totals, sink);
    totals.next_row = totals.staged_row = file.first_row + ROWS_A_PACK;
    totals.received.rows = totals.staged.rows = totals.imported.rows = totals.next_row - 1;
    done(filling, totals_store(filling->txn, &totals, error));
    make_file(filling, &pack.id);
}

int main(int count, char **arguments) {
    if (count != 4 && count != 5) {
        (void)fprintf(stderr, "usage: retained DIRECTORY SINKS PACKS [SINKS-A-SOURCE]\n");
        return 2;
    }
    Filling filling = {.directory = arguments[1],
                       .sinks = (uint32_t)strtoul(arguments[2], NULL, 10),
                       .sinks_a_source = (uint32_t)strtoul(count == 5 ? arguments[4] : SINKS_A_SOURCE, NULL, 10),
                       .packs = strtoull(arguments[3], NULL, 10)};
    char path[4200];
    (void)snprintf(path, sizeof path, "%s/sluice.mdb", arguments[1]);
    /* The disk is not what is measured. */
    EnvironmentOptions options = {.path = path, .map_bytes = (uint64_t)16 << 30, .no_sync = true};
    done(&filling, environment_open(&options, &filling.environment, &filling.error));
    read_first(&filling);
    define(&filling);
    for (uint64_t i = 0; i < filling.packs;) {
        begin(&filling);
        for (uint64_t end = i + PACKS_A_TRANSACTION; i < end && i < filling.packs; i++) add_pack(&filling, i);
        commit(&filling);
    }
    environment_close(filling.environment);
    json_decref(filling.source);
    json_decref(filling.sink);
    free(filling.target);
    return 0;
}
