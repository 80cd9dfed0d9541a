/*
 * SQLite: how a sink's table and the ledger are made and compared. A table is STRICT when Sluice
 * makes it; one that is not is accepted when no column's affinity would change a value.
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
/* The table's columns; none: it is not there. */
SinkResult sqlite_table_find(sqlite3 *database, const SinkTarget *target, FoundTable *found, Error *error);
/* Adds the new columns of the map that the table lacks. */
SinkResult sqlite_table_add(sqlite3 *database, const SinkTarget *target, const ColumnMap *map, Error *error);
/* As positions and columns are looked up: SQLite looks tables up without regard to case. free() */
char *sqlite_table_name(const SinkTarget *target);
extern const TypeRules sqlite_type_rules;

/* As the driver's inspect. */
SinkResult sqlite_table_inspect(sqlite3 *database, const char *ledger, const char *positions, const SinkTarget *target,
                                TableInspection *ret_inspection, Error *error);

/* Does the table fit the sink? Changes nothing, also with on_schema_drift evolve. SINK_REFUSED
 * names each difference. */
SinkResult sqlite_table_compare(sqlite3 *database, const SinkTarget *target, Error *error);

/* What may happen to a row of the table, by the words of its definition and of triggers. */
typedef struct SqliteHabits {
    bool may_swallow; /* taken without an error, and not stored: RAISE(IGNORE), ON CONFLICT IGNORE */
    /* Refused, and what its triggers did, or the row itself, is there: RAISE(FAIL), ON CONFLICT
     * FAIL; any trigger may lead there. */
    bool may_fail_half_way;
} SqliteHabits;
SinkResult sqlite_table_habits(sqlite3 *database, const SinkTarget *target, SqliteHabits *ret_habits, Error *error);

/* What an SQLite result code means to the loader; sets the error from the database's words.
 * `doing`: "SQLite cannot DOING". */
SinkResult sqlite_failure(sqlite3 *database, const char *doing, Error *error);
/* Runs statements without parameters and results. */
SinkResult sqlite_run(sqlite3 *database, const char *sql, const char *doing, Error *error);
