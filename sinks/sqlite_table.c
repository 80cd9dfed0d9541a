#include "sinks/sqlite_table.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "sinks/replace_run.h"
#include "sinks/sqlite_changes.h"
#include "sinks/sqlite_statement.h"
#include "sinks/table_shape.h"

static const char *type_of(const Column *column) {
    switch (column->data_type) {
    case DATA_INTEGER:
    case DATA_BOOLEAN: return "INTEGER";
    case DATA_NUMBER: return "REAL";
    case DATA_BYTES: return "BLOB";
    case DATA_TEXT:
    case DATA_DECIMAL:
    case DATA_TIMESTAMP:
    case DATA_DATE:
    case DATA_JSON:
    case DATA_UUID:
    case DATA_JSON_TEXT: return "TEXT";
    }
    unreachable();
}

/* A declared type of any other name, which only a table that is not STRICT can have, has the
 * affinity NUMERIC: numbers stay numbers, and a text stays a text unless all of it is a number. */
static bool is_numeric(const char *kind) {
    static const char *const others[] = {"INTEGER", "REAL", "TEXT", "BLOB", "ANY"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (strcmp(kind, others[i]) == 0) return false;
    return true;
}

/* `kind` is what read_columns made of the declaration: the type that values get, or ANY when they
 * stay as they are. */
static bool compatible(const SinkTarget *target, const Column *column, const FoundColumn *there) {
    if (strcmp(there->kind, "ANY") == 0 || strcmp(there->kind, type_of(column)) == 0) return true;
    switch (column->data_type) {
    case DATA_NUMBER: return is_numeric(there->kind) || strcmp(there->kind, "INTEGER") == 0; /* a STRICT table refuses 1.5 there */
    case DATA_INTEGER:
    case DATA_BOOLEAN:
    case DATA_TIMESTAMP:
    case DATA_DATE:
    case DATA_UUID: return is_numeric(there->kind);
    case DATA_TEXT:
    case DATA_DECIMAL:
    case DATA_JSON:
    case DATA_JSON_TEXT:
    case DATA_BYTES: return false;
    }
    unreachable();
}

static bool holds_all(const SinkTarget *target, const Column *column, const FoundColumn *there) {
    return compatible(target, column, there) && !(column->data_type == DATA_NUMBER && strcmp(there->kind, "INTEGER") == 0);
}

const TypeRules sqlite_type_rules = {
    .type_of = type_of, .compatible = compatible, .holds_all = holds_all, .put_changes = sqlite_put_changes, .ignore_case = true};

/* "Datatypes in SQLite", 3.1: the affinity of a declared type. Others than the four names are shown
 * as declared. */
static const char *stored_type(const char *declared, bool strict) {
    if (strict) return strcasecmp(declared, "INT") == 0 ? "INTEGER" : declared;
    if (strcasestr(declared, "INT")) return "INTEGER";
    if (strcasestr(declared, "CHAR") || strcasestr(declared, "CLOB") || strcasestr(declared, "TEXT")) return "TEXT";
    if (strcasestr(declared, "BLOB") || declared[0] == '\0') return "ANY";
    if (strcasestr(declared, "REAL") || strcasestr(declared, "FLOA") || strcasestr(declared, "DOUB")) return "REAL";
    return strcasecmp(declared, "ANY") == 0 ? "NUMERIC" : declared;
}

SinkResult sqlite_failure(sqlite3 *database, const char *doing, Error *error) {
    int code = sqlite3_extended_errcode(database);
    const char *words = sqlite3_errmsg(database);
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_INTERRUPT:
    case SQLITE_NOMEM: (void)error_set(error, -EBUSY, "SQLite cannot %s now: %s.", doing, words); return SINK_RETRY;
    case SQLITE_FULL: (void)error_set(error, -ENOSPC, "SQLite cannot %s: %s.", doing, words); return SINK_UNREACHABLE;
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
    case SQLITE_IOERR: {
        int system = sqlite3_system_errno(database);
        (void)error_set(error, system > 0 ? -system : -EIO, "SQLite cannot %s: %s%s%s.", doing, words, system > 0 ? ": " : "",
                        system > 0 ? strerrordesc_np(system) : "");
        return SINK_UNREACHABLE;
    }
    default: (void)error_set(error, -EINVAL, "SQLite cannot %s: %s.", doing, words); return SINK_REFUSED;
    }
}

