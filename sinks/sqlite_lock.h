/* How long SQLite waits for the lock of another process: two seconds, or as long as the caller
 * bears it. */
#pragma once

#include "sinks/driver.h"

typedef struct sqlite3 sqlite3;

typedef struct SqliteLock {
    const SinkPatience *patience; /* borrowed; NULL: none */
    usec_t since;                 /* boot: of the present wait */
} SqliteLock;

/* `lock` must stay where it is as long as the database is open. */
void sqlite_lock_use(SqliteLock *lock, sqlite3 *database);
