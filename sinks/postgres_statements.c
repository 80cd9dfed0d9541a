#include "sinks/postgres_statements.h"

#include <string.h>

#include "sinks/postgres_table.h"
#include "sinks/table_shape.h"

#define FIND_QUOTE "$sluice_find$"

/* The temporary table's columns are c0, c1, …, so that other names in a statement never meet a
 * column of the sink. */
static void put_numbered(Buffer *out, const SinkTarget *target, const char *prefix, bool keys_only, const char *separator) {
    const char *before = "";
    for (size_t i = 0; i < target->column_count; i++) {
        if (keys_only && !target->columns[i].primary_key) continue;
        buffer_printf(out, "%s%sc%zu", before, prefix, i);
        before = separator;
    }
}

static void put_insert_into(Buffer *out, const SinkTarget *target) {
    buffer_append_text(out, "INSERT INTO ");
    postgres_put_table(out, target);
    buffer_append_text(out, " AS target (");
    sql_put_columns(out, target, false);
    buffer_append_text(out, ") ");
}

/* Where a statement takes its rows from, and their order. */
typedef struct RowsFrom {
    const char *from, *order;
} RowsFrom;
static const RowsFrom rows_of_attempt = {"pg_temp.sluice_rows", "ctid"};
static const RowsFrom rows_of_range = {"(SELECT * FROM pg_temp.sluice_find WHERE place BETWEEN sluice_low AND sluice_high) AS sluice_rows",
                                       "place"};

/*
 * One row of each key. The last one wins: COPY has filled an empty table from front to back, so
 * ctid is the order of the rows. With a column that tells, the newest one wins, and the last of
 * those.
 */
static void put_winners(Buffer *out, const SinkTarget *target, RowsFrom rows) {
    buffer_append_text(out, "SELECT DISTINCT ON (");
    put_numbered(out, target, "", true, ", ");
    buffer_append_text(out, ") ");
    put_numbered(out, target, "", false, ", ");
    if (sink_target_deletes(target)) buffer_append_text(out, ", deletes");
    buffer_printf(out, " FROM %s ORDER BY ", rows.from);
    put_numbered(out, target, "", true, ", ");
    if (target->table.newer_by) buffer_printf(out, ", c%zu DESC NULLS LAST", sink_table_newer_by(target));
    buffer_printf(out, ", %s DESC", rows.order);
}

static void put_merge(Buffer *out, const SinkTarget *target, Buffer *clears, RowsFrom rows) {
    put_insert_into(out, target);
    if (sink_target_deletes(target)) {
        buffer_append_text(out, "SELECT ");
        put_numbered(out, target, "", false, ", ");
        buffer_append_text(out, " FROM (");
        put_winners(out, target, rows);
        buffer_append_text(out, ") AS key WHERE deletes IS NULL ORDER BY ");
        put_numbered(out, target, "", true, ", ");
    } else {
        put_winners(out, target, rows);
    }
    buffer_append_text(out, " ON CONFLICT (");
    sql_put_columns(out, target, true);
    buffer_append_text(out, sink_table_is_all_key(target) ? ") DO NOTHING" : ") DO UPDATE SET ");
    const char *separator = "";
    for (size_t i = 0; i < target->column_count; i++) {
        if (target->columns[i].primary_key) continue;
        buffer_append_text(out, separator);
        sql_put_identifier(out, target->columns[i].name);
        buffer_append_text(out, " = EXCLUDED.");
        sql_put_identifier(out, target->columns[i].name);
        separator = ", ";
    }
    buffer_append_text(out, buffer_text(clears));
    if (!target->table.newer_by) return;
    /* NULL is older than all values. */
    const char *newer_by = target->table.newer_by;
    buffer_append_text(out, " WHERE EXCLUDED.");
    sql_put_identifier(out, newer_by);
    buffer_append_text(out, " >= target.");
    sql_put_identifier(out, newer_by);
    buffer_append_text(out, " OR target.");
    sql_put_identifier(out, newer_by);
    buffer_append_text(out, " IS NULL");
}

static void put_conflict_ignored(Buffer *out, const SinkTarget *target) {
    buffer_append_text(out, " ON CONFLICT (");
    sql_put_columns(out, target, true);
    buffer_append_text(out, ") DO NOTHING");
}

static void put_append(Buffer *out, const SinkTarget *target, RowsFrom rows) {
    put_insert_into(out, target);
    buffer_append_text(out, "SELECT ");
    put_numbered(out, target, "", false, ", ");
    buffer_printf(out, " FROM %s ORDER BY ", rows.from);
    if (sink_table_has_key(target)) {
        put_numbered(out, target, "", true, ", ");
        buffer_append_text(out, ", ");
    }
    buffer_append_text(out, rows.order);
    if (sink_table_has_key(target)) put_conflict_ignored(out, target);
}

