#include "sinks/postgres_table.h"

#include <errno.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "sinks/postgres_types.h"
#include "sinks/replace_run.h"
#include "sinks/table_shape.h"

#define RACES_MAX 5

static char *split_table(const SinkTarget *target, const char **ret_table) {
    return postgres_split_name(target->table.table_id, ret_table);
}

static void put_qualified(Buffer *out, const char *schema, const char *name) {
    sql_put_identifier(out, schema);
    buffer_append_byte(out, '.');
    sql_put_identifier(out, name);
}

void postgres_put_table(Buffer *out, const SinkTarget *target) {
    const char *name;
    _cleanup_free_ char *schema = split_table(target, &name);
    put_qualified(out, schema, name);
}

void postgres_put_ledger(Buffer *out, const PostgresSession *session) {
    put_qualified(out, session->ledger_schema, session->ledger_table);
}

void postgres_put_positions(Buffer *out, const PostgresSession *session) {
    put_qualified(out, session->positions_schema, session->positions_table);
}

void postgres_put_columns(Buffer *out, const PostgresSession *session) {
    put_qualified(out, session->columns_schema, session->columns_table);
}

void postgres_put_table_name(Buffer *out, const SinkTarget *target) {
    if (!strchr(sink_target_name(target), '.')) buffer_append_text(out, "public.");
    buffer_append_text(out, sink_target_name(target));
}

static SinkResult run(PostgresSession *session, const char *sql, size_t count, const char *const *values, PGresult **ret_result,
                      Error *error) {
    return postgres_run(session, session->silence_limit, sql, count, values, ret_result, error);
}

/* Is the failure of a CREATE that somebody else was faster? IF NOT EXISTS alone does not wait for
 * them. */
static bool lost_race(const PostgresSession *session) {
    static const char *const states[] = {"23505", "42P06", "42P07", "42701", "42710", NULL};
    for (const char *const *state = states; *state; state++) {
        if (strcmp(session->failure.sqlstate, *state) == 0) return true;
    }
    return false;
}

typedef struct PostgresPresence {
    bool schema;
    char kind;    /* pg_class.relkind; 0: no such relation */
    bool is_side; /* a run of a sink with the strategy replace has made it */
    char oid[16]; /* when there is one */
} PostgresPresence;

static SinkResult look(PostgresSession *session, const char *schema, const char *name, PostgresPresence *ret_presence, Error *error) {
    static const char sql[] = "SELECT n.oid, c.oid, c.relkind, pg_catalog.obj_description(c.oid, 'pg_class') FROM pg_catalog.pg_namespace n"
                              " LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = $2 WHERE n.nspname = $1";
    PGresult *rows = NULL;
    SinkResult result = run(session, sql, 2, (const char *const[]){schema, name}, &rows, error);
    if (result == SINK_DONE) result = postgres_expect(session, &rows, 0, 4, error);
    if (result != SINK_DONE) return result;
    *ret_presence = (PostgresPresence){.schema = PQntuples(rows) > 0};
    if (ret_presence->schema && !PQgetisnull(rows, 0, 1)) {
        (void)snprintf(ret_presence->oid, sizeof ret_presence->oid, "%s", PQgetvalue(rows, 0, 1));
        ret_presence->kind = PQgetvalue(rows, 0, 2)[0];
        ret_presence->is_side = strncmp(PQgetvalue(rows, 0, 3), REPLACE_REMARK, strlen(REPLACE_REMARK)) == 0;
    }
    PQclear(rows);
    return SINK_DONE;
}

/* The columns of the table $1, an oid. Domains are shown as what they are made of, through all
 * their levels: their CHECKs refuse rows, but do not change values. The labels of an enum are in
 * hexadecimal digits. `pair` is a type and its modifier: OFFSET 0 keeps it one expression, so that
 * pg_type is read by its index. */
