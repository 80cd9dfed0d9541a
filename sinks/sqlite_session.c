#include "sinks/sqlite_session.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sinks/decimal_order.h"
#include "sinks/sqlite_statement.h"
#include "sinks/sqlite_table.h"

void sqlite_session_free(SqliteSession *session) {
    if (!session) return;
    (void)sqlite3_close(session->database);
    free(session->ledger);
    free(session->positions);
    free(session->columns);
    free(session);
}

static int compare_decimals(void *context, int left_size, const void *left, int right_size, const void *right) {
    return decimal_compare((Span){left, (size_t)left_size}, (Span){right, (size_t)right_size});
}

static bool find_file(const SqliteSession *session, dev_t *ret_device, ino_t *ret_inode) {
    struct stat status;
    const char *path = sqlite3_db_filename(session->database, "main");
    if (!path || stat(path, &status) < 0) return false;
    *ret_device = status.st_dev;
    *ret_inode = status.st_ino;
    return true;
}

SinkResult sqlite_session_check_file(const SqliteSession *session, Error *error) {
    dev_t device;
    ino_t inode;
    if (find_file(session, &device, &inode) && device == session->device && inode == session->inode) return SINK_DONE;
    (void)error_set(error, -ESTALE, "The file of the tables was removed or replaced while it was open; it is opened again.");
    return SINK_RETRY;
}

/* Turns WAL on; a file system that cannot do it answers with the mode that stays. */
static SinkResult use_wal(sqlite3 *database, const char *path, Error *error) {
    STATEMENT statement = NULL;
    if (sqlite3_prepare_v2(database, "PRAGMA journal_mode=WAL", -1, &statement, NULL) != SQLITE_OK || sqlite3_step(statement) != SQLITE_ROW)
        return sqlite_failure(database, "open the file", error);
    const char *mode = (const char *)sqlite3_column_text(statement, 0);
    if (mode && strcmp(mode, "wal") == 0) return SINK_DONE;
    (void)error_set(error, -ENOTSUP, "SQLite cannot use a write-ahead log for %s (journal mode %s).", path, mode ? mode : "unknown");
    return SINK_REFUSED;
}

/* SQLite would make it readable for everybody; its -wal and -shm get the mode of the file. What is
 * there already keeps its mode. */
static void make_private(const char *path) {
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0) (void)close(fd);
}

static SinkResult open_database(SqliteSession *session, const char *path, Error *error) {
    make_private(path);
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    if (sqlite3_open_v2(path, &session->database, flags, NULL) != SQLITE_OK) {
        check(session->database); /* NULL only without memory */
        return sqlite_failure(session->database, "open the file", error);
    }
    sqlite_lock_use(&session->lock, session->database);
    if (sqlite3_create_collation(session->database, SQLITE_DECIMAL_ORDER, SQLITE_UTF8, NULL, compare_decimals) != SQLITE_OK)
        return sqlite_failure(session->database, "set up the session", error);
    SinkResult result = use_wal(session->database, path, error);
    if (result != SINK_DONE) return result;
    if (!find_file(session, &session->device, &session->inode)) {
        (void)error_set(error, -ENOENT, "SQLite cannot open the file: it was removed at once.");
        return SINK_RETRY;
    }
    return sqlite_run(session->database, "PRAGMA synchronous=FULL; PRAGMA journal_size_limit=67108864", "set up the session", error);
}

SinkResult sqlite_session_open(const Connection *connection, const char *data_directory, const SinkPatience *patience,
                               SqliteSession **ret_session, Error *error) {
    char *path = NULL;
    const char *file = connection_value(connection, "path");
    bool absolute = file[0] == '/';
    check(asprintf(&path, "%s%s%s", absolute ? "" : data_directory, absolute ? "" : "/", file) >= 0);
    SqliteSession *session = calloc(1, sizeof *session);
    check(session);
    session->lock.patience = patience;
    session->ledger = strdup(connection_effective(connection, "ledgerTable"));
    session->positions = strdup(connection_effective(connection, "positionsTable"));
    session->columns = strdup(connection_effective(connection, "columnsTable"));
    check(session->ledger && session->positions && session->columns);
    SinkResult result = open_database(session, path, error);
    if (result != SINK_DONE) {
        (void)error_prefix(error, "connection \"%s\" (%s)", connection->name, path);
        sqlite_session_free(session);
    } else {
        *ret_session = session;
    }
    free(path);
    return result;
}

void sqlite_roll_back(sqlite3 *database) {
    if (!sqlite3_get_autocommit(database)) (void)sqlite3_exec(database, "ROLLBACK", NULL, NULL, NULL);
}
