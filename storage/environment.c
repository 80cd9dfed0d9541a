#include "storage/environment.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/files.h"
#include "base/log.h"
#include "storage/environment_private.h"

/* Readers are short transactions of the loops, the stager, the loaders and the admin loop; a slot
 * costs 64 bytes. */
#define READERS_MAX 512
#define DATABASES_MAX 16
/* LMDB reports a write that the file system cut short as EIO; with less than this left that means a
 * full disk. */
#define DISK_FULL_BYTES (1u << 20)
/* Blocks are reserved in steps of this. */
#define RESERVE_STEP (8u << 20)

static const char *const database_names[DB_COUNT_] = {
    [DB_LOG] = "log",         [DB_CATALOG] = "catalog",         [DB_FILES] = "files",
    [DB_CURSORS] = "cursors", [DB_IDEMPOTENCY] = "idempotency", [DB_STATISTICS] = "statistics",
    [DB_REJECTS] = "rejects",
};

int db_errno(int code) {
    switch (code) {
    case MDB_MAP_FULL: return -ENOSPC;
    case MDB_TXN_FULL: return -E2BIG;
    case MDB_KEYEXIST: return -EEXIST;
    case MDB_READERS_FULL: return -EAGAIN;
    case MDB_BAD_TXN:
    case MDB_BAD_VALSIZE:
    case MDB_BAD_DBI: return -EINVAL;
    default: return code > 0 ? -code : -EILSEQ;
    }
}

static int sync_folder(const char *path, Error *error) {
    Files *files;
    int result = files_open(path, &files, error);
    if (result < 0) return result;
    result = files->sync_directory(files, "", error);
    files_free(files);
    return result;
}

/* LMDB makes data.mdb but neither its folder nor the entries in it durable. */
static int make_folder(const char *path, Error *error) {
    /* Also when it exists: an earlier start may have made it and died before its parent was
     * synced. */
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return error_set(error, -errno, "cannot create the folder \"%s\": %s", path, strerrordesc_np(errno));
    const char *slash = strrchr(path, '/');
    _cleanup_free_ char *parent = !slash ? strdup(".") : slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
    check(parent);
    return sync_folder(parent, error);
}

static int open_databases(Environment *environment, bool create, Error *error) {
    MDB_txn *txn;
    int code = mdb_txn_begin(environment->env, NULL, create ? 0 : MDB_RDONLY, &txn);
    if (code) return db_error(error, code, "cannot begin a transaction");
    for (int i = 0; i < DB_COUNT_; i++) {
        code = mdb_dbi_open(txn, database_names[i], create ? MDB_CREATE : 0, &environment->databases[i]);
        if (code == 0) continue;
        mdb_txn_abort(txn);
        if (code == MDB_NOTFOUND && !create) return DB_NOT_FOUND;
        return db_error(error, code, "cannot open a database");
    }
    /* An abort would close the handles again. */
    code = mdb_txn_commit(txn);
    return code ? db_error(error, code, "cannot create the databases") : 0;
}

/* Pages of every tree, the free list's too: all that is not free. Constant time, unlike a walk over
 * the free list. */
static uint64_t used_pages(Environment *environment, MDB_txn *txn) {
    uint64_t pages = 2; /* the two meta pages */
    MDB_stat stat;
    for (MDB_dbi dbi = 0; dbi < 2; dbi++)
        if (mdb_stat(txn, dbi, &stat) == 0) pages += stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
    for (int i = 0; i < DB_COUNT_; i++)
        if (mdb_stat(txn, environment->databases[i], &stat) == 0)
            pages += stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
    return pages;
}

