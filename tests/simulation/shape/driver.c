/* The real driver of SQLite, with faults around its calls and inside of them. */
#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>

#include "base/array.h"
#include "mapping/row.h"
#include "sinks/sqlite_session.h"
#include "tests/simulation/shape/shape.h"

/* ---- faults ---------------------------------------------------------------------------------- */

static bool is_faulty(void) {
    return !world->quiet && chance(world->fault_percent);
}

/* What an ALTER TABLE, or a CREATE TABLE, finds: somebody took the right away. */
static int deny_tables(void *context, int action, const char *a, const char *b, const char *c, const char *d) {
    unsigned *left = context;
    if (action != SQLITE_ALTER_TABLE && action != SQLITE_CREATE_TABLE) return SQLITE_OK;
    if (*left > 1) {
        --*left;
        return SQLITE_OK;
    }
    sum.ddl_failed++;
    return SQLITE_DENY;
}

static int refuse_commit(void *context) {
    return 1;
}

static sqlite3 *database_of(SinkSession *session) {
    return ((SqliteSession *)(void *)session)->database;
}

/* What comes in the way of a call: before it, inside of it, or behind its commit. */
typedef enum Fault { FAULT_NONE, FAULT_BEFORE, FAULT_TABLES, FAULT_COMMIT, FAULT_ANSWER, FAULT_DEATH, FAULT_DEATH_LATER, FAULTS } Fault;

static Fault begin_call(SinkSession *session, unsigned *tables_left) {
    Fault fault = is_faulty() ? (Fault)(1 + below(FAULTS - 1)) : FAULT_NONE;
    *tables_left = 1 + (unsigned)below(3);
    if (fault == FAULT_TABLES) (void)sqlite3_set_authorizer(database_of(session), deny_tables, tables_left);
    if (fault == FAULT_COMMIT) (void)sqlite3_commit_hook(database_of(session), refuse_commit, NULL);
    return fault;
}

static SinkResult refuse_call(Error *error) {
    static const SinkResult results[] = {SINK_RETRY, SINK_UNREACHABLE, SINK_REFUSED};
    SinkResult result = results[below(3)];
    (void)error_set(error, -ETIMEDOUT, "The destination does not do it.");
    return result;
}

/* `result`: of the real call. */
static SinkResult end_call(SinkSession *session, Fault fault, SinkResult result, Error *error) {
    (void)sqlite3_set_authorizer(database_of(session), NULL, NULL);
    (void)sqlite3_commit_hook(database_of(session), NULL, NULL);
    if (result != SINK_DONE) return result;
    if (fault == FAULT_DEATH_LATER) node_dies_in(1 + (unsigned)below(12));
    if (fault != FAULT_ANSWER && fault != FAULT_DEATH) return result;
    if (fault == FAULT_DEATH) node_dies_in(1);
    sum.in_doubt++;
    (void)error_set(error, -ECONNRESET, "The connection was cut behind the commit.");
    return chance(50) ? SINK_RETRY : SINK_UNREACHABLE;
}

/* ---- the driver ------------------------------------------------------------------------------ */

static SinkResult shape_connect(const Connection *connection, const char *data_directory, const char *application_name,
                                const SinkPatience *patience, SinkSession **ret_session, Error *error) {
    if (world->down || (is_faulty() && chance(20))) {
        (void)error_set(error, -ECONNREFUSED, "The destination is down.");
        return SINK_UNREACHABLE;
    }
    SinkResult result = sink_driver_sqlite.connect(connection, data_directory, application_name, patience, ret_session, error);
    if (result != SINK_DONE) fail("%s", error->text);
    check(sqlite3_exec(database_of(*ret_session), "PRAGMA synchronous = OFF", NULL, NULL, NULL) == SQLITE_OK);
    return result;
}

static SinkResult shape_prepare(SinkSession *session, const SinkTarget *target, Error *error) {
    unsigned tables_left;
    if (world->down) return refuse_call(error);
    Fault fault = begin_call(session, &tables_left);
    if (fault == FAULT_BEFORE) return refuse_call(error);
    return end_call(session, fault, sink_driver_sqlite.prepare(session, target, error), error);
}

static SinkResult shape_inspect(SinkSession *session, const SinkTarget *target, TableInspection *ret_inspection, Error *error) {
    if (!world->down) return sink_driver_sqlite.inspect(session, target, ret_inspection, error);
    *ret_inspection = (TableInspection){0};
    return refuse_call(error);
}

static SinkResult shape_columns(SinkSession *session, ColumnsJob *job, Error *error) {
    unsigned tables_left;
    if (world->down) return refuse_call(error);
    if (chance(30)) shape_interrupt();
    Fault fault = begin_call(session, &tables_left);
    if (fault == FAULT_BEFORE) return refuse_call(error);
    sum.columns_jobs++;
    SinkResult result = sink_driver_sqlite.columns(session, job, error);
    tables_check_map();
    for (size_t i = 0; i < job->count; i++) sum.variants += job->columns[i].is_variant;
    SinkResult said = end_call(session, fault, result, error);
    sum.died_naming += result == SINK_DONE && (fault == FAULT_DEATH || fault == FAULT_DEATH_LATER);
    if (result == SINK_DONE && said != SINK_DONE) {
        inferred_columns_free(job->columns, job->count);
        job->columns = NULL;
        job->count = 0;
    }
    return said;
}

