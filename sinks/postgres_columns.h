/* PostgreSQL: the map of inferred columns. As the driver's columns. */
#pragma once

#include "sinks/driver.h"
#include "sinks/postgres_session.h"

SinkResult postgres_columns(SinkSession *session, ColumnsJob *job, Error *error);
/* As column_map_put_clears, of a target that infers. In a transaction that holds a lock on the
 * table, so that it gets no column until its end. */
SinkResult postgres_columns_put_clears(PostgresSession *session, const SinkTarget *target, Buffer *out, Error *error);
