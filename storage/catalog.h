/*
 * The catalog: documents (JSON text) by collection and key. It has definitions with their versions,
 * API tokens (by hash), tasks and the audit. Only the writer's thread writes; any thread may read.
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

/* Stores a document. A key has 1 to 510 bytes, otherwise -EINVAL. catalog_get does not find longer
 * keys. A damaged document is -EBADMSG. */
int catalog_put(Txn *txn, Collection collection, Span key, Span document, Error *error);
enum { CATALOG_NOT_FOUND = 1 };
int catalog_get(Txn *txn, Collection collection, Span key, Span *ret_document,
                /* the document is valid until the transaction ends or writes */
                Error *error);
int catalog_remove(Txn *txn, Collection collection, Span key, Error *error); /* also 0 if there is no such document */
/* A walk leaves out damaged documents, logs them and counts them. Instead of a damaged definition
 * it visits the newest version of that definition. */
typedef int (*CatalogVisit)(void *context, Span key, Span document, Error *error); /* a result < 0 ends the walk; must not write */
int catalog_visit(Txn *txn, Collection collection, Span prefix, CatalogVisit visit, void *context, Error *error); /* in key order */

/* In CATALOG_META: {"source", "sink"}, the numbers of the next source and sink. */
#define CATALOG_NUMBERS "control.numbers"
/* Returns the number of the next sink; UINT32_MAX if it is not known. */
int catalog_next_sink(Txn *txn, uint32_t *ret_number, Error *error);
