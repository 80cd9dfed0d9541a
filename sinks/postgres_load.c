#include "sinks/postgres_load.h"

#include <errno.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "sinks/csv_record.h"
#include "sinks/postgres_table.h"
#include "sinks/table_shape.h"

#define WINDOW_AFTER_BAD_ROW 64

/* ---- the statements ---- */

/* The temporary table's columns are c0, c1, …, so that other names in a statement never meet a column of the sink. */
static void put_numbered(Buffer *out, const TableTarget *table, const char *prefix, bool keys_only, const char *separator) {
    const char *before = "";
    for (size_t i = 0; i < table->column_count; i++) {
        if (keys_only && !table->columns[i].primary_key) continue;
        buffer_printf(out, "%s%sc%zu", before, prefix, i);
        before = separator;
    }
}

static void put_insert_into(Buffer *out, const TableTarget *table) {
    buffer_append_text(out, "INSERT INTO ");
    postgres_put_table(out, table);
    buffer_append_text(out, " AS target (");
    sql_put_columns(out, table, false);
    buffer_append_text(out, ") ");
}

/* The last of equal keys wins: COPY has filled an empty table from front to back, so ctid is the order of the rows. */
static void put_merge(Buffer *out, const TableTarget *table) {
    put_insert_into(out, table);
    buffer_append_text(out, "SELECT DISTINCT ON (");
    put_numbered(out, table, "", true, ", ");
    buffer_append_text(out, ") ");
    put_numbered(out, table, "", false, ", ");
    buffer_append_text(out, " FROM pg_temp.sluice_rows ORDER BY ");
    put_numbered(out, table, "", true, ", ");
    buffer_append_text(out, ", ctid DESC ON CONFLICT (");
    sql_put_columns(out, table, true);
    buffer_append_text(out, sink_table_is_all_key(table) ? ") DO NOTHING" : ") DO UPDATE SET ");
    const char *separator = "";
    for (size_t i = 0; i < table->column_count; i++) {
        if (table->columns[i].primary_key) continue;
        buffer_append_text(out, separator);
        sql_put_identifier(out, table->columns[i].name);
        buffer_append_text(out, " = EXCLUDED.");
        sql_put_identifier(out, table->columns[i].name);
        separator = ", ";
    }
}

static void put_conflict_ignored(Buffer *out, const TableTarget *table) {
    buffer_append_text(out, " ON CONFLICT (");
    sql_put_columns(out, table, true);
    buffer_append_text(out, ") DO NOTHING");
}

static void put_append(Buffer *out, const TableTarget *table) {
    put_insert_into(out, table);
    buffer_append_text(out, "SELECT ");
    put_numbered(out, table, "", false, ", ");
    buffer_append_text(out, " FROM pg_temp.sluice_rows ORDER BY ctid");
    put_conflict_ignored(out, table);
}

/*
 * Inserts as put_append does and returns the place (from 1) of each row that was not inserted, and whether an earlier row of the same
 * attempt has its key. What was inserted says so itself, so that a session which inserts the same keys at the same time cannot fool it.
 */
static void put_append_naming_duplicates(Buffer *out, const TableTarget *table) {
    buffer_append_text(
        out, "WITH numbered AS MATERIALIZED (SELECT row_number() OVER (ORDER BY ctid) AS place, row_number() OVER (PARTITION BY ");
    put_numbered(out, table, "", true, ", ");
    buffer_append_text(out, " ORDER BY ctid) AS turn, ");
    put_numbered(out, table, "", false, ", ");
    buffer_append_text(out, " FROM pg_temp.sluice_rows), inserted AS (");
    put_insert_into(out, table);
    buffer_append_text(out, "SELECT ");
    put_numbered(out, table, "", false, ", ");
    buffer_append_text(out, " FROM numbered WHERE turn = 1 ORDER BY place");
    put_conflict_ignored(out, table);
    buffer_append_text(out, " RETURNING ");
    const char *separator = "";
    for (size_t i = 0; i < table->column_count; i++) {
        if (!table->columns[i].primary_key) continue;
        buffer_printf(out, "%starget.", separator);
        sql_put_identifier(out, table->columns[i].name);
        buffer_printf(out, " AS c%zu", i);
        separator = ", ";
    }
    buffer_append_text(out, ") SELECT place, turn > 1 FROM numbered WHERE turn > 1 OR NOT EXISTS (SELECT 1 FROM inserted WHERE (");
    put_numbered(out, table, "inserted.", true, ", ");
    buffer_append_text(out, ") = (");
    put_numbered(out, table, "numbered.", true, ", ");
    buffer_append_text(out, ")) ORDER BY place");
}

