#include "sinks/sqlite_test.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "sinks/sqlite_lock.h"

static SinkFault fault(Error *error, SinkFault what, const char *name, const char *path, const char *words, int code) {
    (void)error_set(error, code < 0 ? code : -EINVAL, "Connection \"%s\" (%s): %s%s%s.", name, path, words, code < 0 ? ": " : "",
                    code < 0 ? strerrordesc_np(-code) : "");
    return what;
}

/* The folder takes the file, when it is made, and the write-ahead log at each import. */
static SinkFault test_folder(const char *name, const char *path, Error *error) {
    _cleanup_free_ char *folder = strdup(path);
    check(folder);
    *strrchr(folder, '/') = '\0';
    const char *shown = folder[0] ? folder : "/";
    struct stat status;
    if (stat(shown, &status) < 0) return fault(error, SINK_FAULT_DATABASE, name, path, "its folder cannot be used", -errno);
    if (!S_ISDIR(status.st_mode)) return fault(error, SINK_FAULT_DATABASE, name, path, "its folder cannot be used", -ENOTDIR);
    if (access(shown, W_OK | X_OK) < 0) return fault(error, SINK_FAULT_RIGHTS, name, path, "its folder cannot be written", -errno);
    return SINK_SOUND;
}

static SinkFault fault_of(int code) {
    switch (code & 0xff) {
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT: return SINK_FAULT_DATABASE;
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH: return SINK_FAULT_RIGHTS;
    case SQLITE_CANTOPEN:
    case SQLITE_IOERR: return SINK_FAULT_UNREACHABLE;
    default: return SINK_FAULT_OTHER;
    }
}

static SinkFault test_file(const char *name, const char *path, const SinkPatience *patience, Error *error) {
    if (access(path, R_OK | W_OK) < 0) return fault(error, SINK_FAULT_RIGHTS, name, path, "the file cannot be written", -errno);
    sqlite3 *database;
    SqliteLock lock = {.patience = patience};
    int r = sqlite3_open_v2(path, &database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    check(database); /* NULL only without memory */
    sqlite_lock_use(&lock, database);
    if (r == SQLITE_OK) r = sqlite3_exec(database, "SELECT count(*) FROM sqlite_schema", NULL, NULL, NULL);
    SinkFault what = SINK_SOUND;
    if (r != SQLITE_OK)
        what = fault(error, fault_of(r), name, path, sqlite3_errmsg(database), 0);
    else if (sqlite3_db_readonly(database, "main") != 0)
        what = fault(error, SINK_FAULT_RIGHTS, name, path, "the file can only be read", 0);
    (void)sqlite3_close(database);
    return what;
}

SinkFault sqlite_test(const Connection *connection, const char *data_directory, SinkTest *test, Error *error) {
    const char *file = connection_value(connection, "path");
    bool absolute = file[0] == '/';
    _cleanup_free_ char *path = NULL;
    check(asprintf(&path, "%s%s%s", absolute ? "" : data_directory, absolute ? "" : "/", file) >= 0);
    test->note[0] = '\0';
    (void)snprintf(test->version, sizeof test->version, "SQLite %s", sqlite3_libversion());
    struct stat status;
    test->fault = test_folder(connection->name, path, error);
    if (test->fault != SINK_SOUND) return test->fault;
    if (stat(path, &status) == 0) {
        bool is_file = S_ISREG(status.st_mode);
        return test->fault = is_file ? test_file(connection->name, path, test->patience, error)
                                     : fault(error, SINK_FAULT_DATABASE, connection->name, path, "it is not a file", 0);
    }
    if (errno != ENOENT) return test->fault = fault(error, SINK_FAULT_RIGHTS, connection->name, path, "the file cannot be reached", -errno);
    (void)snprintf(test->note, sizeof test->note, "The file does not exist yet: it is created with the first table.");
    return SINK_SOUND;
}