#define COLUMNS_SELECT                                                                                                                     \
    "SELECT a.attnum, a.attname, pg_catalog.format_type(base.pair[1]::pg_catalog.oid, base.pair[2]::int4) AS type,"                        \
    " CASE WHEN t.typtype = 'e' THEN '" POSTGRES_ENUM "' WHEN t.typtype = 'b' AND t.typname = '" POSTGRES_CITEXT                           \
    "' THEN '" POSTGRES_CITEXT "' ELSE pg_catalog.format_type(base.pair[1]::pg_catalog.oid, base.pair[2]::int4) END AS kind,"              \
    " CASE WHEN t.typtype = 'e' THEN (SELECT pg_catalog.string_agg("                                                                       \
    "pg_catalog.encode(pg_catalog.convert_to(e.enumlabel::text, 'UTF8'), 'hex'), ',')"                                                     \
    " FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid) END AS labels,"                                                                 \
    " a.attnotnull AS not_null, a.atthasdef OR a.attidentity <> '' OR own.typdefault IS NOT NULL AS fills_itself,"                         \
    " a.attidentity <> '' AS is_identity,"                                                                                                 \
    " a.attgenerated <> '' OR a.attidentity = 'a' AS is_generated,"                                                                        \
    " EXISTS (SELECT 1 FROM pg_catalog.pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary AND i.indimmediate"                     \
    " AND a.attnum = ANY (i.indkey)) AS is_key,"                                                                                           \
    " (SELECT k.conname FROM pg_catalog.pg_constraint k WHERE k.conrelid = a.attrelid AND k.contype = 'p') AS key_name"                    \
    " FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type own ON own.oid = a.atttypid"                                                  \
    " CROSS JOIN LATERAL (SELECT CASE WHEN own.typtype <> 'd' THEN ARRAY[a.atttypid::int8, a.atttypmod]"                                   \
    " ELSE (WITH RECURSIVE level (oid, modifier) AS (SELECT own.typbasetype, own.typtypmod"                                                \
    " UNION ALL SELECT d.typbasetype, d.typtypmod FROM level JOIN pg_catalog.pg_type d ON d.oid = level.oid WHERE d.typtype = 'd')"        \
    " SELECT ARRAY[level.oid::int8, level.modifier] FROM level JOIN pg_catalog.pg_type d ON d.oid = level.oid WHERE d.typtype <> 'd')"     \
    " END AS pair OFFSET 0) AS base JOIN pg_catalog.pg_type t ON t.oid = base.pair[1]::pg_catalog.oid"                                     \
    " WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped"
enum { COLUMNS_SELECTED = 11 };

static void take_columns(const PGresult *rows, FoundTable *found) {
    for (int i = 0; i < PQntuples(rows); i++) {
        FoundColumn *column = found_table_add(found, PQgetvalue(rows, i, 1), PQgetvalue(rows, i, 2));
        free(column->kind);
        column->kind = text_copy(PQgetvalue(rows, i, 3));
        if (!PQgetisnull(rows, i, 4)) column->labels = text_copy(PQgetvalue(rows, i, 4));
        column->fills_itself = PQgetvalue(rows, i, 6)[0] == 't';
        column->needs_value = PQgetvalue(rows, i, 5)[0] == 't' && !column->fills_itself;
        column->is_identity = PQgetvalue(rows, i, 7)[0] == 't';
        column->is_generated = PQgetvalue(rows, i, 8)[0] == 't';
        column->is_primary_key = PQgetvalue(rows, i, 9)[0] == 't';
        if (!found->key_name && !PQgetisnull(rows, i, 10)) found->key_name = text_copy(PQgetvalue(rows, i, 10));
    }
}

static SinkResult read_columns(PostgresSession *session, const char *oid, FoundTable *found, Error *error) {
    static const char sql[] = COLUMNS_SELECT " ORDER BY a.attnum";
    PGresult *rows = NULL;
    SinkResult result = run(session, sql, 1, (const char *const[]){oid}, &rows, error);
    if (result == SINK_DONE) result = postgres_expect(session, &rows, 0, COLUMNS_SELECTED, error);
    if (result != SINK_DONE) return result;
    take_columns(rows, found);
    PQclear(rows);
    return SINK_DONE;
}