static int measure(Environment *environment, Error *error) {
    MDB_envinfo info;
    MDB_stat stat;
    MDB_txn *txn;
    int code = mdb_env_info(environment->env, &info);
    if (code == 0) code = mdb_env_stat(environment->env, &stat);
    if (code == 0) code = mdb_txn_begin(environment->env, NULL, MDB_RDONLY, &txn);
    if (code) return db_error(error, code, "cannot measure the environment");
    environment->page_bytes = stat.ms_psize;
    atomic_store(&environment->map_bytes, info.me_mapsize);
    atomic_store(&environment->used_bytes, used_pages(environment, txn) * stat.ms_psize);
    mdb_txn_abort(txn);
    return 0;
}

static int open_env(Environment *environment, const EnvironmentOptions *options, Error *error) {
    int code = mdb_env_create(&environment->env);
    if (code) return db_error(error, code, "cannot create an environment");
    if (options->map_bytes) {
        uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
        if (options->map_bytes > SIZE_MAX - page) return error_set(error, -EINVAL, "the map is too large");
        code = mdb_env_set_mapsize(environment->env, (size_t)((options->map_bytes + page - 1) / page * page));
    }
    if (code == 0) code = mdb_env_set_maxdbs(environment->env, DATABASES_MAX);
    if (code == 0) code = mdb_env_set_maxreaders(environment->env, READERS_MAX);
    if (code) return db_error(error, code, "cannot set up the environment");

    /* MDB_NOTLS: a read transaction belongs to its Txn, not to its thread, so that one thread may
     * run all roles (as the simulation does) and a thread that ends leaves no slot behind. */
    code = mdb_env_open(environment->env, options->path, MDB_NOTLS | (options->no_sync ? MDB_NOSYNC | MDB_NOMETASYNC : 0u), 0600);
    if (code == 0) code = mdb_reader_check(environment->env, NULL);
    if (code == 0) return 0;
    if (code > 0) return error_set(error, -code, "cannot open the environment \"%s\": %s", options->path, strerrordesc_np(code));
    return error_set(error, -EILSEQ,
                     "\"%s\" is not an environment of this program, or it is damaged (%s): check it with `sluice verify`, put back a good "
                     "copy of it, or move it and staging/ away to start empty",
                     options->path, mdb_strerror(code));
}

static bool is_mine(const Environment *environment) {
    return atomic_load(&environment->writing) && pthread_equal(atomic_load(&environment->write_thread), pthread_self());
}

/* ---- how it is read -------------------------------------------------------------------------- */

/* LMDB does not say where its map lies; any value of it does. */
static bool map_around(const void *inside, uintptr_t *ret_start, uintptr_t *ret_end) {
    FILE *maps = fopen("/proc/self/maps", "re");
    if (!maps) return false;
    char *line = NULL;
    size_t room = 0;
    bool found = false;
    while (!found && getline(&line, &room, maps) > 0) {
        char *rest;
        uintptr_t start = strtoul(line, &rest, 16), end = *rest == '-' ? strtoul(rest + 1, NULL, 16) : 0;
        found = start <= (uintptr_t)inside && (uintptr_t)inside < end;
        if (!found) continue;
        *ret_start = start;
        *ret_end = end;
    }
    free(line);
    (void)fclose(maps);
    return found;
}

void environment_reads(Environment *environment, bool scattered) {
    MDB_txn *txn;
    MDB_val key = {.mv_data = (void *)(uintptr_t)database_names[DB_LOG], .mv_size = strlen(database_names[DB_LOG])}, value;
    if (mdb_txn_begin(environment->env, NULL, MDB_RDONLY, &txn) != 0) return;
    uintptr_t start, end;
    if (mdb_get(txn, 1, &key, &value) == 0 && map_around(value.mv_data, &start, &end))
        (void)madvise((void *)start, end - start, scattered ? MADV_RANDOM : MADV_NORMAL);
    mdb_txn_abort(txn);
}

/* ---- a file that is too short ---------------------------------------------------------------- */

/* Free pages from `first` on, as the list of free pages says. Touches pages that may not be there:
 * in a process of its own. */
