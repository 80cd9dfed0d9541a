/* Days and times as texts, by the Gregorian calendar of all years. Pure; any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

#define DATE_TEXT_SIZE 10
#define TIME_TEXT_SIZE 27

typedef struct Date {
    int year, month, day;
} Date;

/* A time as somebody wrote it, with ranges that hold for each part alone. */
typedef struct TimeParts {
    Date date;
    int hour, minute, second; /* 0..60 */
    int micros;               /* 0..999999 */
    int offset;               /* minutes east of UTC, below a day */
} TimeParts;

int date_month_days(int year, int month); /* 1..12 */
/* The first ten bytes, YYYY-MM-DD; year 0 is one here. */
bool date_read(Span text, Date *ret_date);
void date_write(const Date *date, char out[static DATE_TEXT_SIZE]);
/* RFC 3339. Unless it is `strict` the offset may also have no colon, or no minutes, or be ` UTC`.
 * False: *ret_reason is the rest of a sentence that begins with the text (static). */
bool time_read(Span text, bool strict, TimeParts *ret_parts, const char **ret_reason);
/* Of microseconds since 1970. False: it is not of the years 0001 to 9999. */
bool time_of_unix(int64_t micros, TimeParts *ret_parts);
/* In UTC, 2006-01-02T15:04:05.000000Z and a NUL. False, with *ret_reason as above: second 60 is no
 * leap second, or the year in UTC is none of 0001 to 9999. */
bool time_write(const TimeParts *parts, char out[static TIME_TEXT_SIZE + 1], const char **ret_reason);
