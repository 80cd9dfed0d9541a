/*
 * JSON as a value: JSON that a database with its own representation (PostgreSQL's jsonb) returns as
 * an equal value. Pure; any thread.
 *
 * Such JSON has no `\u0000` and no half of a surrogate pair in any string or key. Its numbers have
 * at most 131,072 digits before and 16,383 digits after the decimal point, when written without an
 * exponent. No object has a key twice: of equal keys the first one counts.
 */
#pragma once

#include "base/buffer.h"
#include "base/span.h"

enum { JSON_VALUE_REPEATS = 1, JSON_VALUE_DOES_NOT_FIT = 2 };
/* Checks `json`, which the scanner has accepted. Returns 0 if it is such a value.
 * JSON_VALUE_REPEATS: it is one without its repeated members; the text without them is appended to
 * `ret_unique`. JSON_VALUE_DOES_NOT_FIT: *ret_reason is the rest of a sentence that begins with the
 * value (static). */
int json_value_read(Span json, Buffer *ret_unique, const char **ret_reason);
