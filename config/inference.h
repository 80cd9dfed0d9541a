/*
 * Targets whose columns are made of what events hold. Such a target has, in this order: the base
 * columns _id and _at, and of bridges where the record stands; the declared columns; those that
 * were inferred, in the order in which they came; and _rest.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"
#include "config/definition.h"

#define INFERENCE_PATHS_MAX 1000      /* type hints; excluded paths */
#define INFERENCE_PATH_BYTES_MAX 1024 /* of a field that gets a column */

/* A column that a field has, or is to get. */
typedef struct InferredColumn {
    char *path; /* canonical (column_name.h) */
    bool is_variant;
    DataType type;
    char *name; /* NULL: it has none yet */
} InferredColumn;

/* Is it the name of a base column of any source? Case is not told apart. */
bool inference_reserves(Span name);
/* Is the column what a base column of its name is? Such a one may be declared, to be a key or to be
 * masked, and takes its place. */
bool inference_is_base(const Column *column);
/* A base column of a source whose events have these meta fields (META_BIT), as a request declares
 * it; NULL: there is none of that name. */
json_t *inference_base_form(const char *name, unsigned meta_fields);
/* How many columns more the target may get. 0: nothing is discovered. */
size_t inference_room(const SinkTarget *target);
/* What is wrong with a target that infers and is complete, words that follow the name of a field;
 * NULL: nothing. free(). The field is mergeIf.newerBy, or else mapping.infer.maxColumns. */
char *inference_wrong(const SinkTarget *target, bool *ret_is_newer_by);
/* The type of the base column of that name, of any source; false: there is none. */
bool inference_base_type(const char *name, DataType *ret_type);
/* Has the target the column of a field (COLUMN_INFERRED), or its variant of that type
 * (COLUMN_VARIANT)? `path`: canonical. */
bool inference_has_column(const SinkTarget *target, const char *path, ColumnOrigin origin, DataType variant);
/* Has the field (its canonical path) no column by inference: since it is not stored at all, it or
 * what it is in has a column that is declared, or it is deeper than the depth? */
bool inference_leaves_out(const SinkTarget *target, const char *field);
/* Is a value that the sink masks below that field, so that a column of it would hold the value?
 * `field`: canonical, see column_name.h. */
bool inference_holds_masked(const SinkTarget *masking, const char *field);
/* Adds columns that have names before _rest, as many as there is room for, and not those that the
 * target has. Their number. */
size_t inference_add(SinkTarget *target, const InferredColumn *columns, size_t count);

void inferred_columns_free(InferredColumn *columns, size_t count); /* and the array; NULL-safe */
InferredColumn inferred_column_copy(const InferredColumn *column); /* with texts of its own */
/* Are they for the same values: those of one field, or its variant of one type? Names, and types of
 * no variants, may differ. */
bool inferred_column_same(const InferredColumn *a, const InferredColumn *b);

/* ---- internal to config/ ---- */

/* The base columns of a source whose events have these meta fields (META_BIT), in their places;
 * what else there is stays. */
void inference_complete(unsigned meta_fields, SinkTarget *target);
/* `now` was read from a request that changes `old`: it gets the columns that were made for `old`
 * and that still have a meaning. */
void inference_keep(const SinkTarget *old, SinkTarget *now);
