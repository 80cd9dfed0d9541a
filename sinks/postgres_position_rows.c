#include "sinks/postgres_position_rows.h"

#include <errno.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sinks/ledger_entry.h"
#include "sinks/postgres_array.h"
#include "sinks/postgres_table.h"

void position_lines_init(PositionLines *lines, const SinkTarget *target) {
    *lines = (PositionLines){0};
    postgres_put_table_name(&lines->table, target);
}

void position_lines_add(PositionLines *lines, const PartitionKey *key) {
    check(key->generation <= INT32_MAX);
    postgres_array_add(&lines->cluster, span_of(key->cluster));
    postgres_array_add(&lines->group, span_of(key->group));
    postgres_array_add(&lines->topic, span_of(key->topic));
    postgres_array_add_number(&lines->generation, key->generation);
    postgres_array_add_number(&lines->partition, key->partition);
}

void position_lines_end(PositionLines *lines, const char **values) {
    values[0] = postgres_array_end(&lines->cluster);
    values[1] = postgres_array_end(&lines->group);
    values[2] = postgres_array_end(&lines->topic);
    values[3] = postgres_array_end(&lines->generation);
    values[4] = postgres_array_end(&lines->partition);
    values[5] = buffer_text(&lines->table);
}

void position_lines_deinit(PositionLines *lines) {
    Buffer *const all[] = {&lines->cluster, &lines->group, &lines->topic,  &lines->generation, &lines->partition,
                           &lines->table,   &lines->first, &lines->second, &lines->ids};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) buffer_deinit(all[i]);
}

SinkResult postgres_run_on_positions(PostgresSession *session, const char *sql, size_t count, const char *const *values,
                                     PGresult **ret_rows, Error *error) {
    Buffer text = {0};
    for (const char *at; (at = strchr(sql, '@')); sql = at + 1) {
        buffer_append(&text, sql, (size_t)(at - sql));
        postgres_put_positions(&text, session);
    }
    buffer_append_text(&text, sql);
    SinkResult result = postgres_run(session, session->silence_limit, buffer_text(&text), count, values, ret_rows, error);
    buffer_deinit(&text);
    return result;
}

bool postgres_has_no_positions(const PostgresSession *session, SinkResult result) {
    return result == SINK_REFUSED && (strcmp(session->failure.sqlstate, "42P01") == 0 || strcmp(session->failure.sqlstate, "3F000") == 0);
}

/* Sets found and read by a query for place and offset. */
static SinkResult read_by(PostgresSession *session, const char *sql, const SinkTarget *target, ImportPosition *positions, size_t count,
                          Error *error) {
    PositionLines lines;
    const char *values[6];
    position_lines_init(&lines, target);
    for (size_t i = 0; i < count; i++) position_lines_add(&lines, &positions[i].key);
    position_lines_end(&lines, values);
    PGresult *rows = NULL;
    SinkResult result = postgres_run_on_positions(session, sql, 6, values, &rows, error);
    position_lines_deinit(&lines);
    if (postgres_has_no_positions(session, result))
        (void)error_set(error, -ENODATA, "positionsMissing: there is no table %s.%s of positions; a seek creates it.",
                        session->positions_schema, session->positions_table);
    if (result == SINK_DONE) result = postgres_expect(session, &rows, 0, 2, error);
    if (result != SINK_DONE) return result;
    for (size_t i = 0; i < count; i++) {
        positions[i].found = positions[i].over = false;
        positions[i].read = 0;
    }
    for (int i = 0; i < PQntuples(rows); i++) {
        size_t place = strtoull(PQgetvalue(rows, i, 0), NULL, 10);
        if (place < 1 || place > count) continue; /* nobody asked for it */
        positions[place - 1].found = true;
        positions[place - 1].read = strtoll(PQgetvalue(rows, i, 1), NULL, 10);
    }
    PQclear(rows);
    return SINK_DONE;
}

SinkResult postgres_position_rows_read(PostgresSession *session, const SinkTarget *target, ImportPosition *positions, size_t count,
                                       Error *error) {
    check(positions_are_ordered(positions, count));
    return read_by(session,
                   "SELECT w.place, p.next_offset FROM " POSTGRES_WANTED_KEYS ") WITH ORDINALITY AS w (" POSTGRES_KEY
                   ", place) JOIN @ AS p ON " POSTGRES_SAME_KEY,
                   target, positions, count, error);
}

SinkResult postgres_position_rows_lock(PostgresSession *session, const SinkTarget *target, ImportPosition *positions, size_t count,
                                       Error *error) {
    check(positions_are_ordered(positions, count));
    return read_by(session,
                   "SELECT w.place, p.next_offset FROM " POSTGRES_WANTED_KEYS ") WITH ORDINALITY AS w (" POSTGRES_KEY
                   ", place) JOIN @ AS p ON " POSTGRES_SAME_KEY " ORDER BY w.place FOR UPDATE OF p",
                   target, positions, count, error);
}

