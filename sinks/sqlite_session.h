/* SQLite: an open database file, as the driver keeps it. One thread at a time. */
#pragma once

#include <sys/types.h>

#include "sinks/driver.h"
#include "sinks/sqlite_lock.h"

#define SQLITE_DECIMAL_ORDER "sluice_decimal" /* a collation of each session: texts of decimal numbers by value */

typedef struct SqliteSession {
    sqlite3 *database;
    char *ledger;    /* name of the table */
    char *positions; /* name of the table of positions */
    char *columns;   /* name of the map of columns */
    dev_t device;    /* device and inode of the open file */
    ino_t inode;
    SqliteLock lock;
} SqliteSession;

/* As the driver's connect. */
SinkResult sqlite_session_open(const Connection *connection, const char *data_directory, const SinkPatience *patience,
                               SqliteSession **ret_session, Error *error);
void sqlite_session_free(SqliteSession *session); /* NULL-safe */
/*
 * Checks that the path still names the open file. If the file was removed or replaced, rows that
 * are written to the open one cannot be read by anyone. Call it before the import and after its
 * COMMIT. Returns SINK_DONE, or SINK_RETRY with -ESTALE: the next try opens the file that exists
 * then, which has a ledger of its own.
 */
SinkResult sqlite_session_check_file(const SqliteSession *session, Error *error);
void sqlite_roll_back(sqlite3 *database); /* if a transaction is open */