static SinkResult make_temporary_table(PostgresSession *session, const TableTarget *table, Error *error) {
    Buffer sql = {0};
    buffer_append_text(&sql, "CREATE TEMPORARY TABLE sluice_rows (");
    put_numbered(&sql, table, "", false, ", ");
    buffer_append_text(&sql, ") ON COMMIT DROP AS SELECT ");
    sql_put_columns(&sql, table, false);
    buffer_append_text(&sql, " FROM ");
    postgres_put_table(&sql, table);
    buffer_append_text(&sql, " WITH NO DATA");
    SinkResult result = postgres_run(session, session->silence_limit, buffer_text(&sql), 0, NULL, NULL, error);
    buffer_deinit(&sql);
    return result;
}

SinkResult postgres_load_begin(PostgresLoad *load, PostgresSession *session, const ImportJob *job, Error *error) {
    const TableTarget *table = job->table;
    *load = (PostgresLoad){.session = session, .job = job};
    if (!sink_table_has_key(table)) {
        buffer_append_text(&load->copy, "SAVEPOINT sluice_attempt; COPY ");
        postgres_put_table(&load->copy, table);
        buffer_append_text(&load->copy, " (");
        sql_put_columns(&load->copy, table, false);
        buffer_append_text(&load->copy, ") FROM STDIN (FORMAT csv)");
        return SINK_DONE;
    }
    /* Outside the savepoint, in the transaction that made the table, TRUNCATE empties it in place; inside it would make new files. */
    buffer_append_text(&load->copy, "TRUNCATE pg_temp.sluice_rows; SAVEPOINT sluice_attempt;"
                                    " COPY pg_temp.sluice_rows FROM STDIN (FORMAT csv)");
    if (table->strategy == STRATEGY_MERGE) {
        put_merge(&load->insert, table);
    } else {
        put_append(&load->insert, table);
        put_append_naming_duplicates(&load->duplicates, table);
    }
    return make_temporary_table(session, table, error);
}

void postgres_load_deinit(PostgresLoad *load) {
    sink_rejects_deinit(&load->rejects);
    buffer_deinit(&load->copy);
    buffer_deinit(&load->insert);
    buffer_deinit(&load->duplicates);
}

/* ---- one attempt ---- */

typedef struct Attempt {
    const ImportFile *file;
    uint64_t from;   /* in: the first row is the first with a number >= from */
    uint64_t window; /* in: numbers from the first row on; UINT64_MAX: to the end */
    uint64_t first;  /* out: number of the first row, when there is one */
    uint64_t next;   /* out: behind the last row */
    uint64_t rows;   /* out: sent */
    bool at_end;     /* out: no rows come after these */
} Attempt;

static SinkResult simple(PostgresLoad *load, const char *sql, PGresult **ret_result, Error *error) {
    return postgres_run(load->session, load->session->statement_limit, sql, 0, NULL, ret_result, error);
}

/* A COPY that cannot be ended well: the connection goes, and the server rolls back. */
static SinkResult abandon(PostgresLoad *load) {
    postgres_session_break(load->session);
    return SINK_RETRY;
}