SinkResult sqlite_run(sqlite3 *database, const char *sql, const char *doing, Error *error) {
    return sqlite3_exec(database, sql, NULL, NULL, NULL) == SQLITE_OK ? SINK_DONE : sqlite_failure(database, doing, error);
}

static const char *column_text(sqlite3_stmt *statement, int column) {
    const char *text = (const char *)sqlite3_column_text(statement, column);
    return text ? text : "";
}

typedef enum SqlitePresence { TABLE_ABSENT, TABLE_PLAIN, TABLE_STRICT, NOT_A_TABLE } SqlitePresence;

static SinkResult find_table(sqlite3 *database, const char *name, SqlitePresence *ret_presence, Error *error) {
    STATEMENT statement = NULL;
    const char *sql = "SELECT type, strict FROM pragma_table_list WHERE schema = 'main' AND name = ? COLLATE NOCASE";
    if (sqlite3_prepare_v2(database, sql, -1, &statement, NULL) != SQLITE_OK ||
        sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC) != SQLITE_OK)
        return sqlite_failure(database, "find the table", error);
    int r = sqlite3_step(statement);
    if (r != SQLITE_ROW && r != SQLITE_DONE) return sqlite_failure(database, "find the table", error);
    if (r == SQLITE_DONE)
        *ret_presence = TABLE_ABSENT;
    else if (strcmp(column_text(statement, 0), "table") != 0)
        *ret_presence = NOT_A_TABLE;
    else
        *ret_presence = sqlite3_column_int(statement, 1) != 0 ? TABLE_STRICT : TABLE_PLAIN;
    return SINK_DONE;
}

static SinkResult read_columns(sqlite3 *database, const char *name, bool strict, FoundTable *found, Error *error) {
    STATEMENT statement = NULL;
    /* The key that is the rowid has no index, and fills itself. */
    const char *sql = "SELECT name, type, \"notnull\", coalesce(upper(dflt_value) <> 'NULL', 0), pk, hidden,"
                      " NOT EXISTS (SELECT 1 FROM pragma_index_list(?1) WHERE origin = 'pk') FROM pragma_table_xinfo(?1)";
    if (sqlite3_prepare_v2(database, sql, -1, &statement, NULL) != SQLITE_OK ||
        sqlite3_bind_text(statement, 1, name, -1, SQLITE_STATIC) != SQLITE_OK)
        return sqlite_failure(database, "read the table's columns", error);
    int r;
    while ((r = sqlite3_step(statement)) == SQLITE_ROW) {
        FoundColumn *column = found_table_add(found, column_text(statement, 0), stored_type(column_text(statement, 1), strict));
        column->is_primary_key = sqlite3_column_int(statement, 4) != 0;
        column->fills_itself = sqlite3_column_int(statement, 3) != 0 || (column->is_primary_key && sqlite3_column_int(statement, 6) != 0);
        column->needs_value = sqlite3_column_int(statement, 2) != 0 && !column->fills_itself;
        column->is_generated = sqlite3_column_int(statement, 5) != 0;
    }
    return r == SQLITE_DONE ? SINK_DONE : sqlite_failure(database, "read the table's columns", error);
}

/* Each statement that makes or changes a table is logged. */
static SinkResult run_ddl(sqlite3 *database, const char *sql, const char *doing, Error *error) {
    log_info("%s: %s", sqlite3_db_filename(database, "main"), sql);
    return sqlite_run(database, sql, doing, error);
}

static SinkResult create_table(sqlite3 *database, const SinkTarget *target, Error *error) {
    Buffer sql = {0};
    buffer_append_text(&sql, "CREATE TABLE IF NOT EXISTS ");
    sql_put_identifier(&sql, target->table.table_id);
    buffer_append_text(&sql, " (");
    sql_put_definition(&sql, target, &sqlite_type_rules);
    buffer_append_text(&sql, ") STRICT");
    SinkResult result = run_ddl(database, buffer_text(&sql), "create the table", error);
    buffer_deinit(&sql);
    return result;
}