/* Of the types that every server has. Those of an extension or of the database, as enums and
 * domains, have larger oids. */
#define LARGEST_PLAIN_OID "9999"

/* The answer to an import's first question about its table, which costs little; false: some column
 * of the target has a type of which more has to be known, or that does not fit. */
static bool take_types(const PGresult *rows, const SinkTarget *target, FoundTable *found) {
    for (int i = 0; i < PQntuples(rows); i++) {
        if (PQgetisnull(rows, i, 2)) continue; /* a table without columns */
        const char *name = PQgetvalue(rows, i, 2);
        for (size_t k = 0; k < target->column_count; k++) {
            if (strcmp(target->columns[k].name, name) != 0) continue;
            const FoundColumn *there = found_table_add(found, name, PQgetvalue(rows, i, 3));
            if (PQgetvalue(rows, i, 4)[0] == 't' || !postgres_type_rules.compatible(target, &target->columns[k], there)) return false;
        }
    }
    return true;
}

/* Do the types of the columns that are there fit? What is missing, a statement says. */
static SinkResult check_types(const SinkTarget *target, const FoundTable *found, Error *error) {
    for (size_t i = 0; i < target->column_count; i++)
        for (size_t k = 0; k < found->count; k++)
            if (strcmp(found->columns[k].name, target->columns[i].name) == 0 &&
                !postgres_type_rules.compatible(target, &target->columns[i], &found->columns[k]))
                return sink_table_compare(target, found, &postgres_type_rules, NULL, error);
    return SINK_DONE;
}

static SinkResult find_rules(PostgresSession *session, const SinkTarget *target, const PGresult *types, PostgresRules *ret_rules,
                             Error *error) {
    FoundTable found = {0};
    SinkResult result = SINK_DONE;
    if (!take_types(types, target, &found)) {
        found_table_deinit(&found);
        result = read_columns(session, PQgetvalue(types, 0, 1), &found, error);
        if (result == SINK_DONE) result = check_types(target, &found, error);
    }
    if (result == SINK_DONE) postgres_rules_init(ret_rules, target, &found);
    found_table_deinit(&found);
    return result;
}

SinkResult postgres_table_lock(PostgresSession *session, const SinkTarget *target, PostgresRules *ret_rules, bool *ret_row_security,
                               Error *error) {
    Buffer name = {0}, sql = {0};
    check(postgres_session_is(session, POSTGRES_TRANSACTION));
    postgres_put_table(&name, target);
    char *literal = PQescapeLiteral(session->connection, buffer_text(&name), name.size);
    check(literal);
    buffer_printf(&sql,
                  "SET LOCAL lock_timeout = %d; LOCK TABLE %s IN ROW EXCLUSIVE MODE; SET LOCAL lock_timeout = %d;"
                  " SELECT pg_catalog.row_security_active(c.oid), c.oid, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),"
                  " a.atttypid > " LARGEST_PLAIN_OID "::pg_catalog.oid FROM (SELECT %s::pg_catalog.regclass::pg_catalog.oid) AS c (oid)"
                  " LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped",
                  POSTGRES_BRIEF_LOCK_MS, buffer_text(&name), POSTGRES_LOCK_MS, literal);
    PGresult *rows = NULL;
    SinkResult result = postgres_run(session, session->silence_limit, buffer_text(&sql), 0, NULL, &rows, error);
    if (result == SINK_DONE) result = postgres_expect(session, &rows, 1, 5, error);
    if (result == SINK_DONE) {
        *ret_row_security = PQgetvalue(rows, 0, 0)[0] == 't';
        result = find_rules(session, target, rows, ret_rules, error);
    }
    PQclear(rows);
    PQfreemem(literal);
    buffer_deinit(&name);
    buffer_deinit(&sql);
    return result;
}