static SinkResult send_rows(PostgresLoad *load, Attempt *attempt, Error *error) {
    SinkRows *reader = attempt->file->reader;
    PostgresSession *session = load->session;
    uint64_t done_before = session->rows_done;
    if (reader->seek(reader, attempt->from, error) < 0) return abandon(load);
    for (;;) {
        Span csv;
        uint64_t first, rows;
        int r = reader->block(reader, &csv, &first, &rows, error);
        if (r < 0) return abandon(load);
        if (r == SINK_ROWS_END) {
            attempt->at_end = true;
            break;
        }
        if (rows == 0) continue;
        if (attempt->rows == 0) attempt->first = first;
        if (first - attempt->first >= attempt->window) break;
        if (rows > attempt->window - (first - attempt->first)) {
            rows = attempt->window - (first - attempt->first);
            csv.size = csv_record_sizes(csv, rows);
            if (csv.size == 0) {
                (void)error_set(error, -EBADMSG, "A block of rows ends before its last row (row %llu).", (unsigned long long)first);
                return abandon(load);
            }
        }
        SinkResult result = postgres_copy_put(session, csv, error);
        if (result != SINK_DONE) return result;
        attempt->rows += rows;
        attempt->next = first + rows;
        session->rows_done = done_before + attempt->rows;
        if (attempt->next - attempt->first >= attempt->window) break;
        if (session->progress && session->progress(session->progress_context, session->rows_done, false)) {
            (void)error_set(error, -ECANCELED, "The import was interrupted.");
            return abandon(load);
        }
        if (postgres_copy_has_answer(session)) break;
    }
    return SINK_DONE;
}

static SinkResult miscounted(const Attempt *attempt, uint64_t counted, Error *error) {
    (void)error_set(error, -EIO, "The server counted %llu rows of %llu; nothing was changed.", (unsigned long long)counted,
                    (unsigned long long)attempt->rows);
    return SINK_RETRY;
}

/* The rows whose places (from 1, within the attempt) the result names, as duplicates. */
static SinkResult refuse_duplicates(PostgresLoad *load, const Attempt *attempt, const PGresult *places, Error *error) {
    CsvWalk walk;
    uint64_t place = 0;
    if (csv_walk_start(&walk, attempt->file->reader, attempt->first, error) < 0) return SINK_RETRY;
    for (int i = 0; i < PQntuples(places); i++) {
        uint64_t wanted = strtoull(PQgetvalue(places, i, 0), NULL, 10), row = 0;
        Span csv = {0};
        for (; place < wanted; place++) {
            int r = csv_walk_next(&walk, &csv, &row, error);
            if (r == SINK_ROWS_END) (void)error_set(error, -EIO, "Row %llu of an import cannot be read again.", (unsigned long long)wanted);
            if (r != 0) return SINK_RETRY;
        }
        bool is_in_file = PQgetvalue(places, i, 1)[0] == 't';
        const char *reason = is_in_file ? "duplicate key: an earlier row of the same import has the same primary key"
                                        : "duplicate key: the table already has a row with this primary key";
        SinkResult result = sink_rejects_add(&load->rejects, load->job, attempt->file, row, reason, csv, error);
        if (result != SINK_DONE) return result;
    }
    return SINK_DONE;
}

static SinkResult append_new_keys(PostgresLoad *load, const Attempt *attempt, Error *error) {
    SinkResult result = simple(load, "SAVEPOINT sluice_append", NULL, error);
    PGresult *answer = NULL;
    if (result == SINK_DONE) result = simple(load, buffer_text(&load->insert), &answer, error);
    if (result != SINK_DONE) return result;
    uint64_t inserted = strtoull(PQcmdTuples(answer), NULL, 10);
    PQclear(answer);
    if (inserted == attempt->rows) return SINK_DONE;
    result = simple(load, "ROLLBACK TO SAVEPOINT sluice_append", NULL, error);
    answer = NULL;
    if (result == SINK_DONE) result = simple(load, buffer_text(&load->duplicates), &answer, error);
    if (result == SINK_DONE) result = refuse_duplicates(load, attempt, answer, error);
    PQclear(answer);
    return result;
}

