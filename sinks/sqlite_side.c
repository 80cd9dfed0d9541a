#include "sinks/sqlite_side.h"

#include <ctype.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "sinks/sqlite_statement.h"
#include "sinks/sqlite_table.h"
#include "sinks/table_shape.h"

/* ---- the text of a definition ---- */

/* Behind spaces and remarks. */
static const char *skip_blanks(const char *at) {
    for (;;) {
        if (isspace((unsigned char)*at)) {
            at++;
        } else if (at[0] == '-' && at[1] == '-') {
            at += strcspn(at, "\n");
        } else if (at[0] == '/' && at[1] == '*') {
            const char *end = strstr(at + 2, "*/");
            at = end ? end + 2 : at + strlen(at);
        } else {
            return at;
        }
    }
}

/* Behind a name, in any of the quotes that SQLite knows. */
static const char *skip_name(const char *at) {
    char quote = *at == '[' ? ']' : *at;
    if (!strchr("\"'`[", *at) || *at == '\0') {
        while (isalnum((unsigned char)*at) || *at == '_' || *at == '$' || (unsigned char)*at >= 0x80) at++;
        return at;
    }
    for (at++; *at; at++) {
        if (*at != quote) continue;
        if (quote == ']' || at[1] != quote) return at + 1;
        at++; /* doubled */
    }
    return at;
}

/* Behind the words, which stand alone; NULL: others are there. */
static const char *skip_words(const char *at, const char *words) {
    for (const char *word = words; *word; word += strspn(word, " ")) {
        size_t size = strcspn(word, " ");
        at = skip_blanks(at);
        if (strncasecmp(at, word, size) != 0 || skip_name(at) != at + size) return NULL;
        at += size;
        word += size;
    }
    return skip_blanks(at);
}

static SinkResult not_understood(const char *name, Error *error) {
    (void)error_set(error, -EINVAL, "The definition of \"%s\" cannot be copied for its side table.", name);
    return SINK_REFUSED;
}

/* ---- statements ---- */

static SinkResult run_ddl(sqlite3 *database, Buffer *sql, Error *error) {
    log_info("%s: %s", sqlite3_db_filename(database, "main"), buffer_text(sql));
    return sqlite_run(database, buffer_text(sql), "create the side table", error);
}

/* The definitions of a table's objects of a type; NULL: automatic ones. */
static SinkResult select_definitions(sqlite3 *database, const char *type, const char *table, sqlite3_stmt **ret_select, Error *error) {
    const char *sql = "SELECT sql FROM sqlite_schema WHERE type = ?1 AND tbl_name = ?2 COLLATE NOCASE ORDER BY name";
    if (sqlite3_prepare_v2(database, sql, -1, ret_select, NULL) != SQLITE_OK ||
        sqlite3_bind_text(*ret_select, 1, type, -1, SQLITE_STATIC) != SQLITE_OK ||
        sqlite3_bind_text(*ret_select, 2, table, -1, SQLITE_STATIC) != SQLITE_OK)
        return sqlite_failure(database, "read the table's definition", error);
    return SINK_DONE;
}

SinkResult sqlite_side_find(sqlite3 *database, const SinkTarget *side, bool *ret_is_there, Error *error) {
    const char *sql = "SELECT sql FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE";
    STATEMENT select = NULL;
    *ret_is_there = false;
    if (sqlite3_prepare_v2(database, sql, -1, &select, NULL) != SQLITE_OK ||
        sqlite3_bind_text(select, 1, side->table.table_id, -1, SQLITE_STATIC) != SQLITE_OK)
        return sqlite_failure(database, "find the side table", error);
    int r = sqlite3_step(select);
    if (r == SQLITE_DONE) return SINK_DONE;
    if (r != SQLITE_ROW) return sqlite_failure(database, "find the side table", error);
    const char *definition = (const char *)sqlite3_column_text(select, 0);
    *ret_is_there = definition && strstr(definition, "/* " REPLACE_REMARK);
    if (*ret_is_there) return SINK_DONE;
    (void)error_set(error, -EEXIST, "\"%s\" is not a side table that Sluice created: rename it, or drop it.", side->table.table_id);
    return SINK_REFUSED;
}

static SinkResult copy_table(sqlite3 *database, const SinkTarget *target, const SinkTarget *side, Error *error) {
    STATEMENT select = NULL;
    SinkResult result = select_definitions(database, "table", target->table.table_id, &select, error);
    if (result != SINK_DONE) return result;
    int r = sqlite3_step(select);
    if (r != SQLITE_ROW && r != SQLITE_DONE) return sqlite_failure(database, "read the table's definition", error);
    const char *definition = r == SQLITE_ROW ? (const char *)sqlite3_column_text(select, 0) : NULL;
    const char *name = definition ? skip_words(definition, "CREATE TABLE") : NULL;
    if (!name) return not_understood(target->table.table_id, error);
    Buffer sql = {0};
    buffer_append_text(&sql, "CREATE TABLE ");
    sql_put_identifier(&sql, side->table.table_id);
    buffer_append_text(&sql, " /* " REPLACE_REMARK ", which will replace those of the table; dropped with it */ ");
    buffer_append_text(&sql, skip_name(name));
    result = run_ddl(database, &sql, error);
    buffer_deinit(&sql);
    return result;
}

