/*
 * SQLite, the embedded destination: one file, one writer at a time. WAL with synchronous=FULL, so that COMMIT is durable. Rows go in
 * one by one through a prepared statement, all in one transaction: a row that the table refuses undoes only itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "sinks/driver.h"
#include "sinks/ledger_entry.h"
#include "sinks/sqlite_load.h"
#include "sinks/sqlite_lock.h"
#include "sinks/sqlite_table.h"
#include "sinks/sqlite_test.h"
#include "sinks/table_shape.h"

#define STEPS_BETWEEN_PROGRESS 100000 /* of SQLite's machine: within a statement that works for long, a trigger's most often */

typedef struct SqliteSession {
    sqlite3 *database;
    char *ledger; /* name of the table */
    dev_t device; /* device and inode of the open file */
    ino_t inode;
    SqliteLock lock;
} SqliteSession;

static SqliteSession *session_of(SinkSession *session) {
    return (SqliteSession *)(void *)session;
}

static void cleanup_statement(sqlite3_stmt **statement) {
    (void)sqlite3_finalize(*statement);
}

static void session_free(SqliteSession *session) {
    (void)sqlite3_close(session->database);
    free(session->ledger);
    free(session);
}

static void sqlite_disconnect(SinkSession *session) {
    if (session) session_free(session_of(session));
}

static bool find_file(const SqliteSession *session, dev_t *ret_device, ino_t *ret_inode) {
    struct stat status;
    const char *path = sqlite3_db_filename(session->database, "main");
    if (!path || stat(path, &status) < 0) return false;
    *ret_device = status.st_dev;
    *ret_inode = status.st_ino;
    return true;
}

/*
 * Somebody may have removed the file, or put another one in its place: what is written into the open one then is in no table that anybody can
 * read. Asked before the import and after its COMMIT; the next try opens what is there now, with a ledger of its own.
 */
static SinkResult check_file(const SqliteSession *session, Error *error) {
    dev_t device;
    ino_t inode;
    if (find_file(session, &device, &inode) && device == session->device && inode == session->inode) return SINK_DONE;
    (void)error_set(error, -ESTALE, "The file of the tables was removed or replaced while it was open; it is opened anew.");
    return SINK_RETRY;
}

/* Turns WAL on; a file system that cannot do it answers with the mode that stays. */
static SinkResult use_wal(sqlite3 *database, const char *path, Error *error) {
    _cleanup_(cleanup_statement) sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(database, "PRAGMA journal_mode=WAL", -1, &statement, NULL) != SQLITE_OK || sqlite3_step(statement) != SQLITE_ROW)
        return sqlite_failure(database, "open the file", error);
    const char *mode = (const char *)sqlite3_column_text(statement, 0);
    if (mode && strcmp(mode, "wal") == 0) return SINK_DONE;
    (void)error_set(error, -ENOTSUP, "SQLite cannot use a write-ahead log for %s (journal mode %s).", path, mode ? mode : "unknown");
    return SINK_REFUSED;
}

/* SQLite would make it readable for everybody; its -wal and -shm get the mode of the file. What is there already keeps its mode. */
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
    SinkResult result = use_wal(session->database, path, error);
    if (result != SINK_DONE) return result;
    if (!find_file(session, &session->device, &session->inode)) {
        (void)error_set(error, -ENOENT, "SQLite cannot open the file: it was removed at once.");
        return SINK_RETRY;
    }
    return sqlite_run(session->database, "PRAGMA synchronous=FULL; PRAGMA journal_size_limit=67108864", "set the session up", error);
}

static SinkResult sqlite_connect(const Connection *connection, const char *data_directory, const char *application_name,
                                 const SinkPatience *patience, SinkSession **ret_session, Error *error) {
    char *path = NULL;
    const char *file = connection_value(connection, "path"), *ledger = connection_effective(connection, "ledgerTable");
    bool absolute = file[0] == '/';
    check(asprintf(&path, "%s%s%s", absolute ? "" : data_directory, absolute ? "" : "/", file) >= 0);
    SqliteSession *session = calloc(1, sizeof *session);
    check(session);
    session->lock.patience = patience;
    session->ledger = strdup(ledger);
    check(session->ledger);
    SinkResult result = open_database(session, path, error);
    if (result != SINK_DONE) {
        (void)error_prefix(error, "connection \"%s\" (%s)", connection->name, path);
        session_free(session);
    } else {
        *ret_session = (SinkSession *)(void *)session;
    }
    free(path);
    return result;
}