static SinkResult create(PostgresSession *session, const PostgresPresence *presence, const char *schema, const char *name,
                         const char *definition, Error *error) {
    Buffer sql = {0};
    SinkResult result = SINK_DONE;
    if (!presence->schema) {
        buffer_append_text(&sql, "CREATE SCHEMA IF NOT EXISTS ");
        sql_put_identifier(&sql, schema);
        result = postgres_run_ddl(session, buffer_text(&sql), error);
    }
    if (result == SINK_DONE) {
        buffer_clear(&sql);
        buffer_append_text(&sql, "CREATE TABLE ");
        put_qualified(&sql, schema, name);
        buffer_printf(&sql, " (%s)", definition);
        result = postgres_run_ddl(session, buffer_text(&sql), error);
    }
    buffer_deinit(&sql);
    return result;
}

/* Makes sure that there is a relation of that name, and says what it is. */
static SinkResult ensure(PostgresSession *session, const char *schema, const char *name, const char *definition, PostgresPresence *presence,
                         bool *ret_created, Error *error) {
    *ret_created = false;
    for (int races = 0;; races++) {
        SinkResult result = look(session, schema, name, presence, error);
        if (result != SINK_DONE || presence->kind) return result;
        result = create(session, presence, schema, name, definition, error);
        if (result == SINK_DONE) {
            *ret_created = true;
            return SINK_DONE;
        }
        if (!lost_race(session) || races == RACES_MAX) {
            (void)error_prefix(error, "table %s.%s cannot be created", schema, name);
            return result;
        }
    }
}

static SinkResult add_columns(PostgresSession *session, const SinkTarget *target, const bool *missing, Error *error) {
    Buffer sql = {0};
    buffer_append_text(&sql, "ALTER TABLE ");
    postgres_put_table(&sql, target);
    const char *separator = " ";
    for (size_t i = 0; i < target->column_count; i++) {
        if (!missing || !missing[i]) continue;
        buffer_printf(&sql, "%sADD COLUMN IF NOT EXISTS ", separator);
        sql_put_identifier(&sql, target->columns[i].name);
        buffer_printf(&sql, " %s", postgres_type_of(&target->columns[i]));
        separator = ", ";
    }
    SinkResult result = SINK_DONE;
    if (separator[0] == ',') result = postgres_run_ddl(session, buffer_text(&sql), error);
    if (result == SINK_REFUSED && lost_race(session)) result = SINK_RETRY;
    buffer_deinit(&sql);
    return result;
}

/* Of a table that is there. */
static SinkResult compare(PostgresSession *session, const SinkTarget *target, const PostgresPresence *presence, TableInspection *inspection,
                          Error *error) {
    if (presence->kind != 'r' && presence->kind != 'p') {
        (void)error_set(error, -EINVAL, "\"%s\" is not an ordinary or partitioned table.", target->table.table_id);
        return SINK_REFUSED;
    }
    if (presence->is_side) return sink_table_is_side(target, error);
    FoundTable found = {0};
    SinkResult result = read_columns(session, presence->oid, &found, error);
    if (result == SINK_DONE) result = sink_table_inspect(target, &found, &postgres_type_rules, inspection, error);
    found_table_deinit(&found);
    return result;
}

SinkResult postgres_table_compare(PostgresSession *session, const SinkTarget *target, Error *error) {
    const char *name;
    _cleanup_free_ char *schema = split_table(target, &name);
    PostgresPresence presence;
    FoundTable found = {0};
    SinkResult result = look(session, schema, name, &presence, error);
    if (result == SINK_DONE && presence.kind) result = read_columns(session, presence.oid, &found, error);
    if (result == SINK_DONE) result = sink_table_compare(target, &found, &postgres_type_rules, NULL, error);
    found_table_deinit(&found);
    return result;
}

