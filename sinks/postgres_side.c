#include "sinks/postgres_side.h"

#include <errno.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "sinks/postgres_array.h"
#include "sinks/postgres_table.h"
#include "sinks/table_shape.h"

#define REMARK REPLACE_REMARK ", which will replace those of the table; dropped with it"
#define RELATION                                                                                                                           \
    "(SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"                                    \
    " WHERE n.nspname = $1 AND c.relname = $2)"

/* A question about a table: $1 is its schema and $2 its name, and `more` (NULL: none) $3. */
static SinkResult ask(PostgresSession *session, const char *sql, const SinkTarget *target, const char *more, int columns,
                      PGresult **ret_rows, Error *error) {
    const char *name;
    _cleanup_free_ char *schema = postgres_split_name(target->table.table_id, &name);
    SinkResult result = postgres_run(session, session->silence_limit, sql, more ? 3 : 2, (const char *const[]){schema, name, more},
                                     ret_rows, error);
    return result == SINK_DONE ? postgres_expect(session, ret_rows, 0, columns, error) : result;
}

SinkResult postgres_side_find(PostgresSession *session, const SinkTarget *side, bool *ret_is_there, Error *error) {
    static const char sql[] = "SELECT c.relkind, pg_catalog.obj_description(c.oid, 'pg_class') FROM pg_catalog.pg_class c"
                              " WHERE c.oid = " RELATION;
    PGresult *rows = NULL;
    *ret_is_there = false;
    SinkResult result = ask(session, sql, side, NULL, 2, &rows, error);
    if (result == SINK_DONE && PQntuples(rows) > 0) {
        *ret_is_there = PQgetvalue(rows, 0, 0)[0] == 'r' && strncmp(PQgetvalue(rows, 0, 1), REPLACE_REMARK, strlen(REPLACE_REMARK)) == 0;
        if (!*ret_is_there) {
            (void)error_set(error, -EEXIST, "\"%s\" is not a side table that Sluice created: rename it, or drop it.", side->table.table_id);
            result = SINK_REFUSED;
        }
    }
    PQclear(rows);
    return result;
}

/* In a transaction of ours, whose settings hold. */
static SinkResult run_ddl(PostgresSession *session, Buffer *sql, Error *error) {
    check(postgres_session_is(session, POSTGRES_TRANSACTION));
    log_info("connection %s: %s", session->name, buffer_text(sql));
    return postgres_run(session, session->silence_limit, buffer_text(sql), 0, NULL, NULL, error);
}

SinkResult postgres_side_lock(PostgresSession *session, const SinkTarget *side, Error *error) {
    bool is_there = false;
    SinkResult result = postgres_side_find(session, side, &is_there, error);
    if (result != SINK_DONE || !is_there) return result;
    Buffer sql = {0};
    buffer_append_text(&sql, "LOCK TABLE ");
    postgres_put_table(&sql, side);
    buffer_append_text(&sql, " IN ACCESS EXCLUSIVE MODE");
    result = postgres_run(session, session->silence_limit, buffer_text(&sql), 0, NULL, NULL, error);
    buffer_deinit(&sql);
    return result;
}

SinkResult postgres_side_drop(PostgresSession *session, const SinkTarget *side, Error *error) {
    bool is_there = false;
    SinkResult result = postgres_side_find(session, side, &is_there, error);
    if (result != SINK_DONE || !is_there) return result;
    Buffer sql = {0};
    buffer_append_text(&sql, "DROP TABLE ");
    postgres_put_table(&sql, side);
    result = run_ddl(session, &sql, error);
    buffer_deinit(&sql);
    return result;
}

