/*
 * The map of a table's inferred columns, which is stored at the destination. This module decides
 * which columns a ColumnsJob adds to the map. It does no I/O: a driver reads the map and writes it
 * in one transaction.
 */
#pragma once

#include "sinks/driver.h"
#include "sinks/table_shape.h"

typedef enum ColumnMapState {
    COLUMN_MAP_THERE, /* the table or the target has the column; an import adds it again if the table lacks it */
    COLUMN_MAP_GONE,  /* neither has it, and the job does not want it or has no room for it */
    COLUMN_MAP_ADDS,  /* the table gets the column */
} ColumnMapState;

typedef struct ColumnMap {
    InferredColumn *items; /* owned */
    size_t count, capacity;
    size_t known;           /* number of items that were read from the destination; the others are new */
    ColumnMapState *states; /* by index; NULL until column_map_extend */
} ColumnMap;

/*
 * Adds a line of the map that a driver has read. Copies the texts. Call it before
 * column_map_extend. `variant` is the name of a type, or "" for the column of the field itself.
 * Returns false, and adds nothing, if the line is not valid.
 */
bool column_map_add(ColumnMap *map, const char *path, const char *variant, const char *name, const char *type);
void column_map_deinit(ColumnMap *map);
/* Returns the name of the type of a variant, or "" for the column of the field itself. Static
 * text. */
const char *column_map_variant(const InferredColumn *column);

/*
 * Gives a name to each column that the job wants and the map lacks, and appends it to the map. A
 * line of the map whose column is gone is used again if the job wants it. Both end when the map has
 * the maximum number of columns of the job, or when `room` columns were added to the table. Lines
 * of other columns that are gone do not count. A column that the table already has under the name
 * is used if it can hold all values. `found` describes the table; it has no columns if the table
 * does not exist. Call it once for each map.
 */
void column_map_extend(ColumnMap *map, const ColumnsJob *job, const FoundTable *found, const TypeRules *rules, size_t room);
/*
 * Appends ", NAME = NULL" for each column of the map that the table has and the target lacks.
 * Another node or an earlier version of the sink may have filled these columns. A row that replaces
 * another row must not keep their values.
 */
void column_map_put_clears(Buffer *out, const ColumnMap *map, const FoundTable *found, const SinkTarget *target);
/* Sets job->columns to the columns of the map that the job wants; the job owns them. Call it after
 * column_map_extend. */
void column_map_answer(const ColumnMap *map, ColumnsJob *job);
