/*
 * PostgreSQL. One import is one transaction: the ids of its files into the ledger (which is the
 * look-up as well), settled ids out of it, the rows by COPY, refused rows to the job, the positions
 * of runs (postgres_positions.h), COMMIT. What a lost connection leaves unknown, the next try asks
 * the ledger.
 *
 * The role needs USAGE on the schemas, SELECT, INSERT and DELETE on the ledger, INSERT on the
 * table; with a primary key or row-level security also SELECT, UPDATE (strategy merge) and
 * TEMPORARY on the database; for files with runs SELECT, INSERT and UPDATE on the positions, and
 * DELETE to remove them; CREATE only where something is missing. For a table that is replaced see
 * postgres_swap.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sinks/chained_files.h"
#include "sinks/driver.h"
#include "sinks/import_runs.h"
#include "sinks/ledger_entry.h"
#include "sinks/postgres_columns.h"
#include "sinks/postgres_load.h"
#include "sinks/postgres_positions.h"
#include "sinks/postgres_session.h"
#include "sinks/postgres_side.h"
#include "sinks/postgres_table.h"
#include "sinks/postgres_test.h"
#include "sinks/postgres_transaction.h"

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
    if (result != SINK_DONE) return result;
    return target->table.strategy == STRATEGY_REPLACE ? postgres_side_prepare(session_of(session), target, error)
                                                      : postgres_table_prepare(session_of(session), target, error);
}

static SinkResult pg_inspect(SinkSession *session, const SinkTarget *target, TableInspection *ret_inspection, Error *error) {
    check(target->type == TARGET_TABLE);
    *ret_inspection = (TableInspection){0};
    SinkResult result = postgres_session_use(session_of(session), error);
    if (result == SINK_DONE) result = postgres_table_inspect(session_of(session), target, ret_inspection, error);
    if (result == SINK_DONE && target->table.strategy == STRATEGY_REPLACE && !ret_inspection->creates)
        result = postgres_side_check_table(session_of(session), target, NULL, error);
    return result;
}

/* Does what the ledger has of the file equal what the file says? */
static SinkResult compare_ledger(PostgresSession *session, const LedgerEntry *entry, ImportFile *file, Error *error) {
    Buffer sql = {0};
    buffer_printf(&sql, "SELECT %s FROM ", entry->columns);
    postgres_put_ledger(&sql, session);
    buffer_append_text(&sql, " WHERE file_id = $1::uuid");
    PGresult *row = NULL;
    SinkResult result = postgres_run(session, session->silence_limit, buffer_text(&sql), 1, entry->values, &row, error);
    buffer_deinit(&sql);
    if (result == SINK_DONE) result = postgres_expect(session, &row, 0, (int)entry->count, error);
    if (result != SINK_DONE) return result;
    if (PQntuples(row) != 1) {
        (void)error_set(error, -EAGAIN, "File %s was removed from the ledger while it was read.", entry->file);
        result = SINK_RETRY;
    } else {
        const char *there[LEDGER_COLUMNS_OF_RUNS_COUNT];
        for (size_t i = 0; i < entry->count; i++) there[i] = PQgetisnull(row, 0, (int)i) ? NULL : PQgetvalue(row, 0, (int)i);
        result = ledger_entry_compare(entry, file, there, error);
    }
    PQclear(row);
    return result;
}

/* Inserts the file's id. Waits for another session that is inserting the same one, as long as
 * lock_timeout allows. */
