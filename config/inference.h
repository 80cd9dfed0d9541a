/*
 * Targets whose columns are inferred from the fields of events. Such a target has its columns in
 * this order: the base columns _id and _at, for bridges the base columns with the position of the
 * record, the declared columns, the inferred columns in the order of their discovery, and _rest.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"
#include "config/definition.h"

#define INFERENCE_PATHS_MAX 1000      /* maximum number of type hints, and of excluded paths */
#define INFERENCE_PATH_BYTES_MAX 1024 /* longest path of a field that gets a column */

/* An existing or new column of a field. All texts are owned. */
typedef struct InferredColumn {
    char *path; /* canonical (column_name.h) */
    bool is_variant;
    DataType type;
    char *name; /* NULL: it has no name yet */
} InferredColumn;

/* Returns whether any source has a base column of that name. The comparison ignores case. */
bool inference_reserves(Span name);
/* Returns whether the column has the type and data type of the base column of its name. Such a
 * column may be declared as a key or with a mask. It takes the place of the base column. */
bool inference_is_base(const Column *column);
/* Returns the base column of that name in the form of a request, for a source whose events have
 * these meta fields (META_BIT). New reference; NULL: there is no such base column. */
json_t *inference_base_form(const char *name, unsigned meta_fields);
/* Returns how many more columns the target may get. 0: no field is discovered. */
size_t inference_room(const SinkTarget *target);
/* Checks a complete target that infers. Returns the error as words that follow the name of a field,
 * free(); NULL: it is valid. *ret_is_newer_by: the field is mergeIf.newerBy, otherwise it is
 * mapping.infer.maxColumns. */
char *inference_wrong(const SinkTarget *target, bool *ret_is_newer_by);
/* Finds the type of the base column of that name, of any source; false: there is none. */
bool inference_base_type(const char *name, DataType *ret_type);
/* Returns whether the target has the column of a field (COLUMN_INFERRED), or the field's variant of
 * that type (COLUMN_VARIANT). `path`: canonical. */
bool inference_has_column(const SinkTarget *target, const char *path, ColumnOrigin origin, DataType variant);
/* Returns whether the field gets no inferred column, for one of these reasons: the field is
 * excluded; the field or an object around it has a declared column; the field is below the maximum
 * depth. `field`: canonical path. */
bool inference_leaves_out(const SinkTarget *target, const char *field);
/* Returns whether the sink masks a value below the field. A column of the field would contain that
 * value. `field`: canonical path, see column_name.h. */
bool inference_holds_masked(const SinkTarget *masking, const char *field);
/* Inserts named columns before _rest, as many as there is room for. Columns that the target has are
 * skipped. Returns the number of inserted columns. */
size_t inference_add(SinkTarget *target, const InferredColumn *columns, size_t count);

void inferred_columns_free(InferredColumn *columns, size_t count); /* frees the array, too; NULL-safe */
InferredColumn inferred_column_copy(const InferredColumn *column); /* copies the texts */
/* Returns whether both columns are for the same values: those of one field, or of its variant of
 * one type. Names may differ. Types may differ unless the columns are variants. */
bool inferred_column_same(const InferredColumn *a, const InferredColumn *b);

/* ---- internal to config/ ---- */

/* Puts the base columns of a source whose events have these meta fields (META_BIT) in their places.
 * All other columns are kept. */
void inference_complete(unsigned meta_fields, SinkTarget *target);
/* Copies the inferred columns of `old` that still apply to `now`. `now` was read from a request
 * that changes `old`. */
void inference_keep(const SinkTarget *old, SinkTarget *now);
