#include "storage/catalog.h"

#include <errno.h>
#include <string.h>

#include "storage/environment_private.h"
#include "storage/record.h"

#define VERSION 1
#define KEY_BYTES_MOST 510 /* LMDB takes 511, one is the collection */

/* First byte of a key in the database `catalog`. */
#define KIND_NUMBER 'n'
static const char kinds[] = {
    [CATALOG_SOURCES] = 'S', [CATALOG_SINKS] = 'K', [CATALOG_VERSIONS] = 'V', [CATALOG_TOKENS] = 'T',
    [CATALOG_TASKS] = 'J',   [CATALOG_AUDIT] = 'A', [CATALOG_META] = 'M',
};

typedef struct CatalogKey {
    char bytes[KEY_BYTES_MOST + 1];
    size_t size;
} CatalogKey;

static bool key_of(Collection collection, Span key, CatalogKey *ret_key) {
    check((size_t)collection < sizeof kinds);
    if (key.size > KEY_BYTES_MOST) return false;
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
    CatalogKey full;
    if (key.size == 0 || !key_of(collection, key, &full))
        return error_set(error, -EINVAL, "a key of the catalog has 1 to %d bytes, not %zu", KEY_BYTES_MOST, key.size);
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
    CatalogKey full;
    if (key.size == 0 || !key_of(collection, key, &full)) return 0;
    int result = db_remove(txn, DB_CATALOG, span_of_key(&full), error);
    return result < 0 ? result : 0;
}

int catalog_visit(Txn *txn, Collection collection, Span prefix, CatalogVisit visit, void *context, Error *error) {
    CatalogKey full;
    if (!key_of(collection, prefix, &full)) return 0;
    _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
    Span key = span_of_key(&full), value, document;
    int result = db_cursor(txn, DB_CATALOG, &cursor, error);
    if (result == 0) result = db_move(cursor, MDB_SET_RANGE, &key, &value, error);
    while (result == 0 && span_starts_with(key, span_of_key(&full))) {
        result = open_document(collection, value, &document, error);
        if (result == 0) result = visit(context, (Span){.data = key.data + 1, .size = key.size - 1}, document, error);
        if (result < 0) return result;
        result = db_move(cursor, MDB_NEXT, &key, &value, error);
    }
    return result < 0 ? result : 0;
}

int catalog_next_number(Txn *txn, Collection collection, uint32_t *ret_number, Error *error) {
    check(collection == CATALOG_SOURCES || collection == CATALOG_SINKS);
    char key_bytes[2] = {KIND_NUMBER, kinds[collection]};
    Span key = {.data = key_bytes, .size = sizeof key_bytes}, value;
    uint32_t last = 0;
    int result = db_get(txn, DB_CATALOG, key, &value, error);
    if (result < 0) return result;
    if (result == 0) {
        Cursor fields;
        result = record_open(value, KIND_NUMBER, VERSION, "the last number that was given", &fields, error);
        if (result < 0) return result;
        last = cursor_u32(&fields);
        result = record_read_whole(&fields, "the last number that was given", error);
        if (result < 0) return result;
    }
    if (last == UINT32_MAX) return error_set(error, -EOVERFLOW, "all numbers of sources or sinks were given");

    _cleanup_(buffer_deinit) Buffer record = {0};
    record_begin(&record, KIND_NUMBER, VERSION);
    buffer_put_u32(&record, last + 1);
    record_seal(&record);
    result = db_put(txn, DB_CATALOG, key, buffer_span(&record), error);
    if (result == 0) *ret_number = last + 1;
    return result;
}
