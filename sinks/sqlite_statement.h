/* SQLite: a statement that is finalized at the end of its block. */
#pragma once

#include <sqlite3.h>

#include "base/cleanup.h"

static inline void sqlite_statement_cleanup(sqlite3_stmt **statement) {
    (void)sqlite3_finalize(*statement);
}
#define STATEMENT _cleanup_(sqlite_statement_cleanup) sqlite3_stmt *