static SinkResult sqlite_prepare(SinkSession *session, const SinkTarget *target, Error *error) {
    check(target->type == TARGET_TABLE);
    return sqlite_table_prepare(session_of(session)->database, session_of(session)->ledger, target, error);
}

static SinkResult sqlite_inspect(SinkSession *session, const SinkTarget *target, TableInspection *ret_inspection, Error *error) {
    check(target->type == TARGET_TABLE);
    return sqlite_table_inspect(session_of(session)->database, session_of(session)->ledger, target, ret_inspection, error);
}

/* SQLite's progress handler. It works on this very thread: what calls here is at work. */
static int look_around(void *context) {
    SqliteLoad *load = context;
    const ImportJob *job = load->job;
    load->told_to_stop = job->progress(job->context, load->rows_done, true);
    return load->told_to_stop;
}

static SinkResult prepare_statement(sqlite3 *database, const char *sql, sqlite3_stmt **ret_statement, Error *error) {
    if (sqlite3_prepare_v2(database, sql, -1, ret_statement, NULL) == SQLITE_OK) return SINK_DONE;
    return sqlite_failure(database, "prepare the import", error);
}

/* Does what the ledger has of the file equal what the file says? */
static SinkResult compare_ledger(SqliteSession *session, const LedgerEntry *entry, ImportFile *file, Error *error) {
    _cleanup_(cleanup_statement) sqlite3_stmt *select = NULL;
    check(!sqlite3_get_autocommit(session->database));
    Buffer sql = {0};
    buffer_append_text(&sql, "SELECT " LEDGER_COLUMNS " FROM ");
    sql_put_identifier(&sql, session->ledger);
    buffer_append_text(&sql, " WHERE file_id = ?");
    SinkResult result = prepare_statement(session->database, buffer_text(&sql), &select, error);
    buffer_deinit(&sql);
    if (result != SINK_DONE) return result;
    (void)sqlite3_bind_text(select, 1, entry->file, -1, SQLITE_STATIC);
    if (sqlite3_step(select) != SQLITE_ROW) return sqlite_failure(session->database, "read the ledger", error);
    for (int i = 0; i < LEDGER_COLUMN_COUNT && result == SINK_DONE; i++)
        result = ledger_entry_compare(entry, file, (size_t)i, (const char *)sqlite3_column_text(select, i), error);
    return result;
}

/* Inserts the file's id, which is the look-up as well. */
static SinkResult enter_in_ledger(SqliteSession *session, const ImportJob *job, ImportFile *file, Error *error) {
    LedgerEntry entry;
    check(!sqlite3_get_autocommit(session->database));
    ledger_entry_init(&entry, job, file);
    _cleanup_(cleanup_statement) sqlite3_stmt *insert = NULL;
    Buffer sql = {0};
    buffer_append_text(&sql, "INSERT INTO ");
    sql_put_identifier(&sql, session->ledger);
    buffer_append_text(&sql, " (" LEDGER_COLUMNS ") VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (file_id) DO NOTHING");
    SinkResult result = prepare_statement(session->database, buffer_text(&sql), &insert, error);
    buffer_deinit(&sql);
    if (result != SINK_DONE) return result;
    /* STRICT turns the text of the numbers into integers. */
    for (int i = 0; i < LEDGER_COLUMN_COUNT; i++) (void)sqlite3_bind_text(insert, i + 1, entry.values[i], -1, SQLITE_STATIC);
    if (sqlite3_step(insert) != SQLITE_DONE) return sqlite_failure(session->database, "write the ledger", error);
    file->already_imported = sqlite3_changes64(session->database) == 0;
    return file->already_imported ? compare_ledger(session, &entry, file, error) : SINK_DONE;
}