/* All rows of a file were sent, are as they were, and were made with one version, of which the file
 * keeps the target. */
static size_t *check_file(const ImportJob *job, const ImportFile *file, uint64_t look, size_t *ret_count, json_t **ret_left_out,
                          Error *error) {
    size_t *rows = NULL, count = 0, room = 0;
    const Version *version = NULL;
    int r = file->reader->seek(file->reader, file->first_row, error);
    while (r == 0) {
        Span csv;
        uint64_t first, left;
        r = file->reader->block(file->reader, &csv, &first, &left, error);
        for (; r == 0 && left > 0; left--) {
            size_t size = row_size(csv);
            expect(size > 0);
            SentRow *row = events_find_row(csv.data, size, job->target, look);
            const Version *of_row = &world->sent.versions[row->version];
            if (!version && !row->deletes) version = of_row;
            /* Of a deletion it is not known which of the versions with this target it is of. */
            if (!row->deletes && of_row != version)
                fail("a file of sink %s holds rows of mapping versions %u and %u, of event %zu", version->sink->sink_id,
                     version->sink->mapping_version, of_row->sink->mapping_version, row->event);
            csv.data += size;
            csv.size -= size;
            array_reserve(rows, count, room);
            rows[count++] = (size_t)(row - world->sent.rows);
        }
    }
    *ret_count = count;
    if (r < 0) {
        free(rows);
        return NULL;
    }
    expect(count > 0 && count == file->rows);
    *ret_left_out = version ? events_check_target(version, job->target) : NULL;
    return rows;
}

static void commit(const ImportJob *job, const size_t *rows, size_t count, json_t *left_out) {
    static uint64_t look = UINT64_MAX;
    world->tick++;
    for (size_t i = 0; i < count; i++) {
        SentRow *row = &world->sent.rows[rows[i]];
        /* Deletions of one text are told apart by what has arrived: until here a file may have been
         * one that was imported before. */
        if (row->deletes) row = events_find_row(row->text, row->size, job->target, look--);
        if (row->arrived++ > 0) fail("a row of event %zu was imported a second time: %s", row->event, row->text);
        row->tick = world->tick;
        row->left_out = json_incref(left_out);
        tables_note_arrival(row);
    }
}

static SinkResult shape_import(SinkSession *session, ImportJob *job, Error *error) {
    static uint64_t look;
    unsigned tables_left;
    look++;
    size_t **rows = calloc(job->file_count, sizeof *rows), *counts = calloc(job->file_count, sizeof *counts);
    json_t **left_out = calloc(job->file_count, sizeof *left_out);
    check(rows && counts && left_out);
    SinkResult result = SINK_DONE;
    if (world->down) result = refuse_call(error);
    for (size_t i = 0; i < job->file_count && result == SINK_DONE; i++)
        if (!(rows[i] = check_file(job, &job->files[i], look, &counts[i], &left_out[i], error))) result = SINK_RETRY;
    if (result == SINK_DONE && chance(30)) shape_interrupt();
    Fault fault = FAULT_NONE;
    if (result == SINK_DONE) {
        fault = begin_call(session, &tables_left);
        if (fault == FAULT_BEFORE) result = refuse_call(error);
    }
    if (result == SINK_DONE) {
        result = sink_driver_sqlite.import(session, job, error);
        if (result == SINK_DONE) {
            if (job->rejected_rows > 0 || job->swallowed_rows > 0) fail("the table refuses rows of %s", job->sink_label);
            for (size_t i = 0; i < job->file_count; i++) {
                sum.found_imported += job->files[i].already_imported;
                if (!job->files[i].already_imported) commit(job, rows[i], counts[i], left_out[i]);
            }
            sum.imports++;
            tables_note_import();
        } else {
            say("import of %s: %s", job->sink_label, error->text);
        }
        result = end_call(session, fault, result, error);
        job->proven_absent = job->proven_absent && result != SINK_DONE;
    }
    for (size_t i = 0; i < job->file_count; i++) {
        free(rows[i]);
        json_decref(left_out[i]);
    }
    free(rows);
    free(left_out);
    free(counts);
    return result;
}

static SinkResult shape_look_up(SinkSession *session, const Uuid *file, bool *ret_found, Error *error) {
    return sink_driver_sqlite.look_up(session, file, ret_found, error);
}

static void shape_disconnect(SinkSession *session) {
    sink_driver_sqlite.disconnect(session);
}

const SinkDriver shape_driver = {
    .transactional = true,
    .keeps_ledger = true,
    .keeps_order = true,
    .connect = shape_connect,
    .prepare = shape_prepare,
    .columns = shape_columns,
    .inspect = shape_inspect,
    .import = shape_import,
    .look_up = shape_look_up,
    .disconnect = shape_disconnect,
};
