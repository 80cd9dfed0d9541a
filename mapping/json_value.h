/*
 * JSON by its value: what a database that stores JSON in a form of its own (PostgreSQL's jsonb)
 * gives back equal. Pure; any thread.
 *
 * Such a value has no `\u0000` and no half of a surrogate pair in any string or key, its numbers
 * have at most 131,072 digits before and 16,383 behind the point when they are written without
 * exponent, and no object has a key twice: of equal keys the first counts.
 */
#pragma once

#include "base/buffer.h"
#include "base/span.h"

enum { JSON_VALUE_REPEATS = 1, JSON_VALUE_DOES_NOT_FIT = 2 };
/* `json` was accepted by the scanner. 0: it is such a value as it stands. JSON_VALUE_REPEATS:
 * without the repeated members, which are left out of what is appended to `ret_unique`.
 * JSON_VALUE_DOES_NOT_FIT with the rest of a sentence that begins with the value (static). */
int json_value_read(Span json, Buffer *ret_unique, const char **ret_reason);
