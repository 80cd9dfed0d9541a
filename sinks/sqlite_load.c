#include "sinks/sqlite_load.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/array.h"
#include "base/text.h"
#include "sinks/csv_record.h"
#include "sinks/sqlite_columns.h"
#include "sinks/sqlite_session.h"
#include "sinks/table_shape.h"

#define ROWS_BETWEEN_PROGRESS 1024
#define BATCH_ROWS 256
#define BATCH_BYTES ((size_t)1 << 20)
#define OUTCASTS_MAX 1000 /* each costs the import up to its row once more */
#define UNCLEAR_MAX 100   /* rows refused for what may be the table's fault, before any row went through */

/* ---- the statements ---- */

/* Only with a column that tells: the row that LEFT names is not older than the one of RIGHT. NULL
 * is older than all values. */
static void put_not_older(Buffer *sql, const SinkTarget *target, const char *left, const char *right) {
    const Column *column = &target->columns[sink_table_newer_by(target)];
    buffer_append_text(sql, left);
    sql_put_identifier(sql, column->name);
    if (column->data_type == DATA_DECIMAL) buffer_append_text(sql, " COLLATE " SQLITE_DECIMAL_ORDER);
    buffer_printf(sql, " >= %s", right);
    sql_put_identifier(sql, column->name);
    buffer_printf(sql, " OR %s", right);
    sql_put_identifier(sql, column->name);
    buffer_append_text(sql, " IS NULL");
}

/*
 * An older row that comes behind a deletion must not be inserted again within one import, so the
 * keys that it deleted are kept in a temporary table, if a column tells which row is newer.
 */
static bool keeps_deleted(const SinkTarget *target) {
    return sink_target_deletes(target) && target->table.newer_by;
}

/* "PREFIX.k = ?1 AND …" */
static void put_key_is_given(Buffer *sql, const SinkTarget *target, const char *prefix) {
    const char *separator = "";
    for (size_t i = 0; i < target->column_count; i++) {
        if (!target->columns[i].primary_key) continue;
        buffer_printf(sql, "%s%s", separator, prefix);
        sql_put_identifier(sql, target->columns[i].name);
        buffer_printf(sql, " = ?%zu", i + 1);
        separator = " AND ";
    }
}

/* The key was deleted in this import by a row that is newer than the given one. */
static void put_deleted_later(Buffer *sql, const SinkTarget *target) {
    size_t column = sink_table_newer_by(target);
    const char *order = target->columns[column].data_type == DATA_DECIMAL ? " COLLATE " SQLITE_DECIMAL_ORDER : "";
    buffer_append_text(sql, "EXISTS (SELECT 1 FROM temp.sluice_deleted AS gone WHERE ");
    put_key_is_given(sql, target, "gone.");
    buffer_append_text(sql, " AND (gone.");
    sql_put_identifier(sql, target->table.newer_by);
    buffer_printf(sql, "%s > ?%zu OR gone.", order, column + 1);
    sql_put_identifier(sql, target->table.newer_by);
    buffer_printf(sql, " IS NOT NULL AND ?%zu IS NULL))", column + 1);
}

/* The row of the given key is there, and not newer. All columns are parameters, so that a row is
 * bound as for the insert. */
static void put_may_be_deleted(Buffer *sql, const SinkTarget *target) {
    put_key_is_given(sql, target, "");
    buffer_printf(sql, " AND (?%zu IS NULL OR 1)", target->column_count);
    if (!target->table.newer_by) return;
    size_t column = sink_table_newer_by(target);
    buffer_append_text(sql, " AND (");
    sql_put_identifier(sql, target->table.newer_by);
    buffer_printf(sql, "%s <= ?%zu OR ", target->columns[column].data_type == DATA_DECIMAL ? " COLLATE " SQLITE_DECIMAL_ORDER : "",
                  column + 1);
    sql_put_identifier(sql, target->table.newer_by);
    buffer_append_text(sql, " IS NULL)");
}

static void put_delete(Buffer *sql, const SinkTarget *target) {
    buffer_append_text(sql, "DELETE FROM ");
    sql_put_identifier(sql, target->table.table_id);
    buffer_append_text(sql, " WHERE ");
    put_may_be_deleted(sql, target);
}

static void put_look_for_deleted(Buffer *sql, const SinkTarget *target) {
    buffer_append_text(sql, "SELECT 1 FROM ");
    sql_put_identifier(sql, target->table.table_id);
    buffer_append_text(sql, " WHERE ");
    put_may_be_deleted(sql, target);
}