/* "(target.k, …) = (PREFIXc0, …)" */
static void put_same_key(Buffer *out, const SinkTarget *target, const char *prefix) {
    const char *separator = "(";
    for (size_t i = 0; i < target->column_count; i++) {
        if (!target->columns[i].primary_key) continue;
        buffer_printf(out, "%starget.", separator);
        sql_put_identifier(out, target->columns[i].name);
        separator = ", ";
    }
    buffer_append_text(out, ") = (");
    put_numbered(out, target, prefix, true, ", ");
    buffer_append_byte(out, ')');
}

/*
 * Inserts as put_append does and returns the place (from 1) of each row that was not inserted,
 * whether an earlier row of the same attempt has its key, and whether the table had a row with its
 * key before. What was inserted says so itself, so that a session which inserts the same keys at
 * the same time cannot fool it.
 */
static void put_append_naming_duplicates(Buffer *out, const SinkTarget *target) {
    buffer_append_text(
        out, "WITH numbered AS MATERIALIZED (SELECT row_number() OVER (ORDER BY ctid) AS place, row_number() OVER (PARTITION BY ");
    put_numbered(out, target, "", true, ", ");
    buffer_append_text(out, " ORDER BY ctid) AS turn, ");
    put_numbered(out, target, "", false, ", ");
    buffer_append_text(out, " FROM pg_temp.sluice_rows), inserted AS (");
    put_insert_into(out, target);
    buffer_append_text(out, "SELECT ");
    put_numbered(out, target, "", false, ", ");
    buffer_append_text(out, " FROM numbered WHERE turn = 1 ORDER BY ");
    put_numbered(out, target, "", true, ", ");
    put_conflict_ignored(out, target);
    buffer_append_text(out, " RETURNING ");
    const char *separator = "";
    for (size_t i = 0; i < target->column_count; i++) {
        if (!target->columns[i].primary_key) continue;
        buffer_printf(out, "%starget.", separator);
        sql_put_identifier(out, target->columns[i].name);
        buffer_printf(out, " AS c%zu", i);
        separator = ", ";
    }
    buffer_append_text(out, ") SELECT place, turn > 1, EXISTS (SELECT 1 FROM ");
    postgres_put_table(out, target);
    buffer_append_text(out, " AS target WHERE ");
    put_same_key(out, target, "numbered.");
    buffer_append_text(out, ") FROM numbered WHERE turn > 1 OR NOT EXISTS (SELECT 1 FROM inserted WHERE (");
    put_numbered(out, target, "inserted.", true, ", ");
    buffer_append_text(out, ") = (");
    put_numbered(out, target, "numbered.", true, ", ");
    buffer_append_text(out, ")) ORDER BY place");
}

/* A temporary table for rows as they are sent, to be dropped at COMMIT. */
static void put_temporary_table(Buffer *out, const SinkTarget *target, const char *name) {
    buffer_printf(out, "CREATE TEMPORARY TABLE %s (", name);
    put_numbered(out, target, "", false, ", ");
    buffer_append_text(out, sink_target_deletes(target) ? ", deletes) ON COMMIT DROP AS SELECT " : ") ON COMMIT DROP AS SELECT ");
    sql_put_columns(out, target, false);
    if (sink_target_deletes(target)) buffer_append_text(out, ", NULL::text");
    buffer_append_text(out, " FROM ");
    postgres_put_table(out, target);
    buffer_append_text(out, " WITH NO DATA");
}

/* " AND …": the row of the target is not newer than the one of key; NULL is older than all
 * values. */
static void put_not_newer(Buffer *out, const SinkTarget *target) {
    if (!target->table.newer_by) return;
    buffer_append_text(out, " AND (target.");
    sql_put_identifier(out, target->table.newer_by);
    buffer_printf(out, " <= key.c%zu OR target.", sink_table_newer_by(target));
    sql_put_identifier(out, target->table.newer_by);
    buffer_append_text(out, " IS NULL)");
}

/* The rows of keys whose winner deletes them, but those that are newer. */
static void put_erase(Buffer *out, const SinkTarget *target, RowsFrom rows) {
    buffer_append_text(out, "DELETE FROM ");
    postgres_put_table(out, target);
    buffer_append_text(out, " AS target USING (");
    put_winners(out, target, rows);
    buffer_append_text(out, ") AS key WHERE key.deletes IS NOT NULL AND ");
    put_same_key(out, target, "key.");
    put_not_newer(out, target);
}

static void put_count_keys(Buffer *out, const SinkTarget *target) {
    if (sink_target_deletes(target)) {
        buffer_append_text(out, "SELECT count(*) FROM (");
        put_winners(out, target, rows_of_attempt);
        buffer_append_text(out, ") AS key WHERE deletes IS NULL");
        return;
    }
    buffer_append_text(out, "SELECT count(*) FROM (SELECT DISTINCT ");
    put_numbered(out, target, "", true, ", ");
    buffer_append_text(out, " FROM pg_temp.sluice_rows) AS key");
}

