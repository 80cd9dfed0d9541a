/* SQLite: reads and sets positions. Each transaction holds the write lock of the file from its
 * beginning, so no other process changes a position meanwhile. */
#pragma once

#include "sinks/sqlite_session.h"

/* Reads positions within an open transaction, and sets `found` and `read`. Returns SINK_REFUSED
 * with -ENODATA if the table of positions does not exist. */
SinkResult sqlite_positions_read(SqliteSession *session, const SinkTarget *target, ImportPosition *positions, size_t count, Error *error);
/* Sets the positions that change, within an open transaction. Returns SINK_RETRY with -EBUSY if the
 * stored value of one differs from the value that was read. */
SinkResult sqlite_positions_set(SqliteSession *session, const PositionsOwner *owner, const SinkTarget *target,
                                const ImportPosition *positions, size_t count, Error *error);

extern const PositionsDriver sqlite_positions;
