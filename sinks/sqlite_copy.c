#include "sinks/sqlite_copy.h"

#include <errno.h>
#include <sqlite3.h>
#include <string.h>

#define PAGES_A_STEP 256
#define BUSY_MS 10000

static int failure(sqlite3 *database, int code, const char *path, Error *error) {
    int number = sqlite3_system_errno(database);
    if ((code & 0xff) == SQLITE_FULL) number = ENOSPC;
    return error_set(error, number > 0 ? -number : -EIO, "cannot copy the database \"%s\": %s", path, sqlite3_errmsg(database));
}

static int open_file(const char *path, int flags, sqlite3 **ret_database, Error *error) {
    int code = sqlite3_open_v2(path, ret_database, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (code != SQLITE_OK) return failure(*ret_database, code, path, error);
    (void)sqlite3_busy_timeout(*ret_database, BUSY_MS);
    return 0;
}

static int copy(sqlite3 *source, const char *from, sqlite3 *target, const char *to, const atomic_bool *cancel, Error *error) {
    /* One read transaction over all steps: otherwise each import would begin the copy again. */
    int code = sqlite3_exec(source, "BEGIN; SELECT 1 FROM sqlite_master LIMIT 1", NULL, NULL, NULL);
    if (code != SQLITE_OK) return failure(source, code, from, error);
    sqlite3_backup *backup = sqlite3_backup_init(target, "main", source, "main");
    if (!backup) return failure(target, sqlite3_errcode(target), to, error);
    bool canceled = false;
    do {
        canceled = cancel && atomic_load(cancel);
        code = canceled ? SQLITE_DONE : sqlite3_backup_step(backup, PAGES_A_STEP);
    } while (code == SQLITE_OK);
    int last = sqlite3_backup_finish(backup);
    if (canceled) return error_set(error, -ECANCELED, "the gateway is shutting down");
    if (code != SQLITE_DONE || last != SQLITE_OK) return failure(target, last != SQLITE_OK ? last : code, to, error);
    return 0;
}

int sqlite_copy(const char *from, const char *to, const atomic_bool *cancel, Error *error) {
    sqlite3 *source = NULL, *target = NULL;
    int r = open_file(from, SQLITE_OPEN_READONLY, &source, error);
    if (r == 0) r = open_file(to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &target, error);
    if (r == 0) r = copy(source, from, target, to, cancel, error);
    if (sqlite3_close(target) != SQLITE_OK && r == 0) r = error_set(error, -EIO, "cannot close the copy \"%s\"", to);
    (void)sqlite3_close(source);
    return r;
}
