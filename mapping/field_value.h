/*
 * Values of fields whose columns are inferred. Their JSON type counts: 1 is not a text, and "1" is
 * not a number. A column gives back the value that it takes: a number by its value, a time by its
 * instant, a text, or JSON as it is written. Pure; any thread.
 */
#pragma once

#include <stdbool.h>

#include "base/buffer.h"
#include "config/definition.h"
#include "mapping/scanner.h"

/*
 * Returns the narrowest type that can store the value. integer: only digits, 64 bits; decimal:
 * other numbers of at most 1,000 digits; timestamp: RFC 3339 with at most microseconds; text: other
 * strings without NUL and half surrogate pairs; json: everything else. Returns false for null,
 * which has no type. `scratch` is used for strings with escapes.
 */
bool field_value_type(const ScanValue *value, Buffer *scratch, DataType *ret_type);
/* Can a column of that type store the value, which is not null? Every column can store the values
 * for which field_value_type returns its type. */
bool field_value_fits(const ScanValue *value, DataType type, Buffer *scratch);
/* Makes a ScanValue of a single value that the scanner accepted. */
ScanValue field_value_of(Span text);
/* Is it an object without members? */
bool field_value_is_empty_object(const ScanValue *value);
