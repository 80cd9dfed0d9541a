/* PostgreSQL: how a sink's schema, its table and the ledger are made and compared. */
#pragma once

#include "base/buffer.h"
#include "base/error.h"
#include "config/definition.h"
#include "sinks/driver.h"
#include "sinks/postgres_session.h"

/*
 * Creates ledger, schema and table if missing (what another session makes meanwhile is taken as it is), else compares, and adds
 * missing columns when the table's on_schema_drift is evolve. Nothing is created that is there, so that a role without the right to
 * create can import into tables that somebody else made.
 */
SinkResult postgres_table_prepare(PostgresSession *session, const TableTarget *table, Error *error);

/* "schema"."table" of a table id: schema up to the last dot; no dot: schema public. */
void postgres_put_table(Buffer *out, const TableTarget *table);
void postgres_put_ledger(Buffer *out, const PostgresSession *session);
