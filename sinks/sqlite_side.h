/*
 * SQLite: side tables (replace_run.h). A side table is made from the text of the table's
 * definition, so that it refuses the rows that the table would refuse: it has its columns,
 * constraints and unique indexes, but no triggers. A remark in its own definition tells it from a
 * table of somebody else, which is never touched.
 */
#pragma once

#include "sinks/driver.h"

typedef struct sqlite3 sqlite3;

/* Is there one? SINK_REFUSED when the table of that name is somebody else's. */
SinkResult sqlite_side_find(sqlite3 *database, const SinkTarget *side, bool *ret_is_there, Error *error);
/* Drops the side table of an earlier run, and makes an empty one for the table, which is there. In
 * an open transaction. */
SinkResult sqlite_side_make(sqlite3 *database, const SinkTarget *target, const SinkTarget *side, Error *error);
SinkResult sqlite_side_drop(sqlite3 *database, const SinkTarget *side, Error *error); /* if it is there */
/* Adds the columns of the sink that the side table lacks, as the table has them, for a sink that
 * has got more. Without a side table: nothing. */
SinkResult sqlite_side_extend(sqlite3 *database, const SinkTarget *target, Error *error);