/* The table $1.$2 and its partitions, of all levels. */
#define WITH_PARTS                                                                                                                         \
    "WITH RECURSIVE part (oid) AS (SELECT c.oid FROM pg_catalog.pg_class c"                                                                \
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2"                                    \
    " UNION SELECT i.inhrelid FROM part JOIN pg_catalog.pg_inherits i ON i.inhparent = part.oid"                                           \
    " JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition) "

static SinkResult ask(PostgresSession *session, const char *sql, size_t count, const char *const *values, bool *ret_answer, Error *error) {
    PGresult *rows = NULL;
    SinkResult result = run(session, sql, count, values, &rows, error);
    if (result == SINK_DONE) result = postgres_expect(session, &rows, 1, 1, error);
    if (result == SINK_DONE) *ret_answer = PQgetvalue(rows, 0, 0)[0] == 't';
    PQclear(rows);
    return result;
}

SinkResult postgres_table_has_part(PostgresSession *session, const SinkTarget *target, const char *schema, const char *name, bool *ret_has,
                                   Error *error) {
    static const char sql[] = WITH_PARTS
        "SELECT EXISTS (SELECT 1 FROM part JOIN pg_catalog.pg_class c ON c.oid = part.oid"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $3 AND c.relname = $4)";
    const char *own_name;
    _cleanup_free_ char *own_schema = split_table(target, &own_name);
    return ask(session, sql, 4, (const char *const[]){own_schema, own_name, schema, name}, ret_has, error);
}

SinkResult postgres_table_may_swallow(PostgresSession *session, const SinkTarget *target, bool *ret_may, Error *error) {
    /* tgtype: 1 for each row, 2 before, 4 INSERT, 8 DELETE, 16 UPDATE. ev_type: 3 INSERT, 4
     * DELETE. */
    static const char sql[] = WITH_PARTS
        "SELECT EXISTS (SELECT 1 FROM part JOIN pg_catalog.pg_trigger t ON t.tgrelid = part.oid WHERE NOT t.tgisinternal"
        " AND t.tgenabled <> 'D' AND t.tgtype::int & 3 = 3 AND t.tgtype::int & $3::int <> 0)"
        " OR EXISTS (SELECT 1 FROM part JOIN pg_catalog.pg_rewrite r ON r.ev_class = part.oid WHERE r.ev_type::text = ANY ($4::text[]) AND "
        "r.ev_enabled <> "
        "'D')";
    const char *name;
    _cleanup_free_ char *schema = split_table(target, &name);
    bool deletes = sink_target_deletes(target);
    const char *types = deletes ? "28" : target->table.strategy == STRATEGY_MERGE ? "20" : "4";
    return ask(session, sql, 4, (const char *const[]){schema, name, types, deletes ? "{3,4}" : "{3}"}, ret_may, error);
}

/* Names that the server would cut, or that are nobody's. */
static SinkResult check_names(const PostgresSession *session, const SinkTarget *target, const char *schema, const char *name,
                              Error *error) {
    const char *const names[] = {schema,
                                 name,
                                 session->ledger_schema,
                                 session->ledger_table,
                                 session->positions_schema,
                                 session->positions_table,
                                 session->columns_schema,
                                 session->columns_table};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (names[i][0] && strlen(names[i]) <= POSTGRES_NAME_BYTES_MAX) continue;
        (void)error_set(error, -EINVAL, "\"%s\" cannot be the name of a PostgreSQL schema or table: it must have 1 to %d bytes.", names[i],
                        POSTGRES_NAME_BYTES_MAX);
        return SINK_REFUSED;
    }
    for (size_t i = 0; i < target->column_count; i++) {
        if (strlen(target->columns[i].name) <= POSTGRES_NAME_BYTES_MAX) continue;
        (void)error_set(error, -EINVAL, "Column \"%s\": a PostgreSQL column has at most %d bytes.", target->columns[i].name,
                        POSTGRES_NAME_BYTES_MAX);
        return SINK_REFUSED;
    }
    if (strcmp(schema, session->ledger_schema) == 0 && strcmp(name, session->ledger_table) == 0) {
        (void)error_set(error, -EINVAL, "\"%s\" is the ledger of imported files and cannot take rows.", target->table.table_id);
        return SINK_REFUSED;
    }
    if (strcmp(schema, session->columns_schema) == 0 && strcmp(name, session->columns_table) == 0) {
        (void)error_set(error, -EINVAL, "\"%s\" is the map of columns and cannot take rows.", target->table.table_id);
        return SINK_REFUSED;
    }
    if (strcmp(schema, session->positions_schema) == 0 && strcmp(name, session->positions_table) == 0) {
        (void)error_set(error, -EINVAL, "\"%s\" is the table of positions and cannot take rows.", target->table.table_id);
        return SINK_REFUSED;
    }
    return SINK_DONE;
}

