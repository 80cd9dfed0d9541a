/*
 * Avro's numbers and logical types as JSON text: decimals, dates, times, floating-point numbers and
 * bytes. All functions append to `out`. If one fails, `out` is unchanged. Pure; any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/span.h"

#define AVRO_DECIMAL_DIGITS_MAX 1000 /* as of the data type decimal */

/* Appends a JSON number with `scale` digits (at most AVRO_DECIMAL_DIGITS_MAX) after the decimal
 * point. The input is an integer in two's complement, high byte first; no bytes mean 0. Returns
 * false if it has more than AVRO_DECIMAL_DIGITS_MAX digits. */
bool avro_put_decimal(Buffer *out, Span number, size_t scale);

/* Appends "2006-01-02", from days since 1970. Returns false if the year is not in 0001..9999, the
 * range of RFC 3339 and of all destinations. */
bool avro_put_date(Buffer *out, int64_t days);
/* Appends "15:04:05.000000", from the parts of a second since midnight. The fraction has 3, 6 or 9
 * `digits`. Returns false if it is not within a day. */
bool avro_put_time(Buffer *out, int64_t parts, unsigned digits);
/* Appends "2006-01-02T15:04:05.000000Z", from the parts of a second since 1970; `digits` as above.
 * Returns false like avro_put_date. */
bool avro_put_timestamp(Buffer *out, int64_t parts, unsigned digits);

/* Appends the shortest number that is read as the same one, with a decimal point or an exponent.
 * For values without a JSON number it is the string "NaN", "Infinity" or "-Infinity". */
void avro_put_double(Buffer *out, double value);
void avro_put_float(Buffer *out, float value);

/* Base64 (RFC 4648) with padding and without quotes. */
void avro_put_base64(Buffer *out, Span bytes);
