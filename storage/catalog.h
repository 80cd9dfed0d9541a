/*
 * The catalog: documents (JSON text) by collection and key. Definitions with their versions,
 * API tokens (by hash), tasks, audit. Writes are the writer's; reads anybody's.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/span.h"
#include "storage/environment.h"

typedef enum Collection {
    CATALOG_SOURCES,  /* key: source number, 4 bytes big-endian */
    CATALOG_SINKS,    /* key: source number, sink number, 4 bytes big-endian each */
    CATALOG_VERSIONS, /* key: 's' or 'k', number, version number */
    CATALOG_TOKENS,   /* key: SHA-256 of the token */
    CATALOG_TASKS,    /* key: task id */
    CATALOG_AUDIT,    /* key: time, 8 bytes big-endian, counter */
    CATALOG_META,     /* key: name */
} Collection;

/* Keys have 1 to 510 bytes: -EINVAL when not; a longer one is simply not found. A damaged document
 * is -EBADMSG. */
int catalog_put(Txn *txn, Collection collection, Span key, Span document, Error *error);
enum { CATALOG_NOT_FOUND = 1 };
int catalog_get(Txn *txn, Collection collection, Span key, Span *ret_document,
                Error *error);                                               /* valid until the transaction ends or writes */
int catalog_remove(Txn *txn, Collection collection, Span key, Error *error); /* 0 also when it was not there */
/* A walk leaves damaged documents out, with a log line and a count; in the place of a damaged
 * definition stands its newest version. */
typedef int (*CatalogVisit)(void *context, Span key, Span document, Error *error); /* < 0 ends the walk; must not write */
int catalog_visit(Txn *txn, Collection collection, Span prefix, CatalogVisit visit, void *context, Error *error); /* in key order */

/* In CATALOG_META: {"source", "sink"}, the numbers that the next ones get. */
#define CATALOG_NUMBERS "control.numbers"
/* The number that the next sink gets; UINT32_MAX: it is not known. */
int catalog_next_sink(Txn *txn, uint32_t *ret_number, Error *error);
