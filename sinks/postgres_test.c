#include "sinks/postgres_test.h"

#include <errno.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "sinks/postgres_array.h"
#include "sinks/postgres_session.h"

#define ANSWER_LIMIT (10 * USEC_SECOND)

/* $1 and $2 are the ledger's schema and name, $3 and $4 those of the tables (arrays), $5 and $6
 * those of the positions ($5 NULL: nobody needs them), $7 says of each table what it needs
 * besides INSERT (bits, driver.h), $8 and $9 are those of the map of columns ($8 NULL: nobody needs it). A row for
 * each right that is missing: schema, name, what. A last one, of the name "", when the role may
 * create no schema. */
static const char question[] =
    "WITH wanted (place, schema, name, needs) AS (SELECT 0::bigint, $1::text, $2::text, 0 UNION ALL"
    " SELECT -1::bigint, $5::text, $6::text, (SELECT pg_catalog.bit_or(u.n) FROM pg_catalog.unnest($7::int[]) AS u (n))"
    " WHERE $5::text IS NOT NULL UNION ALL"
    " SELECT -2::bigint, $8::text, $9::text, 0 WHERE $8::text IS NOT NULL UNION ALL"
    " SELECT t.place, t.schema, t.name, t.needs FROM ROWS FROM (pg_catalog.unnest($3::text[]), pg_catalog.unnest($4::text[]),"
    " pg_catalog.unnest($7::int[])) WITH ORDINALITY AS t (schema, name, needs, place)),"
    " may (make_schema) AS (SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')),"
    " found AS (SELECT w.place, w.schema, w.name, CASE"
    " WHEN n.oid IS NULL THEN CASE WHEN NOT may.make_schema THEN 'schema' END"
    " WHEN NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE') THEN 'usage'"
    " WHEN c.oid IS NULL THEN CASE WHEN NOT pg_catalog.has_schema_privilege(n.oid, 'CREATE') THEN 'table' END"
    " WHEN w.place = 0 THEN CASE WHEN NOT (pg_catalog.has_table_privilege(c.oid, 'SELECT') AND pg_catalog.has_table_privilege(c.oid, "
    "'INSERT')"
    " AND pg_catalog.has_table_privilege(c.oid, 'DELETE')) THEN 'ledger'"
    " WHEN $5::text IS NOT NULL AND NOT pg_catalog.pg_has_role(c.relowner, 'USAGE') AND (SELECT pg_catalog.count(*) FROM"
    " pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attname IN ('left_out', 'outcomes') AND NOT a.attisdropped) < 2"
    " THEN 'columns' END"
    " WHEN w.place = -1 THEN CASE WHEN NOT (pg_catalog.has_table_privilege(c.oid, 'SELECT') AND pg_catalog.has_table_privilege(c.oid,"
    " 'INSERT') AND pg_catalog.has_table_privilege(c.oid, 'UPDATE')) THEN 'positions'"
    " WHEN (w.needs & 1) <> 0 AND NOT pg_catalog.has_table_privilege(c.oid, 'DELETE') THEN 'positions_delete' END"
    " WHEN w.place = -2 THEN CASE WHEN NOT (pg_catalog.has_table_privilege(c.oid, 'SELECT') AND pg_catalog.has_table_privilege(c.oid,"
    " 'INSERT')) THEN 'map' END"
    " WHEN (w.needs & 1) <> 0 AND NOT (pg_catalog.has_table_privilege(c.oid, 'SELECT') AND pg_catalog.has_any_column_privilege(c.oid, "
    "'INSERT')"
    " AND pg_catalog.has_table_privilege(c.oid, 'DELETE')) THEN 'replace'"
    " WHEN (w.needs & 1) <> 0 AND NOT pg_catalog.has_schema_privilege(n.oid, 'CREATE') THEN 'side'"
    " WHEN NOT pg_catalog.has_any_column_privilege(c.oid, 'INSERT') THEN 'insert'"
    " WHEN (w.needs & 2) <> 0 AND NOT pg_catalog.has_any_column_privilege(c.oid, 'SELECT') THEN 'select'"
    " WHEN (w.needs & 4) <> 0 AND NOT pg_catalog.has_any_column_privilege(c.oid, 'UPDATE') THEN 'update'"
    " WHEN (w.needs & 8) <> 0 AND NOT pg_catalog.has_table_privilege(c.oid, 'DELETE') THEN 'delete'"
    " WHEN (w.needs & 2) <> 0 AND NOT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY') THEN 'temporary' END"
    " AS lacks"
    " FROM may, wanted w LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema"
    " LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.name)"
    " SELECT schema, name, lacks FROM (SELECT place, schema, name, lacks FROM found WHERE lacks IS NOT NULL"
    " UNION ALL SELECT NULL, '', '', 'make_schema' FROM may WHERE NOT make_schema) AS line ORDER BY place NULLS LAST";

