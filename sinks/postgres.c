/*
 * PostgreSQL. One import is one transaction: the ids of its files into the ledger (which is the look-up as well), settled ids out of
 * it, the rows by COPY, refused rows to the job, COMMIT. What a lost connection leaves unknown, the next try asks the ledger.
 *
 * The role needs USAGE on the schemas, SELECT, INSERT and DELETE on the ledger, INSERT on the table; with a primary key or row-level
 * security also SELECT, UPDATE (strategy merge) and TEMPORARY on the database; CREATE only where something is missing.
 */
#include <errno.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sinks/driver.h"
#include "sinks/ledger_entry.h"
#include "sinks/postgres_load.h"
#include "sinks/postgres_session.h"
#include "sinks/postgres_table.h"
#include "sinks/postgres_test.h"

#define TABLE_LOCK_MS 2000

static PostgresSession *session_of(SinkSession *session) {
    return (PostgresSession *)(void *)session;
}

static SinkResult pg_connect(const Connection *connection, const char *data_directory, const char *application_name,
                             const SinkPatience *patience, SinkSession **ret_session, Error *error) {
    PostgresSession *session = NULL;
    SinkResult result = postgres_session_open(connection, data_directory, application_name, patience, &session, NULL, error);
    if (result == SINK_DONE) *ret_session = (SinkSession *)(void *)session;
    return result;
}

static void pg_disconnect(SinkSession *session) {
    postgres_session_free(session_of(session));
}

static SinkResult pg_prepare(SinkSession *session, const SinkTarget *target, Error *error) {
    check(target->type == TARGET_TABLE);
    SinkResult result = postgres_session_use(session_of(session), error);
    return result == SINK_DONE ? postgres_table_prepare(session_of(session), target, error) : result;
}

static SinkResult pg_inspect(SinkSession *session, const SinkTarget *target, TableInspection *ret_inspection, Error *error) {
    check(target->type == TARGET_TABLE);
    SinkResult result = postgres_session_use(session_of(session), error);
    return result == SINK_DONE ? postgres_table_inspect(session_of(session), target, ret_inspection, error) : result;
}

/* Does what the ledger has of the file equal what the file says? */
static SinkResult compare_ledger(PostgresSession *session, const LedgerEntry *entry, ImportFile *file, Error *error) {
    Buffer sql = {0};
    buffer_append_text(&sql, "SELECT " LEDGER_COLUMNS " FROM ");
    postgres_put_ledger(&sql, session);
    buffer_append_text(&sql, " WHERE file_id = $1::uuid");
    PGresult *row = NULL;
    SinkResult result = postgres_run(session, session->silence_limit, buffer_text(&sql), 1, entry->values, &row, error);
    buffer_deinit(&sql);
    if (result != SINK_DONE) return result;
    if (PQntuples(row) != 1) {
        (void)error_set(error, -EAGAIN, "File %s left the ledger while it was looked up.", entry->file);
        result = SINK_RETRY;
    }
    for (size_t i = 0; i < LEDGER_COLUMN_COUNT && result == SINK_DONE; i++)
        result = ledger_entry_compare(entry, file, i, PQgetvalue(row, 0, (int)i), error);
    PQclear(row);
    return result;
}

