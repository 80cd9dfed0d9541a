/*
 * The map of a table's inferred columns, as it is kept at the destination, and what a ColumnsJob
 * adds to it. Pure: the drivers read and write it, in one transaction.
 */
#pragma once

#include "sinks/driver.h"
#include "sinks/table_shape.h"

typedef enum ColumnMapState {
    COLUMN_MAP_THERE, /* the table has it, or the target, whose import makes it again */
    COLUMN_MAP_GONE,  /* neither does, and it is not wanted, or there is no room for it */
    COLUMN_MAP_ADDS,  /* the table gets it */
} ColumnMapState;

typedef struct ColumnMap {
    InferredColumn *items; /* owned */
    size_t count, capacity;
    size_t known;           /* of those: as they were read; the others are new */
    ColumnMapState *states; /* by index; NULL until column_map_extend */
} ColumnMap;

/*
 * A line of the map, as a driver read it, before column_map_extend. Copies the texts. `variant`:
 * the name of the type, or "" for the column of the field itself. False: the line is not valid, and
 * is not added.
 */
bool column_map_add(ColumnMap *map, const char *path, const char *variant, const char *name, const char *type);
void column_map_deinit(ColumnMap *map);
/* "" for the column of the field itself. */
const char *column_map_variant(const InferredColumn *column);

/*
 * What the job wants and the map lacks gets a name, and a place behind the others, as far as the
 * job, and `room` more columns of the table, allow. The same holds for what the map has when its
 * column is gone; other lines of gone columns do not count. A column that the table has already
 * under that name is taken when it may hold the values. `found`: the table; no columns when it is
 * not there. Once a map.
 */
void column_map_extend(ColumnMap *map, const ColumnsJob *job, const FoundTable *found, const TypeRules *rules, size_t room);
/*
 * A row that replaces another one leaves nothing of it: ", NAME = NULL" for each column of the map
 * that the table has and the target has not. Another node, or an earlier version of the sink, may
 * have filled it.
 */
void column_map_put_clears(Buffer *out, const ColumnMap *map, const FoundTable *found, const SinkTarget *target);
/* Fills job->columns with those of the map that it wants. After column_map_extend. */
void column_map_answer(const ColumnMap *map, ColumnsJob *job);