static void put_exists(Buffer *out, const SinkTarget *target) {
    buffer_append_text(out, "EXISTS (SELECT 1 FROM ");
    postgres_put_table(out, target);
    buffer_append_text(out, " AS target WHERE ");
    put_same_key(out, target, "key.");
}

static void put_set_aside(Buffer *out, const SinkTarget *target) {
    buffer_append_text(out, "DELETE FROM pg_temp.sluice_rows AS key WHERE ");
    put_exists(out, target);
    buffer_append_text(out, ") AND NOT EXISTS (SELECT 1 FROM pg_temp.sluice_new AS new WHERE (");
    put_numbered(out, target, "new.", true, ", ");
    buffer_append_text(out, ") = (");
    put_numbered(out, target, "key.", true, ", ");
    buffer_append_text(out, "))");
}

static void put_note_new(Buffer *out, const SinkTarget *target) {
    buffer_append_text(out, "INSERT INTO pg_temp.sluice_new SELECT DISTINCT ");
    put_numbered(out, target, "", true, ", ");
    buffer_append_text(out, " FROM pg_temp.sluice_rows");
}

static void put_table_of_new(Buffer *out, const SinkTarget *target) {
    buffer_append_text(out, "; CREATE TEMPORARY TABLE sluice_new ON COMMIT DROP AS SELECT ");
    put_numbered(out, target, "", true, ", ");
    buffer_append_text(out, " FROM pg_temp.sluice_rows WITH NO DATA");
}

static void put_count_unsettled(Buffer *out, const SinkTarget *target) {
    const char *newer_by = target->table.newer_by;
    buffer_append_text(out, "SELECT count(*) FROM (");
    put_winners(out, target, rows_of_attempt);
    buffer_append_text(out, sink_target_deletes(target) ? ") AS key WHERE key.deletes IS NULL AND NOT " : ") AS key WHERE NOT ");
    put_exists(out, target);
    if (newer_by) {
        size_t column = sink_table_newer_by(target);
        buffer_append_text(out, " AND (target.");
        sql_put_identifier(out, newer_by);
        buffer_printf(out, " >= key.c%zu OR key.c%zu IS NULL)", column, column);
    }
    buffer_append_byte(out, ')');
    if (!sink_target_deletes(target)) return;
    buffer_append_text(out, " OR key.deletes IS NOT NULL AND ");
    put_exists(out, target);
    put_not_newer(out, target);
    buffer_append_byte(out, ')');
}

/* A table as the temporary one of the attempts, whose rows have places from 1, and one for what is
 * found. */
static void put_find_start(Buffer *out, const SinkTarget *target) {
    buffer_append_text(out, "SAVEPOINT sluice_attempt; ");
    put_temporary_table(out, target, "sluice_find");
    buffer_append_text(out, "; ALTER TABLE pg_temp.sluice_find ADD COLUMN place bigserial PRIMARY KEY;"
                            " CREATE TEMPORARY TABLE sluice_found (place bigint, state text, words text, detail text, column_name text)"
                            " ON COMMIT DROP; COPY pg_temp.sluice_find (");
    put_numbered(out, target, "", false, ", ");
    buffer_append_text(out, sink_target_deletes(target) ? ", deletes) FROM STDIN (FORMAT csv)" : ") FROM STDIN (FORMAT csv)");
}

/*
 * The rows that are refused, each with the others around it accepted. The search is that of
 * row_search.h: a range that is refused shrinks until its bad row is alone. All of it is undone by
 * an error of its own at the end; variables of PL/pgSQL keep their values then.
 */
