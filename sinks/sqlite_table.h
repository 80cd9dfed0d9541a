/*
 * SQLite: how a sink's table and the ledger are made and compared. A table is STRICT when Sluice makes it; one that is not is
 * accepted when no column's affinity would change a value.
 */
#pragma once

#include "base/error.h"
#include "config/definition.h"
#include "sinks/driver.h"

typedef struct sqlite3 sqlite3;

/* Creates ledger and table if missing, else compares (and adds columns, when the table's on_schema_drift is evolve). */
SinkResult sqlite_table_prepare(sqlite3 *database, const char *ledger, const TableTarget *table, Error *error);

/* What an SQLite result code means to the loader; sets the error from the database's words. `doing`: "SQLite cannot DOING". */
SinkResult sqlite_failure(sqlite3 *database, const char *doing, Error *error);
/* Runs statements without parameters and results. */
SinkResult sqlite_run(sqlite3 *database, const char *sql, const char *doing, Error *error);