static SinkResult ask(PostgresSession *session, const SinkTest *test, PGresult **ret_rows, Error *error) {
    Buffer schemas = {0}, names = {0}, needs = {0};
    for (size_t i = 0; i < test->table_count; i++) {
        const char *name;
        _cleanup_free_ char *schema = postgres_split_name(test->tables[i], &name);
        postgres_array_add(&schemas, span_of(schema));
        postgres_array_add(&names, span_of(name));
        char bits[12];
        (void)snprintf(bits, sizeof bits, "%u", test->needs ? test->needs[i] : 0);
        postgres_array_add(&needs, span_of(bits));
    }
    const char *const values[] = {session->ledger_schema,
                                  session->ledger_table,
                                  postgres_array_end(&schemas),
                                  postgres_array_end(&names),
                                  test->with_positions ? session->positions_schema : NULL,
                                  session->positions_table,
                                  postgres_array_end(&needs),
                                  test->with_columns ? session->columns_schema : NULL,
                                  session->columns_table};
    SinkResult result = postgres_run(session, session->silence_limit, question, 9, values, ret_rows, error);
    if (result == SINK_DONE) result = postgres_expect(session, ret_rows, 0, 3, error);
    buffer_deinit(&schemas);
    buffer_deinit(&names);
    buffer_deinit(&needs);
    return result;
}

/* Of "insert", "select", "update" and "delete". */
static const char *privilege_of(const char *lacks) {
    switch (lacks[0]) {
    case 's': return "SELECT";
    case 'u': return "UPDATE";
    case 'd': return "DELETE";
    default: return "INSERT";
    }
}