/* Of a key that was deleted twice, the newest deletion is kept. */
static void put_note_deleted(Buffer *sql, const SinkTarget *target) {
    buffer_append_text(sql, "INSERT OR REPLACE INTO temp.sluice_deleted SELECT ");
    const char *separator = "";
    for (size_t i = 0; i < target->column_count; i++) {
        if (!target->columns[i].primary_key) continue;
        buffer_printf(sql, "%s?%zu", separator, i + 1);
        separator = ", ";
    }
    buffer_printf(sql, ", ?%zu WHERE (?%zu IS NULL OR 1) AND NOT ", sink_table_newer_by(target) + 1, target->column_count);
    put_deleted_later(sql, target);
}

static void put_make_deleted(Buffer *sql, const SinkTarget *target) {
    buffer_append_text(sql, "DROP TABLE IF EXISTS temp.sluice_deleted; CREATE TEMP TABLE sluice_deleted AS SELECT ");
    sql_put_columns(sql, target, true);
    buffer_append_text(sql, ", ");
    sql_put_identifier(sql, target->table.newer_by);
    buffer_append_text(sql, " FROM main.");
    sql_put_identifier(sql, target->table.table_id);
    buffer_append_text(sql, " WHERE 0; CREATE UNIQUE INDEX temp.sluice_deleted_key ON sluice_deleted (");
    sql_put_columns(sql, target, true);
    buffer_append_byte(sql, ')');
}

/* ---- a target that keeps rows ---- */

/* The keys that came in this import, so that they are not among those that were there before. */
static void put_make_new(Buffer *sql, const SinkTarget *target) {
    buffer_append_text(sql, "DROP TABLE IF EXISTS temp.sluice_new; CREATE TEMP TABLE sluice_new AS SELECT ");
    sql_put_columns(sql, target, true);
    buffer_append_text(sql, " FROM main.");
    sql_put_identifier(sql, target->table.table_id);
    buffer_append_text(sql, " WHERE 0; CREATE UNIQUE INDEX temp.sluice_new_key ON sluice_new (");
    sql_put_columns(sql, target, true);
    buffer_append_byte(sql, ')');
}

/* The key was in the table before this import. All columns are parameters, so that a row is bound
 * as for the insert. */
static void put_look_for_existing(Buffer *sql, const SinkTarget *target) {
    buffer_append_text(sql, "SELECT 1 FROM main.");
    sql_put_identifier(sql, target->table.table_id);
    buffer_append_text(sql, " AS target WHERE ");
    put_key_is_given(sql, target, "target.");
    buffer_printf(sql, " AND (?%zu IS NULL OR 1) AND NOT EXISTS (SELECT 1 FROM temp.sluice_new AS new WHERE ", target->column_count);
    put_key_is_given(sql, target, "new.");
    buffer_append_byte(sql, ')');
}

static void put_note_new(Buffer *sql, const SinkTarget *target) {
    buffer_append_text(sql, "INSERT OR IGNORE INTO temp.sluice_new SELECT ");
    const char *separator = "";
    for (size_t i = 0; i < target->column_count; i++) {
        if (!target->columns[i].primary_key) continue;
        buffer_printf(sql, "%s?%zu", separator, i + 1);
        separator = ", ";
    }
    buffer_printf(sql, " WHERE (?%zu IS NULL OR 1)", target->column_count);
}

static void put_insert(Buffer *sql, const SinkTarget *target, Buffer *clears) {
    buffer_append_text(sql, "INSERT INTO ");
    sql_put_identifier(sql, target->table.table_id);
    buffer_append_text(sql, " AS target (");
    sql_put_columns(sql, target, false);
    buffer_append_text(sql, keeps_deleted(target) ? ") SELECT ?1" : ") VALUES (?1");
    for (size_t i = 2; i <= target->column_count; i++) buffer_printf(sql, ",?%zu", i);
    if (keeps_deleted(target)) {
        buffer_append_text(sql, " WHERE NOT ");
        put_deleted_later(sql, target);
    } else {
        buffer_append_byte(sql, ')');
    }
    if (target->table.strategy != STRATEGY_MERGE) return;
    buffer_append_text(sql, " ON CONFLICT (");
    sql_put_columns(sql, target, true);
    buffer_append_text(sql, sink_table_is_all_key(target) ? ") DO NOTHING" : ") DO UPDATE SET ");
    const char *separator = "";
    for (size_t i = 0; i < target->column_count; i++) {
        if (target->columns[i].primary_key) continue;
        buffer_append_text(sql, separator);
        sql_put_identifier(sql, target->columns[i].name);
        buffer_append_text(sql, " = excluded.");
        sql_put_identifier(sql, target->columns[i].name);
        separator = ", ";
    }
    buffer_append_text(sql, buffer_text(clears));
    if (!target->table.newer_by) return;
    buffer_append_text(sql, " WHERE ");
    put_not_older(sql, target, "excluded.", "target.");
}

