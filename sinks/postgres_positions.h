/*
 * PostgreSQL: positions in their table. Rows are locked in key order, and only by the last
 * statement before COMMIT, so that sessions that import the same partitions neither deadlock nor
 * wait for each other's clients. Claims and seeks exclude each other with a lock for (cluster,
 * group, table), since they may make rows.
 */
#pragma once

#include "sinks/postgres_session.h"

/* The following two are for an open transaction. */

/* Sets found and read, without a lock. SINK_REFUSED with -ENODATA when there is no table of
 * positions. */
SinkResult postgres_positions_read(PostgresSession *session, const SinkTarget *target, ImportPosition *positions, size_t count,
                                   Error *error);
/* Sets those that change, where they are as they were read; *ret_lost: one is not, so all must be
 * rolled back and done again. The last statement before COMMIT. */
SinkResult postgres_positions_set(PostgresSession *session, const PositionsOwner *owner, const SinkTarget *target,
                                  const ImportPosition *positions, size_t count, bool *ret_lost, Error *error);

extern const PositionsDriver postgres_positions;