static SinkResult enter_in_ledger(PostgresSession *session, const ImportJob *job, ImportFile *file, Error *error) {
    LedgerEntry entry;
    check(postgres_session_is(session, POSTGRES_TRANSACTION) && !file->already_imported);
    ledger_entry_init(&entry, job, file);
    Buffer sql = {0};
    buffer_append_text(&sql, "INSERT INTO ");
    postgres_put_ledger(&sql, session);
    buffer_printf(&sql, " (%s) VALUES ($1", entry.columns);
    for (size_t i = 1; i < entry.count; i++) buffer_printf(&sql, ", $%zu", i + 1);
    buffer_append_text(&sql, ") ON CONFLICT (file_id) DO NOTHING");
    PGresult *answer = NULL;
    SinkResult result = postgres_run(session, session->silence_limit, buffer_text(&sql), entry.count, entry.values, &answer, error);
    buffer_deinit(&sql);
    if (result == SINK_DONE) {
        file->already_imported = strcmp(PQcmdTuples(answer), "0") == 0;
        PQclear(answer);
        if (file->already_imported) result = compare_ledger(session, &entry, file, error);
    }
    ledger_entry_deinit(&entry);
    return result;
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

/* Is the data directory older than what the ledger has? */
static SinkResult judge_history(PostgresSession *session, const ImportJob *job, Error *error) {
    if (!job->history) return SINK_DONE;
    check(postgres_session_is(session, POSTGRES_TRANSACTION));
    char instance[UUID_TEXT_SIZE + 1];
    ledger_file_text(&job->instance, instance);
    Buffer sql = {0};
    buffer_append_text(&sql, "SELECT file_id, first_row, rows FROM ");
    postgres_put_ledger(&sql, session);
    buffer_append_text(&sql, " WHERE instance = $1::uuid AND sink = $2 AND table_name = $3");
    PGresult *files = NULL;
    SinkResult result = postgres_run(session, session->statement_limit, buffer_text(&sql), 3,
                                     (const char *const[]){instance, job->sink_label, sink_target_name(job->target)}, &files, error);
    buffer_deinit(&sql);
    if (result == SINK_DONE) result = postgres_expect(session, &files, 0, 3, error);
    if (result != SINK_DONE) return result;
    ledger_history_begin(job->history);
    for (int i = 0; i < PQntuples(files); i++) {
        Uuid file;
        if (!uuid_parse(span_of(PQgetvalue(files, i, 0)), &file)) continue;
        ledger_history_note(job->history, &file, strtoull(PQgetvalue(files, i, 1), NULL, 10), strtoull(PQgetvalue(files, i, 2), NULL, 10));
    }
    PQclear(files);
    return ledger_history_judge(job->history, error) == 0 ? SINK_DONE : SINK_REFUSED;
}

/* The ids of the files, with what becomes of their runs; *ret_waiting: how many were not there.
 * Without a table to go to, no run goes in. */
static SinkResult enter_files(PostgresSession *session, const ImportJob *job, bool has_table, size_t *ret_waiting, Error *error) {
    SinkResult result = SINK_DONE;
    *ret_waiting = 0;
    if (import_has_runs(job)) {
        result = postgres_positions_read(session, job->target, job->positions, job->position_count, error);
        if (result == SINK_DONE && !has_table) run_marks_evaluate(&(RunMarks){0}, job->positions, job->position_count);
        if (result == SINK_DONE) result = import_runs_begin(job, error);
    }
    for (size_t i = 0; i < job->file_count && result == SINK_DONE; i++) {
        if (import_has_runs(job)) import_runs_decide(job, i);
        result = enter_in_ledger(session, job, &job->files[i], error);
        if (job->files[i].already_imported && import_has_runs(job)) import_runs_take_back(job, i);
        if (!job->files[i].already_imported) ++*ret_waiting;
    }
    check(*ret_waiting <= job->file_count);
    return result;
}

/* With runs, what must be sent first to a temporary table is sent whole before the first row is
 * written: a row that was written is locked, and nobody else may have to wait for this side. */
static SinkResult load_files(PostgresLoad *load, const ImportJob *job, Error *error) {
    SinkResult result = SINK_DONE;
    for (size_t i = 0; i < job->file_count; i++) {
        if (job->files[i].runs && !job->files[i].already_imported) import_runs_leave_out(&job->files[i]);
    }
    if (import_has_runs(job) && !load->is_direct) {
        ChainedFiles chain;
        chained_files_init(&chain, job);
        if (chain.count > 0) result = postgres_load_file(load, &chain.whole, error);
        if (result == SINK_DONE) chained_files_name_rejects(&chain, &load->rejects);
        chained_files_deinit(&chain);
        return result;
    }
    for (size_t i = 0; i < job->file_count && result == SINK_DONE; i++) {
        const ImportFile *file = &job->files[i];
        if (!file->already_imported && (file->left_out < file->rows || !file->runs)) result = postgres_load_file(load, file, error);
    }
    return result;
}

/*
 * Of a table that is replaced: locks the side table, so that no claim and no swap comes between
 * what the positions say and the rows. *ret_is_there: there is one. *ret_lost: it went before it
 * was locked.
 */
static SinkResult lock_side(PostgresSession *session, const SinkTarget *side, bool *ret_is_there, PostgresRules *ret_rules,
                            bool *ret_row_security, bool *ret_lost, Error *error) {
    SinkResult result = postgres_side_find(session, side, ret_is_there, error);
    if (result != SINK_DONE || !*ret_is_there) return result;
    result = postgres_table_lock(session, side, ret_rules, ret_row_security, error);
    *ret_lost = result == SINK_REFUSED && strcmp(session->failure.sqlstate, "42P01") == 0;
    return *ret_lost ? SINK_RETRY : result;
}

/* The rows of the files into the table or the side table, if any are to go in. */
static SinkResult load_rows(PostgresLoad *load, PostgresSession *session, ImportJob *job, const SinkTarget *into,
                            const PostgresRules *rules, bool has_row_security, Error *error) {
    SinkResult result = postgres_load_begin(load, session, job, into, rules, has_row_security, error);
    if (result == SINK_DONE) result = load_files(load, job, error);
    return result == SINK_DONE ? postgres_load_end(load, error) : result;
}

/* Refused rows, positions, COMMIT. */
static SinkResult finish(PostgresSession *session, ImportJob *job, const PostgresLoad *load, bool *ret_lost, Error *error) {
    const PositionsOwner owner = {.instance = job->instance, .sink_label = job->sink_label};
    SinkResult result = sink_rejects_store(&load->rejects, job, error);
    if (result == SINK_DONE && import_has_runs(job))
        result = postgres_positions_set(session, &owner, job->target, job->positions, job->position_count, ret_lost, error);
    if (result != SINK_DONE) return result;
    check(!load->has_savepoint && load->rejects.refused <= job->bad_rows_max);
    result = sink_failpoint("import.before-commit", error);
    if (result != SINK_DONE) return result;
    job->proven_absent = false;
    result = postgres_commit(session, "import", error);
    return result == SINK_DONE ? sink_failpoint("import.after-commit", error) : result;
}

/* *ret_lost: it must begin again, since a position has changed. `side`: NULL, or the table is replaced. */
static SinkResult import_files(PostgresSession *session, ImportJob *job, const SinkTarget *side, bool *ret_lost, Error *error) {
    SinkResult result = sink_failpoint("import.before-begin", error);
    if (result == SINK_DONE) result = postgres_begin_watched(session, import_has_runs(job), job->patience, error);
    size_t waiting = 0;
    PostgresRules rules = {0};
    bool has_row_security = false, has_table = true;
    *ret_lost = false;
    if (result == SINK_DONE && side) result = lock_side(session, side, &has_table, &rules, &has_row_security, ret_lost, error);
    if (result == SINK_DONE) result = judge_history(session, job, error);
    if (result == SINK_DONE) result = enter_files(session, job, has_table, &waiting, error);
    job->proven_absent = result == SINK_DONE && waiting == job->file_count;
    if (result == SINK_DONE) result = forget_settled(session, job, error);
    if (result == SINK_DONE) result = sink_failpoint("import.after-ledger", error);
    PostgresLoad load = {0};
    bool loads = waiting > 0 && has_table;
    if (result == SINK_DONE && loads && !side) result = postgres_table_lock(session, job->target, &rules, &has_row_security, error);
    if (result == SINK_DONE && loads) result = load_rows(&load, session, job, side ? side : job->target, &rules, has_row_security, error);
    if (result == SINK_DONE) result = finish(session, job, &load, ret_lost, error);
    check(result != SINK_DONE || waiting > 0 || job->rejected_rows == 0);
    postgres_load_deinit(&load);
    postgres_rules_deinit(&rules);
    return result;
}

static void forget_try(ImportJob *job) {
    job->rejected_rows = job->swallowed_rows = job->existing_rows = 0;
    for (size_t i = 0; i < job->file_count; i++) job->files[i].already_imported = false;
    import_runs_forget(job);
}

/* The import, from the beginning as long as positions change under it. */
static SinkResult import_until_set(PostgresSession *session, ImportJob *job, Error *error) {
    const bool stored_none = job->store_none, replaces = job->target->table.strategy == STRATEGY_REPLACE;
    bool lost = true;
    SinkTarget side = {0};
    if (replaces) side_target_init(&side, job->target);
    SinkResult result = SINK_RETRY;
    for (int starts = 0; lost && starts < IMPORT_STARTS_MAX; starts++) {
        if (starts > 0) {
            postgres_session_unwatch(session);
            postgres_roll_back(session);
            job->store_none = job->store_none || job->rejected_rows > 0; /* what the last start stored is replaced */
            forget_try(job);
            if (session->is_broken) break;
        }
        if (error) *error = (Error){0};
        result = import_files(session, job, replaces ? &side : NULL, &lost, error);
    }
    side_target_deinit(&side);
    job->store_none = stored_none;
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
    job->took_too_long = job->proven_absent = false;
    forget_try(job);
    SinkResult result = postgres_session_use(session, error);
    session->progress = job->progress;
    if (result == SINK_DONE) result = import_until_set(session, job, error);
    postgres_session_unwatch(session);
    if (result != SINK_DONE) {
        /* Others may cancel a statement as well. */
        job->took_too_long = strcmp(session->failure.sqlstate, "57014") == 0 &&
                             clock_system()->boot(clock_system()) - began >= postgres_server_limit(session);
        forget_try(job);
    }
    /* The caller wants to hear why it failed, not that the rollback did. */
    if (result != SINK_DONE) postgres_roll_back(session);
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
    .positions = &postgres_positions,
    .connect = pg_connect,
    .prepare = pg_prepare,
    .columns = postgres_columns,
    .inspect = pg_inspect,
    .import = pg_import,
    .look_up = pg_look_up,
    .disconnect = pg_disconnect,
    .test = postgres_test,
};