static SinkResult prepare_ledger(PostgresSession *session, Error *error) {
    static const char definition[] =
        "file_id uuid PRIMARY KEY, instance uuid NOT NULL, sink text NOT NULL, table_name text NOT NULL, first_row bigint NOT NULL,"
        " rows bigint NOT NULL, bytes bigint NOT NULL, checksum text NOT NULL, imported_at timestamptz NOT NULL DEFAULT now(),"
        " left_out bigint NOT NULL DEFAULT 0, outcomes text";
    PostgresPresence presence;
    bool created;
    return ensure(session, session->ledger_schema, session->ledger_table, definition, &presence, &created, error);
}

/* Of a ledger from before there were positions. */
static SinkResult complete_ledger(PostgresSession *session, Error *error) {
    static const char columns[] =
        "SELECT (SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2"
        " AND a.attname IN ('left_out', 'outcomes') AND NOT a.attisdropped) = 2";
    bool complete = false;
    SinkResult result = ask(session, columns, 2, (const char *const[]){session->ledger_schema, session->ledger_table}, &complete, error);
    if (result != SINK_DONE || complete) return result;
    Buffer sql = {0};
    buffer_append_text(&sql, "ALTER TABLE ");
    postgres_put_ledger(&sql, session);
    buffer_append_text(&sql, " ADD COLUMN IF NOT EXISTS left_out bigint NOT NULL DEFAULT 0, ADD COLUMN IF NOT EXISTS outcomes text");
    result = postgres_run_ddl(session, buffer_text(&sql), error);
    buffer_deinit(&sql);
    if (result == SINK_REFUSED && lost_race(session)) result = SINK_RETRY;
    if (result != SINK_DONE)
        (void)error_prefix(error, "the columns left_out bigint and outcomes text cannot be added to the ledger %s.%s",
                           session->ledger_schema, session->ledger_table);
    return result;
}

SinkResult postgres_table_prepare_positions(PostgresSession *session, Error *error) {
    static const char definition[] =
        "cluster text, group_id text, table_name text, topic text, generation int, partition int, next_offset bigint NOT NULL,"
        " topic_id text, sink text NOT NULL, instance uuid NOT NULL, at timestamptz NOT NULL DEFAULT now(),"
        " PRIMARY KEY (cluster, group_id, table_name, topic, generation, partition)";
    PostgresPresence presence;
    bool created;
    SinkResult result = prepare_ledger(session, error);
    if (result == SINK_DONE) result = complete_ledger(session, error);
    if (result != SINK_DONE) return result;
    return ensure(session, session->positions_schema, session->positions_table, definition, &presence, &created, error);
}

SinkResult postgres_table_prepare_columns(PostgresSession *session, Error *error) {
    static const char definition[] =
        "table_name text, path text, variant text, column_name text NOT NULL, data_type text NOT NULL, sink text NOT NULL,"
        " instance uuid NOT NULL, at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (table_name, path, variant),"
        " UNIQUE (table_name, column_name)";
    PostgresPresence presence;
    bool created;
    return ensure(session, session->columns_schema, session->columns_table, definition, &presence, &created, error);
}

