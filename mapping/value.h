/*
 * dataTypes, checked on the text: what is accepted here is accepted by PostgreSQL (COPY) and SQLite
 * (STRICT) too, so that a row that was taken can be stored. Pure; any thread.
 *
 * text       UTF-8 without NUL
 * integer    a JSON number whose value is a whole number of 64 bits, so also `42.0` and `1e3`; written as digits, `-0` as 0
 * number     a JSON number that is a finite double; its text is kept, except that one too small for a double is written as 0
 * decimal    a JSON number that takes at most 1,000 digits when written without exponent; its text is kept
 * boolean    true or false
 * timestamp  RFC 3339 date and time with offset, years 0001..9999 also in UTC (no destination has a year 0), `T` or a space between
 *            them, also with an offset without a colon or minutes, or with ` UTC` in its place; digits beyond microseconds are cut off;
 *            a leap second (23:59:60 in UTC) is the next day's first second, as PostgreSQL has it. Written as
 *            2006-01-02T15:04:05.000000Z. Columns with a format: time_format.h
 * date       RFC 3339 full-date, years 0001..9999
 * json       JSON whose value a database can keep (json_value.h); of equal keys of an object the first one is written
 * jsonText   JSON; its text is kept
 * uuid       a UUID in any case, also in braces, behind urn:uuid:, or without hyphens; written as RFC 9562 does
 * bytes      anything; written as \x and hexadecimal digits
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/span.h"
#include "config/definition.h"

enum {
    VALUE_IS_TEXT = 1,   /* known to be UTF-8 without NUL */
    VALUE_IS_JSON = 2,   /* known to be JSON, which says the same and more */
    VALUE_IS_NUMBER = 4, /* known to be a JSON number, with nothing around it */
};
/* Is the text UTF-8 without NUL? */
bool value_is_text(Span text);
enum { VALUE_DOES_NOT_FIT = 1 };
/* Is the JSON number only digits of an integer of 64 bits? */
bool value_is_plain_integer(Span number);
/* Is the text a strict RFC 3339 time that a timestamp stores without a loss? That is: `T` between
 * date and time, at most microseconds, no leap second. */
bool value_is_exact_time(Span text);
/* Appends the cell of a timestamp if the text is such a time, and returns whether it is. */
bool value_put_exact_time(Buffer *row, Span text);
enum { VALUE_OUT_OF_RANGE = 2 };
/* Returns the highest integer of 64 bits that is not above a JSON number times 10^power. Returns 0,
 * VALUE_DOES_NOT_FIT if it is not a JSON number, or VALUE_OUT_OF_RANGE. */
int value_scaled(Span number, int power, int64_t *ret_value);
/* Can a json value have this JSON number (json_value.h)? */
bool value_is_json_number(Span number);
/* Can a decimal store this JSON number? */
bool value_is_decimal(Span number);
/*
 * Appends the cell of `text` to the row. For a type other than text, json and jsonText, a JSON
 * string is given without quotes and escapes. `known`: VALUE_IS_… bits. Returns 0, or
 * VALUE_DOES_NOT_FIT with the rest of a sentence that begins with the value, "is not …" (static).
 * Then `row` is unchanged.
 */
int value_put(Buffer *row, DataType type, Span text, unsigned known, const char **ret_reason);