static uint64_t count_free_pages(const char *path, uint64_t first) {
    MDB_env *env;
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val key, value;
    uint64_t count = 0;
    bool open = mdb_env_create(&env) == 0 && mdb_env_open(env, path, MDB_RDONLY | MDB_NOLOCK, 0600) == 0 &&
                mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) == 0 && mdb_cursor_open(txn, 0, &cursor) == 0;
    if (!open) return 0;
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
        /* A list is its length and the page numbers. */
        const char *list = value.mv_data;
        size_t pages = 0;
        memcpy(&pages, list, sizeof pages);
        for (size_t i = 1; i <= pages && (i + 1) * sizeof pages <= value.mv_size; i++) {
            size_t page;
            memcpy(&page, list + i * sizeof page, sizeof page);
            if (page >= first) count++;
        }
    }
    return count; /* the process ends here, and everything with it */
}

/* Whether all pages from `first` to `last` are free. LMDB reads its map, and a read behind the end
 * of the file is SIGBUS. */
static bool missing_are_free(const char *path, uint64_t first, uint64_t last) {
    pid_t child = fork();
    if (child == 0) {
        (void)signal(SIGBUS, SIG_DFL);
        (void)signal(SIGSEGV, SIG_DFL);
        _exit(count_free_pages(path, first) == last - first + 1 ? 0 : 1);
    }
    int status = 0;
    pid_t ended = -1;
    do ended = child > 0 ? waitpid(child, &status, 0) : -1;
    while (ended < 0 && child > 0 && errno == EINTR);
    return ended > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Before the first transaction: is the file as long as its last page needs? Pages that were freed
 * before they were ever written may be missing. */
static int check_length(Environment *environment, const char *path, Error *error) {
    MDB_envinfo info;
    MDB_stat stat;
    mdb_filehandle_t fd;
    struct stat status;
    int code = mdb_env_info(environment->env, &info);
    if (code == 0) code = mdb_env_stat(environment->env, &stat);
    if (code == 0) code = mdb_env_get_fd(environment->env, &fd);
    if (code == 0 && fstat(fd, &status) < 0) code = errno;
    if (code) return db_error(error, code, "cannot measure the environment");
    uint64_t pages = (uint64_t)status.st_size / stat.ms_psize, wanted = (uint64_t)info.me_last_pgno + 1;
    if (pages >= wanted || missing_are_free(path, pages, wanted - 1)) return 0;
    return error_set(error, -EILSEQ,
                     "\"%s/data.mdb\" is cut off: it has %" PRIu64 " bytes, and its last page ends at %" PRIu64
                     ": put back a good copy of it, or move it and staging/ away to start empty",
                     path, (uint64_t)status.st_size, wanted * stat.ms_psize);
}

/* With a map that is used up not even deleting works: pages are copied before they are freed. */
static int widen_map(Environment *environment, uint64_t reserve_bytes, Error *error) {
    MDB_envinfo info;
    MDB_stat stat;
    int code = mdb_env_info(environment->env, &info);
    if (code == 0) code = mdb_env_stat(environment->env, &stat);
    if (code) return db_error(error, code, "cannot measure the environment");
    uint64_t used = ((uint64_t)info.me_last_pgno + 1) * stat.ms_psize;
    uint64_t least = (used + reserve_bytes + stat.ms_psize - 1) / stat.ms_psize * stat.ms_psize;
    if (info.me_mapsize >= least) return 0;
    code = mdb_env_set_mapsize(environment->env, (size_t)least); /* no transaction is open yet */
    return code ? db_error(error, code, "cannot make the map larger") : 0;
}

static int sync_new(Environment *environment, Error *error) {
    int code = mdb_env_sync(environment->env, 1);
    return code ? db_error(error, code, "cannot sync a new environment") : 0;
}

static int open_all(Environment *environment, const EnvironmentOptions *options, Error *error) {
    int result = make_folder(options->path, error);
    if (result == 0) result = open_env(environment, options, error);
    if (result < 0) return result;
    page_guard_begin(environment->env, options->path);
    result = check_length(environment, options->path, error);
    if (result == 0) result = widen_map(environment, options->reserve_bytes, error);
    if (result < 0) return result;
    page_guard_begin(environment->env, options->path); /* the map may be another one */

    MDB_envinfo info;
    check(mdb_env_info(environment->env, &info) == 0);
    environment->is_new = info.me_last_txnid == 0;
    /* Also when the last start made the folder and died here. The meta pages, before other pages
     * come behind them: a new file that is not whole has nothing else. */
    result = sync_folder(options->path, error);
    if (result == 0 && environment->is_new && !options->no_sync) result = sync_new(environment, error);
    if (result == 0) result = open_databases(environment, false, error);
    if (result == DB_NOT_FOUND) {
        result = failpoint_error("storage.before-create", error);
        if (result == 0) result = open_databases(environment, true, error);
    }
    if (result == 0) result = measure(environment, error);
    return result;
}

int environment_open(const EnvironmentOptions *options, Environment **ret_environment, Error *error) {
    check(options->path && *options->path);
    Environment *environment = calloc(1, sizeof *environment);
    check(environment);
    environment->path = strdup(options->path);
    check(environment->path);
    environment->checksum = checksum_new();
    environment->reserves = !options->no_sync;
    int result = open_all(environment, options, error);
    if (result < 0) {
        environment_close(environment);
        return result;
    }
    *ret_environment = environment;
    return 0;
}

void environment_close(Environment *environment) {
    if (!environment) return;
    check(atomic_load(&environment->open_txns) == 0);
    page_guard_end();
    if (environment->env) mdb_env_close(environment->env);
    checksum_free(environment->checksum);
    free(environment->path);
    free(environment);
}

bool environment_is_new(const Environment *environment) {
    return environment->is_new;
}

bool environment_is_broken(const Environment *environment) {
    return atomic_load(&environment->broken);
}

void environment_usage(Environment *environment, uint64_t *ret_used_bytes, uint64_t *ret_map_bytes) {
    *ret_used_bytes = atomic_load(&environment->used_bytes);
    *ret_map_bytes = atomic_load(&environment->map_bytes);
}

int environment_reserve(Environment *environment, uint64_t bytes) {
    check(!is_mine(environment));
    MDB_envinfo info;
    if (!environment->reserves || mdb_env_info(environment->env, &info)) return 0;
    uint64_t used_end = ((uint64_t)info.me_last_pgno + 1) * environment->page_bytes, map = atomic_load(&environment->map_bytes);
    if (used_end > map) return 0;
    uint64_t end = bytes < map - used_end ? used_end + bytes : map;
    if (end <= environment->reserved_end) return 0;

    mdb_filehandle_t fd;
    if (mdb_env_get_fd(environment->env, &fd)) return 0;
    uint64_t ends[] = {map - end > RESERVE_STEP ? end + RESERVE_STEP : map, end};
    for (size_t i = 0; i < 2; i++) {
        uint64_t from = environment->reserved_end;
        int r;
        do r = fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)(ends[i] - from));
        while (r < 0 && errno == EINTR);
        if (r == 0) {
            environment->reserved_end = ends[i];
            return 0;
        }
        if (errno == ENOSPC || errno == EDQUOT) continue;
        /* Not possible here: a full disk is then met by a commit, which takes care of it or ends
         * the process. */
        environment->reserves = false;
        return 0;
    }
    return -ENOSPC;
}

