#include "sinks/sqlite_position_rows.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "sinks/ledger_entry.h"
#include "sinks/sqlite_statement.h"
#include "sinks/sqlite_table.h"
#include "sinks/table_shape.h"

bool sqlite_positions_are_kept(const SqliteSession *session) {
    return sqlite3_table_column_metadata(session->database, "main", session->positions, NULL, NULL, NULL, NULL, NULL, NULL) == SQLITE_OK;
}

SinkResult sqlite_positions_statement(SqliteSession *session, const char *sql, sqlite3_stmt **ret_statement, Error *error) {
    Buffer text = {0};
    for (const char *at; (at = strchr(sql, '@')); sql = at + 1) {
        buffer_append(&text, sql, (size_t)(at - sql));
        sql_put_identifier(&text, session->positions);
    }
    buffer_append_text(&text, sql);
    int r = sqlite3_prepare_v2(session->database, buffer_text(&text), -1, ret_statement, NULL);
    buffer_deinit(&text);
    return r == SQLITE_OK ? SINK_DONE : sqlite_failure(session->database, "use the positions", error);
}

void sqlite_bind_text(sqlite3_stmt *statement, int place, const char *text) {
    (void)sqlite3_bind_text(statement, place, text, -1, SQLITE_TRANSIENT); /* NULL is NULL */
}

void sqlite_bind_key(sqlite3_stmt *statement, const PartitionKey *key, const char *table) {
    sqlite_bind_text(statement, 1, key->cluster);
    sqlite_bind_text(statement, 2, key->group);
    sqlite_bind_text(statement, 3, key->topic);
    (void)sqlite3_bind_int64(statement, 4, key->generation);
    (void)sqlite3_bind_int64(statement, 5, key->partition);
    sqlite_bind_text(statement, 6, table);
}

void sqlite_bind_owner(sqlite3_stmt *statement, int place, const PositionsOwner *owner) {
    char instance[UUID_TEXT_SIZE + 1];
    ledger_file_text(&owner->instance, instance);
    sqlite_bind_text(statement, place, owner->sink_label);
    sqlite_bind_text(statement, place + 1, instance);
}

SinkResult sqlite_step_once(SqliteSession *session, sqlite3_stmt *statement, int64_t *ret_changes, Error *error) {
    int r = sqlite3_step(statement);
    SinkResult result = r == SQLITE_DONE ? SINK_DONE : sqlite_failure(session->database, "set positions", error);
    *ret_changes = sqlite3_changes64(session->database);
    (void)sqlite3_reset(statement);
    return result;
}

SinkResult sqlite_position_rows_read(SqliteSession *session, const SinkTarget *target, ImportPosition *positions, size_t count,
                                     Error *error) {
    check(positions_are_ordered(positions, count) && !sqlite3_get_autocommit(session->database));
    STATEMENT select = NULL;
    _cleanup_free_ char *table = sqlite_table_name(target);
    SinkResult result = sqlite_positions_statement(session, "SELECT next_offset FROM @ WHERE " SQLITE_SAME_KEY, &select, error);
    for (size_t i = 0; i < count && result == SINK_DONE; i++) {
        sqlite_bind_key(select, &positions[i].key, table);
        int r = sqlite3_step(select);
        positions[i].found = r == SQLITE_ROW;
        positions[i].over = false;
        positions[i].read = positions[i].found ? sqlite3_column_int64(select, 0) : 0;
        if (r != SQLITE_ROW && r != SQLITE_DONE) result = sqlite_failure(session->database, "read positions", error);
        (void)sqlite3_reset(select);
    }
    return result;
}

SinkResult sqlite_marks_read(SqliteSession *session, const SinkTarget *target, RunMarks *marks, Error *error) {
    STATEMENT select = NULL;
    _cleanup_free_ char *table = sqlite_table_name(target);
    *marks = (RunMarks){0};
    SinkResult result = sqlite_positions_statement(session,
                                                   "SELECT topic, next_offset, topic_id FROM @ WHERE cluster = '' AND group_id = ''"
                                                   " AND table_name = ?1 AND generation = 0 AND partition = 0",
                                                   &select, error);
    if (result != SINK_DONE) return result;
    sqlite_bind_text(select, 1, table);
    int r;
    while ((r = sqlite3_step(select)) == SQLITE_ROW)
        run_marks_add(marks, (const char *)sqlite3_column_text(select, 0), sqlite3_column_int64(select, 1),
                      (const char *)sqlite3_column_text(select, 2));
    return r == SQLITE_DONE ? SINK_DONE : sqlite_failure(session->database, "read the marks of runs", error);
}

SinkResult sqlite_marks_set(SqliteSession *session, const PositionsOwner *owner, const SinkTarget *target, const char *topic,
                            const char *run_group, Error *error) {
    check(!sqlite3_get_autocommit(session->database) && run_of_group(run_group) > 0);
    STATEMENT insert = NULL;
    _cleanup_free_ char *table = sqlite_table_name(target);
    int64_t hit = 0;
    SinkResult result = sqlite_positions_statement(
        session,
        "INSERT INTO @ (cluster, group_id, topic, generation, partition, table_name, next_offset, topic_id, sink, instance)"
        " VALUES ('', '', ?1, 0, 0, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET next_offset = excluded.next_offset,"
        " topic_id = excluded.topic_id, sink = excluded.sink, instance = excluded.instance, at = " SQLITE_NOW,
        &insert, error);
    if (result != SINK_DONE) return result;
    sqlite_bind_text(insert, 1, topic);
    sqlite_bind_text(insert, 2, table);
    (void)sqlite3_bind_int64(insert, 3, (int64_t)run_of_group(run_group));
    sqlite_bind_text(insert, 4, run_group);
    sqlite_bind_owner(insert, 5, owner);
    return sqlite_step_once(session, insert, &hit, error);
}