static SinkResult forget(SqliteSession *session, const Uuid *id, Error *error) {
    check(!sqlite3_get_autocommit(session->database));
    _cleanup_(cleanup_statement) sqlite3_stmt *statement = NULL;
    Buffer sql = {0};
    buffer_append_text(&sql, "DELETE FROM ");
    sql_put_identifier(&sql, session->ledger);
    buffer_append_text(&sql, " WHERE file_id = ?");
    SinkResult result = prepare_statement(session->database, buffer_text(&sql), &statement, error);
    buffer_deinit(&sql);
    if (result != SINK_DONE) return result;
    char text[UUID_TEXT_SIZE + 1];
    ledger_file_text(id, text);
    (void)sqlite3_bind_text(statement, 1, text, -1, SQLITE_STATIC);
    return sqlite3_step(statement) == SQLITE_DONE ? SINK_DONE : sqlite_failure(session->database, "clean the ledger", error);
}

static SinkResult import_files(SqliteSession *session, SqliteLoad *load, ImportJob *job, Error *error) {
    SinkResult result = SINK_DONE;
    bool all_new = true;
    for (size_t i = 0; i < job->file_count && result == SINK_DONE; i++) {
        result = enter_in_ledger(session, job, &job->files[i], error);
        all_new = all_new && !job->files[i].already_imported;
    }
    job->proven_absent = result == SINK_DONE && all_new;
    for (size_t i = 0; i < job->settled_count && result == SINK_DONE; i++) result = forget(session, &job->settled[i], error);
    if (result == SINK_DONE) result = sqlite_load_begin(load, session->database, job, error);
    for (size_t i = 0; i < job->file_count && result == SINK_DONE; i++) {
        if (!job->files[i].already_imported) result = sqlite_load_file(load, &job->files[i], error);
    }
    return result == SINK_DONE ? sqlite_load_end(load, error) : result;
}

static void roll_back(sqlite3 *database) {
    if (!sqlite3_get_autocommit(database)) (void)sqlite3_exec(database, "ROLLBACK", NULL, NULL, NULL);
}

/* With all rows in, in an open transaction; again without each row that makes SQLite roll it back. */
static SinkResult load_files(SqliteSession *session, SqliteLoad *load, ImportJob *job, Error *error) {
    for (;;) {
        check(sqlite3_get_autocommit(session->database)); /* at first, and when a row has rolled it back */
        SinkResult result = sqlite_run(session->database, "BEGIN IMMEDIATE", "begin", error);
        if (result != SINK_DONE) return result;
        result = import_files(session, load, job, error);
        if (!load->must_restart || load->told_to_stop) return result;
        if (job->progress && job->progress(job->context, load->rows_done, false)) {
            load->told_to_stop = true;
            return result;
        }
        sqlite_load_restart(load);
        if (error) *error = (Error){0};
    }
}

/*
 * A COMMIT that failed at its sync has left all of its frames in the write-ahead log, behind the end that this process knows. Nobody sees them, until
 * a crash: then the log is read anew, and they are the transaction. What is committed next lies in their place. So the ids are absent for
 * good once a transaction was committed in which they were: this one, which writes to the ledger's pages and leaves them as they were.
 */
static bool prove_absence(SqliteSession *session, const ImportJob *job) {
    sqlite3 *database = session->database;
    check(sqlite3_get_autocommit(database) && job->proven_absent);
    if (sqlite_run(database, "BEGIN IMMEDIATE", "begin", NULL) != SINK_DONE) return false;
    bool proven = true;
    for (size_t i = 0; i < job->file_count && proven; i++) {
        proven = enter_in_ledger(session, job, &job->files[i], NULL) == SINK_DONE && !job->files[i].already_imported &&
                 forget(session, &job->files[i].id, NULL) == SINK_DONE;
    }
    proven = proven && sqlite_run(database, "COMMIT", "commit", NULL) == SINK_DONE;
    roll_back(database);
    return proven;
}

