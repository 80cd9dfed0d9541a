/*
 * The `format` of a column of dataType timestamp or date: how its values are written. Compiled
 * once, immutable then: any thread. Pure, and no locale matters.
 *
 * rfc3339  the default: value.h
 * unix, unixMs, unixUs, unixNs   a JSON number of seconds, milliseconds, … since 1970-01-01 in UTC; what is below a microsecond is cut off
 * else a pattern of strptime(3). Blanks in it stand for any blanks or none, other characters for themselves, and:
 *          %Y four digits, %y two (69..99 are 1969..1999); %m; %b, %B, %h English names of months, in short or whole, in any case;
 *          %d, %e; %j the day of the year; %a, %A English names of weekdays, which count for nothing; %H, %k; %I, %l with %p (AM, PM);
 *          %M; %S; %f digits of a fraction of a second; %z an offset (+01:00, +0100, +01, Z); %Z the word UTC, GMT or Z;
 *          %s whole seconds since 1970; %F is %Y-%m-%d, %T %H:%M:%S, %R %H:%M, %D %m/%d/%y, %n and %t are blanks, %% is %.
 *          Days, hours, minutes and seconds have one or two digits. The whole text must fit. Without an offset it is UTC; a date column has
 *          the day as it is written.
 */
#pragma once

#include <stdbool.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/span.h"

typedef struct TimeFormat TimeFormat;

/* Compiles a format. *ret_format is NULL for rfc3339. -EINVAL: the text is the rest of a sentence
 * that begins with the format. */
int time_format_compile(Span text, TimeFormat **ret_format, Error *error);
void time_format_free(TimeFormat *format); /* NULL-safe */
/* Appends the text of a timestamp, or of a date, like value_put. Returns false if the text does not
 * match: then `row` is unchanged, and *ret_reason is the rest of a sentence that begins with the
 * value (static). */
bool time_format_put(const TimeFormat *format, bool is_date, Span text, Buffer *row, const char **ret_reason);
