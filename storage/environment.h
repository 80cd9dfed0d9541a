/*
 * The one LMDB environment of a data directory. Opened once a process, never with MDB_WRITEMAP or
 * MDB_NOSYNC (tests may ask for no sync).
 *
 * Transactions: every write transaction is the writer thread's; read transactions are short and
 * belong to the thread that began them. A read transaction is not tied to its thread (MDB_NOTLS),
 * so one thread may have several, also beside its write transaction. At most one write transaction
 * at a time; a thread that begins a second one is a bug. After a failed commit of a write
 * transaction the environment counts as broken: each later begin for writing is -EROFS, since what
 * the disk holds is not known; the caller stops and starts again. The exception is -ENOSPC (map or
 * disk full): then nothing was committed for sure, and the environment stays usable.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

typedef struct Environment Environment;
typedef struct Txn Txn;

typedef struct EnvironmentOptions {
    const char *path; /* directory, made when missing (0700) */
    uint64_t
        map_bytes; /* most that the environment can hold; rounded up to pages; grows the file only when used. 0: as it was (new: 1 MB) */
    uint64_t reserve_bytes; /* the map is at least what is used and so much more, whatever map_bytes says */
    bool no_sync;           /* tests only */
} EnvironmentOptions;

/* -EILSEQ: not an environment, or damaged; the text says what to do. */
int environment_open(const EnvironmentOptions *options, Environment **ret_environment, Error *error);
void environment_close(Environment *environment);        /* NULL-safe; no transaction may be open */
bool environment_is_new(const Environment *environment); /* nothing was ever committed */
bool environment_is_broken(const Environment *environment);

int txn_begin_write(Environment *environment, Txn **ret_txn, Error *error);
int txn_begin_read(Environment *environment, Txn **ret_txn, Error *error);
/* Durable when it returns 0 (synced). Frees the transaction in every case. Failpoints:
 * storage.before-commit, storage.after-commit. */
int txn_commit(Txn *take_txn, Error *error);
void txn_abort(Txn *take_txn); /* ends a read transaction too; NULL-safe */

/*
 * Takes disk blocks for the next `bytes` behind the last page in use, as far as the map goes, so
 * that commits up to there do not meet a full disk. The file does not become longer by it. -ENOSPC:
 * the disk has no room for them (blocks taken before stay). 0 also where the file system cannot
 * reserve blocks. Between transactions, the thread that writes.
 */
int environment_reserve(Environment *environment, uint64_t bytes);

/*
 * Says of what is read next that it lies in single pages all over the file, as a few records of
 * each of very many sinks do: then a page that is not in memory is read alone, and not with the
 * megabytes around it. `scattered` false: as usual. Only makes things faster. Any thread.
 */
void environment_reads(Environment *environment, bool scattered);

/* Bytes of pages in use (free pages not counted) and of the map: the writer's view after its last
 * commit. Any thread, constant time. */
void environment_usage(Environment *environment, uint64_t *ret_used_bytes, uint64_t *ret_map_bytes);
