/*
 * SQLite, the embedded destination: one file, one writer at a time. WAL with synchronous=FULL, so
 * that COMMIT is durable. Rows go in one by one through a prepared statement, all in one
 * transaction: a row that the table refuses undoes only itself.
 */
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "sinks/driver.h"
#include "sinks/import_runs.h"
#include "sinks/ledger_entry.h"
#include "sinks/sqlite_columns.h"
#include "sinks/sqlite_load.h"
#include "sinks/sqlite_positions.h"
#include "sinks/sqlite_session.h"
#include "sinks/sqlite_side.h"
#include "sinks/sqlite_statement.h"
#include "sinks/sqlite_table.h"
#include "sinks/sqlite_test.h"
#include "sinks/table_shape.h"

#define STEPS_BETWEEN_PROGRESS 100000 /* of SQLite's machine: within a statement that works for long, a trigger's most often */

static SqliteSession *session_of(SinkSession *session) {
    return (SqliteSession *)(void *)session;
}

static void sqlite_disconnect(SinkSession *session) {
    sqlite_session_free(session_of(session));
}

static SinkResult sqlite_connect(const Connection *connection, const char *data_directory, const char *application_name,
                                 const SinkPatience *patience, SinkSession **ret_session, Error *error) {
    SqliteSession *session = NULL;
    SinkResult result = sqlite_session_open(connection, data_directory, patience, &session, error);
    if (result == SINK_DONE) *ret_session = (SinkSession *)(void *)session;
    return result;
}

static SinkResult sqlite_prepare(SinkSession *session, const SinkTarget *target, Error *error) {
    check(target->type == TARGET_TABLE);
    SqliteSession *own = session_of(session);
    SinkResult result = sqlite_table_prepare(own->database, own->ledger, own->positions, target, error);
    if (result != SINK_DONE || target->table.strategy != STRATEGY_REPLACE) return result;
    return sqlite_side_extend(own->database, target, error);
}

static SinkResult sqlite_inspect(SinkSession *session, const SinkTarget *target, TableInspection *ret_inspection, Error *error) {
    check(target->type == TARGET_TABLE);
    return sqlite_table_inspect(session_of(session)->database, session_of(session)->ledger, session_of(session)->positions, target,
                                ret_inspection, error);
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
    STATEMENT select = NULL;
    check(!sqlite3_get_autocommit(session->database));
    Buffer sql = {0};
    buffer_printf(&sql, "SELECT %s FROM ", entry->columns);
    sql_put_identifier(&sql, session->ledger);
    buffer_append_text(&sql, " WHERE file_id = ?");
    SinkResult result = prepare_statement(session->database, buffer_text(&sql), &select, error);
    buffer_deinit(&sql);
    if (result != SINK_DONE) return result;
    (void)sqlite3_bind_text(select, 1, entry->file, -1, SQLITE_STATIC);
    if (sqlite3_step(select) != SQLITE_ROW) return sqlite_failure(session->database, "read the ledger", error);
    const char *there[LEDGER_COLUMNS_OF_RUNS_COUNT];
    for (size_t i = 0; i < entry->count; i++) there[i] = (const char *)sqlite3_column_text(select, (int)i);
    return ledger_entry_compare(entry, file, there, error);
}

static SinkResult insert_entry(SqliteSession *session, const LedgerEntry *entry, bool *ret_was_there, Error *error) {
    check(!sqlite3_get_autocommit(session->database));
    STATEMENT insert = NULL;
    Buffer sql = {0};
    buffer_append_text(&sql, "INSERT INTO ");
    sql_put_identifier(&sql, session->ledger);
    buffer_printf(&sql, " (%s) VALUES (?", entry->columns);
    for (size_t i = 1; i < entry->count; i++) buffer_append_text(&sql, ",?");
    buffer_append_text(&sql, ") ON CONFLICT (file_id) DO NOTHING");
    SinkResult result = prepare_statement(session->database, buffer_text(&sql), &insert, error);
    buffer_deinit(&sql);
    if (result != SINK_DONE) return result;
    /* STRICT turns the text of the numbers into integers. */
    for (size_t i = 0; i < entry->count; i++) (void)sqlite3_bind_text(insert, (int)i + 1, entry->values[i], -1, SQLITE_STATIC);
    if (sqlite3_step(insert) != SQLITE_DONE) return sqlite_failure(session->database, "write the ledger", error);
    *ret_was_there = sqlite3_changes64(session->database) == 0;
    return SINK_DONE;
}

/* Inserts the file's id, which is the look-up as well. */
static SinkResult enter_in_ledger(SqliteSession *session, const ImportJob *job, ImportFile *file, Error *error) {
    LedgerEntry entry;
    ledger_entry_init(&entry, job, file);
    SinkResult result = insert_entry(session, &entry, &file->already_imported, error);
    if (result == SINK_DONE && file->already_imported) result = compare_ledger(session, &entry, file, error);
    ledger_entry_deinit(&entry);
    return result;
}

