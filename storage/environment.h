/*
 * The LMDB environment of a data directory. A process opens it once, never with MDB_WRITEMAP or
 * MDB_NOSYNC (tests may disable the sync).
 *
 * Transactions: all write transactions belong to the writer's thread. Read transactions are short
 * and belong to the thread that began them. A read transaction is not bound to its thread
 * (MDB_NOTLS), so one thread may have several, also during its write transaction. There is at most
 * one write transaction at a time; a thread that begins a second one is a bug. After a failed
 * commit of a write transaction the environment counts as broken: each later begin for writing is
 * -EROFS, because it is not known what is on the disk. Then the caller stops and starts again. The
 * exception is -ENOSPC (map or disk full): then nothing was committed, and the environment stays
 * usable.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

typedef struct Environment Environment;
typedef struct Txn Txn;

typedef struct EnvironmentOptions {
    const char *path; /* directory; created if it is missing (0700) */
    uint64_t
        /* maximum size of the environment, rounded up to pages; the file grows only when space is
         * used. 0: as before (new: 1 MB) */
        map_bytes;
    uint64_t reserve_bytes; /* the map is at least as large as the used space and this reserve, whatever map_bytes is */
    bool no_sync;           /* tests only */
} EnvironmentOptions;

/* Opens or creates the environment. -EILSEQ: it is not an environment, or is damaged; the text says
 * what to do. */
int environment_open(const EnvironmentOptions *options, Environment **ret_environment, Error *error);
void environment_close(Environment *environment);        /* NULL-safe; no transaction may be open */
bool environment_is_new(const Environment *environment); /* nothing was ever committed */
bool environment_is_broken(const Environment *environment);

int txn_begin_write(Environment *environment, Txn **ret_txn, Error *error);
int txn_begin_read(Environment *environment, Txn **ret_txn, Error *error);
/* Commits. If it returns 0, the transaction is durable (synced). Frees the transaction in any case.
 * Failpoints: storage.before-commit, storage.after-commit. */
int txn_commit(Txn *take_txn, Error *error);
void txn_abort(Txn *take_txn); /* also ends a read transaction; NULL-safe */

/*
 * Reserves disk blocks for the next `bytes` behind the last page in use, up to the size of the map.
 * So commits up to that place do not fail because the disk is full. The length of the file does not
 * change. -ENOSPC: the disk has no room for them (blocks that were reserved before stay). Also
 * returns 0 if the file system cannot reserve blocks. Call it between transactions, on the thread
 * that writes.
 */
int environment_reserve(Environment *environment, uint64_t bytes);

/*
 * Says that the next reads need single pages from all over the file, such as a few records of each
 * of very many sinks. Then a page that is not in memory is read alone, and not with the megabytes
 * around it. With `scattered` false, reads are as usual. This only affects speed. Any thread.
 */
void environment_reads(Environment *environment, bool scattered);

/* Returns the bytes of the pages in use (without free pages) and of the map, as they were after the
 * writer's last commit. Any thread, constant time. */
void environment_usage(Environment *environment, uint64_t *ret_used_bytes, uint64_t *ret_map_bytes);

/*
 * Writes a copy of the environment, as it is at one moment, to a pipe or file, as the contents of
 * data.mdb. The moment is before the first byte is written. It is a long read transaction: pages
 * that are freed meanwhile are not used again. It does not sync. Any thread but those with a
 * transaction. -EPIPE: the reader of the pipe has closed it (SIGPIPE must be ignored).
 */
int environment_copy(Environment *environment, int fd, Error *error);