static SinkResult add_column(sqlite3 *database, const SinkTarget *target, const Column *column, Error *error) {
    Buffer sql = {0};
    buffer_append_text(&sql, "ALTER TABLE ");
    sql_put_identifier(&sql, target->table.table_id);
    buffer_append_text(&sql, " ADD COLUMN ");
    sql_put_identifier(&sql, column->name);
    buffer_printf(&sql, " %s", type_of(column));
    SinkResult result = run_ddl(database, buffer_text(&sql), "add a column", error);
    buffer_deinit(&sql);
    return result;
}

SinkResult sqlite_table_add(sqlite3 *database, const SinkTarget *target, const ColumnMap *map, Error *error) {
    SinkResult result = SINK_DONE;
    for (size_t i = 0; i < map->count && result == SINK_DONE; i++) {
        if (map->states[i] != COLUMN_MAP_ADDS) continue;
        const Column column = {.name = map->items[i].name, .data_type = map->items[i].type};
        result = add_column(database, target, &column, error);
    }
    return result;
}

static SinkResult add_columns(sqlite3 *database, const SinkTarget *target, const bool *missing, Error *error) {
    SinkResult result = SINK_DONE;
    for (size_t i = 0; i < target->column_count && result == SINK_DONE; i++) {
        if (missing && missing[i]) result = add_column(database, target, &target->columns[i], error);
    }
    return result;
}

static SinkResult refuse_side_table(sqlite3 *database, const SinkTarget *target, Error *error) {
    const char *sql = "SELECT instr(sql, '/* " REPLACE_REMARK "') FROM sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE";
    STATEMENT statement = NULL;
    if (sqlite3_prepare_v2(database, sql, -1, &statement, NULL) != SQLITE_OK ||
        sqlite3_bind_text(statement, 1, target->table.table_id, -1, SQLITE_STATIC) != SQLITE_OK)
        return sqlite_failure(database, "look whether it is a side table", error);
    int r = sqlite3_step(statement);
    if (r != SQLITE_ROW && r != SQLITE_DONE) return sqlite_failure(database, "look whether it is a side table", error);
    return r == SQLITE_ROW && sqlite3_column_int(statement, 0) > 0 ? sink_table_is_side(target, error) : SINK_DONE;
}

static SinkResult inspect_table(sqlite3 *database, const SinkTarget *target, TableInspection *ret_inspection, Error *error) {
    SqlitePresence presence = TABLE_ABSENT;
    *ret_inspection = (TableInspection){0};
    SinkResult result = find_table(database, target->table.table_id, &presence, error);
    if (result != SINK_DONE) return result;
    ret_inspection->creates = presence == TABLE_ABSENT;
    if (presence == TABLE_ABSENT) return SINK_DONE;
    if (presence == NOT_A_TABLE) {
        (void)error_set(error, -EINVAL, "\"%s\" is not an ordinary table.", target->table.table_id);
        return SINK_REFUSED;
    }
    result = refuse_side_table(database, target, error);
    if (result != SINK_DONE) return result;
    FoundTable found = {0};
    result = read_columns(database, target->table.table_id, presence == TABLE_STRICT, &found, error);
    if (result == SINK_DONE) result = sink_table_inspect(target, &found, &sqlite_type_rules, ret_inspection, error);
    found_table_deinit(&found);
    return result;
}

SinkResult sqlite_table_find(sqlite3 *database, const SinkTarget *target, FoundTable *found, Error *error) {
    SqlitePresence presence = TABLE_ABSENT;
    SinkResult result = find_table(database, target->table.table_id, &presence, error);
    if (result != SINK_DONE || presence == TABLE_ABSENT) return result;
    return read_columns(database, target->table.table_id, presence == TABLE_STRICT, found, error);
}

