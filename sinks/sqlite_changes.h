/*
 * SQLite: the statements that make a table fit its sink. It can add columns to a table, and cannot
 * change the type, the NOT NULL or the primary key of one: then the table is renamed, and a new one
 * gets its rows. As TypeRules.put_changes. Pure; any thread.
 */
#pragma once

#include "base/buffer.h"
#include "sinks/table_shape.h"

void sqlite_put_changes(Buffer *out, const TableChanges *changes, size_t room);
