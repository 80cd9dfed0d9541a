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

/* A time as it is written. Each part is checked only against its own range. */
typedef struct TimeParts {
    Date date;
    int hour, minute, second; /* 0..60 */
    int micros;               /* 0..999999 */
    int offset;               /* minutes east of UTC, below a day */
} TimeParts;

int date_month_days(int year, int month); /* 1..12 */
/* Reads the first ten bytes, YYYY-MM-DD. The year 0 is accepted here. */
bool date_read(Span text, Date *ret_date);
void date_write(const Date *date, char out[static DATE_TEXT_SIZE]);
/* Reads an RFC 3339 time. If not `strict`, the offset may have no colon or no minutes, or be `
 * UTC`. Returns false if it is not such a time: *ret_reason is the rest of a sentence that begins
 * with the text (static). */
bool time_read(Span text, bool strict, TimeParts *ret_parts, const char **ret_reason);
/* Converts microseconds since 1970. Returns false if the year is not in 0001..9999. */
bool time_of_unix(int64_t micros, TimeParts *ret_parts);
/* Writes the time in UTC as 2006-01-02T15:04:05.000000Z and a NUL. Returns false if second 60 is
 * not a leap second, or if the year in UTC is not in 0001..9999; *ret_reason as above. */
bool time_write(const TimeParts *parts, char out[static TIME_TEXT_SIZE + 1], const char **ret_reason);