static SinkResult forget(SqliteSession *session, const Uuid *id, Error *error) {
    check(!sqlite3_get_autocommit(session->database));
    STATEMENT statement = NULL;
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
    return sqlite3_step(statement) == SQLITE_DONE ? SINK_DONE : sqlite_failure(session->database, "remove entries from the ledger", error);
}

/* Is the data directory older than what the ledger has? */
static SinkResult judge_history(SqliteSession *session, const ImportJob *job, Error *error) {
    if (!job->history) return SINK_DONE;
    check(!sqlite3_get_autocommit(session->database));
    STATEMENT select = NULL;
    Buffer sql = {0};
    buffer_append_text(&sql, "SELECT file_id, first_row, rows FROM ");
    sql_put_identifier(&sql, session->ledger);
    buffer_append_text(&sql, " WHERE instance = ? AND sink = ? AND table_name = ?");
    SinkResult result = prepare_statement(session->database, buffer_text(&sql), &select, error);
    buffer_deinit(&sql);
    if (result != SINK_DONE) return result;
    char instance[UUID_TEXT_SIZE + 1];
    ledger_file_text(&job->instance, instance);
    (void)sqlite3_bind_text(select, 1, instance, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(select, 2, job->sink_label, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(select, 3, sink_target_name(job->target), -1, SQLITE_STATIC);
    ledger_history_begin(job->history);
    int r;
    while ((r = sqlite3_step(select)) == SQLITE_ROW) {
        const char *text = (const char *)sqlite3_column_text(select, 0);
        Uuid file;
        if (!text || !uuid_parse(span_of(text), &file)) continue;
        ledger_history_note(job->history, &file, (uint64_t)sqlite3_column_int64(select, 1), (uint64_t)sqlite3_column_int64(select, 2));
    }
    if (r != SQLITE_DONE) return sqlite_failure(session->database, "read the ledger", error);
    return ledger_history_judge(job->history, error) == 0 ? SINK_DONE : SINK_REFUSED;
}

/* Of a table that is replaced: without a side table nothing goes in. */
static SinkResult check_side(SqliteSession *session, const ImportJob *job, const SinkTarget *side, bool *ret_is_there, Error *error) {
    SinkResult result = sqlite_side_find(session->database, side, ret_is_there, error);
    if (result == SINK_DONE && !*ret_is_there) run_marks_evaluate(&(RunMarks){0}, job->positions, job->position_count);
    return result;
}

static SinkResult import_files(SqliteSession *session, SqliteLoad *load, ImportJob *job, const SinkTarget *side, Error *error) {
    SinkResult result = SINK_DONE;
    bool all_new = true, has_table = true;
    if (import_has_runs(job)) {
        result = sqlite_positions_read(session, job->target, job->positions, job->position_count, error);
        if (result == SINK_DONE && side) result = check_side(session, job, side, &has_table, error);
        if (result == SINK_DONE) result = import_runs_begin(job, error);
    }
    if (result == SINK_DONE) result = judge_history(session, job, error);
    for (size_t i = 0; i < job->file_count && result == SINK_DONE; i++) {
        if (import_has_runs(job)) import_runs_decide(job, i);
        result = enter_in_ledger(session, job, &job->files[i], error);
        if (job->files[i].already_imported && import_has_runs(job)) import_runs_take_back(job, i);
        all_new = all_new && !job->files[i].already_imported;
    }
    job->proven_absent = result == SINK_DONE && all_new;
    for (size_t i = 0; i < job->settled_count && result == SINK_DONE; i++) result = forget(session, &job->settled[i], error);
    if (result == SINK_DONE) result = sink_failpoint("import.after-ledger", error);
    if (result != SINK_DONE || !has_table) return result;
    result = sqlite_load_begin(load, session, job, side ? side : job->target, error);
    for (size_t i = 0; i < job->file_count && result == SINK_DONE; i++) {
        ImportFile *file = &job->files[i];
        if (file->already_imported) continue;
        if (file->runs) import_runs_leave_out(file);
        if (file->left_out < file->rows || !file->runs) result = sqlite_load_file(load, file, error);
    }
    return result == SINK_DONE ? sqlite_load_end(load, error) : result;
}

static void forget_try(ImportJob *job) {
    job->rejected_rows = job->swallowed_rows = job->existing_rows = 0;
    for (size_t i = 0; i < job->file_count; i++) job->files[i].already_imported = false;
    import_runs_forget(job);
}

/* With all rows in, in an open transaction; again without each row that makes SQLite roll it
 * back. */
static SinkResult load_files(SqliteSession *session, SqliteLoad *load, ImportJob *job, const SinkTarget *side, Error *error) {
    for (;;) {
        check(sqlite3_get_autocommit(session->database)); /* at first, and when a row has rolled it back */
        SinkResult result = sink_failpoint("import.before-begin", error);
        if (result == SINK_DONE) result = sqlite_run(session->database, "BEGIN IMMEDIATE", "begin", error);
        if (result != SINK_DONE) return result;
        result = import_files(session, load, job, side, error);
        if (!load->must_restart || load->told_to_stop) return result;
        if (job->progress && job->progress(job->context, load->rows_done, false)) {
            load->told_to_stop = true;
            return result;
        }
        sqlite_load_restart(load);
        forget_try(job);
        if (error) *error = (Error){0};
    }
}

/*
 * A COMMIT that failed at its sync has left all of its frames in the write-ahead log, behind the
 * end that this process knows. Nobody sees them, until a crash: then the log is read anew, and they
 * are the transaction. What is committed next lies in their place. So the ids are absent for good
 * once a transaction was committed in which they were: this one, which writes to the ledger's pages
 * and leaves them as they were.
 */
static bool prove_absence(SqliteSession *session, const ImportJob *job) {
    sqlite3 *database = session->database;
    check(sqlite3_get_autocommit(database) && job->proven_absent);
    if (sqlite_run(database, "BEGIN IMMEDIATE", "begin", NULL) != SINK_DONE) return false;
    bool proven = true;
    for (size_t i = 0; i < job->file_count && proven; i++) {
        LedgerEntry entry;
        bool was_there = false;
        ledger_entry_init(&entry, job, &job->files[i]);
        proven = insert_entry(session, &entry, &was_there, NULL) == SINK_DONE && !was_there &&
                 forget(session, &job->files[i].id, NULL) == SINK_DONE;
        ledger_entry_deinit(&entry);
    }
    proven = proven && sqlite_run(database, "COMMIT", "commit", NULL) == SINK_DONE;
    sqlite_roll_back(database);
    return proven;
}

static SinkResult sqlite_import(SinkSession *sink_session, ImportJob *job, Error *error) {
    check(job->file_count > 0 && job->target->type == TARGET_TABLE);
    SqliteSession *session = session_of(sink_session);
    sqlite3 *database = session->database;
    check(sqlite3_get_autocommit(database)); /* no transaction is open */
    job->took_too_long = job->proven_absent = false;
    forget_try(job);
    SinkResult result = sqlite_session_check_file(session, error);
    if (result != SINK_DONE) return result;
    SqliteLoad load = {.job = job};
    SinkTarget side = {0};
    bool replaces = job->target->table.strategy == STRATEGY_REPLACE;
    if (replaces) side_target_init(&side, job->target);
    if (job->progress) sqlite3_progress_handler(database, STEPS_BETWEEN_PROGRESS, look_around, &load);
    result = load_files(session, &load, job, replaces ? &side : NULL, error);
    sqlite3_progress_handler(database, 0, NULL, NULL);
    bool told_to_stop = load.told_to_stop;
    if (told_to_stop && result != SINK_DONE) {
        (void)error_set(error, -ECANCELED, "The import was interrupted.");
        result = SINK_RETRY;
    }
    if (result == SINK_DONE) result = sink_rejects_store(&load.rejects, job, error);
    sqlite_load_deinit(&load); /* statements end before the transaction */
    side_target_deinit(&side);
    const PositionsOwner owner = {.instance = job->instance, .sink_label = job->sink_label};
    if (result == SINK_DONE && import_has_runs(job))
        result = sqlite_positions_set(session, &owner, job->target, job->positions, job->position_count, error);
    /* A failed COMMIT may still have reached the disk: the next try asks the ledger. */
    if (result == SINK_DONE) result = sink_failpoint("import.before-commit", error);
    if (result == SINK_DONE) {
        job->proven_absent = false;
        check(!sqlite3_get_autocommit(database));
        result = sqlite_run(database, "COMMIT", "commit", error);
    }
    if (result == SINK_DONE) result = sink_failpoint("import.after-commit", error);
    if (result == SINK_DONE) result = sqlite_session_check_file(session, error);
    sqlite_roll_back(database);
    job->proven_absent = result != SINK_DONE && told_to_stop && job->proven_absent && prove_absence(session, job);
    if (result != SINK_DONE) forget_try(job);
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
    STATEMENT select = NULL;
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
    .jobs_max = 1, /* a database file has one writer */
    .target = TARGET_TABLE,
    .same_target = same_target,
    .is_local = true,
    .transactional = true,
    .keeps_ledger = true,
    .keeps_order = true,
    .positions = &sqlite_positions,
    .connect = sqlite_connect,
    .prepare = sqlite_prepare,
    .columns = sqlite_columns,
    .inspect = sqlite_inspect,
    .import = sqlite_import,
    .look_up = sqlite_look_up,
    .disconnect = sqlite_disconnect,
    .test = sqlite_test,
};