/* Is the row's key there, with a row that is not older? All columns are parameters, so that a row
 * is bound as for the insert. */
static void put_look_for_key(Buffer *sql, const SinkTarget *target) {
    buffer_append_text(sql, "SELECT 1 FROM ");
    sql_put_identifier(sql, target->table.table_id);
    buffer_append_text(sql, " AS target, (SELECT ");
    for (size_t i = 0; i < target->column_count; i++) {
        buffer_printf(sql, "%s?%zu AS ", i > 0 ? ", " : "", i + 1);
        sql_put_identifier(sql, target->columns[i].name);
    }
    buffer_append_text(sql, ") AS given");
    const char *separator = " WHERE ";
    for (size_t i = 0; i < target->column_count; i++) {
        if (!target->columns[i].primary_key) continue;
        buffer_printf(sql, "%starget.", separator);
        sql_put_identifier(sql, target->columns[i].name);
        buffer_append_text(sql, " = given.");
        sql_put_identifier(sql, target->columns[i].name);
        separator = " AND ";
    }
    if (target->table.newer_by) {
        buffer_append_text(sql, " AND (");
        put_not_older(sql, target, "target.", "given.");
        buffer_append_byte(sql, ')');
    }
    if (!keeps_deleted(target)) return;
    buffer_append_text(sql, " UNION ALL SELECT 1 WHERE ");
    put_deleted_later(sql, target);
}

/* ---- cells ---- */

/* Decodes `\x…` behind what is in `out`; its capacity must be there, so that earlier cells do not
 * move. */
static bool decode_hex(const SinkCell *cell, Buffer *out) {
    if (cell->size < 2 || cell->size % 2 != 0 || cell->data[0] != '\\' || cell->data[1] != 'x') return false;
    for (size_t i = 2; i < cell->size; i += 2) {
        int high = text_hex(cell->data[i]), low = text_hex(cell->data[i + 1]);
        if (high < 0 || low < 0) return false;
        buffer_append_byte(out, (char)(high << 4 | low));
    }
    return true;
}

/* The cell as the NUL-terminated text of a number, which may be of any length, until the next call;
 * NULL: it is none. */
static const char *number_text(SqliteLoad *load, const SinkCell *cell) {
    if (cell->size == 0 || memchr(cell->data, '\0', cell->size)) return NULL;
    buffer_clear(&load->record);
    buffer_append(&load->record, cell->data, cell->size);
    return buffer_text(&load->record);
}

/* Binds one cell; *ret_misfit names what it should have been, when it is not. */
static int bind_cell(SqliteLoad *load, sqlite3_stmt *insert, int place, const Column *column, const SinkCell *cell,
                     const char **ret_misfit) {
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
        if (!(text = number_text(load, cell))) break;
        long long value = strtoll(text, &end, 10);
        if (errno != 0 || *end) break;
        return sqlite3_bind_int64(insert, place, value);
    }
    case DATA_NUMBER: {
        if (!(text = number_text(load, cell))) break;
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
        size_t start = load->blob.size;
        if (!decode_hex(cell, &load->blob)) break;
        /* A zero-length blob must not have a NULL address: that would bind NULL. */
        size_t size = load->blob.size - start;
        return sqlite3_bind_blob64(insert, place, size > 0 ? load->blob.data + start : "", size, SQLITE_STATIC);
    }
    case DATA_TEXT:
    case DATA_DECIMAL:
    case DATA_TIMESTAMP:
    case DATA_DATE:
    case DATA_UUID:
    case DATA_JSON_TEXT:
    case DATA_JSON: return sqlite3_bind_text64(insert, place, cell->data ? cell->data : "", cell->size, SQLITE_STATIC, SQLITE_UTF8);
    }
    *ret_misfit = data_type_name(column->data_type);
    return SQLITE_OK;
}

/* ---- bad rows ---- */

static SinkResult examine_table(SqliteLoad *load, Error *error) {
    if (load->is_examined) return SINK_DONE;
    SinkResult result = sqlite_table_compare(load->database, load->target, error);
    load->is_examined = result == SINK_DONE;
    return result;
}

static SinkResult refuse_row(SqliteLoad *load, const ImportFile *file, uint64_t row, const SinkCell *cells, const char *reason,
                             Error *error) {
    SinkResult result = examine_table(load, error);
    if (result != SINK_DONE) return result;
    buffer_clear(&load->record);
    csv_record_put(&load->record, cells, sink_target_cells(load->target));
    return sink_rejects_add(&load->rejects, load->job, file, row, reason, buffer_span(&load->record), error);
}