char *sqlite_table_name(const SinkTarget *target) {
    char *name = strdup(sink_target_name(target));
    check(name);
    for (char *c = name; *c; c++) {
        if (*c >= 'A' && *c <= 'Z') *c = (char)(*c - 'A' + 'a');
    }
    return name;
}

SinkResult sqlite_table_compare(sqlite3 *database, const SinkTarget *target, Error *error) {
    SqlitePresence presence = TABLE_ABSENT;
    FoundTable found = {0};
    SinkResult result = find_table(database, target->table.table_id, &presence, error);
    if (result == SINK_DONE) result = read_columns(database, target->table.table_id, presence == TABLE_STRICT, &found, error);
    if (result == SINK_DONE) result = sink_table_compare(target, &found, &sqlite_type_rules, NULL, error);
    found_table_deinit(&found);
    return result;
}

SinkResult sqlite_table_habits(sqlite3 *database, const SinkTarget *target, SqliteHabits *ret_habits, Error *error) {
    /* RAISE(IGNORE) ends the statement of its own trigger only. A FAIL holds for the whole
     * statement wherever it stands: in a trigger that a trigger fires, in a constraint of a table
     * that a trigger writes to, in a constraint of the table itself after its triggers ran. With a
     * trigger anything may follow, so the words do not matter then. A word that is there for
     * another reason costs a little and does no harm. */
    const char *sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE tbl_name = ?1 COLLATE NOCASE AND sql LIKE '%ignore%'),"
                      " EXISTS (SELECT 1 FROM sqlite_schema WHERE sql LIKE '%conflict%fail%'"
                      " OR type = 'trigger' AND (tbl_name = ?1 COLLATE NOCASE OR sql LIKE '%fail%'))";
    STATEMENT statement = NULL;
    if (sqlite3_prepare_v2(database, sql, -1, &statement, NULL) != SQLITE_OK ||
        sqlite3_bind_text(statement, 1, target->table.table_id, -1, SQLITE_STATIC) != SQLITE_OK || sqlite3_step(statement) != SQLITE_ROW)
        return sqlite_failure(database, "read the table's triggers", error);
    *ret_habits = (SqliteHabits){.may_swallow = sqlite3_column_int(statement, 0) != 0,
                                 .may_fail_half_way = sqlite3_column_int(statement, 1) != 0};
    return SINK_DONE;
}

static SinkResult prepare_table(sqlite3 *database, const SinkTarget *target, Error *error) {
    TableInspection inspection;
    SinkResult result = inspect_table(database, target, &inspection, error);
    if (result == SINK_DONE)
        result = inspection.creates ? create_table(database, target, error) : add_columns(database, target, inspection.adds, error);
    table_inspection_deinit(&inspection);
    return result;
}

/* One of Sluice's own tables. `what`: for errors. `definition`: from the bracket on. */
static SinkResult create_own(sqlite3 *database, const char *name, const char *what, const char *definition, Error *error) {
    SqlitePresence presence = TABLE_ABSENT;
    SinkResult result = find_table(database, name, &presence, error);
    if (result != SINK_DONE || presence == TABLE_PLAIN || presence == TABLE_STRICT) return result;
    Buffer sql = {0};
    buffer_append_text(&sql, "CREATE TABLE IF NOT EXISTS ");
    sql_put_identifier(&sql, name);
    buffer_append_text(&sql, definition);
    result = run_ddl(database, buffer_text(&sql), what, error);
    buffer_deinit(&sql);
    return result;
}

static SinkResult prepare_ledger(sqlite3 *database, const char *ledger, Error *error) {
    return create_own(database, ledger, "create the ledger",
                      " (file_id TEXT PRIMARY KEY, instance TEXT NOT NULL, sink TEXT NOT NULL, table_name TEXT NOT NULL, "
                      "first_row INTEGER NOT NULL, rows INTEGER NOT NULL, bytes INTEGER NOT NULL, checksum TEXT NOT NULL, "
                      "imported_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), "
                      "left_out INTEGER NOT NULL DEFAULT 0, outcomes TEXT) STRICT, WITHOUT ROWID",
                      error);
}

