/*
 * Avro's numbers and logical types as JSON text: what a record's JSON form says for a decimal, a
 * date, a time, a floating-point number or bytes. All append to `out`. Those that can fail leave
 * `out` as it was. Pure; any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/span.h"

#define AVRO_DECIMAL_DIGITS_MAX 1000 /* as of the data type decimal */

/* A JSON number with all `scale` (at most AVRO_DECIMAL_DIGITS_MAX) digits behind its point, from a
 * whole number in two's complement, high byte first; no bytes are 0. false: it has more than
 * AVRO_DECIMAL_DIGITS_MAX digits. */
bool avro_put_decimal(Buffer *out, Span number, size_t scale);

/* "2006-01-02", from days since 1970. false: not in the years 0001 to 9999, which RFC 3339 and all
 * destinations have. */
bool avro_put_date(Buffer *out, int64_t days);
/* "15:04:05.000000", from the parts of a second since midnight; `digits` of the fraction are 3, 6
 * or 9. false: not within a day. */
bool avro_put_time(Buffer *out, int64_t parts, unsigned digits);
/* "2006-01-02T15:04:05.000000Z", from the parts of a second since 1970; `digits` as above. false:
 * as of avro_put_date. */
bool avro_put_timestamp(Buffer *out, int64_t parts, unsigned digits);

/* The shortest number that is read as the same one, with a point or an exponent; what JSON has no
 * number for is the string "NaN", "Infinity" or "-Infinity". */
void avro_put_double(Buffer *out, double value);
void avro_put_float(Buffer *out, float value);

/* Base64 (RFC 4648) with padding and without quotes. */
void avro_put_base64(Buffer *out, Span bytes);