/* Inserts the file's id. Waits for another session that is inserting the same one, as long as lock_timeout allows. */
static SinkResult enter_in_ledger(PostgresSession *session, const ImportJob *job, ImportFile *file, Error *error) {
    LedgerEntry entry;
    check(postgres_session_is(session, POSTGRES_TRANSACTION) && !file->already_imported);
    ledger_entry_init(&entry, job, file);
    Buffer sql = {0};
    buffer_append_text(&sql, "INSERT INTO ");
    postgres_put_ledger(&sql, session);
    buffer_append_text(&sql, " (" LEDGER_COLUMNS ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (file_id) DO NOTHING");
    PGresult *answer = NULL;
    SinkResult result = postgres_run(session, session->silence_limit, buffer_text(&sql), LEDGER_COLUMN_COUNT, entry.values, &answer, error);
    buffer_deinit(&sql);
    if (result != SINK_DONE) return result;
    file->already_imported = strcmp(PQcmdTuples(answer), "0") == 0;
    PQclear(answer);
    return file->already_imported ? compare_ledger(session, &entry, file, error) : SINK_DONE;
}

static SinkResult forget_settled(PostgresSession *session, const ImportJob *job, Error *error) {
    if (job->settled_count == 0) return SINK_DONE;
    check(postgres_session_is(session, POSTGRES_TRANSACTION));
    Buffer ids = {0}, sql = {0};
    for (size_t i = 0; i < job->settled_count; i++) {
        buffer_append_byte(&ids, i == 0 ? '{' : ',');
        uuid_format(&job->settled[i], buffer_reserve(&ids, UUID_TEXT_SIZE));
        ids.size += UUID_TEXT_SIZE;
    }
    buffer_append_byte(&ids, '}');
    buffer_append_text(&sql, "DELETE FROM ");
    postgres_put_ledger(&sql, session);
    buffer_append_text(&sql, " WHERE file_id = ANY ($1::uuid[])");
    SinkResult result = postgres_run(session, session->silence_limit, buffer_text(&sql), 1, (const char *const[]){buffer_text(&ids)}, NULL,
                                     error);
    buffer_deinit(&ids);
    buffer_deinit(&sql);
    return result;
}

static SinkResult commit(PostgresSession *session, Error *error) {
    check(postgres_session_is(session, POSTGRES_TRANSACTION));
    PGresult *answer = NULL;
    SinkResult result = postgres_run(session, session->statement_limit, "COMMIT", 0, NULL, &answer, error);
    if (result == SINK_DONE && strcmp(PQcmdStatus(answer), "COMMIT") != 0) {
        /* COMMIT of a transaction that has failed succeeds, as ROLLBACK. */
        (void)error_set(error, -EIO, "The server answered COMMIT with %s; nothing was changed.", PQcmdStatus(answer));
        result = SINK_RETRY;
    } else if (session->is_broken) {
        (void)error_prefix(error, "It is unknown whether the import was committed, the next try will find out");
        result = SINK_RETRY;
    }
    PQclear(answer);
    return result;
}

/* Opens the transaction, and keeps an eye on it. */
static SinkResult begin(PostgresSession *session, const ImportJob *job, Error *error) {
    check(postgres_session_is(session, POSTGRES_IDLE));
    Buffer sql = {0};
    /* What another session commits meanwhile must be seen: READ COMMITTED. */
    buffer_append_text(&sql, "BEGIN ISOLATION LEVEL READ COMMITTED; ");
    postgres_put_settings(&sql, session);
    /* Deferred constraints must refuse their row while it can still be told apart from the others. */
    buffer_append_text(&sql, "SET CONSTRAINTS ALL IMMEDIATE; SELECT pg_catalog.pg_backend_pid(), pg_catalog.now()");
    PGresult *answer = NULL;
    SinkResult result = postgres_run(session, session->silence_limit, buffer_text(&sql), 0, NULL, &answer, error);
    buffer_deinit(&sql);
    if (result != SINK_DONE) return result;
    if (job->progress)
        postgres_session_watch(session, PQgetvalue(answer, 0, 0), PQgetvalue(answer, 0, 1), job->patience ? job->patience : USEC_MINUTE);
    PQclear(answer);
    return SINK_DONE;
}

/*
 * A table that somebody has locked is found out soon, before any row is sent: others of the connection wait for this loader. Then nothing
 * changes about it until the end. *ret_row_security: its policies hold for this role.
 */
static SinkResult lock_table(PostgresSession *session, const SinkTarget *target, bool *ret_row_security, Error *error) {
    Buffer name = {0}, sql = {0};
    check(postgres_session_is(session, POSTGRES_TRANSACTION));
    postgres_put_table(&name, target);
    char *literal = PQescapeLiteral(session->connection, buffer_text(&name), name.size);
    check(literal);
    buffer_printf(&sql,
                  "SET LOCAL lock_timeout = %d; LOCK TABLE %s IN ROW EXCLUSIVE MODE; SET LOCAL lock_timeout = %d;"
                  " SELECT pg_catalog.row_security_active(%s::pg_catalog.text)",
                  TABLE_LOCK_MS, buffer_text(&name), POSTGRES_LOCK_MS, literal);
    PGresult *answer = NULL;
    SinkResult result = postgres_run(session, session->silence_limit, buffer_text(&sql), 0, NULL, &answer, error);
    if (result == SINK_DONE) *ret_row_security = PQgetvalue(answer, 0, 0)[0] == 't';
    PQclear(answer);
    PQfreemem(literal);
    buffer_deinit(&name);
    buffer_deinit(&sql);
    return result;
}

static SinkResult import_files(PostgresSession *session, ImportJob *job, Error *error) {
    SinkResult result = begin(session, job, error);
    size_t waiting = 0;
    for (size_t i = 0; i < job->file_count && result == SINK_DONE; i++) {
        result = enter_in_ledger(session, job, &job->files[i], error);
        if (!job->files[i].already_imported) waiting++;
    }
    check(waiting <= job->file_count);
    job->proven_absent = result == SINK_DONE && waiting == job->file_count;
    if (result == SINK_DONE) result = forget_settled(session, job, error);
    bool has_row_security = false;
    if (result == SINK_DONE && waiting > 0) result = lock_table(session, job->target, &has_row_security, error);
    PostgresLoad load = {0};
    if (result == SINK_DONE && waiting > 0) result = postgres_load_begin(&load, session, job, has_row_security, error);
    for (size_t i = 0; i < job->file_count && result == SINK_DONE; i++) {
        if (!job->files[i].already_imported) result = postgres_load_file(&load, &job->files[i], error);
    }
    if (result == SINK_DONE && waiting > 0) result = postgres_load_end(&load, error);
    if (result == SINK_DONE) result = sink_rejects_store(&load.rejects, job, error);
    if (result == SINK_DONE) {
        check(!load.has_savepoint && load.rejects.refused <= job->bad_rows_most);
        check(waiting > 0 || job->rejected_rows == 0);
        job->proven_absent = false;
        result = commit(session, error);
    }
    postgres_load_deinit(&load);
    return result;
}

static SinkResult pg_import(SinkSession *sink_session, ImportJob *job, Error *error) {
    PostgresSession *session = session_of(sink_session);
    check(job->file_count > 0 && job->target->type == TARGET_TABLE);
    session->progress_context = job->context;
    session->rows_done = 0;
    if (job->longest > 0) session->statement_limit = job->longest;
    usec_t began = clock_system()->boot(clock_system());
    session->looked = began;
    job->rejected_rows = job->swallowed_rows = 0;
    job->took_too_long = job->proven_absent = false;
    SinkResult result = postgres_session_use(session, error);
    session->progress = job->progress;
    if (result == SINK_DONE) result = import_files(session, job, error);
    postgres_session_unwatch(session);
    if (result != SINK_DONE) {
        /* Others may cancel a statement as well. */
        job->took_too_long = strcmp(session->failure.sqlstate, "57014") == 0 &&
                             clock_system()->boot(clock_system()) - began >= postgres_server_limit(session);
        job->rejected_rows = job->swallowed_rows = 0;
        for (size_t i = 0; i < job->file_count; i++) job->files[i].already_imported = false;
    }
    /* The caller wants to hear why it failed, not that the rollback did. */
    if (result != SINK_DONE && !session->is_broken && PQtransactionStatus(session->connection) != PQTRANS_IDLE &&
        postgres_run(session, session->silence_limit, "ROLLBACK", 0, NULL, NULL, NULL) != SINK_DONE && !session->is_broken)
        postgres_session_break(session);
    session->progress = NULL;
    check(postgres_session_is(session, POSTGRES_IDLE));
    return result;
}

static SinkResult pg_look_up(SinkSession *sink_session, const Uuid *file, bool *ret_found, Error *error) {
    PostgresSession *session = session_of(sink_session);
    SinkResult result = postgres_session_use(session, error);
    if (result != SINK_DONE) return result;
    char id[UUID_TEXT_SIZE + 1];
    ledger_file_text(file, id);
    Buffer sql = {0};
    buffer_append_text(&sql, "SELECT 1 FROM ");
    postgres_put_ledger(&sql, session);
    buffer_append_text(&sql, " WHERE file_id = $1::uuid");
    PGresult *rows = NULL;
    result = postgres_run(session, session->silence_limit, buffer_text(&sql), 1, (const char *const[]){id}, &rows, error);
    buffer_deinit(&sql);
    if (result == SINK_DONE) {
        *ret_found = PQntuples(rows) > 0;
        PQclear(rows);
    } else if (strcmp(session->failure.sqlstate, "42P01") == 0) {
        /* Without a ledger nothing was imported. */
        *ret_found = false;
        result = SINK_DONE;
    }
    return result;
}

/* As the tables are looked up: without a dot the schema is public. */
static bool same_target(const SinkTarget *target, const SinkTarget *other_target) {
    static const char schema[] = "public.";
    size_t size = sizeof schema - 1;
    const char *table_id = target->table.table_id, *other = other_target->table.table_id;
    if (!strchr(table_id, '.') && strncmp(other, schema, size) == 0) other += size;
    if (!strchr(other, '.') && strncmp(table_id, schema, size) == 0) table_id += size;
    return strcmp(table_id, other) == 0;
}

const SinkDriver sink_driver_postgres = {
    .type = &connection_type_postgres,
    .target = TARGET_TABLE,
    .same_target = same_target,
    .transactional = true,
    .keeps_ledger = true,
    .keeps_order = true,
    .connect = pg_connect,
    .prepare = pg_prepare,
    .inspect = pg_inspect,
    .import = pg_import,
    .look_up = pg_look_up,
    .disconnect = pg_disconnect,
    .test = postgres_test,
};