static void put_find(Buffer *out, const SinkTarget *target, Buffer *clears) {
    Buffer statement = {0};
    if (sink_target_deletes(target)) {
        put_erase(&statement, target, rows_of_range);
        buffer_append_text(&statement, "; ");
    }
    if (target->table.strategy == STRATEGY_MERGE)
        put_merge(&statement, target, clears, rows_of_range);
    else
        put_append(&statement, target, rows_of_range);
    if (strstr(buffer_text(&statement), FIND_QUOTE)) { /* a name of the table would end the quotation */
        buffer_deinit(&statement);
        return;
    }
    buffer_append_text(out, "DO " FIND_QUOTE "\n#variable_conflict use_column\n"
                            "DECLARE sluice_rows bigint := (SELECT count(*) FROM pg_temp.sluice_find);"
                            " sluice_low bigint := 1; sluice_high bigint; sluice_window bigint := greatest(1, sluice_rows / 2);"
                            " sluice_bad_end bigint := 0; sluice_last bigint := 0;"
                            " sluice_places bigint[] := '{}'; sluice_states text[] := '{}'; sluice_words text[] := '{}';"
                            " sluice_details text[] := '{}'; sluice_columns text[] := '{}';"
                            " sluice_state text; sluice_word text; sluice_detail text; sluice_column text;"
                            " BEGIN BEGIN WHILE sluice_low <= sluice_rows LOOP"
                            " sluice_high := least(sluice_rows, sluice_low + sluice_window - 1); BEGIN ");
    buffer_append_span(out, buffer_span(&statement));
    buffer_deinit(&statement);
    buffer_append_text(out, "; sluice_low := sluice_high + 1;"
                            " sluice_window := CASE WHEN sluice_low <= sluice_bad_end THEN (sluice_bad_end - sluice_low + 2) / 2"
                            " ELSE least(sluice_window * 4, sluice_rows) END;"
                            " EXCEPTION WHEN OTHERS THEN IF sluice_high > sluice_low THEN"
                            " sluice_bad_end := sluice_high; sluice_window := (sluice_high - sluice_low + 1) / 2; ELSE"
                            " GET STACKED DIAGNOSTICS sluice_state = RETURNED_SQLSTATE, sluice_word = MESSAGE_TEXT,"
                            " sluice_detail = PG_EXCEPTION_DETAIL, sluice_column = COLUMN_NAME;"
                            " sluice_places := sluice_places || sluice_low; sluice_states := sluice_states || sluice_state;"
                            " sluice_words := sluice_words || sluice_word; sluice_details := sluice_details || sluice_detail;"
                            " sluice_columns := sluice_columns || sluice_column;"
                            " sluice_window := greatest(1, 2 * (sluice_low - sluice_last - 1)); sluice_last := sluice_low;"
                            " sluice_bad_end := 0; sluice_low := sluice_low + 1; END IF; END; END LOOP;"
                            " RAISE EXCEPTION USING ERRCODE = 'SLUIC'; EXCEPTION WHEN SQLSTATE 'SLUIC' THEN NULL; END;"
                            " INSERT INTO pg_temp.sluice_found SELECT * FROM unnest(sluice_places, sluice_states, sluice_words,"
                            " sluice_details, sluice_columns); END " FIND_QUOTE ";"
                            " SELECT place, state, words, detail, column_name FROM pg_temp.sluice_found ORDER BY place");
}

void postgres_statements_init(PostgresStatements *statements, const SinkTarget *target, bool is_direct, Buffer *clears) {
    *statements = (PostgresStatements){0};
    if (!sink_target_keeps_rows(target)) {
        put_find_start(&statements->find_start, target);
        put_find(&statements->find, target, clears);
    }
    if (is_direct) {
        buffer_append_text(&statements->start, "SAVEPOINT sluice_attempt; COPY ");
        postgres_put_table(&statements->start, target);
        buffer_append_text(&statements->start, " (");
        sql_put_columns(&statements->start, target, false);
        buffer_append_text(&statements->start, ") FROM STDIN (FORMAT csv)");
        return;
    }
    put_temporary_table(&statements->temporary_table, target, "sluice_rows");
    /* Outside the savepoint, in the transaction that made the table, TRUNCATE empties it in place;
     * inside it would make new files. */
    buffer_append_text(&statements->start, "TRUNCATE pg_temp.sluice_rows; SAVEPOINT sluice_attempt;"
                                           " COPY pg_temp.sluice_rows FROM STDIN (FORMAT csv)");
    if (target->table.strategy == STRATEGY_MERGE) {
        put_merge(&statements->insert, target, clears, rows_of_attempt);
        put_count_keys(&statements->count_keys, target);
        put_count_unsettled(&statements->count_unsettled, target);
        if (sink_target_deletes(target)) put_erase(&statements->erase, target, rows_of_attempt);
        if (sink_target_keeps_rows(target)) {
            put_table_of_new(&statements->temporary_table, target);
            put_set_aside(&statements->set_aside, target);
            put_note_new(&statements->note_new, target);
        }
    } else {
        put_append(&statements->insert, target, rows_of_attempt);
        if (sink_table_has_key(target)) put_append_naming_duplicates(&statements->duplicates, target);
    }
}

void postgres_statements_deinit(PostgresStatements *statements) {
    buffer_deinit(&statements->temporary_table);
    buffer_deinit(&statements->start);
    buffer_deinit(&statements->insert);
    buffer_deinit(&statements->duplicates);
    buffer_deinit(&statements->count_keys);
    buffer_deinit(&statements->count_unsettled);
    buffer_deinit(&statements->erase);
    buffer_deinit(&statements->set_aside);
    buffer_deinit(&statements->note_new);
    buffer_deinit(&statements->find_start);
    buffer_deinit(&statements->find);
}
