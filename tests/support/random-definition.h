/*
 * Random definitions of sources and sinks, as a manifest has them: each field of the tables
 * (config/field_table.h) with a value that is not its default, or left out. All of them are valid.
 * A field that no row here knows fails random_definition_check, so that a new one is not forgotten.
 */
#pragma once

#include <jansson.h>

#include "config/definition.h"
#include "tests/support/random-json.h"

/* `kind`: "http", "kafka" or "nats". New references. */
json_t *random_source(RandomJson *random, const char *kind, const char *source_id);
/* One that the source may have. */
json_t *random_sink(RandomJson *random, const Source *source, const char *sink_id);
/* {key: value, …}, maybe of none. */
json_t *random_settings(RandomJson *random);
/* The paths of all fields that a source of the kind, or (NULL) a sink has, ["table.tableId", …];
 * those of columns as "table.mapping.columns[].name". New reference. */
json_t *random_definition_paths(const char *kind);
/* Does each path have a value here? */
void random_definition_check(void);
