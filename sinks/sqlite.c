/*
 * SQLite, the embedded destination: one file, one writer at a time. WAL with synchronous=FULL, so that COMMIT is durable. Rows go in
 * one by one through a prepared statement, all in one transaction: a row that the table refuses undoes only itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "sinks/csv_record.h"
#include "sinks/driver.h"
#include "sinks/rejects.h"
#include "sinks/sqlite_table.h"
#include "sinks/table_shape.h"

#define BUSY_MS 2000
#define ROWS_BETWEEN_PROGRESS 1024
#define STEPS_BETWEEN_PROGRESS 100000 /* of SQLite's machine: within a statement that works for long, a trigger's most often */

typedef struct SqliteSession {
    sqlite3 *database;
    char *ledger; /* name of the table */
    dev_t device; /* device and inode of the open file */
    ino_t inode;
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
    (void)sqlite3_busy_timeout(session->database, BUSY_MS);
    SinkResult result = use_wal(session->database, path, error);
    if (result != SINK_DONE) return result;
    if (!find_file(session, &session->device, &session->inode)) {
        (void)error_set(error, -ENOENT, "SQLite cannot open the file: it was removed at once.");
        return SINK_RETRY;
    }
    return sqlite_run(session->database, "PRAGMA synchronous=FULL; PRAGMA journal_size_limit=67108864", "set the session up", error);
}

