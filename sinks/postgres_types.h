/*
 * PostgreSQL: which types of a table's columns fit which columns of a sink. A type fits when each
 * value is kept, or its row is refused: no value is ever changed. "Kept" means that the stored value
 * equals the text of the cell as a value of that type; docs/mapping.md says for each type what that
 * means. Pure; any thread.
 */
#pragma once

#include <stdbool.h>

#include "base/arena.h"
#include "config/definition.h"
#include "sinks/checked_rows.h"
#include "sinks/table_shape.h"

/* What the types of enums and of the extension citext are called here, whatever their names and
 * schemas are. */
#define POSTGRES_ENUM "enum"
#define POSTGRES_CITEXT "citext"

/* What a new table gets. */
const char *postgres_type_of(const Column *column);

extern const TypeRules postgres_type_rules;

/* How the cells of a target's rows are checked before they are sent to a table. All-zero: none has
 * to be. */
typedef struct PostgresRules {
    CellRule *rules; /* by index of the target's columns; NULL: no cell has to be checked */
    Arena arena;
} PostgresRules;

/* Of a table whose types fit; columns that it lacks have no rule. */
void postgres_rules_init(PostgresRules *rules, const SinkTarget *target, const FoundTable *found);
void postgres_rules_deinit(PostgresRules *rules);