static SinkResult copy_unique_indexes(sqlite3 *database, const SinkTarget *target, const SinkTarget *side, Error *error) {
    STATEMENT select = NULL;
    Buffer sql = {0}, name = {0};
    SinkResult result = select_definitions(database, "index", target->table.table_id, &select, error);
    int r = SQLITE_DONE;
    for (int number = 1; result == SINK_DONE && (r = sqlite3_step(select)) == SQLITE_ROW;) {
        const char *definition = (const char *)sqlite3_column_text(select, 0);
        const char *at = definition ? skip_words(definition, "CREATE UNIQUE INDEX") : NULL;
        if (!at) continue; /* of the table's own definition, or it refuses no row */
        at = skip_words(skip_name(at), "ON");
        if (!at) {
            result = not_understood(target->table.table_id, error);
            break;
        }
        buffer_clear(&name);
        buffer_printf(&name, "%s_%d", side->table.table_id, number++);
        buffer_append_text(&sql, "CREATE UNIQUE INDEX ");
        sql_put_identifier(&sql, buffer_text(&name));
        buffer_append_text(&sql, " ON ");
        sql_put_identifier(&sql, side->table.table_id);
        buffer_printf(&sql, " %s; ", skip_name(at));
    }
    if (result == SINK_DONE && r != SQLITE_DONE) result = sqlite_failure(database, "read the table's indexes", error);
    (void)sqlite3_reset(select); /* it ends before the schema changes */
    if (result == SINK_DONE && sql.size > 0) result = run_ddl(database, &sql, error);
    buffer_deinit(&sql);
    buffer_deinit(&name);
    return result;
}

SinkResult sqlite_side_drop(sqlite3 *database, const SinkTarget *side, Error *error) {
    check(!sqlite3_get_autocommit(database));
    bool is_there = false;
    SinkResult result = sqlite_side_find(database, side, &is_there, error);
    if (result != SINK_DONE || !is_there) return result;
    Buffer sql = {0};
    buffer_append_text(&sql, "DROP TABLE ");
    sql_put_identifier(&sql, side->table.table_id);
    result = run_ddl(database, &sql, error);
    buffer_deinit(&sql);
    return result;
}

SinkResult sqlite_side_make(sqlite3 *database, const SinkTarget *target, const SinkTarget *side, Error *error) {
    SinkResult result = sqlite_side_drop(database, side, error);
    if (result == SINK_DONE) result = copy_table(database, target, side, error);
    return result == SINK_DONE ? copy_unique_indexes(database, target, side, error) : result;
}

static bool has_column(sqlite3 *database, const SinkTarget *target, const Column *column, const char **ret_type) {
    return sqlite3_table_column_metadata(database, "main", target->table.table_id, column->name, ret_type, NULL, NULL, NULL, NULL) ==
           SQLITE_OK;
}

static SinkResult add_columns(sqlite3 *database, const SinkTarget *target, const SinkTarget *side, Error *error) {
    Buffer sql = {0};
    for (size_t i = 0; i < target->column_count; i++) {
        const Column *column = &target->columns[i];
        const char *type = NULL;
        if (has_column(database, side, column, NULL) || !has_column(database, target, column, &type)) continue;
        buffer_append_text(&sql, "ALTER TABLE ");
        sql_put_identifier(&sql, side->table.table_id);
        buffer_append_text(&sql, " ADD COLUMN ");
        sql_put_identifier(&sql, column->name);
        buffer_printf(&sql, " %s; ", type ? type : "");
    }
    SinkResult result = sql.size > 0 ? run_ddl(database, &sql, error) : SINK_DONE;
    buffer_deinit(&sql);
    return result;
}

SinkResult sqlite_side_extend(sqlite3 *database, const SinkTarget *target, Error *error) {
    SinkTarget side;
    bool is_there = false;
    check(sqlite3_get_autocommit(database));
    side_target_init(&side, target);
    SinkResult result = sqlite_run(database, "BEGIN IMMEDIATE", "begin", error);
    if (result == SINK_DONE) result = sqlite_side_find(database, &side, &is_there, error);
    if (result == SINK_DONE && is_there) result = add_columns(database, target, &side, error);
    if (result == SINK_DONE) result = sqlite_run(database, "COMMIT", "commit", error);
    if (!sqlite3_get_autocommit(database)) (void)sqlite3_exec(database, "ROLLBACK", NULL, NULL, NULL);
    side_target_deinit(&side);
    return result;
}