/* A statement whose $1 is the name of the table; *ret_count (NULL: not wanted): rows. */
static SinkResult run_of_table(PostgresSession *session, const char *sql, const SinkTarget *target, size_t count, const char **values,
                               uint64_t *ret_count, Error *error) {
    Buffer table = {0};
    PGresult *answer = NULL;
    postgres_put_table_name(&table, target);
    values[0] = buffer_text(&table);
    SinkResult result = postgres_run_on_positions(session, sql, count, values, &answer, error);
    if (result == SINK_DONE && ret_count) *ret_count = strtoull(PQcmdTuples(answer), NULL, 10);
    PQclear(answer);
    buffer_deinit(&table);
    return result;
}

SinkResult postgres_position_rows_remove(PostgresSession *session, const SinkTarget *target, const char *group, Error *error) {
    static const char sql[] = "WITH w AS MATERIALIZED (SELECT " POSTGRES_KEY " FROM @ WHERE group_id = $2 AND table_name = $1"
                              " ORDER BY cluster COLLATE \"C\", topic COLLATE \"C\", generation, partition FOR UPDATE)"
                              " DELETE FROM @ AS p USING w WHERE p.table_name = $1"
                              " AND (p.cluster, p.group_id, p.topic, p.generation, p.partition)"
                              " = (w.cluster, w.group_id, w.topic, w.generation, w.partition)";
    return run_of_table(session, sql, target, 2, (const char *[]){NULL, group}, NULL, error);
}

/* ---- marks ---- */

SinkResult postgres_marks_lock(PostgresSession *session, const SinkTarget *target, Error *error) {
    static const char sql[] = "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended("
                              "pg_catalog.concat_ws(E'\\x01', 'sluice runs', $1::text), 0))";
    return run_of_table(session, sql, target, 1, (const char *[]){NULL}, NULL, error);
}

SinkResult postgres_marks_read(PostgresSession *session, const SinkTarget *target, RunMarks *marks, Error *error) {
    static const char sql[] = "SELECT topic, next_offset, topic_id FROM @ WHERE cluster = '' AND group_id = '' AND table_name = $1"
                              " AND generation = 0 AND partition = 0";
    Buffer table = {0};
    PGresult *rows = NULL;
    *marks = (RunMarks){0};
    postgres_put_table_name(&table, target);
    SinkResult result = postgres_run_on_positions(session, sql, 1, (const char *const[]){buffer_text(&table)}, &rows, error);
    buffer_deinit(&table);
    if (result == SINK_DONE) result = postgres_expect(session, &rows, 0, 3, error);
    if (result != SINK_DONE) return result;
    for (int i = 0; i < PQntuples(rows); i++)
        run_marks_add(marks, PQgetvalue(rows, i, 0), strtoll(PQgetvalue(rows, i, 1), NULL, 10),
                      PQgetisnull(rows, i, 2) ? NULL : PQgetvalue(rows, i, 2));
    PQclear(rows);
    return SINK_DONE;
}

SinkResult postgres_marks_set(PostgresSession *session, const PositionsOwner *owner, const SinkTarget *target, const char *topic,
                              const char *run_group, Error *error) {
    static const char sql[] =
        "INSERT INTO @ (" POSTGRES_KEY ", next_offset, topic_id, table_name, sink, instance)"
        " VALUES ('', '', $2, 0, 0, $3::bigint, $4, $1, $5, $6::uuid)"
        " ON CONFLICT (cluster, group_id, table_name, topic, generation, partition) DO UPDATE SET next_offset = EXCLUDED.next_offset,"
        " topic_id = EXCLUDED.topic_id, sink = EXCLUDED.sink, instance = EXCLUDED.instance, at = pg_catalog.now()";
    char instance[UUID_TEXT_SIZE + 1], run[24];
    uint64_t number = run_of_group(run_group);
    check(number > 0);
    ledger_file_text(&owner->instance, instance);
    (void)snprintf(run, sizeof run, "%" PRIu64, number);
    return run_of_table(session, sql, target, 6, (const char *[]){NULL, topic, run, run_group, owner->sink_label, instance}, NULL, error);
}

SinkResult postgres_marks_remove(PostgresSession *session, const SinkTarget *target, const char *run_group, const char *instance,
                                 uint64_t *ret_count, Error *error) {
    static const char sql[] = "DELETE FROM @ WHERE cluster = '' AND group_id = '' AND table_name = $1 AND topic_id = $2"
                              " AND ($3::uuid IS NULL OR instance = $3::uuid)"
                              " AND NOT EXISTS (SELECT 1 FROM @ AS o WHERE o.group_id = $2 AND o.table_name = $1)";
    return run_of_table(session, sql, target, 3, (const char *[]){NULL, run_group, instance}, ret_count, error);
}
