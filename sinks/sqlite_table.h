/*
 * SQLite: creates and compares the table of a sink and the ledger. Sluice creates STRICT tables. A
 * table that is not STRICT is accepted if the affinity of no column would change a value.
 */
#pragma once

#include "base/error.h"
#include "config/definition.h"
#include "sinks/column_map.h"
#include "sinks/driver.h"

typedef struct sqlite3 sqlite3;

/* Creates ledger and table if missing, else compares (and adds columns, when the table's
 * on_schema_drift is evolve). */
SinkResult sqlite_table_prepare(sqlite3 *database, const char *ledger, const char *positions, const SinkTarget *target, Error *error);

/* The ledger with the columns that runs need, and the table of positions. In an open
 * transaction. */
SinkResult sqlite_table_prepare_positions(sqlite3 *database, const char *ledger, const char *positions, Error *error);

/* The map of columns. In an open transaction. */
SinkResult sqlite_table_prepare_columns(sqlite3 *database, const char *columns, Error *error);
/* Reads the columns of the table. There are none if the table does not exist. */
SinkResult sqlite_table_find(sqlite3 *database, const SinkTarget *target, FoundTable *found, Error *error);
/* Adds the new columns of the map that the table lacks. */
SinkResult sqlite_table_add(sqlite3 *database, const SinkTarget *target, const ColumnMap *map, Error *error);
/* Returns the name under which positions and inferred columns of the table are stored. SQLite
 * ignores the case of table names. free() */
char *sqlite_table_name(const SinkTarget *target);
extern const TypeRules sqlite_type_rules;

/* As the driver's inspect. */
SinkResult sqlite_table_inspect(sqlite3 *database, const char *ledger, const char *positions, const SinkTarget *target,
                                TableInspection *ret_inspection, Error *error);

/* Does the table fit the sink? Changes nothing, also with on_schema_drift evolve. SINK_REFUSED
 * names each difference. */
SinkResult sqlite_table_compare(sqlite3 *database, const SinkTarget *target, Error *error);

/* What can happen to a row of the table, according to the SQL of its definition and its
 * triggers. */
typedef struct SqliteHabits {
    bool may_swallow; /* a row can be accepted without an error and not be stored: RAISE(IGNORE), ON CONFLICT IGNORE */
    /* A row can be refused while the changes of its triggers, or the row itself, remain:
     * RAISE(FAIL), ON CONFLICT FAIL. Any trigger can lead to this. */
    bool may_fail_half_way;
} SqliteHabits;
SinkResult sqlite_table_habits(sqlite3 *database, const SinkTarget *target, SqliteHabits *ret_habits, Error *error);

/* Converts the last result code of SQLite to a result for the loader, and sets the error from
 * SQLite's message. The error begins with "SQLite cannot DOING". */
SinkResult sqlite_failure(sqlite3 *database, const char *doing, Error *error);
/* Runs statements without parameters and results. */
SinkResult sqlite_run(sqlite3 *database, const char *sql, const char *doing, Error *error);
