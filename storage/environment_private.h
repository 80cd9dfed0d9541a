/*
 * What the modules of storage share about the environment: its databases, and LMDB behind spans and
 * return codes. Only storage/ includes this, and lmdb.h.
 */
#pragma once

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/checksum.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/span.h"
#include "storage/environment.h"
#include "storage/page_guard.h"

/* The order is only ours; on disk they go by name. */
typedef enum Database {
    DB_LOG,
    DB_CATALOG,
    DB_FILES,
    DB_CURSORS,
    DB_IDEMPOTENCY,
    DB_STATISTICS,
    DB_REJECTS,
    DB_COUNT_,
} Database;

struct Txn {
    Environment *environment;
    MDB_txn *txn;
    bool writes;
};

struct Environment {
    MDB_env *env;
    char *path;
    MDB_dbi databases[DB_COUNT_];
    size_t page_bytes;
    bool is_new;
    atomic_bool broken;
    atomic_uint open_txns;
    _Atomic uint64_t used_bytes, map_bytes; /* as of the last commit */
    uint64_t reserved_end;                  /* writer: the file has blocks up to here */
    bool reserves;                          /* writer: the file system can do that, as far as known */

    /* writer: LMDB's own mutex guards these while a write transaction is open */
    Txn write_txn;
    _Atomic pthread_t write_thread;
    atomic_bool writing;
    Checksum *checksum; /* scratch of commit_log_append */
};

/* Is it a write transaction that is open, on the thread that began it? What every function that
 * writes asserts first. */
bool txn_may_write(const Txn *txn);

/* LMDB's own codes become an errno: MDB_MAP_FULL -ENOSPC, damage -EILSEQ, too much in one
 * transaction -E2BIG. */
int db_errno(int code);
#define db_error(error, code, what) error_set((error), db_errno(code), "%s: %s%s", (what), mdb_strerror(code), page_guard_advice(code))

enum { DB_NOT_FOUND = 1 };
/* `ret_value` points into the map: valid until the transaction ends or writes. */
int db_get(Txn *txn, Database database, Span key, Span *ret_value, Error *error);
int db_put(Txn *txn, Database database, Span key, Span value, Error *error);
int db_insert(Txn *txn, Database database, Span key, Span value, Error *error); /* -EEXIST when the key is there */
/* For a value that the caller fills in at once, before anything else is written; its key comes
 * after every other: -EEXIST when not. */
int db_append_reserve(Txn *txn, Database database, Span key, size_t size, char **ret_value, Error *error);
int db_remove(Txn *txn, Database database, Span key, Error *error); /* 0 or DB_NOT_FOUND */

/* Cursors of a write transaction must be closed before it ends. */
int db_cursor(Txn *txn, Database database, MDB_cursor **ret_cursor, Error *error);
/* MDB_SET_RANGE reads *key first. 0 or DB_NOT_FOUND. */
int db_move(MDB_cursor *cursor, MDB_cursor_op operation, Span *key, Span *ret_value, Error *error);
DEFINE_CLEANUP(MDB_cursor, mdb_cursor_close)
#define _cleanup_db_cursor_ _cleanup_(cleanup_mdb_cursor_close)

static inline bool span_starts_with(Span span, Span prefix) {
    return span.size >= prefix.size && (prefix.size == 0 || memcmp(span.data, prefix.data, prefix.size) == 0);
}