static void set_broken(Environment *environment) {
    if (!atomic_exchange(&environment->broken, true))
        log_error("the environment \"%s\" accepts no more writes until the next start: a commit failed", environment->path);
}

bool txn_may_write(const Txn *txn) {
    return txn->txn && txn->writes && txn == &txn->environment->write_txn && is_mine(txn->environment);
}

/* A write transaction belongs to one thread; one that ended is nobody's. */
static bool may_read(const Txn *txn) {
    return txn->txn && (!txn->writes || is_mine(txn->environment));
}

int txn_begin_write(Environment *environment, Txn **ret_txn, Error *error) {
    if (environment_is_broken(environment))
        return error_set(error, -EROFS, "the environment \"%s\" is closed for writing since a commit failed", environment->path);
    /* LMDB would wait for this very thread. */
    check(!is_mine(environment));
    MDB_txn *mdb_txn;
    int code = mdb_txn_begin(environment->env, NULL, 0, &mdb_txn);
    if (code) {
        if (code == MDB_PANIC) set_broken(environment);
        return db_error(error, code, "cannot begin a write transaction");
    }
    /* LMDB lets one write transaction in, and the one before it has left. */
    check(!atomic_load(&environment->writing) && !environment->write_txn.txn);
    atomic_fetch_add(&environment->open_txns, 1);
    atomic_store(&environment->write_thread, pthread_self());
    atomic_store(&environment->writing, true);
    environment->write_txn = (Txn){.environment = environment, .txn = mdb_txn, .writes = true};
    *ret_txn = &environment->write_txn;
    return 0;
}

