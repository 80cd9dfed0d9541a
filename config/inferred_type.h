/* The data types of columns that are made of what events hold (config/inference.h): pure. */
#pragma once

#include <stdbool.h>

#include "config/definition.h"

/* May an inferred column have it? Those are integer, decimal, boolean, timestamp, text and json. */
bool inferred_type_valid(DataType type);
/* The one of that name, as data_type_name has it; false: none of them is called so. */
bool inferred_type_named(const char *name, DataType *ret_type);
/*
 * The narrowest type whose column holds the values of both: of what was seen before there is a
 * column. Associative and commutative, so that the order of events does not count.
 */
DataType inferred_type_widen(DataType a, DataType b);
/* The type of the variant column that takes a value of that type: a time is text there. */
DataType inferred_type_of_variant(DataType seen);
