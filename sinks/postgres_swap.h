/*
 * PostgreSQL: the rows of a run replace those of the table. One transaction: it locks the side
 * table against imports and the table against others who write to it, while people go on reading
 * the old rows. The foreign keys that point at the table are checked when the new rows are there:
 * then one statement deletes and inserts, since a key that is not deferrable is checked at the end
 * of its statement.
 *
 * The role needs SELECT, INSERT and DELETE on the table, CREATE on its schema, and DELETE on the
 * positions.
 */
#pragma once

#include "sinks/driver.h"

/* As the driver's swap. */
SinkResult postgres_swap(SinkSession *session, SwapJob *job, Error *error);