static SinkResult count_keys(PostgresLoad *load, uint64_t *ret_keys, Error *error) {
    Buffer sql = {0};
    buffer_append_text(&sql, "SELECT count(*) FROM (SELECT DISTINCT ");
    put_numbered(&sql, load->job->table, "", true, ", ");
    buffer_append_text(&sql, " FROM pg_temp.sluice_rows) keys");
    PGresult *answer = NULL;
    SinkResult result = simple(load, buffer_text(&sql), &answer, error);
    if (result == SINK_DONE) *ret_keys = strtoull(PQgetvalue(answer, 0, 0), NULL, 10);
    PQclear(answer);
    buffer_deinit(&sql);
    return result;
}

static SinkResult merge(PostgresLoad *load, const Attempt *attempt, Error *error) {
    PGresult *answer = NULL;
    SinkResult result = simple(load, buffer_text(&load->insert), &answer, error);
    if (result != SINK_DONE) return result;
    uint64_t merged = strtoull(PQcmdTuples(answer), NULL, 10), keys = attempt->rows;
    PQclear(answer);
    /* DO NOTHING does not count the rows that are there. */
    if (merged == attempt->rows || sink_table_is_all_key(load->job->table)) return SINK_DONE;
    result = count_keys(load, &keys, error);
    if (result == SINK_DONE && merged != keys) return miscounted(attempt, merged, error);
    return result;
}

/* On SINK_DONE the rows are in the table, or refused as duplicates. Otherwise the savepoint stands, if the session does. */
static SinkResult try_rows(PostgresLoad *load, Attempt *attempt, Error *error) {
    SinkResult result = simple(load, buffer_text(&load->copy), NULL, error);
    if (result == SINK_DONE) result = send_rows(load, attempt, error);
    uint64_t counted = 0;
    if (result == SINK_DONE) result = postgres_copy_end(load->session, &counted, error);
    if (result != SINK_DONE) return result;
    if (counted != attempt->rows) {
        load->session->failure = (PostgresFailure){0};
        return miscounted(attempt, counted, error);
    }
    if (attempt->rows > 0 && load->insert.size > 0)
        result = load->duplicates.size > 0 ? append_new_keys(load, attempt, error) : merge(load, attempt, error);
    return result == SINK_DONE ? simple(load, "RELEASE SAVEPOINT sluice_attempt", NULL, error) : result;
}

/* ---- around bad rows ---- */

/* The row of the attempt whose text holds the server's line; UINT64_MAX: none. */
static int row_of_line(const Attempt *attempt, uint64_t line, uint64_t *ret_row, Error *error) {
    CsvWalk walk;
    uint64_t lines = 0;
    *ret_row = UINT64_MAX;
    int r = csv_walk_start(&walk, attempt->file->reader, attempt->first, error);
    if (r < 0) return r;
    for (uint64_t i = 0; i < attempt->rows && line > 0; i++) {
        Span csv;
        uint64_t row;
        r = csv_walk_next(&walk, &csv, &row, error);
        if (r != 0) return r < 0 ? r : 0;
        for (const char *at = csv.data, *end = csv.data + csv.size; (at = memchr(at, '\n', (size_t)(end - at))); at++) lines++;
        if (lines < line) continue;
        *ret_row = row;
        return 0;
    }
    return 0;
}

