/* SQLite: positions in their table. Each transaction has the file's write lock from its beginning,
 * so that nothing changes under it. */
#pragma once

#include "sinks/sqlite_session.h"

/* Within an open transaction. Sets found and read. SINK_REFUSED with -ENODATA when there is no
 * table of positions. */
SinkResult sqlite_positions_read(SqliteSession *session, const SinkTarget *target, ImportPosition *positions, size_t count, Error *error);
/* The same; sets those that change, where they are as they were read. SINK_RETRY with -EBUSY when
 * one is not. */
SinkResult sqlite_positions_set(SqliteSession *session, const PositionsOwner *owner, const SinkTarget *target,
                                const ImportPosition *positions, size_t count, Error *error);

extern const PositionsDriver sqlite_positions;