/* Those that refuse no row cost time, and nobody reads the side table. */
static SinkResult drop_other_indexes(PostgresSession *session, const SinkTarget *side, Error *error) {
    static const char sql[] = "SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname)"
                              " FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
                              " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                              " WHERE NOT i.indisunique AND NOT i.indisexclusion AND i.indrelid = " RELATION;
    PGresult *rows = NULL;
    Buffer drop = {0};
    SinkResult result = ask(session, sql, side, NULL, 1, &rows, error);
    for (int i = 0; result == SINK_DONE && i < PQntuples(rows); i++)
        buffer_printf(&drop, "%s%s", i > 0 ? ", " : "DROP INDEX ", PQgetvalue(rows, i, 0));
    PQclear(rows);
    if (result == SINK_DONE && drop.size > 0) result = run_ddl(session, &drop, error);
    buffer_deinit(&drop);
    return result;
}

SinkResult postgres_side_make(PostgresSession *session, const SinkTarget *target, const SinkTarget *side, Error *error) {
    Buffer sql = {0};
    buffer_append_text(&sql, "CREATE TABLE ");
    postgres_put_table(&sql, side);
    buffer_append_text(&sql, " (LIKE ");
    postgres_put_table(&sql, target);
    buffer_append_text(&sql, " INCLUDING CONSTRAINTS INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING IDENTITY INCLUDING INDEXES);"
                             " COMMENT ON TABLE ");
    postgres_put_table(&sql, side);
    buffer_append_text(&sql, " IS '" REMARK "'");
    SinkResult result = run_ddl(session, &sql, error);
    if (result != SINK_DONE) (void)error_prefix(error, "the side table %s cannot be created", side->table.table_id);
    buffer_deinit(&sql);
    return result == SINK_DONE ? drop_other_indexes(session, side, error) : result;
}

SinkResult postgres_side_check_table(PostgresSession *session, const SinkTarget *target, bool *ret_pointed_at, Error *error) {
    /* Of the table and its partitions. A foreign key of a partitioned table has copies for its
     * partitions. */
    static const char sql[] =
        "WITH RECURSIVE part (oid) AS (SELECT " RELATION " UNION SELECT i.inhrelid FROM part"
        " JOIN pg_catalog.pg_inherits i ON i.inhparent = part.oid JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition),"
        " line (kind, name, other) AS (SELECT f.confdeltype::text, f.conname::text, f.conrelid::pg_catalog.regclass::text"
        " FROM pg_catalog.pg_constraint f WHERE f.contype = 'f' AND f.confrelid IN (SELECT oid FROM part)"
        " UNION ALL SELECT 'child', '', i.inhrelid::pg_catalog.regclass::text FROM part"
        " JOIN pg_catalog.pg_inherits i ON i.inhparent = part.oid JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid"
        " AND NOT c.relispartition)"
        " SELECT kind, name, other FROM line ORDER BY kind NOT IN ('c', 'n', 'd', 'child'), other, name LIMIT 1";
    PGresult *rows = NULL;
    SinkResult result = ask(session, sql, target, NULL, 3, &rows, error);
    if (result != SINK_DONE) return result;
    const char *kind = PQntuples(rows) > 0 ? PQgetvalue(rows, 0, 0) : "", *deed = NULL;
    if (ret_pointed_at) *ret_pointed_at = PQntuples(rows) > 0;
    if (strcmp(kind, "child") == 0) {
        (void)error_set(error, -EINVAL,
                        "The rows of \"%s\" cannot be replaced: the table %s inherits from it, and its rows would be deleted too.",
                        target->table.table_id, PQgetvalue(rows, 0, 2));
        result = SINK_REFUSED;
    }
    if (strcmp(kind, "c") == 0) deed = "CASCADE";
    if (strcmp(kind, "n") == 0) deed = "SET NULL";
    if (strcmp(kind, "d") == 0) deed = "SET DEFAULT";
    if (deed) {
        (void)error_set(
            error, -EINVAL,
            "The rows of \"%s\" cannot be replaced: the foreign key \"%s\" of the table %s has ON DELETE %s, which would change "
            "that table.",
            target->table.table_id, PQgetvalue(rows, 0, 1), PQgetvalue(rows, 0, 2), deed);
        result = SINK_REFUSED;
    }
    PQclear(rows);
    return result;
}

