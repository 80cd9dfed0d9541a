#include "storage/catalog.h"

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "base/log.h"
#include "base/metrics.h"
#include "storage/environment_private.h"
#include "storage/record.h"

#define VERSION 1
#define KEY_BYTES_MAX 510 /* LMDB takes 511, one is the collection */

/* First byte of a key in the database `catalog`. */
static const char kinds[] = {
    [CATALOG_SOURCES] = 'S', [CATALOG_SINKS] = 'K', [CATALOG_VERSIONS] = 'V', [CATALOG_TOKENS] = 'T',
    [CATALOG_TASKS] = 'J',   [CATALOG_AUDIT] = 'A', [CATALOG_META] = 'M',
};

typedef struct CatalogKey {
    char bytes[KEY_BYTES_MAX + 1];
    size_t size;
} CatalogKey;

static bool key_of(Collection collection, Span key, CatalogKey *ret_key) {
    check((size_t)collection < sizeof kinds);
    if (key.size > KEY_BYTES_MAX) return false;
    ret_key->bytes[0] = kinds[collection];
    if (key.size) memcpy(ret_key->bytes + 1, key.data, key.size);
    ret_key->size = key.size + 1;
    return true;
}

static Span span_of_key(const CatalogKey *key) {
    return (Span){.data = key->bytes, .size = key->size};
}

static int open_document(Collection collection, Span value, Span *ret_document, Error *error) {
    Cursor fields;
    int result = record_open(value, (uint8_t)kinds[collection], VERSION, "a catalog document", &fields, error);
    if (result < 0) return result;
    *ret_document = cursor_bytes(&fields, (size_t)(fields.end - fields.at));
    return 0;
}

int catalog_put(Txn *txn, Collection collection, Span key, Span document, Error *error) {
    check(txn_may_write(txn));
    CatalogKey full;
    if (key.size == 0 || !key_of(collection, key, &full))
        return error_set(error, -EINVAL, "a key of the catalog has 1 to %d bytes, not %zu", KEY_BYTES_MAX, key.size);
    _cleanup_(buffer_deinit) Buffer record = {0};
    record_begin(&record, (uint8_t)kinds[collection], VERSION);
    buffer_append_span(&record, document);
    record_seal(&record);
    return db_put(txn, DB_CATALOG, span_of_key(&full), buffer_span(&record), error);
}

int catalog_get(Txn *txn, Collection collection, Span key, Span *ret_document, Error *error) {
    CatalogKey full;
    Span value;
    if (key.size == 0 || !key_of(collection, key, &full)) return CATALOG_NOT_FOUND;
    int result = db_get(txn, DB_CATALOG, span_of_key(&full), &value, error);
    if (result != 0) return result == DB_NOT_FOUND ? CATALOG_NOT_FOUND : result;
    return open_document(collection, value, ret_document, error);
}

int catalog_remove(Txn *txn, Collection collection, Span key, Error *error) {
    check(txn_may_write(txn));
    CatalogKey full;
    if (key.size == 0 || !key_of(collection, key, &full)) return 0;
    int result = db_remove(txn, DB_CATALOG, span_of_key(&full), error);
    return result < 0 ? result : 0;
}

/* The newest version of a definition that can be read: stored in the same transaction as the
 * definition, with the same text. */
static int find_version(Txn *txn, Collection collection, Span key, Span *ret_document, Error *error) {
    bool is_source = collection == CATALOG_SOURCES && key.size == 4, is_sink = collection == CATALOG_SINKS && key.size == 8;
    if (!is_source && !is_sink) return DB_NOT_FOUND;
    char wanted[10] = {kinds[CATALOG_VERSIONS], is_source ? 's' : 'k'};
    memcpy(wanted + 2, key.data + key.size - 4, 4);
    memset(wanted + 6, 0xFF, 4);
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    Span at = {.data = wanted, .size = sizeof wanted}, value;
    int result = db_cursor(txn, DB_CATALOG, &cursor, error);
    if (result == 0) result = db_move(cursor, MDB_SET_RANGE, &at, &value, error);
    result = result < 0 ? result : db_move(cursor, result == 0 ? MDB_PREV : MDB_LAST, &at, &value, error);
    while (result == 0 && at.size == sizeof wanted && span_starts_with(at, (Span){.data = wanted, .size = 6})) {
        if (open_document(CATALOG_VERSIONS, value, ret_document, NULL) == 0) return 0;
        result = db_move(cursor, MDB_PREV, &at, &value, error);
    }
    return result < 0 ? result : DB_NOT_FOUND;
}

/* Damage costs this document only, and a definition not even that. */
static int replace_damaged(Txn *txn, Collection collection, Span key, Span *ret_document, const Error *why, Error *error) {
    static const char *const names[] = {"source", "sink", "version of a definition", "token", "task", "audit entry", "fact"};
    _Static_assert(sizeof names / sizeof *names == sizeof kinds, "a name for each kind");
    uint32_t number = key.size == 4 || key.size == 8 ? load_be32(key.data + key.size - 4) : 0;
    int result = find_version(txn, collection, key, ret_document, error);
    if (result < 0) return result;
    metrics_add(METRIC_DAMAGED_RECORDS, 1);
    if (result == 0)
        log_error("the definition of the %s number %u is damaged (%s): its newest version is used instead, nothing is lost",
                  names[collection], number, why->text);
    else
        log_error("a %s in the catalog is damaged (%s): it is left out", names[collection], why->text);
    return result;
}

int catalog_visit(Txn *txn, Collection collection, Span prefix, CatalogVisit visit, void *context, Error *error) {
    CatalogKey full;
    if (!key_of(collection, prefix, &full)) return 0;
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    Span key = span_of_key(&full), value, document;
    int result = db_cursor(txn, DB_CATALOG, &cursor, error);
    if (result == 0) result = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    while (result == 0 && span_starts_with(key, span_of_key(&full))) {
        Error why = {0};
        Span rest = {.data = key.data + 1, .size = key.size - 1};
        result = open_document(collection, value, &document, &why);
        if (result < 0) result = replace_damaged(txn, collection, rest, &document, &why, error);
        if (result == 0) result = visit(context, rest, document, error);
        if (result < 0) return result;
        result = db_move(cursor, MDB_NEXT, &key, &value, error);
    }
    return result < 0 ? result : 0;
}

int catalog_next_sink(Txn *txn, uint32_t *ret_number, Error *error) {
    Span document;
    *ret_number = UINT32_MAX;
    int result = catalog_get(txn, CATALOG_META, SPAN(CATALOG_NUMBERS), &document, error);
    if (result == CATALOG_NOT_FOUND || result == -EBADMSG) return 0;
    if (result < 0) return result;
    json_t *numbers = json_loadb(document.data, document.size, 0, NULL);
    json_int_t sink = json_integer_value(json_object_get(numbers, "sink"));
    json_decref(numbers);
    if (sink > 0 && sink <= UINT32_MAX) *ret_number = (uint32_t)sink;
    return 0;
}