int txn_begin_read(Environment *environment, Txn **ret_txn, Error *error) {
    Txn *txn = malloc(sizeof *txn);
    check(txn);
    *txn = (Txn){.environment = environment};
    int code = mdb_txn_begin(environment->env, NULL, MDB_RDONLY, &txn->txn);
    if (code) {
        free(txn);
        return db_error(error, code, "cannot begin a read transaction");
    }
    atomic_fetch_add(&environment->open_txns, 1);
    *ret_txn = txn;
    return 0;
}

/* The last step before LMDB gives the writer's mutex back: another thread may hold it right
 * after. */
static void leave(Txn *txn) {
    Environment *environment = txn->environment;
    check(may_read(txn) && atomic_load(&environment->open_txns) > 0);
    txn->txn = NULL;
    if (txn->writes)
        atomic_store(&environment->writing, false);
    else
        free(txn);
    atomic_fetch_sub(&environment->open_txns, 1);
}

static void end(Txn *txn) {
    MDB_txn *mdb_txn = txn->txn;
    leave(txn);
    mdb_txn_abort(mdb_txn);
}

/* Whether a failed commit left everything as it was before: LMDB wrote pages that no meta page
 * points to, and no meta page. */
static bool disk_was_full(Environment *environment, int code) {
    struct statvfs space;
    if (code != ENOSPC && code != EDQUOT) {
        if (code != EIO || statvfs(environment->path, &space) < 0) return false;
        if ((uint64_t)space.f_bavail * space.f_frsize >= DISK_FULL_BYTES) return false;
    }
    /* A meta page that could not be written makes LMDB refuse every transaction (MDB_PANIC). */
    MDB_txn *probe;
    if (mdb_txn_begin(environment->env, NULL, 0, &probe)) return false;
    mdb_txn_abort(probe);
    return true;
}

static int commit_failed(Environment *environment, int code, Error *error) {
    /* Found before anything was written. */
    if (code == MDB_MAP_FULL || code == MDB_TXN_FULL || code == MDB_BAD_TXN || code == ENOMEM)
        return db_error(error, code, "cannot commit");
    if (disk_was_full(environment, code)) return error_set(error, -ENOSPC, "cannot commit: the disk of \"%s\" is full", environment->path);
    set_broken(environment);
    return db_error(error, code, "cannot commit");
}

int txn_commit(Txn *take_txn, Error *error) {
    Environment *environment = take_txn->environment;
    check(may_read(take_txn));
    if (!take_txn->writes) {
        end(take_txn);
        return 0;
    }
    if (failpoint_hit("storage.before-commit")) {
        end(take_txn);
        set_broken(environment);
        return error_set(error, -EIO, "cannot commit: failpoint storage.before-commit");
    }

    MDB_txn *mdb_txn = take_txn->txn;
    uint64_t used_bytes = used_pages(environment, mdb_txn) * environment->page_bytes;
    check(used_bytes <= atomic_load(&environment->map_bytes));
    leave(take_txn);
    int code = mdb_txn_commit(mdb_txn);
    if (code) return commit_failed(environment, code, error);
    atomic_store(&environment->used_bytes, used_bytes);

    if (failpoint_hit("storage.after-commit")) {
        set_broken(environment);
        return error_set(error, -EIO, "cannot commit: failpoint storage.after-commit");
    }
    return 0;
}