static SinkResult sqlite_connect(const Connection *connection, const char *data_directory, const char *application_name,
                                 SinkSession **ret_session, Error *error) {
    char *path = NULL;
    bool absolute = connection->path[0] == '/';
    check(asprintf(&path, "%s%s%s", absolute ? "" : data_directory, absolute ? "" : "/", connection->path) >= 0);
    SqliteSession *session = calloc(1, sizeof *session);
    check(session);
    session->ledger = strdup(connection->ledger_table ? connection->ledger_table : "_sluice_files");
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

static SinkResult sqlite_prepare(SinkSession *session, const TableTarget *table, Error *error) {
    return sqlite_table_prepare(session_of(session)->database, session_of(session)->ledger, table, error);
}

/* One import at work. */
typedef struct Import {
    SqliteSession *session;
    ImportJob *job;
    sqlite3_stmt *insert;
    Buffer blob;   /* decoded bytes of one cell at a time lie behind one another: bound cells must stay until the row is in */
    Buffer record; /* a refused row as text */
    SinkRejects rejects;
    uint64_t rows_done;
    bool told_to_stop;       /* by progress, within a statement */
    bool keeps_present_rows; /* DO NOTHING: a row may be taken without a change */
} Import;

/* SQLite's progress handler. It works on this very thread: what calls here is at work. */
static int look_around(void *context) {
    Import *import = context;
    const ImportJob *job = import->job;
    import->told_to_stop = job->progress(job->context, import->rows_done, true);
    return import->told_to_stop;
}

static SinkResult prepare_statement(sqlite3 *database, const char *sql, sqlite3_stmt **ret_statement, Error *error) {
    if (sqlite3_prepare_v2(database, sql, -1, ret_statement, NULL) == SQLITE_OK) return SINK_DONE;
    return sqlite_failure(database, "prepare the import", error);
}

static void put_insert(Buffer *sql, const TableTarget *table) {
    buffer_append_text(sql, "INSERT INTO ");
    sql_put_identifier(sql, table->table_id);
    buffer_append_text(sql, " (");
    sql_put_columns(sql, table, false);
    buffer_append_text(sql, ") VALUES (?");
    for (size_t i = 1; i < table->column_count; i++) buffer_append_text(sql, ",?");
    buffer_append_byte(sql, ')');
    if (table->strategy != STRATEGY_MERGE) return;
    buffer_append_text(sql, " ON CONFLICT (");
    sql_put_columns(sql, table, true);
    buffer_append_text(sql, sink_table_is_all_key(table) ? ") DO NOTHING" : ") DO UPDATE SET ");
    const char *separator = "";
    for (size_t i = 0; i < table->column_count; i++) {
        if (table->columns[i].primary_key) continue;
        buffer_append_text(sql, separator);
        sql_put_identifier(sql, table->columns[i].name);
        buffer_append_text(sql, " = excluded.");
        sql_put_identifier(sql, table->columns[i].name);
        separator = ", ";
    }
}

/* Decodes `\x…` behind what is in `out`; its capacity must be there, so that earlier cells do not move. */
static bool decode_hex(const SinkCell *cell, Buffer *out) {
    if (cell->size < 2 || cell->size % 2 != 0 || cell->data[0] != '\\' || cell->data[1] != 'x') return false;
    for (size_t i = 2; i < cell->size; i += 2) {
        int high = text_hex(cell->data[i]), low = text_hex(cell->data[i + 1]);
        if (high < 0 || low < 0) return false;
        buffer_append_byte(out, (char)(high << 4 | low));
    }
    return true;
}

/* The cell as the NUL-terminated text of a number, which may be of any length, until the next call; NULL: it is none. */
static const char *number_text(Import *import, const SinkCell *cell) {
    if (cell->size == 0 || memchr(cell->data, '\0', cell->size)) return NULL;
    buffer_clear(&import->record);
    buffer_append(&import->record, cell->data, cell->size);
    return buffer_text(&import->record);
}

/* Binds one cell; *ret_misfit names what it should have been, when it is not. */
static int bind_cell(Import *import, int place, const Column *column, const SinkCell *cell, const char **ret_misfit) {
    sqlite3_stmt *insert = import->insert;
    const char *text;
    char *end;
    if (cell->is_null) {
        /* SQLite would make up a value for NULL in an INTEGER PRIMARY KEY. */
        if (column->primary_key) *ret_misfit = "a value (NULL in a primary key)";
        return sqlite3_bind_null(insert, place);
    }
    switch (column->data_type) {
    case DATA_INTEGER: {
        errno = 0;
        if (!(text = number_text(import, cell))) break;
        long long value = strtoll(text, &end, 10);
        if (errno != 0 || *end) break;
        return sqlite3_bind_int64(insert, place, value);
    }
    case DATA_NUMBER: {
        if (!(text = number_text(import, cell))) break;
        double value = strtod(text, &end);
        if (*end || !isfinite(value)) break;
        return sqlite3_bind_double(insert, place, value);
    }
    case DATA_BOOLEAN: {
        bool is_true = cell->size == 4 && memcmp(cell->data, "true", 4) == 0;
        if (!is_true && !(cell->size == 5 && memcmp(cell->data, "false", 5) == 0)) break;
        return sqlite3_bind_int(insert, place, is_true);
    }
    case DATA_BYTES: {
        size_t start = import->blob.size;
        if (!decode_hex(cell, &import->blob)) break;
        /* A zero-length blob must not have a NULL address: that would bind NULL. */
        size_t size = import->blob.size - start;
        return sqlite3_bind_blob64(insert, place, size > 0 ? import->blob.data + start : "", size, SQLITE_STATIC);
    }
    case DATA_TEXT:
    case DATA_DECIMAL:
    case DATA_TIMESTAMP:
    case DATA_DATE:
    case DATA_JSON: return sqlite3_bind_text64(insert, place, cell->data ? cell->data : "", cell->size, SQLITE_STATIC, SQLITE_UTF8);
    }
    *ret_misfit = data_type_name(column->data_type);
    return SQLITE_OK;
}

static SinkResult refuse_row(Import *import, const ImportFile *file, uint64_t row, const SinkCell *cells, const char *reason,
                             Error *error) {
    buffer_clear(&import->record);
    csv_record_put(&import->record, cells, import->job->table->column_count);
    return sink_rejects_add(&import->rejects, import->job, file, row, reason, buffer_span(&import->record), error);
}

static SinkResult insert_row(Import *import, const ImportFile *file, uint64_t row, const SinkCell *cells, Error *error) {
    const TableTarget *table = import->job->table;
    sqlite3 *database = import->session->database;
    size_t blob_bytes = 0;
    for (size_t i = 0; i < table->column_count; i++) {
        if (table->columns[i].data_type == DATA_BYTES && !cells[i].is_null) blob_bytes += cells[i].size / 2;
    }
    buffer_clear(&import->blob);
    if (blob_bytes > 0) (void)buffer_reserve(&import->blob, blob_bytes);
    for (size_t i = 0; i < table->column_count; i++) {
        const char *misfit = NULL;
        int r = bind_cell(import, (int)i + 1, &table->columns[i], &cells[i], &misfit);
        if (misfit) {
            char reason[160];
            (void)snprintf(reason, sizeof reason, "column \"%s\" needs %s", table->columns[i].name, misfit);
            return refuse_row(import, file, row, cells, reason, error);
        }
        if (r == SQLITE_TOOBIG) return refuse_row(import, file, row, cells, "string or blob too big", error);
        if (r != SQLITE_OK) return sqlite_failure(database, "take a row", error);
    }
    int r = sqlite3_step(import->insert);
    if (r == SQLITE_DONE) {
        (void)sqlite3_reset(import->insert);
        if (sqlite3_changes64(database) == 1 || import->keeps_present_rows) return SINK_DONE;
        (void)error_set(error, -EIO, "SQLite took row %llu without storing it (a trigger of the table?).", (unsigned long long)row);
        return SINK_REFUSED;
    }
    int kind = r & 0xff;
    bool is_row_fault = kind == SQLITE_CONSTRAINT || kind == SQLITE_TOOBIG || kind == SQLITE_MISMATCH;
    SinkResult result;
    if (is_row_fault && sqlite3_get_autocommit(database)) {
        (void)error_set(error, -EINVAL, "Row %llu made SQLite roll the whole import back: %s.", (unsigned long long)row,
                        sqlite3_errmsg(database));
        result = SINK_REFUSED;
    } else if (is_row_fault) {
        result = refuse_row(import, file, row, cells, sqlite3_errmsg(database), error);
    } else {
        result = sqlite_failure(database, "take a row", error);
    }
    (void)sqlite3_reset(import->insert);
    return result;
}

static SinkResult insert_rows(Import *import, ImportFile *file, Error *error) {
    ImportJob *job = import->job;
    SinkCell cells[COLUMNS_A_SINK_MAX];
    uint64_t rows = 0;
    if (file->reader->seek(file->reader, file->first_row, error) < 0) return SINK_RETRY;
    for (;;) {
        uint64_t row;
        int r = file->reader->next(file->reader, cells, &row, error);
        if (r < 0) return SINK_RETRY;
        if (r == SINK_ROWS_END) break;
        SinkResult result = insert_row(import, file, row, cells, error);
        if (result != SINK_DONE) return result;
        rows++;
        import->rows_done++;
        if (rows % ROWS_BETWEEN_PROGRESS == 0 && job->progress && job->progress(job->context, import->rows_done, false)) {
            (void)error_set(error, -ECANCELED, "The import was interrupted.");
            return SINK_RETRY;
        }
    }
    if (rows == file->rows) return SINK_DONE;
    (void)error_set(error, -EIO, "The file should have %llu rows, but %llu were read.", (unsigned long long)file->rows,
                    (unsigned long long)rows);
    return SINK_RETRY;
}

static void id_text(const Uuid *id, char out[static UUID_TEXT_SIZE + 1]) {
    uuid_format(id, out);
    out[UUID_TEXT_SIZE] = '\0';
}

/* Does what the ledger has of the file, selected as in ledger_insert's columns, equal what the file says? `rows`: the one that may be less. */
static SinkResult compare_ledger(Import *import, ImportFile *file, const char *const *wanted, size_t count, const char *rows,
                                 Error *error) {
    sqlite3 *database = import->session->database;
    _cleanup_(cleanup_statement) sqlite3_stmt *select = NULL;
    Buffer sql = {0};
    buffer_append_text(&sql, "SELECT file_id, instance, sink, table_name, first_row, rows, bytes, checksum FROM ");
    sql_put_identifier(&sql, import->session->ledger);
    buffer_append_text(&sql, " WHERE file_id = ?");
    SinkResult result = prepare_statement(database, buffer_text(&sql), &select, error);
    buffer_deinit(&sql);
    if (result != SINK_DONE) return result;
    (void)sqlite3_bind_text(select, 1, wanted[0], -1, SQLITE_STATIC);
    if (sqlite3_step(select) != SQLITE_ROW) return sqlite_failure(database, "read the ledger", error);
    for (size_t i = 0; i < count; i++) {
        const char *there = (const char *)sqlite3_column_text(select, (int)i);
        if (there && strcmp(there, wanted[i]) == 0) continue;
        if (wanted[i] == rows && there && strtoull(there, NULL, 10) < file->rows) {
            file->rows = strtoull(there, NULL, 10);
            continue;
        }
        (void)error_set(error, -EEXIST, "ledgerConflict: file %s is in the ledger with %s %s instead of %s.", wanted[0],
                        sqlite3_column_name(select, (int)i), there ? there : "NULL", wanted[i]);
        return SINK_REFUSED;
    }
    return SINK_DONE;
}

/* Inserts the file's id, which is the look-up as well. */
static SinkResult enter_in_ledger(Import *import, ImportFile *file, Error *error) {
    sqlite3 *database = import->session->database;
    const ImportJob *job = import->job;
    char id[UUID_TEXT_SIZE + 1], instance[UUID_TEXT_SIZE + 1], first[24], rows[24], bytes[24], checksum[24];
    id_text(&file->id, id);
    id_text(&job->instance, instance);
    (void)snprintf(first, sizeof first, "%llu", (unsigned long long)file->first_row);
    (void)snprintf(rows, sizeof rows, "%llu", (unsigned long long)file->rows);
    (void)snprintf(bytes, sizeof bytes, "%llu", (unsigned long long)file->bytes);
    (void)snprintf(checksum, sizeof checksum, "%016llx", (unsigned long long)file->checksum);
    const char *const values[] = {id, instance, job->sink_label, job->table->table_id, first, rows, bytes, checksum};
    enum { COUNT = sizeof values / sizeof values[0] };

    _cleanup_(cleanup_statement) sqlite3_stmt *insert = NULL;
    Buffer sql = {0};
    buffer_append_text(&sql, "INSERT INTO ");
    sql_put_identifier(&sql, import->session->ledger);
    buffer_append_text(&sql, " (file_id, instance, sink, table_name, first_row, rows, bytes, checksum) VALUES (?,?,?,?,?,?,?,?)"
                             " ON CONFLICT (file_id) DO NOTHING");
    SinkResult result = prepare_statement(database, buffer_text(&sql), &insert, error);
    buffer_deinit(&sql);
    if (result != SINK_DONE) return result;
    /* STRICT turns the text of the numbers into integers. */
    for (int i = 0; i < COUNT; i++) (void)sqlite3_bind_text(insert, i + 1, values[i], -1, SQLITE_STATIC);
    if (sqlite3_step(insert) != SQLITE_DONE) return sqlite_failure(database, "write the ledger", error);
    file->already_imported = sqlite3_changes64(database) == 0;
    return file->already_imported ? compare_ledger(import, file, values, COUNT, rows, error) : SINK_DONE;
}

static SinkResult forget_settled(Import *import, Error *error) {
    const ImportJob *job = import->job;
    if (job->settled_count == 0) return SINK_DONE;
    _cleanup_(cleanup_statement) sqlite3_stmt *statement = NULL;
    Buffer sql = {0};
    buffer_append_text(&sql, "DELETE FROM ");
    sql_put_identifier(&sql, import->session->ledger);
    buffer_append_text(&sql, " WHERE file_id = ?");
    SinkResult result = prepare_statement(import->session->database, buffer_text(&sql), &statement, error);
    buffer_deinit(&sql);
    for (size_t i = 0; i < job->settled_count && result == SINK_DONE; i++) {
        char id[UUID_TEXT_SIZE + 1];
        id_text(&job->settled[i], id);
        (void)sqlite3_bind_text(statement, 1, id, -1, SQLITE_TRANSIENT);
        if (sqlite3_step(statement) != SQLITE_DONE) result = sqlite_failure(import->session->database, "clean the ledger", error);
        (void)sqlite3_reset(statement);
    }
    return result;
}

static SinkResult import_files(Import *import, Error *error) {
    ImportJob *job = import->job;
    SinkResult result = SINK_DONE;
    bool all_new = true;
    for (size_t i = 0; i < job->file_count && result == SINK_DONE; i++) {
        result = enter_in_ledger(import, &job->files[i], error);
        all_new = all_new && !job->files[i].already_imported;
    }
    job->proven_absent = result == SINK_DONE && all_new;
    if (result == SINK_DONE) result = forget_settled(import, error);
    if (result != SINK_DONE) return result;
    Buffer sql = {0};
    put_insert(&sql, job->table);
    result = prepare_statement(import->session->database, buffer_text(&sql), &import->insert, error);
    buffer_deinit(&sql);
    for (size_t i = 0; i < job->file_count && result == SINK_DONE; i++) {
        if (!job->files[i].already_imported) result = insert_rows(import, &job->files[i], error);
    }
    return result;
}

static SinkResult sqlite_import(SinkSession *session, ImportJob *job, Error *error) {
    check(job->table->column_count <= COLUMNS_A_SINK_MAX);
    sqlite3 *database = session_of(session)->database;
    job->rejected_rows = 0;
    job->took_too_long = job->proven_absent = false;
    SinkResult result = check_file(session_of(session), error);
    if (result == SINK_DONE) result = sqlite_run(database, "BEGIN IMMEDIATE", "begin", error);
    if (result != SINK_DONE) return result;
    Import import = {.session = session_of(session),
                     .job = job,
                     .keeps_present_rows = job->table->strategy == STRATEGY_MERGE && sink_table_is_all_key(job->table)};
    if (job->progress) sqlite3_progress_handler(database, STEPS_BETWEEN_PROGRESS, look_around, &import);
    result = import_files(&import, error);
    sqlite3_progress_handler(database, 0, NULL, NULL);
    (void)sqlite3_finalize(import.insert);
    if (import.told_to_stop && result != SINK_DONE) {
        (void)error_set(error, -ECANCELED, "The import was interrupted.");
        result = SINK_RETRY;
    }
    if (result == SINK_DONE) result = sink_rejects_store(&import.rejects, job, error);
    /* A failed COMMIT may still have reached the disk: the next try asks the ledger. */
    if (result == SINK_DONE) {
        job->proven_absent = false;
        result = sqlite_run(database, "COMMIT", "commit", error);
    }
    if (result == SINK_DONE) result = check_file(session_of(session), error);
    if (!sqlite3_get_autocommit(database)) (void)sqlite3_exec(database, "ROLLBACK", NULL, NULL, NULL);
    sink_rejects_deinit(&import.rejects);
    buffer_deinit(&import.blob);
    buffer_deinit(&import.record);
    return result;
}

static SinkResult sqlite_look_up(SinkSession *session, const Uuid *file, bool *ret_found, Error *error) {
    sqlite3 *database = session_of(session)->database;
    char id[UUID_TEXT_SIZE + 1];
    id_text(file, id);
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

const SinkDriver sink_driver_sqlite = {
    .name = "sqlite",
    .connect = sqlite_connect,
    .prepare = sqlite_prepare,
    .import = sqlite_import,
    .look_up = sqlite_look_up,
    .disconnect = sqlite_disconnect,
};
