#include "sinks/sqlite_columns.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "sinks/column_map.h"
#include "sinks/ledger_entry.h"
#include "sinks/sqlite_session.h"
#include "sinks/sqlite_statement.h"
#include "sinks/sqlite_table.h"

/* `sql` with the name of the map in the place of @. */
static SinkResult prepare(const SqliteSession *session, const char *sql, sqlite3_stmt **ret_statement, Error *error) {
    Buffer text = {0};
    const char *at = strchr(sql, '@');
    check(at);
    buffer_append(&text, sql, (size_t)(at - sql));
    sql_put_identifier(&text, session->columns);
    buffer_append_text(&text, at + 1);
    int r = sqlite3_prepare_v2(session->database, buffer_text(&text), -1, ret_statement, NULL);
    buffer_deinit(&text);
    return r == SQLITE_OK ? SINK_DONE : sqlite_failure(session->database, "use the map of columns", error);
}

static const char *text_at(sqlite3_stmt *statement, int column) {
    const char *text = (const char *)sqlite3_column_text(statement, column);
    return text ? text : "";
}

static SinkResult read_map(const SqliteSession *session, const char *table, ColumnMap *map, Error *error) {
    STATEMENT select = NULL;
    SinkResult result = prepare(session, "SELECT path, variant, column_name, data_type FROM @ WHERE table_name = ?1 ORDER BY rowid",
                                &select, error);
    if (result != SINK_DONE) return result;
    (void)sqlite3_bind_text(select, 1, table, -1, SQLITE_STATIC);
    int r;
    while ((r = sqlite3_step(select)) == SQLITE_ROW) {
        if (column_map_add(map, text_at(select, 0), text_at(select, 1), text_at(select, 2), text_at(select, 3))) continue;
        (void)error_set(error, -EINVAL, "The map of columns \"%s\" has a row for path \"%.100s\" that Sluice did not write.",
                        session->columns, text_at(select, 0));
        return SINK_REFUSED;
    }
    return r == SQLITE_DONE ? SINK_DONE : sqlite_failure(session->database, "read the map of columns", error);
}

static SinkResult write_map(const SqliteSession *session, const char *table, const ColumnsJob *job, const ColumnMap *map, Error *error) {
    STATEMENT insert = NULL;
    char instance[UUID_TEXT_SIZE + 1];
    SinkResult result = prepare(session,
                                "INSERT INTO @ (table_name, path, variant, column_name, data_type, sink, instance)"
                                " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                                &insert, error);
    ledger_file_text(&job->owner.instance, instance);
    for (size_t i = map->known; i < map->count && result == SINK_DONE; i++) {
        const InferredColumn *column = &map->items[i];
        const char *const values[] = {
            table, column->path, column_map_variant(column), column->name, data_type_name(column->type), job->owner.sink_label, instance};
        for (int k = 0; k < 7; k++) (void)sqlite3_bind_text(insert, k + 1, values[k], -1, SQLITE_TRANSIENT);
        if (sqlite3_step(insert) != SQLITE_DONE) result = sqlite_failure(session->database, "extend the map of columns", error);
        (void)sqlite3_reset(insert);
    }
    return result;
}

SinkResult sqlite_columns_put_clears(const SqliteSession *session, const SinkTarget *target, Buffer *out, Error *error) {
    check(!sqlite3_get_autocommit(session->database) && target->infer);
    ColumnMap map = {0};
    FoundTable found = {0};
    _cleanup_free_ char *table = sqlite_table_name(target);
    SinkResult result = sqlite_table_prepare_columns(session->database, session->columns, error);
    if (result == SINK_DONE) result = read_map(session, table, &map, error);
    if (result == SINK_DONE && map.count > 0) result = sqlite_table_find(session->database, target, &found, error);
    if (result == SINK_DONE) column_map_put_clears(out, &map, &found, target);
    found_table_deinit(&found);
    column_map_deinit(&map);
    return result;
}

static SinkResult extend(SqliteSession *session, const char *table, ColumnsJob *job, ColumnMap *map, FoundTable *found, Error *error) {
    SinkResult result = sqlite_table_prepare_columns(session->database, session->columns, error);
    if (result == SINK_DONE) result = read_map(session, table, map, error);
    if (result == SINK_DONE) result = sqlite_table_find(session->database, job->target, found, error);
    if (result != SINK_DONE) return result;
    size_t most = (size_t)sqlite3_limit(session->database, SQLITE_LIMIT_COLUMN, -1);
    column_map_extend(map, job, found, &sqlite_type_rules, found->count < most ? most - found->count : 0);
    result = write_map(session, table, job, map, error);
    if (result == SINK_DONE && found->count > 0) result = sqlite_table_add(session->database, job->target, map, error);
    return result;
}

SinkResult sqlite_columns(SinkSession *sink_session, ColumnsJob *job, Error *error) {
    SqliteSession *session = (SqliteSession *)(void *)sink_session;
    check(sqlite3_get_autocommit(session->database) && job->target->infer);
    ColumnMap map = {0};
    FoundTable found = {0};
    _cleanup_free_ char *table = sqlite_table_name(job->target);
    SinkResult result = sqlite_session_check_file(session, error);
    if (result == SINK_DONE) result = sqlite_run(session->database, "BEGIN IMMEDIATE", "begin", error);
    if (result == SINK_DONE) result = extend(session, table, job, &map, &found, error);
    if (result == SINK_DONE) result = sqlite_run(session->database, "COMMIT", "commit", error);
    if (result == SINK_DONE) result = sqlite_session_check_file(session, error);
    sqlite_roll_back(session->database);
    if (result == SINK_DONE) column_map_answer(&map, job);
    found_table_deinit(&found);
    column_map_deinit(&map);
    return result;
}