void txn_abort(Txn *take_txn) {
    if (take_txn) end(take_txn);
}

static MDB_val value_of(Span span) {
    return (MDB_val){.mv_data = (void *)(uintptr_t)span.data, .mv_size = span.size};
}

static Span span_from(MDB_val value) {
    return (Span){.data = value.mv_data, .size = value.mv_size};
}

static MDB_dbi dbi_of(const Txn *txn, Database database) {
    check((size_t)database < DB_COUNT_ && may_read(txn));
    return txn->environment->databases[database];
}

int db_get(Txn *txn, Database database, Span key, Span *ret_value, Error *error) {
    MDB_val mdb_key = value_of(key), value;
    int code = mdb_get(txn->txn, dbi_of(txn, database), &mdb_key, &value);
    if (code == MDB_NOTFOUND) return DB_NOT_FOUND;
    if (code) return db_error(error, code, "cannot read");
    *ret_value = span_from(value);
    return 0;
}

static int put(Txn *txn, Database database, Span key, MDB_val *value, unsigned int flags, Error *error) {
    check(txn_may_write(txn) && key.size > 0);
    MDB_val mdb_key = value_of(key);
    int code = mdb_put(txn->txn, dbi_of(txn, database), &mdb_key, value, flags);
    if (code == MDB_MAP_FULL) return error_set(error, -ENOSPC, "the environment is full");
    if (code) return db_error(error, code, "cannot write");
    return 0;
}

int db_put(Txn *txn, Database database, Span key, Span value, Error *error) {
    MDB_val mdb_value = value_of(value);
    return put(txn, database, key, &mdb_value, 0, error);
}

int db_insert(Txn *txn, Database database, Span key, Span value, Error *error) {
    MDB_val mdb_value = value_of(value);
    return put(txn, database, key, &mdb_value, MDB_NOOVERWRITE, error);
}

int db_append_reserve(Txn *txn, Database database, Span key, size_t size, char **ret_value, Error *error) {
    MDB_val value = {.mv_size = size};
    int result = put(txn, database, key, &value, MDB_APPEND | MDB_RESERVE, error);
    if (result == 0) *ret_value = value.mv_data;
    return result;
}

int db_remove(Txn *txn, Database database, Span key, Error *error) {
    check(txn_may_write(txn) && key.size > 0);
    MDB_val mdb_key = value_of(key);
    int code = mdb_del(txn->txn, dbi_of(txn, database), &mdb_key, NULL);
    if (code == MDB_NOTFOUND) return DB_NOT_FOUND;
    if (code) return db_error(error, code, "cannot delete");
    return 0;
}

int db_cursor(Txn *txn, Database database, MDB_cursor **ret_cursor, Error *error) {
    int code = mdb_cursor_open(txn->txn, dbi_of(txn, database), ret_cursor);
    return code ? db_error(error, code, "cannot open a cursor") : 0;
}

int db_move(MDB_cursor *cursor, MDB_cursor_op operation, Span *key, Span *ret_value, Error *error) {
    MDB_val mdb_key = value_of(*key), value;
    int code = mdb_cursor_get(cursor, &mdb_key, &value, operation);
    if (code == MDB_NOTFOUND) return DB_NOT_FOUND;
    if (code) return db_error(error, code, "cannot read");
    *key = span_from(mdb_key);
    *ret_value = span_from(value);
    return 0;
}

int environment_copy(Environment *environment, int fd, Error *error) {
    int code = mdb_env_copyfd2(environment->env, fd, 0);
    return code == 0 ? 0 : db_error(error, code, "cannot copy the environment");
}
