/*
 * PostgreSQL: side tables (replace_run.h). A side table is made LIKE the table, so that it refuses
 * the rows that the table would refuse: it has its columns, defaults, CHECK constraints and unique
 * indexes. It has no triggers, no foreign keys and no policies, and no partition. A comment on it
 * tells it from a table of somebody else, which is never touched.
 *
 * Who needs both locks the side table before positions: imports, claims, swaps and removals.
 */
#pragma once

#include "sinks/postgres_session.h"

/*
 * The table as postgres_table_prepare, and what only a table that is replaced needs: no rows of
 * other tables may go with its own. Adds the columns of the sink that the side table lacks, as the
 * table has them. Not in a transaction.
 */
SinkResult postgres_side_prepare(PostgresSession *session, const SinkTarget *target, Error *error);

/*
 * Would rows of other tables go with those of the table? So it is with foreign keys that point at
 * it and have ON DELETE CASCADE, SET NULL or SET DEFAULT, and with tables that inherit from it:
 * SINK_REFUSED, which names one. *ret_pointed_at (NULL: not wanted): some foreign key points at it.
 */
SinkResult postgres_side_check_table(PostgresSession *session, const SinkTarget *target, bool *ret_pointed_at, Error *error);

/* Is there one? SINK_REFUSED when the table of that name is somebody else's. */
SinkResult postgres_side_find(PostgresSession *session, const SinkTarget *side, bool *ret_is_there, Error *error);
/* Do the sink's columns have the types that they have in the table? Else somebody has changed them
 * since the run began, and the rows could be rounded or cut on their way into the table. */
SinkResult postgres_side_fits(PostgresSession *session, const SinkTarget *target, bool *ret_fits, Error *error);

/* The rest is for an open transaction, which has postgres_marks_lock. */

/* Nobody imports into it until the end of the transaction. Without one: nothing. */
SinkResult postgres_side_lock(PostgresSession *session, const SinkTarget *side, Error *error);
SinkResult postgres_side_make(PostgresSession *session, const SinkTarget *target, const SinkTarget *side, Error *error);
SinkResult postgres_side_drop(PostgresSession *session, const SinkTarget *side, Error *error); /* locks it first; if it is there */