static SinkResult sqlite_import(SinkSession *sink_session, ImportJob *job, Error *error) {
    check(job->file_count > 0 && job->target->type == TARGET_TABLE);
    check(job->target->column_count <= COLUMNS_A_SINK_MAX);
    SqliteSession *session = session_of(sink_session);
    sqlite3 *database = session->database;
    check(sqlite3_get_autocommit(database)); /* no transaction is open */
    job->rejected_rows = job->swallowed_rows = 0;
    job->took_too_long = job->proven_absent = false;
    SinkResult result = check_file(session, error);
    if (result != SINK_DONE) return result;
    SqliteLoad load = {.job = job};
    if (job->progress) sqlite3_progress_handler(database, STEPS_BETWEEN_PROGRESS, look_around, &load);
    result = load_files(session, &load, job, error);
    sqlite3_progress_handler(database, 0, NULL, NULL);
    bool told_to_stop = load.told_to_stop;
    if (told_to_stop && result != SINK_DONE) {
        (void)error_set(error, -ECANCELED, "The import was interrupted.");
        result = SINK_RETRY;
    }
    if (result == SINK_DONE) result = sink_rejects_store(&load.rejects, job, error);
    sqlite_load_deinit(&load); /* statements end before the transaction */
    /* A failed COMMIT may still have reached the disk: the next try asks the ledger. */
    if (result == SINK_DONE) {
        job->proven_absent = false;
        check(!sqlite3_get_autocommit(database));
        result = sqlite_run(database, "COMMIT", "commit", error);
    }
    if (result == SINK_DONE) result = check_file(session, error);
    roll_back(database);
    job->proven_absent = result != SINK_DONE && told_to_stop && job->proven_absent && prove_absence(session, job);
    if (result != SINK_DONE) {
        job->rejected_rows = job->swallowed_rows = 0;
        for (size_t i = 0; i < job->file_count; i++) job->files[i].already_imported = false;
    }
    return result;
}

static SinkResult sqlite_look_up(SinkSession *session, const Uuid *file, bool *ret_found, Error *error) {
    sqlite3 *database = session_of(session)->database;
    char id[UUID_TEXT_SIZE + 1];
    ledger_file_text(file, id);
    /* Without a ledger nothing was imported. */
    if (sqlite3_table_column_metadata(database, "main", session_of(session)->ledger, NULL, NULL, NULL, NULL, NULL, NULL) == SQLITE_ERROR) {
        *ret_found = false;
        return SINK_DONE;
    }
    _cleanup_(cleanup_statement) sqlite3_stmt *select = NULL;
    Buffer sql = {0};
    buffer_append_text(&sql, "SELECT 1 FROM ");
    sql_put_identifier(&sql, session_of(session)->ledger);
    buffer_append_text(&sql, " WHERE file_id = ?");
    SinkResult result = prepare_statement(database, buffer_text(&sql), &select, error);
    buffer_deinit(&sql);
    if (result != SINK_DONE) return result;
    (void)sqlite3_bind_text(select, 1, id, -1, SQLITE_STATIC);
    int r = sqlite3_step(select);
    if (r != SQLITE_ROW && r != SQLITE_DONE) return sqlite_failure(database, "read the ledger", error);
    *ret_found = r == SQLITE_ROW;
    return SINK_DONE;
}

/* SQLite looks names up without regard to case. */
static bool same_target(const SinkTarget *target, const SinkTarget *other) {
    return strcasecmp(target->table.table_id, other->table.table_id) == 0;
}

const SinkDriver sink_driver_sqlite = {
    .type = &connection_type_sqlite,
    .jobs_most = 1, /* a database file has one writer */
    .target = TARGET_TABLE,
    .same_target = same_target,
    .transactional = true,
    .keeps_ledger = true,
    .keeps_order = true,
    .connect = sqlite_connect,
    .prepare = sqlite_prepare,
    .inspect = sqlite_inspect,
    .import = sqlite_import,
    .look_up = sqlite_look_up,
    .disconnect = sqlite_disconnect,
    .test = sqlite_test,
};