static SinkResult refuse_row(PostgresLoad *load, const Attempt *attempt, const char *reason, Error *error) {
    CsvWalk walk;
    Span csv;
    uint64_t row;
    int r = csv_walk_start(&walk, attempt->file->reader, attempt->first, error);
    if (r == 0) r = csv_walk_next(&walk, &csv, &row, error);
    if (r == SINK_ROWS_END) (void)error_set(error, -EIO, "Row %llu of an import cannot be read again.", (unsigned long long)attempt->first);
    if (r != 0) return SINK_RETRY;
    return sink_rejects_add(&load->rejects, load->job, attempt->file, row, reason, csv, error);
}

/* Where the search for a bad row stands. */
typedef struct Search {
    uint64_t window;   /* of the next attempt */
    uint64_t suspect;  /* the row that a hint names: tried alone when what is before it went through; UINT64_MAX: none */
    uint64_t bad_end;  /* a bad row lies before this one; 0: none is known */
    uint64_t last_bad; /* the last row that was refused, at first the first row of the file */
} Search;

/* After an attempt of several rows was refused: what lies before the hint's row, or that row alone, or half. */
static SinkResult search_narrow(Search *search, const Attempt *attempt, const PostgresFailure *failure, Error *error) {
    search->bad_end = attempt->next;
    if (row_of_line(attempt, failure->line, &search->suspect, error) < 0) return SINK_RETRY;
    if (search->suspect == UINT64_MAX)
        search->window = (attempt->next - attempt->first) / 2;
    else
        search->window = search->suspect > attempt->first ? search->suspect - attempt->first : 1;
    return SINK_DONE;
}

static void search_went_through(Search *search, const Attempt *attempt) {
    if (attempt->next == search->suspect)
        search->window = 1;
    else if (attempt->next < search->bad_end)
        search->window = (search->bad_end - attempt->next + 1) / 2;
    else
        search->window = search->window > UINT64_MAX / 4 ? UINT64_MAX : search->window * 4;
}

/* The next bad row is likely as far away as this one was. */
static void search_found(Search *search, const Attempt *attempt) {
    uint64_t gap = attempt->first - search->last_bad;
    search->window = gap > WINDOW_AFTER_BAD_ROW / 2 ? gap * 2 : WINDOW_AFTER_BAD_ROW;
    search->last_bad = attempt->first;
    search->suspect = UINT64_MAX;
    search->bad_end = 0;
}

SinkResult postgres_load_file(PostgresLoad *load, const ImportFile *file, Error *error) {
    PostgresSession *session = load->session;
    uint64_t rows = 0, done_before = session->rows_done;
    Search search = {.window = UINT64_MAX, .suspect = UINT64_MAX, .last_bad = file->first_row};
    for (Attempt attempt = {.next = file->first_row}; !attempt.at_end;) {
        attempt = (Attempt){.file = file, .from = attempt.next, .next = attempt.next, .window = search.window};
        session->rows_done = done_before + rows;
        Error refusal = {0};
        SinkResult result = try_rows(load, &attempt, &refusal);
        if (result == SINK_DONE) {
            rows += attempt.rows;
            search_went_through(&search, &attempt);
            continue;
        }
        if (session->is_broken || session->failure.blame != POSTGRES_BLAME_ROW || attempt.rows == 0) {
            if (error) *error = refusal;
            return result;
        }
        PostgresFailure failure = session->failure;
        result = simple(load, "ROLLBACK TO SAVEPOINT sluice_attempt; RELEASE SAVEPOINT sluice_attempt", NULL, error);
        if (result == SINK_DONE && attempt.rows == 1) {
            result = refuse_row(load, &attempt, failure.reason, error);
            rows++;
            search_found(&search, &attempt);
        } else if (result == SINK_DONE) {
            result = search_narrow(&search, &attempt, &failure, error);
            attempt.next = attempt.first;
            attempt.at_end = false;
        }
        if (result != SINK_DONE) return result;
    }
    if (rows == file->rows) return SINK_DONE;
    (void)error_set(error, -EIO, "The file should have %llu rows, but %llu were read.", (unsigned long long)file->rows,
                    (unsigned long long)rows);
    return SINK_RETRY;
}