static void say_what_lacks(const char *connection, const char *schema, const char *name, const char *lacks, int others, Error *error) {
    char more[64] = "";
    if (others > 0) (void)snprintf(more, sizeof more, "; %d more table%s missing rights", others, others == 1 ? " has" : "s have");
    if (strcmp(lacks, "schema") == 0)
        (void)error_set(error, -EPERM, "Connection \"%s\": the schema \"%s\" of \"%s\" is missing, and the role may not create it%s.",
                        connection, schema, name, more);
    else if (strcmp(lacks, "usage") == 0)
        (void)error_set(error, -EPERM, "Connection \"%s\": the role lacks USAGE on the schema \"%s\" of \"%s\"%s.", connection, schema,
                        name, more);
    else if (strcmp(lacks, "table") == 0)
        (void)error_set(error, -EPERM, "Connection \"%s\": the table \"%s.%s\" is missing, and the role may not create it in the schema%s.",
                        connection, schema, name, more);
    else if (strcmp(lacks, "ledger") == 0)
        (void)error_set(error, -EPERM, "Connection \"%s\": the role lacks SELECT, INSERT or DELETE on the ledger \"%s.%s\"%s.", connection,
                        schema, name, more);
    else if (strcmp(lacks, "columns") == 0)
        (void)error_set(
            error, -EPERM,
            "Connection \"%s\": the ledger \"%s.%s\" lacks the columns left_out bigint and outcomes text, and only its owner may add "
            "them%s.",
            connection, schema, name, more);
    else if (strcmp(lacks, "map") == 0)
        (void)error_set(error, -EPERM, "Connection \"%s\": the role lacks SELECT or INSERT on the map of columns \"%s.%s\"%s.", connection,
                        schema, name, more);
    else if (strcmp(lacks, "positions") == 0)
        (void)error_set(error, -EPERM, "Connection \"%s\": the role lacks SELECT, INSERT or UPDATE on the positions \"%s.%s\"%s.",
                        connection, schema, name, more);
    else if (strcmp(lacks, "positions_delete") == 0)
        (void)error_set(error, -EPERM, "Connection \"%s\": the role lacks DELETE on the positions \"%s.%s\"%s.", connection, schema, name,
                        more);
    else if (strcmp(lacks, "replace") == 0)
        (void)error_set(error, -EPERM, "Connection \"%s\": the role lacks SELECT, INSERT or DELETE on the table \"%s.%s\"%s.", connection,
                        schema, name, more);
    else if (strcmp(lacks, "side") == 0)
        (void)error_set(
            error, -EPERM,
            "Connection \"%s\": the role lacks CREATE on the schema \"%s\", for the table in which the rows that replace those of "
            "\"%s\" are collected%s.",
            connection, schema, name, more);
    else if (strcmp(lacks, "temporary") == 0)
        (void)error_set(error, -EPERM,
                        "Connection \"%s\": the role lacks TEMPORARY on the database, which imports into the table \"%s.%s\" need%s.",
                        connection, schema, name, more);
    else
        (void)error_set(error, -EPERM, "Connection \"%s\": the role lacks %s on the table \"%s.%s\"%s.", connection, privilege_of(lacks),
                        schema, name, more);
}

static SinkFault evaluate(const PostgresSession *session, const PGresult *rows, SinkTest *test, Error *error) {
    int count = PQntuples(rows);
    bool makes_no_schema = count > 0 && strcmp(PQgetvalue(rows, count - 1, 2), "make_schema") == 0;
    int lacking = count - makes_no_schema;
    if (lacking > 0) {
        say_what_lacks(session->name, PQgetvalue(rows, 0, 0), PQgetvalue(rows, 0, 1), PQgetvalue(rows, 0, 2), lacking - 1, error);
        return SINK_FAULT_RIGHTS;
    }
    if (makes_no_schema)
        (void)snprintf(test->note, sizeof test->note, "The role may not create schemas: the schema of a new table must exist.");
    return SINK_SOUND;
}

static SinkFault fault_of(SinkResult result) {
    return result == SINK_UNREACHABLE ? SINK_FAULT_UNREACHABLE : SINK_FAULT_OTHER;
}

SinkFault postgres_test(const Connection *connection, const char *data_directory, SinkTest *test, Error *error) {
    PostgresSession *session;
    test->version[0] = test->note[0] = '\0';
    SinkResult result = postgres_session_open(connection, data_directory, "sluice test", test->patience, &session, &test->fault, error);
    /* A line for each server that was tried. */
    for (char *line = error ? error->text : NULL; line && (line = strchr(line, '\n'));) *line = ' ';
    if (result != SINK_DONE) return test->fault;
    const char *version = PQparameterStatus(session->connection, "server_version");
    (void)snprintf(test->version, sizeof test->version, "PostgreSQL %s", version ? version : "");
    session->silence_limit = ANSWER_LIMIT;
    PGresult *rows = NULL;
    result = ask(session, test, &rows, error);
    test->fault = result == SINK_DONE ? evaluate(session, rows, test, error) : fault_of(result);
    PQclear(rows);
    postgres_session_free(session);
    return test->fault;
}