SinkResult postgres_table_find(PostgresSession *session, const SinkTarget *target, FoundTable *found, size_t *ret_used, Error *error) {
    static const char sql[] = "SELECT relnatts FROM pg_catalog.pg_class WHERE oid = $1::oid"; /* with those that were dropped */
    const char *name;
    _cleanup_free_ char *schema = split_table(target, &name);
    PostgresPresence presence;
    PGresult *rows = NULL;
    *ret_used = 0;
    SinkResult result = look(session, schema, name, &presence, error);
    if (result != SINK_DONE || !presence.kind) return result;
    result = read_columns(session, presence.oid, found, error);
    if (result == SINK_DONE) result = run(session, sql, 1, (const char *const[]){presence.oid}, &rows, error);
    if (result == SINK_DONE) result = postgres_expect(session, &rows, 1, 1, error);
    if (result == SINK_DONE) *ret_used = strtoull(PQgetvalue(rows, 0, 0), NULL, 10);
    PQclear(rows);
    return result;
}

SinkResult postgres_table_add(PostgresSession *session, const SinkTarget *target, const ColumnMap *map, Error *error) {
    Buffer sql = {0};
    const char *separator = " ";
    buffer_append_text(&sql, "ALTER TABLE ");
    postgres_put_table(&sql, target);
    for (size_t i = 0; i < map->count; i++) {
        if (map->states[i] != COLUMN_MAP_ADDS) continue;
        const InferredColumn *item = &map->items[i];
        const Column column = {.data_type = item->type, .inferred = item->is_variant ? COLUMN_VARIANT : COLUMN_INFERRED};
        buffer_printf(&sql, "%sADD COLUMN ", separator);
        sql_put_identifier(&sql, map->items[i].name);
        buffer_printf(&sql, " %s", postgres_type_of(&column));
        separator = ", ";
    }
    SinkResult result = SINK_DONE;
    if (separator[0] == ',') {
        log_info("connection %s: %s", session->name, buffer_text(&sql));
        result = run(session, buffer_text(&sql), 0, NULL, NULL, error);
        if (result == SINK_REFUSED && lost_race(session)) result = SINK_RETRY;
    }
    buffer_deinit(&sql);
    return result;
}

SinkResult postgres_table_prepare(PostgresSession *session, const SinkTarget *target, Error *error) {
    const char *name;
    _cleanup_free_ char *schema = split_table(target, &name);
    SinkResult result = check_names(session, target, schema, name, error);
    if (result == SINK_DONE) result = prepare_ledger(session, error);
    if (result != SINK_DONE) return result;
    Buffer definition = {0};
    sql_put_definition(&definition, target, &postgres_type_rules);
    PostgresPresence presence;
    bool created;
    result = ensure(session, schema, name, buffer_text(&definition), &presence, &created, error);
    buffer_deinit(&definition);
    TableInspection inspection = {0};
    if (result == SINK_DONE && !created) result = compare(session, target, &presence, &inspection, error);
    if (result == SINK_DONE) result = add_columns(session, target, inspection.adds, error);
    table_inspection_deinit(&inspection);
    return result;
}

SinkResult postgres_table_inspect(PostgresSession *session, const SinkTarget *target, TableInspection *ret_inspection, Error *error) {
    *ret_inspection = (TableInspection){0};
    const char *name;
    _cleanup_free_ char *schema = split_table(target, &name);
    PostgresPresence presence;
    SinkResult result = check_names(session, target, schema, name, error);
    if (result == SINK_DONE) result = look(session, schema, name, &presence, error);
    if (result != SINK_DONE) return result;
    ret_inspection->creates = presence.kind == 0;
    if (!presence.kind) return SINK_DONE;
    return compare(session, target, &presence, ret_inspection, error);
}
