/* PostgreSQL: the ALTER TABLE that makes a table fit its sink. As TypeRules.put_changes. Pure; any
 * thread. */
#pragma once

#include "base/buffer.h"
#include "sinks/table_shape.h"

void postgres_put_changes(Buffer *out, const TableChanges *changes, size_t room);