/* "WHERE b is a column of the side table of $1.$2, with the name of the column a" */
#define SAME_IN_SIDE                                                                                                                       \
    "b.attname = a.attname AND NOT b.attisdropped AND b.attrelid ="                                                                        \
    " (SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"                                   \
    " WHERE n.nspname = $1 AND c.relname = $2 || '" REPLACE_SIDE_SUFFIX "')"

static const char *put_names(Buffer *names, const SinkTarget *target) {
    for (size_t i = 0; i < target->column_count; i++) postgres_array_add(names, span_of(target->columns[i].name));
    return postgres_array_end(names);
}

SinkResult postgres_side_fits(PostgresSession *session, const SinkTarget *target, bool *ret_fits, Error *error) {
    static const char sql[] = "SELECT 1 FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_attribute b ON " SAME_IN_SIDE
                              " WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attname = ANY ($3::text[]) AND a.attrelid = " RELATION
                              " AND (a.atttypid, a.atttypmod) <> (b.atttypid, b.atttypmod)";
    PGresult *rows = NULL;
    Buffer names = {0};
    SinkResult result = ask(session, sql, target, put_names(&names, target), 1, &rows, error);
    *ret_fits = result == SINK_DONE && PQntuples(rows) == 0;
    PQclear(rows);
    buffer_deinit(&names);
    return result;
}

/* Of the sink's columns, those that the table has and the side table has not, as the table has
 * them. */
static SinkResult extend(PostgresSession *session, const SinkTarget *target, const SinkTarget *side, Error *error) {
    static const char sql[] =
        "SELECT pg_catalog.quote_ident(a.attname), pg_catalog.format_type(a.atttypid, a.atttypmod) FROM pg_catalog.pg_attribute a"
        " WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attname = ANY ($3::text[]) AND a.attrelid = " RELATION
        " AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_attribute b WHERE " SAME_IN_SIDE ")";
    PGresult *rows = NULL;
    Buffer names = {0}, alter = {0};
    SinkResult result = ask(session, sql, target, put_names(&names, target), 2, &rows, error);
    for (int i = 0; result == SINK_DONE && i < PQntuples(rows); i++) {
        if (i == 0) {
            buffer_append_text(&alter, "ALTER TABLE IF EXISTS "); /* a swap may have dropped it meanwhile */
            postgres_put_table(&alter, side);
        }
        buffer_printf(&alter, "%s ADD COLUMN IF NOT EXISTS %s %s", i > 0 ? "," : "", PQgetvalue(rows, i, 0), PQgetvalue(rows, i, 1));
    }
    PQclear(rows);
    if (result == SINK_DONE && alter.size > 0) result = postgres_run_ddl(session, buffer_text(&alter), error);
    buffer_deinit(&names);
    buffer_deinit(&alter);
    return result;
}

static SinkResult check_name(const SinkTarget *side, Error *error) {
    const char *dot = strrchr(side->table.table_id, '.'), *name = dot ? dot + 1 : side->table.table_id;
    if (strlen(name) <= POSTGRES_NAME_BYTES_MAX) return SINK_DONE;
    (void)error_set(error, -EINVAL, "The name of the side table \"%s\" would be too long: a PostgreSQL table has at most %d bytes.", name,
                    POSTGRES_NAME_BYTES_MAX);
    return SINK_REFUSED;
}

SinkResult postgres_side_prepare(PostgresSession *session, const SinkTarget *target, Error *error) {
    SinkTarget side;
    bool is_there = false;
    side_target_init(&side, target);
    SinkResult result = check_name(&side, error);
    if (result == SINK_DONE) result = postgres_table_prepare(session, target, error);
    if (result == SINK_DONE) result = postgres_side_check_table(session, target, NULL, error);
    if (result == SINK_DONE) result = postgres_side_find(session, &side, &is_there, error);
    if (result == SINK_DONE && is_there) result = extend(session, target, &side, error);
    side_target_deinit(&side);
    return result;
}
