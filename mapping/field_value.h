/*
 * Values of fields whose columns are inferred. They are told apart by what they are in JSON: 1 is
 * no text, and "1" no number. What a column takes gives the value back: a number by its value, a
 * time by its instant, a text, JSON as it is written. Pure; any thread.
 */
#pragma once

#include <stdbool.h>

#include "base/buffer.h"
#include "config/definition.h"
#include "mapping/scanner.h"

/*
 * The narrowest type of those that hold the value. integer: a number of digits alone, of 64 bits;
 * decimal: other numbers of at most 1,000 digits; timestamp: RFC 3339 with at most microseconds;
 * text: other strings without NUL and half surrogate pairs; json: all else. False: null, which has
 * none. `scratch` is used for strings with escapes.
 */
bool field_value_type(const ScanValue *value, Buffer *scratch, DataType *ret_type);
/* Does a column of that type take the value, which is not null? Every column takes values of its
 * own type. */
bool field_value_fits(const ScanValue *value, DataType type, Buffer *scratch);
/* Of a value that the scanner accepted and that stands by itself. */
ScanValue field_value_of(Span text);
/* An object without members. */
bool field_value_is_empty_object(const ScanValue *value);