static void swallow_row(SqliteLoad *load, const ImportFile *file, uint64_t row, const SinkCell *cells) {
    buffer_clear(&load->record);
    csv_record_put(&load->record, cells, sink_target_cells(load->target));
    sink_rejects_add_swallowed(&load->rejects, load->job, file, row, buffer_span(&load->record));
}

/* Where the row is among the outcasts, or would be. */
static size_t outcast_place(const SqliteLoad *load, uint64_t row) {
    size_t from = 0, to = load->outcast_count;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (load->outcasts[middle].row < row)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

static const char *outcast_reason(const SqliteLoad *load, uint64_t row) {
    size_t place = outcast_place(load, row);
    return place < load->outcast_count && load->outcasts[place].row == row ? load->outcasts[place].reason : NULL;
}

static SinkResult cast_out(SqliteLoad *load, uint64_t row, const char *reason, Error *error) {
    size_t most = load->job->bad_rows_max < OUTCASTS_MAX ? load->job->bad_rows_max : OUTCASTS_MAX;
    check(sqlite3_get_autocommit(load->database) && !outcast_reason(load, row)); /* one that is known was left out */
    if (load->outcast_count >= most) {
        (void)error_set(error, -E2BIG,
                        "More than %zu rows made SQLite roll back the whole import; the last one (row %" PRIu64 ") because: %s.", most, row,
                        reason);
        return SINK_REFUSED;
    }
    array_reserve(load->outcasts, load->outcast_count, load->outcast_capacity);
    char *copy = strdup(reason);
    check(copy);
    size_t place = outcast_place(load, row);
    memmove(load->outcasts + place + 1, load->outcasts + place, (load->outcast_count - place) * sizeof *load->outcasts);
    load->outcasts[place] = (struct SqliteOutcast){.row = row, .reason = copy};
    load->outcast_count++;
    load->must_restart = true;
    (void)error_set(error, -EAGAIN, "Row %" PRIu64 " made SQLite roll back the whole import: %s.", row, reason);
    return SINK_RETRY;
}

/* "NOT NULL constraint failed: TABLE.COLUMN", and the sink does not have the column: no row could
 * do better. */
static bool needs_foreign_column(const SqliteLoad *load, const char *words) {
    const SinkTarget *target = load->target;
    const char *name = strstr(words, ": ");
    size_t size = strlen(target->table.table_id);
    if (!name || strncasecmp(name + 2, target->table.table_id, size) != 0 || name[2 + size] != '.') return false;
    for (size_t i = 0; i < target->column_count; i++) {
        if (strcasecmp(target->columns[i].name, name + 3 + size) == 0) return false;
    }
    return true;
}

static SinkResult blame_table(const SqliteLoad *load, Error *error) {
    (void)error_set(error, -EINVAL, "The table refuses every row of the import: SQLite cannot take a row: %s.", load->unclear_words);
    return SINK_REFUSED;
}

/* What a row may do wrong. SQLITE_ERROR comes from functions in triggers, constraints and indexes
 * (malformed JSON, integer overflow). */
static bool is_row_fault(int code) {
    switch (code & 0xff) {
    case SQLITE_CONSTRAINT:
    case SQLITE_TOOBIG:
    case SQLITE_MISMATCH:
    case SQLITE_RANGE:
    case SQLITE_ERROR: return true;
    default: return false;
    }
}

/* The row failed with these words and code, and nothing of it is there. */
static SinkResult settle_failure(SqliteLoad *load, const ImportFile *file, uint64_t row, const SinkCell *cells, int code, const char *words,
                                 Error *error) {
    check(!sqlite3_get_autocommit(load->database)); /* what was there before it still is */
    if (code == SQLITE_CONSTRAINT_NOTNULL && needs_foreign_column(load, words)) {
        (void)error_set(error, -EINVAL, "The table has a column that the sink does not have, and accepts no row without it: %s.", words);
        return SINK_REFUSED;
    }
    if ((code & 0xff) == SQLITE_ERROR && load->tally.unclear++ == 0)
        (void)snprintf(load->unclear_words, sizeof load->unclear_words, "%s", words);
    if (load->tally.rows_through == 0 && load->tally.unclear >= UNCLEAR_MAX) return blame_table(load, error);
    return refuse_row(load, file, row, cells, words, error);
}

/* ---- rows ---- */

/* *ret_refused: a value cannot be bound; the row was refused for it. */
static SinkResult bind_row(SqliteLoad *load, sqlite3_stmt *statement, const ImportFile *file, uint64_t row, const SinkCell *cells,
                           bool *ret_refused, Error *error) {
    const SinkTarget *target = load->target;
    *ret_refused = true;
    for (size_t i = 0; i < target->column_count; i++) {
        const char *misfit = NULL;
        int r = bind_cell(load, statement, (int)i + 1, &target->columns[i], &cells[i], &misfit);
        if (misfit) {
            char reason[160];
            (void)snprintf(reason, sizeof reason, "column \"%s\" needs %s", target->columns[i].name, misfit);
            return refuse_row(load, file, row, cells, reason, error);
        }
        if (r == SQLITE_TOOBIG) return refuse_row(load, file, row, cells, "string or blob too big", error);
        if (r != SQLITE_OK) return sqlite_failure(load->database, "take a row", error);
    }
    *ret_refused = false;
    return SINK_DONE;
}

/* Asks or notes something of a row that can be bound. */
static SinkResult run_for_row(SqliteLoad *load, sqlite3_stmt *statement, const ImportFile *file, uint64_t row, const SinkCell *cells,
                              bool *ret_found, Error *error) {
    bool refused;
    SinkResult result = bind_row(load, statement, file, row, cells, &refused, error);
    if (result != SINK_DONE) return result;
    int r = sqlite3_step(statement);
    *ret_found = r == SQLITE_ROW;
    if (r != SQLITE_ROW && r != SQLITE_DONE) result = sqlite_failure(load->database, "find a row", error);
    (void)sqlite3_reset(statement);
    return result;
}

/* The statement succeeded and changed nothing. */
static SinkResult settle_unchanged(SqliteLoad *load, const ImportFile *file, uint64_t row, const SinkCell *cells, Error *error) {
    bool is_there = load->keeps_present_rows;
    SinkResult result = load->present ? run_for_row(load, load->present, file, row, cells, &is_there, error) : SINK_DONE;
    if (result != SINK_DONE) return result;
    if (is_there) {
        load->tally.stored++;
    } else if (load->habits.may_swallow) {
        swallow_row(load, file, row, cells);
    } else {
        (void)error_set(error, -EIO, "SQLite took row %" PRIu64 " without storing it; nothing was changed.", row);
        return SINK_RETRY;
    }
    return SINK_DONE;
}

/* The row's deletion went through; a key that was not there is deleted as well. */
static SinkResult settle_deletion(SqliteLoad *load, const ImportFile *file, uint64_t row, const SinkCell *cells, int64_t changes,
                                  Error *error) {
    bool is_there = false, none;
    SinkResult result = SINK_DONE;
    if (load->still && changes == 0) result = run_for_row(load, load->still, file, row, cells, &is_there, error);
    if (result == SINK_DONE && load->note) result = run_for_row(load, load->note, file, row, cells, &none, error);
    if (result != SINK_DONE) return result;
    if (is_there)
        swallow_row(load, file, row, cells);
    else
        load->tally.stored++;
    return SINK_DONE;
}

#define WORDS_SIZE 400

/* *ret_settled: the row's key was there before the import, and the target keeps such rows; or it
 * was refused. */
static SinkResult keep_existing(SqliteLoad *load, const ImportFile *file, uint64_t row, const SinkCell *cells, bool *ret_settled,
                                Error *error) {
    bool found = false;
    *ret_settled = false;
    if (!load->existing) return SINK_DONE;
    SinkResult result = bind_row(load, load->existing, file, row, cells, ret_settled, error);
    if (result != SINK_DONE || *ret_settled) return result;
    int r = sqlite3_step(load->existing);
    found = r == SQLITE_ROW;
    if (r != SQLITE_ROW && r != SQLITE_DONE) result = sqlite_failure(load->database, "find a row", error);
    (void)sqlite3_reset(load->existing);
    if (result != SINK_DONE || !found) return result;
    *ret_settled = true;
    load->tally.rows_through++;
    load->tally.existing++;
    load->tally.stored++;
    return SINK_DONE;
}

/* *ret_code: SQLITE_OK, or how the row failed for what may be its own fault, with the words. Then only that is settled which came before it. */
static SinkResult insert_row(SqliteLoad *load, const ImportFile *file, uint64_t row, const SinkCell *cells, int *ret_code,
                             char ret_words[static WORDS_SIZE], Error *error) {
    const SinkTarget *target = load->target;
    *ret_code = SQLITE_OK;
    const char *reason = load->outcast_count > 0 ? outcast_reason(load, row) : NULL;
    if (reason) return refuse_row(load, file, row, cells, reason, error);
    size_t blob_bytes = 0;
    for (size_t i = 0; load->has_binary && i < target->column_count; i++) {
        if (data_traits[target->columns[i].data_type].is_binary && !cells[i].is_null) blob_bytes += cells[i].size / 2;
    }
    buffer_clear(&load->blob);
    if (blob_bytes > 0) (void)buffer_reserve(&load->blob, 5 * blob_bytes); /* a row may be bound to as many statements */
    bool settled = false;
    SinkResult result = sink_failpoint("import.within-rows", error);
    if (result == SINK_DONE) result = keep_existing(load, file, row, cells, &settled, error);
    if (result != SINK_DONE || settled) return result;
    bool refused, deletes = load->erase && !cells[target->column_count].is_null;
    sqlite3_stmt *statement = deletes ? load->erase : load->insert;
    result = bind_row(load, statement, file, row, cells, &refused, error);
    if (result != SINK_DONE || refused) return result;
    int r = sqlite3_step(statement);
    if (r != SQLITE_DONE) {
        if (!is_row_fault(r)) result = sqlite_failure(load->database, "take a row", error);
        (void)snprintf(ret_words, WORDS_SIZE, "%s", sqlite3_errmsg(load->database));
        (void)sqlite3_reset(statement);
        if (result != SINK_DONE) return result;
        *ret_code = r;
        return sqlite3_get_autocommit(load->database) ? cast_out(load, row, ret_words, error) : SINK_DONE;
    }
    (void)sqlite3_reset(statement);
    load->tally.rows_through++;
    int64_t changes = sqlite3_changes64(load->database);
    bool none;
    if (load->note_new) result = run_for_row(load, load->note_new, file, row, cells, &none, error);
    if (result != SINK_DONE) return result;
    if (deletes) return settle_deletion(load, file, row, cells, changes, error);
    if (changes != 1) return settle_unchanged(load, file, row, cells, error);
    load->tally.stored++;
    return SINK_DONE;
}

/* In a table where a row that fails leaves nothing behind. */
static SinkResult take_row(SqliteLoad *load, const ImportFile *file, uint64_t row, const SinkCell *cells, Error *error) {
    int code;
    char words[WORDS_SIZE];
    SinkResult result = insert_row(load, file, row, cells, &code, words, error);
    return result == SINK_DONE && code != SQLITE_OK ? settle_failure(load, file, row, cells, code, words, error) : result;
}

/* ---- batches ---- */

static bool batch_is_full(const SqliteBatch *batch) {
    return batch->count == BATCH_ROWS || batch->memory.used_bytes >= BATCH_BYTES;
}

static void batch_add(SqliteBatch *batch, uint64_t row, const SinkCell *cells, size_t columns) {
    check(!batch_is_full(batch));
    if (!batch->rows) batch->rows = calloc(BATCH_ROWS, sizeof *batch->rows);
    check(batch->rows);
    SinkCell *copies = arena_alloc(&batch->memory, columns * sizeof *copies);
    for (size_t i = 0; i < columns; i++) {
        copies[i] = cells[i];
        if (!cells[i].is_null) copies[i].data = arena_copy(&batch->memory, (Span){.data = cells[i].data, .size = cells[i].size});
    }
    batch->rows[batch->count++] = (struct SqliteBatchRow){.row = row, .cells = copies};
}

/* Rows of the batch, in a savepoint, up to the first one that fails: *ret_end is that one, or
 * `end`. */
static SinkResult try_batch(SqliteLoad *load, const ImportFile *file, size_t begin, size_t end, size_t *ret_end, int *ret_code,
                            char ret_words[static WORDS_SIZE], Error *error) {
    check(begin < end && end <= load->batch.count && !sqlite3_get_autocommit(load->database));
    SinkResult result = sqlite_run(load->database, "SAVEPOINT sluice_rows", "take rows", error);
    *ret_code = SQLITE_OK;
    for (*ret_end = begin; *ret_end < end && result == SINK_DONE; ++*ret_end) {
        const struct SqliteBatchRow *at = &load->batch.rows[*ret_end];
        load->rows_done = load->batch.done_before + *ret_end;
        result = insert_row(load, file, at->row, at->cells, ret_code, ret_words, error);
        if (*ret_code != SQLITE_OK) break;
    }
    if (result != SINK_DONE) return result;
    if (*ret_code != SQLITE_OK) result = sqlite_run(load->database, "ROLLBACK TO sluice_rows", "undo rows", error);
    return result == SINK_DONE ? sqlite_run(load->database, "RELEASE sluice_rows", "take rows", error) : result;
}

/* A row that fails undoes the rows before it: they are taken again, without it, and the next try
 * begins with it. */
static SinkResult take_batch(SqliteLoad *load, const ImportFile *file, Error *error) {
    SqliteBatch *batch = &load->batch;
    SinkResult result = SINK_DONE;
    batch->done_before = load->rows_done;
    for (size_t begin = 0, end = batch->count; begin < batch->count && result == SINK_DONE;) {
        SqliteTally before = load->tally;
        SinkRejectsMark mark = sink_rejects_mark(&load->rejects);
        int code;
        char words[WORDS_SIZE];
        size_t reached;
        result = try_batch(load, file, begin, end, &reached, &code, words, error);
        if (result != SINK_DONE) break;
        if (code == SQLITE_OK) {
            check(reached == end);
            begin = end;
            end = batch->count;
            continue;
        }
        check(begin <= reached && reached < end);
        load->tally = before;
        sink_rejects_return(&load->rejects, &mark);
        if (reached > begin) {
            check(reached < end); /* else it would not end */
            end = reached;
            continue;
        }
        const struct SqliteBatchRow *bad = &batch->rows[begin++];
        result = settle_failure(load, file, bad->row, bad->cells, code, words, error);
        end = batch->count;
    }
    if (result == SINK_DONE) load->rows_done = batch->done_before + batch->count;
    batch->count = 0;
    arena_reset(&batch->memory);
    return result;
}

/* Asked now and then: `before` rows were done when it may have been asked last. */
static bool is_interrupted(SqliteLoad *load, uint64_t before) {
    ImportJob *job = load->job;
    if (before / ROWS_BETWEEN_PROGRESS == load->rows_done / ROWS_BETWEEN_PROGRESS || !job->progress) return false;
    load->told_to_stop = job->progress(job->context, load->rows_done, false);
    return load->told_to_stop;
}

SinkResult sqlite_load_file(SqliteLoad *load, ImportFile *file, Error *error) {
    if (!load->cells) load->cells = calloc(sink_target_cells(load->target), sizeof *load->cells);
    SinkCell *cells = load->cells;
    check(cells);
    uint64_t rows = 0, first_done = load->rows_done, refused_before = load->rejects.refused;
    check_on_thread(&load->owner);
    check(!sqlite3_get_autocommit(load->database) && load->batch.count == 0 && !file->already_imported);
    load->tally.stored = 0;
    sink_rejects_begin_file(&load->rejects);
    if (file->reader->seek(file->reader, file->first_row, error) < 0) return SINK_RETRY;
    for (bool at_end = false; !at_end;) {
        uint64_t row, before = load->rows_done;
        int r = file->reader->next(file->reader, cells, &row, error);
        if (r < 0) return SINK_RETRY;
        at_end = r == SINK_ROWS_END;
        SinkResult result = SINK_DONE;
        if (load->habits.may_fail_half_way) {
            if (!at_end) batch_add(&load->batch, row, cells, sink_target_cells(load->target));
            if (at_end || batch_is_full(&load->batch)) result = take_batch(load, file, error);
        } else if (!at_end) {
            result = take_row(load, file, row, cells, error);
            load->rows_done++;
        }
        if (result != SINK_DONE) return result;
        rows += !at_end;
        if (is_interrupted(load, before)) return SINK_RETRY;
    }
    check(load->batch.count == 0 && load->rows_done == first_done + rows);
    check(rows == load->tally.stored + (load->rejects.refused - refused_before) + load->rejects.swallowed);
    sink_rejects_end_file(&load->rejects, load->job, load->tally.stored);
    if (rows == file->rows - file->left_out) return SINK_DONE;
    (void)error_set(error, -EIO, "The file should have %" PRIu64 " rows, but %" PRIu64 " were read.", file->rows - file->left_out, rows);
    return SINK_RETRY;
}

/* ---- begin and end ---- */

static SinkResult prepare_sql(const SqliteLoad *load, Buffer *take_sql, sqlite3_stmt **ret_statement, Error *error) {
    SinkResult result = SINK_DONE;
    if (sqlite3_prepare_v2(load->database, buffer_text(take_sql), -1, ret_statement, NULL) != SQLITE_OK)
        result = sqlite_failure(load->database, "prepare the import", error);
    buffer_deinit(take_sql);
    return result;
}

static SinkResult prepare_statement(const SqliteLoad *load, void (*put)(Buffer *sql, const SinkTarget *target),
                                    sqlite3_stmt **ret_statement, Error *error) {
    Buffer sql = {0};
    put(&sql, load->target);
    return prepare_sql(load, &sql, ret_statement, error);
}

static SinkResult prepare_insert(SqliteLoad *load, Error *error) {
    Buffer sql = {0};
    put_insert(&sql, load->target, &load->clears);
    return prepare_sql(load, &sql, &load->insert, error);
}

static SinkResult prepare_keeping(SqliteLoad *load, Error *error) {
    Buffer sql = {0};
    put_make_new(&sql, load->target);
    SinkResult result = sqlite_run(load->database, buffer_text(&sql), "prepare the import", error);
    buffer_deinit(&sql);
    if (result == SINK_DONE) result = prepare_statement(load, put_look_for_existing, &load->existing, error);
    return result == SINK_DONE ? prepare_statement(load, put_note_new, &load->note_new, error) : result;
}

static SinkResult make_deleted(SqliteLoad *load, Error *error) {
    if (!keeps_deleted(load->target)) return SINK_DONE;
    Buffer sql = {0};
    put_make_deleted(&sql, load->target);
    SinkResult result = sqlite_run(load->database, buffer_text(&sql), "prepare the import", error);
    buffer_deinit(&sql);
    return result;
}

SinkResult sqlite_load_begin(SqliteLoad *load, const SqliteSession *session, ImportJob *job, const SinkTarget *target, Error *error) {
    sqlite3 *database = session->database;
    check(!sqlite3_get_autocommit(database) && !load->insert && load->rejects.count == 0);
    thread_owner_bind(&load->owner);
    load->database = database;
    load->job = job;
    load->target = target;
    load->keeps_present_rows = target->table.strategy == STRATEGY_MERGE && (sink_table_is_all_key(target) || target->table.newer_by);
    job->swallowed_rows = 0;
    load->has_binary = false;
    for (size_t i = 0; i < target->column_count; i++)
        load->has_binary = load->has_binary || data_traits[target->columns[i].data_type].is_binary;
    SinkResult result = make_deleted(load, error);
    if (result == SINK_DONE && target->infer && target->table.strategy == STRATEGY_MERGE)
        result = sqlite_columns_put_clears(session, target, &load->clears, error);
    /* It names the triggers' tables and columns, too: what is missing there fails here, and is not
     * a row's. */
    if (result == SINK_DONE) result = prepare_insert(load, error);
    if (result == SINK_DONE) result = sqlite_table_habits(database, target, &load->habits, error);
    if (result == SINK_DONE && sink_target_keeps_rows(target)) result = prepare_keeping(load, error);
    if (result == SINK_DONE && load->keeps_present_rows && load->habits.may_swallow)
        result = prepare_statement(load, put_look_for_key, &load->present, error);
    if (!sink_target_deletes(target)) return result;
    if (result == SINK_DONE) result = prepare_statement(load, put_delete, &load->erase, error);
    if (result == SINK_DONE && load->habits.may_swallow) result = prepare_statement(load, put_look_for_deleted, &load->still, error);
    if (result == SINK_DONE && keeps_deleted(target)) result = prepare_statement(load, put_note_deleted, &load->note, error);
    return result;
}

SinkResult sqlite_load_end(SqliteLoad *load, Error *error) {
    check_on_thread(&load->owner);
    check(load->batch.count == 0 && !sqlite3_get_autocommit(load->database) && !load->must_restart);
    load->job->existing_rows = load->tally.existing;
    return load->tally.rows_through == 0 && load->tally.unclear > 1 ? blame_table(load, error) : SINK_DONE;
}

void sqlite_load_restart(SqliteLoad *load) {
    (void)sqlite3_finalize(load->insert);
    (void)sqlite3_finalize(load->present);
    (void)sqlite3_finalize(load->erase);
    (void)sqlite3_finalize(load->still);
    (void)sqlite3_finalize(load->note);
    (void)sqlite3_finalize(load->existing);
    (void)sqlite3_finalize(load->note_new);
    sink_rejects_deinit(&load->rejects);
    buffer_deinit(&load->clears);
    buffer_deinit(&load->blob);
    buffer_deinit(&load->record);
    arena_deinit(&load->batch.memory);
    free(load->batch.rows);
    free(load->cells);
    *load = (SqliteLoad){
        .job = load->job, .outcasts = load->outcasts, .outcast_count = load->outcast_count, .outcast_capacity = load->outcast_capacity};
}

void sqlite_load_deinit(SqliteLoad *load) {
    sqlite_load_restart(load);
    for (size_t i = 0; i < load->outcast_count; i++) free(load->outcasts[i].reason);
    free(load->outcasts);
    *load = (SqliteLoad){0};
}
