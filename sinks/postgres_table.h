/* PostgreSQL: how a sink's schema, its table and the ledger are made and compared. */
#pragma once

#include "base/buffer.h"
#include "base/error.h"
#include "config/definition.h"
#include "sinks/column_map.h"
#include "sinks/driver.h"
#include "sinks/postgres_session.h"
#include "sinks/postgres_types.h"

/*
 * Creates ledger, schema and table if missing (what another session makes meanwhile is taken as it
 * is), else compares, and adds missing columns when the table's on_schema_drift is evolve. Nothing
 * is created that is there, so that a role without the right to create can import into tables that
 * somebody else made.
 */
SinkResult postgres_table_prepare(PostgresSession *session, const SinkTarget *target, Error *error);

/* The ledger with the columns that runs need, and the table of positions. */
SinkResult postgres_table_prepare_positions(PostgresSession *session, Error *error);

/* The map of columns. */
SinkResult postgres_table_prepare_columns(PostgresSession *session, Error *error);
/* The table's columns, and how many it has used up, with dropped ones; none: it is not there. In a
 * transaction or not. */
SinkResult postgres_table_find(PostgresSession *session, const SinkTarget *target, FoundTable *found, size_t *ret_used, Error *error);
/* Adds the new columns of the map that the table lacks. In a transaction, which holds their locks
 * until its end. */
SinkResult postgres_table_add(PostgresSession *session, const SinkTarget *target, const ColumnMap *map, Error *error);

/* As the driver's inspect. */
SinkResult postgres_table_inspect(PostgresSession *session, const SinkTarget *target, TableInspection *ret_inspection, Error *error);

/*
 * The following are for an import's transaction. After the first one it holds a lock on the table,
 * so that what they find holds until its end.
 */

/*
 * Begins an import into the table: it changes no more until the transaction ends. A table that
 * somebody has locked is found out soon: others of the connection wait for this loader.
 * *ret_row_security: its policies hold for this role. *ret_rules: how the types that its columns
 * have now want cells to be checked; the caller's, set on SINK_DONE only. SINK_REFUSED also when a
 * type does not fit any more.
 */
SinkResult postgres_table_lock(PostgresSession *session, const SinkTarget *target, PostgresRules *ret_rules, bool *ret_row_security,
                               Error *error);
/* Does the table fit the sink? Changes nothing, also with on_schema_drift evolve. SINK_REFUSED
 * names each difference. */
SinkResult postgres_table_compare(PostgresSession *session, const SinkTarget *target, Error *error);
/* Is that relation the table, or one of its partitions? */
SinkResult postgres_table_has_part(PostgresSession *session, const SinkTarget *target, const char *schema, const char *name, bool *ret_has,
                                   Error *error);
/* May the table take a row and not store it? So it is with a row trigger before the insert (for a
 * merge: or the update) on the table or a partition of it, and with a rule for INSERT. */
SinkResult postgres_table_may_swallow(PostgresSession *session, const SinkTarget *target, bool *ret_may, Error *error);

/* "schema"."table" of a table id: schema up to the last dot; no dot: schema public. */
void postgres_put_table(Buffer *out, const SinkTarget *target);
void postgres_put_ledger(Buffer *out, const PostgresSession *session);
void postgres_put_columns(Buffer *out, const PostgresSession *session);
/* "schema.table" as positions and columns are looked up: without a dot the schema is public. */
void postgres_put_table_name(Buffer *out, const SinkTarget *target);
void postgres_put_positions(Buffer *out, const PostgresSession *session);
