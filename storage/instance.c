#include "storage/instance.h"

#include <errno.h>

#include "storage/catalog.h"
#include "storage/environment_private.h"
#include "storage/ledger.h"
#include "storage/pack.h"

#define KEY SPAN("instance") /* in CATALOG_META */

/* An environment that holds anything had an instance: it is written before all else. */
static int holds_anything(Txn *txn, bool *ret_holds, Error *error) {
    static const Database databases[] = {DB_CATALOG, DB_FILES, DB_LOG, DB_STATISTICS};
    *ret_holds = false;
    for (size_t i = 0; i < sizeof databases / sizeof *databases && !*ret_holds; i++) {
        _cleanup_db_cursor_ MDB_cursor *cursor = NULL;
        Span key = {0}, value;
        int r = db_cursor(txn, databases[i], &cursor, error);
        if (r == 0) r = db_move(cursor, MDB_FIRST, &key, &value, error);
        if (r < 0) return r;
        *ret_holds = r == 0;
    }
    return 0;
}

int instance_read(Environment *environment, Uuid *ret_instance, Error *error) {
    Txn *txn;
    Span document;
    Uuid instance = {0};
    int r = txn_begin_read(environment, &txn, error);
    if (r < 0) return r;
    r = catalog_get(txn, CATALOG_META, KEY, &document, error);
    if (r == 0) {
        bool quoted = document.size == UUID_TEXT_SIZE + 2 && document.data[0] == '"' && document.data[document.size - 1] == '"';
        if (!quoted || !uuid_parse((Span){.data = document.data + 1, .size = UUID_TEXT_SIZE}, &instance))
            r = error_set(error, -EBADMSG, "it is not an id");
    }
    bool holds = false;
    if (r == CATALOG_NOT_FOUND) r = holds_anything(txn, &holds, error);
    if (r == 0 && holds) r = error_set(error, -EBADMSG, "it is missing");
    txn_abort(txn);
    if (r == -EBADMSG) return INSTANCE_DAMAGED;
    if (r < 0) return r;
    *ret_instance = instance; /* nil, unless it was read */
    return 0;
}

int instance_write(Environment *environment, const Uuid *instance, Error *error) {
    Txn *txn;
    char document[UUID_TEXT_SIZE + 2];
    check(!uuid_is_nil(instance));
    document[0] = document[UUID_TEXT_SIZE + 1] = '"';
    uuid_format(instance, document + 1);
    int r = txn_begin_write(environment, &txn, error);
    if (r < 0) return r;
    r = catalog_put(txn, CATALOG_META, KEY, (Span){.data = document, .size = sizeof document}, error);
    if (r == 0) return txn_commit(txn, error);
    txn_abort(txn);
    return r;
}

typedef struct EvidenceSearch {
    Files *files;
    const Uuid *instance;
    InstanceEvidence evidence;
} EvidenceSearch;

enum { ENOUGH = -ECANCELED }; /* ends the walk, is not passed up */

static int look_at_pack(void *context, const PackRecord *pack, Error *error) {
    EvidenceSearch *search = context;
    PackDirectory directory;
    char path[64];
    pack_path(&pack->id, path);
    if (pack_read_directory(search->files, path, &directory, NULL) < 0) return 0;
    bool is_it = uuid_equal(&directory.id, &pack->id);
    if (is_it) search->evidence = uuid_equal(&directory.instance, search->instance) ? INSTANCE_PROVEN : INSTANCE_FOREIGN;
    pack_directory_deinit(&directory);
    return is_it ? ENOUGH : 0;
}

int instance_look_for(Environment *environment, Files *files, const Uuid *instance, InstanceEvidence *ret_evidence, Error *error) {
    EvidenceSearch search = {.files = files, .instance = instance, .evidence = INSTANCE_UNPROVEN};
    Txn *txn;
    int r = txn_begin_read(environment, &txn, error);
    if (r < 0) return r;
    /* A record that is damaged, too, ends a walk; there is another one to look at. */
    r = ledger_visit_waiting_packs(txn, look_at_pack, &search, error);
    if (r == 0 || r == -EBADMSG) r = ledger_visit_packs(txn, look_at_pack, &search, error);
    txn_abort(txn);
    if (r < 0 && r != -EBADMSG && r != ENOUGH) return r;
    *ret_evidence = search.evidence;
    return 0;
}
