/* SQLite: the map of inferred columns. As the driver's columns. */
#pragma once

#include "sinks/driver.h"
#include "sinks/sqlite_session.h"

SinkResult sqlite_columns(SinkSession *session, ColumnsJob *job, Error *error);
/* As column_map_put_clears, of a target that infers. In an open transaction. */
SinkResult sqlite_columns_put_clears(const SqliteSession *session, const SinkTarget *target, Buffer *out, Error *error);
