#include "sinks/postgres_columns.h"

#include <errno.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "sinks/column_map.h"
#include "sinks/ledger_entry.h"
#include "sinks/postgres_array.h"
#include "sinks/postgres_table.h"
#include "sinks/postgres_transaction.h"
#include "sinks/postgres_types.h"

#define TABLE_COLUMNS_MAX 1600 /* of PostgreSQL, with those that were dropped */

/* `sql` with the name of the map in the place of @. */
static SinkResult run(PostgresSession *session, const char *sql, size_t count, const char *const *values, PGresult **ret_rows,
                      Error *error) {
    Buffer text = {0};
    const char *at = strchr(sql, '@');
    check(at);
    buffer_append(&text, sql, (size_t)(at - sql));
    postgres_put_columns(&text, session);
    buffer_append_text(&text, at + 1);
    SinkResult result = postgres_run(session, session->silence_limit, buffer_text(&text), count, values, ret_rows, error);
    buffer_deinit(&text);
    return result;
}

/* Nobody else names columns of the table until the end of the transaction. */
static SinkResult lock_table(PostgresSession *session, const char *table, Error *error) {
    static const char sql[] = "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended("
                              "pg_catalog.concat_ws(E'\\x01', 'sluice columns', $1::text), 0))";
    return postgres_run(session, session->silence_limit, sql, 1, (const char *const[]){table}, NULL, error);
}

static SinkResult read_map(PostgresSession *session, const char *table, ColumnMap *map, Error *error) {
    PGresult *rows = NULL;
    SinkResult result = run(session,
                            "SELECT path, variant, column_name, data_type FROM @ WHERE table_name = $1"
                            " ORDER BY at, path COLLATE \"C\", variant COLLATE \"C\"",
                            1, (const char *const[]){table}, &rows, error);
    if (result == SINK_DONE) result = postgres_expect(session, &rows, 0, 4, error);
    for (int i = 0; result == SINK_DONE && i < PQntuples(rows); i++) {
        const char *path = PQgetvalue(rows, i, 0);
        if (column_map_add(map, path, PQgetvalue(rows, i, 1), PQgetvalue(rows, i, 2), PQgetvalue(rows, i, 3))) continue;
        (void)error_set(error, -EINVAL, "The map of columns %s.%s has a row for path \"%.100s\" that Sluice did not write.",
                        session->columns_schema, session->columns_table, path);
        result = SINK_REFUSED;
    }
    PQclear(rows);
    return result;
}

static SinkResult write_map(PostgresSession *session, const char *table, const ColumnsJob *job, const ColumnMap *map, Error *error) {
    static const char sql[] = "INSERT INTO @ (table_name, path, variant, column_name, data_type, sink, instance)"
                              " SELECT $1, w.path, w.variant, w.name, w.type, $6, $7::uuid"
                              " FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) AS w (path, variant, name, type)";
    if (map->known == map->count) return SINK_DONE;
    Buffer lists[4] = {{0}, {0}, {0}, {0}};
    char instance[UUID_TEXT_SIZE + 1];
    for (size_t i = map->known; i < map->count; i++) {
        const InferredColumn *column = &map->items[i];
        postgres_array_add(&lists[0], span_of(column->path));
        postgres_array_add(&lists[1], span_of(column_map_variant(column)));
        postgres_array_add(&lists[2], span_of(column->name));
        postgres_array_add(&lists[3], span_of(data_type_name(column->type)));
    }
    ledger_file_text(&job->owner.instance, instance);
    const char *const values[] = {table,
                                  postgres_array_end(&lists[0]),
                                  postgres_array_end(&lists[1]),
                                  postgres_array_end(&lists[2]),
                                  postgres_array_end(&lists[3]),
                                  job->owner.sink_label,
                                  instance};
    SinkResult result = run(session, sql, 7, values, NULL, error);
    for (size_t i = 0; i < 4; i++) buffer_deinit(&lists[i]);
    return result;
}

/* A sink whose fields have no columns yet may have no map. */
static SinkResult has_map(PostgresSession *session, bool *ret_has, Error *error) {
    Buffer name = {0};
    PGresult *answer = NULL;
    postgres_put_columns(&name, session);
    SinkResult result = postgres_run(session, session->silence_limit, "SELECT pg_catalog.to_regclass($1) IS NOT NULL", 1,
                                     (const char *const[]){buffer_text(&name)}, &answer, error);
    if (result == SINK_DONE) result = postgres_expect(session, &answer, 1, 1, error);
    if (result == SINK_DONE) *ret_has = PQgetvalue(answer, 0, 0)[0] == 't';
    PQclear(answer);
    buffer_deinit(&name);
    return result;
}

SinkResult postgres_columns_put_clears(PostgresSession *session, const SinkTarget *target, Buffer *out, Error *error) {
    check(postgres_session_is(session, POSTGRES_TRANSACTION) && target->infer);
    ColumnMap map = {0};
    FoundTable found = {0};
    Buffer table = {0};
    bool has = false;
    size_t used;
    postgres_put_table_name(&table, target);
    SinkResult result = has_map(session, &has, error);
    if (result == SINK_DONE && has) result = read_map(session, buffer_text(&table), &map, error);
    if (result == SINK_DONE && map.count > 0) result = postgres_table_find(session, target, &found, &used, error);
    if (result == SINK_DONE) column_map_put_clears(out, &map, &found, target);
    buffer_deinit(&table);
    found_table_deinit(&found);
    column_map_deinit(&map);
    return result;
}

static SinkResult extend(PostgresSession *session, const char *table, ColumnsJob *job, ColumnMap *map, FoundTable *found, Error *error) {
    size_t used = 0;
    SinkResult result = lock_table(session, table, error);
    if (result == SINK_DONE) result = read_map(session, table, map, error);
    if (result == SINK_DONE) result = postgres_table_find(session, job->target, found, &used, error);
    if (result != SINK_DONE) return result;
    column_map_extend(map, job, found, &postgres_type_rules, used < TABLE_COLUMNS_MAX ? TABLE_COLUMNS_MAX - used : 0);
    result = write_map(session, table, job, map, error);
    if (result == SINK_DONE && found->count > 0) result = postgres_table_add(session, job->target, map, error);
    return result;
}

SinkResult postgres_columns(SinkSession *sink_session, ColumnsJob *job, Error *error) {
    PostgresSession *session = (PostgresSession *)(void *)sink_session;
    check(job->target->infer);
    ColumnMap map = {0};
    FoundTable found = {0};
    Buffer table = {0}, settings = {0};
    postgres_put_table_name(&table, job->target);
    buffer_printf(&settings, "SET LOCAL lock_timeout = %d", POSTGRES_BRIEF_LOCK_MS);
    SinkResult result = postgres_session_use(session, error);
    if (result == SINK_DONE) result = postgres_table_prepare_columns(session, error);
    if (result == SINK_DONE) result = postgres_begin(session, true, buffer_text(&settings), NULL, error);
    if (result == SINK_DONE) result = extend(session, buffer_text(&table), job, &map, &found, error);
    if (result == SINK_DONE) result = postgres_commit(session, "change of columns", error);
    postgres_roll_back(session);
    if (result == SINK_DONE) column_map_answer(&map, job);
    buffer_deinit(&table);
    buffer_deinit(&settings);
    found_table_deinit(&found);
    column_map_deinit(&map);
    return result;
}
