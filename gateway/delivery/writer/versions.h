/* Where the rows of each mapping version of one sink go: what a file needs when it is opened. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/span.h"
#include "config/definition.h"
#include "storage/environment.h"

struct ConnectionTable;
struct SinkLog;

typedef struct SinkVersion {
    uint32_t version;
    char *target;    /* owned: JSON text of sink_target_store */
    uint64_t digest; /* of the text: files of equal targets may share a job */
    /* What the text says. A start with very many sinks does not read those that nobody asks for. */
    struct WriterConnection *connection; /* NULL: it was not read yet */
    bool keyed;                          /* has a primary key: files are imported strictly in order */
    uint64_t place;                      /* digest of the connection and the table: targets that differ in columns alone have the same */
} SinkVersion;

typedef struct SinkVersions {
    SinkVersion *items;
    size_t count;
} SinkVersions;

uint64_t target_digest(const char *target);

SinkVersion *versions_find(const SinkVersions *versions, uint32_t version); /* NULL: not known */
uint32_t versions_current(const SinkVersions *versions);                    /* the latest; 0: there is none */
/* Adds or replaces one. `parsed`: what the target says; NULL: it is read when somebody asks, and
 * `connections` is not used. */
void versions_put(SinkVersions *versions, struct ConnectionTable *connections, uint32_t version, char *take_target,
                  const SinkTarget *parsed);
/* All that were not read yet. < 0: a text is not a target. */
int versions_read(SinkVersions *versions, struct ConnectionTable *connections, Error *error);
/* Where a file's target lies, NULL: it is not a target. */
struct WriterConnection *versions_connection_of(SinkVersions *versions, struct ConnectionTable *connections, const char *target,
                                                bool *ret_keyed, Error *error);
/* Do the rows of the latest version go to the connection and table of the target? Also when there
 * is no version yet. */
bool versions_go_to(SinkVersions *versions, struct ConnectionTable *connections, const SinkTarget *target);
/* In the catalog. What is stored already is not written again: a start orders all sinks. */
int versions_store(Txn *txn, uint32_t sink, uint32_t version, const char *target, Error *error);
/* The text that versions_store wrote; valid until the transaction ends. 0, CATALOG_NOT_FOUND
 * (storage/catalog.h) or < 0. */
int versions_find_stored(Txn *txn, uint32_t sink, uint32_t version, Span *ret_target, Error *error);
/* Adds what versions_store wrote; it is not read yet. */
void versions_load(SinkVersions *versions, Span key, Span document);
/* The sink that a key of the catalog belongs to. */
int versions_sink_of(Span key, uint32_t *ret_sink, Error *error);
/* Removes those that no row of the log needs any more, here and in the catalog. In the transaction
 * that made it so. */
int versions_drop(SinkVersions *versions, Txn *txn, uint32_t sink, const struct SinkLog *log, Error *error);
void versions_deinit(SinkVersions *versions);