/* Of a ledger from before there were positions. */
static SinkResult add_ledger_column(sqlite3 *database, const char *ledger, const char *name, const char *type, Error *error) {
    if (sqlite3_table_column_metadata(database, "main", ledger, name, NULL, NULL, NULL, NULL, NULL) == SQLITE_OK) return SINK_DONE;
    Buffer sql = {0};
    buffer_append_text(&sql, "ALTER TABLE ");
    sql_put_identifier(&sql, ledger);
    buffer_printf(&sql, " ADD COLUMN %s %s", name, type);
    SinkResult result = run_ddl(database, buffer_text(&sql), "add a column to the ledger", error);
    buffer_deinit(&sql);
    return result;
}

SinkResult sqlite_table_prepare_positions(sqlite3 *database, const char *ledger, const char *positions, Error *error) {
    check(!sqlite3_get_autocommit(database));
    SinkResult result = prepare_ledger(database, ledger, error);
    if (result == SINK_DONE) result = add_ledger_column(database, ledger, "left_out", "INTEGER NOT NULL DEFAULT 0", error);
    if (result == SINK_DONE) result = add_ledger_column(database, ledger, "outcomes", "TEXT", error);
    if (result != SINK_DONE) return result;
    return create_own(database, positions, "create the table of positions",
                      " (cluster TEXT NOT NULL, group_id TEXT NOT NULL, table_name TEXT NOT NULL, topic TEXT NOT NULL, "
                      "generation INTEGER NOT NULL, partition INTEGER NOT NULL, next_offset INTEGER NOT NULL, topic_id TEXT, "
                      "sink TEXT NOT NULL, instance TEXT NOT NULL, at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), "
                      "PRIMARY KEY (cluster, group_id, table_name, topic, generation, partition)) STRICT, WITHOUT ROWID",
                      error);
}

SinkResult sqlite_table_prepare_columns(sqlite3 *database, const char *columns, Error *error) {
    check(!sqlite3_get_autocommit(database));
    return create_own(database, columns, "create the map of columns",
                      " (table_name TEXT NOT NULL, path TEXT NOT NULL, variant TEXT NOT NULL, column_name TEXT NOT NULL, "
                      "data_type TEXT NOT NULL, sink TEXT NOT NULL, instance TEXT NOT NULL, "
                      "at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), "
                      "PRIMARY KEY (table_name, path, variant), UNIQUE (table_name, column_name)) STRICT",
                      error);
}

static SinkResult refuse_own_tables(const char *ledger, const char *positions, const SinkTarget *target, Error *error) {
    bool is_ledger = strcasecmp(target->table.table_id, ledger) == 0;
    if (!is_ledger && strcasecmp(target->table.table_id, positions) != 0) return SINK_DONE;
    (void)error_set(error, -EINVAL, "\"%s\" is %s and cannot take rows.", target->table.table_id,
                    is_ledger ? "the ledger of imported files" : "the table of positions");
    return SINK_REFUSED;
}

SinkResult sqlite_table_inspect(sqlite3 *database, const char *ledger, const char *positions, const SinkTarget *target,
                                TableInspection *ret_inspection, Error *error) {
    SinkResult result = refuse_own_tables(ledger, positions, target, error);
    return result == SINK_DONE ? inspect_table(database, target, ret_inspection, error) : result;
}

SinkResult sqlite_table_prepare(sqlite3 *database, const char *ledger, const char *positions, const SinkTarget *target, Error *error) {
    SinkResult result = refuse_own_tables(ledger, positions, target, error);
    if (result != SINK_DONE) return result;
    /* The write lock is taken first, so that what is found holds until what is missing was made. */
    result = sqlite_run(database, "BEGIN IMMEDIATE", "begin", error);
    if (result != SINK_DONE) return result;
    result = prepare_ledger(database, ledger, error);
    if (result == SINK_DONE) result = prepare_table(database, target, error);
    if (result == SINK_DONE) result = sqlite_run(database, "COMMIT", "commit", error);
    if (!sqlite3_get_autocommit(database)) (void)sqlite3_exec(database, "ROLLBACK", NULL, NULL, NULL);
    return result;
}
