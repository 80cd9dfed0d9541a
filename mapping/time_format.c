#include "mapping/time_format.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mapping/row.h"
#include "mapping/time_text.h"
#include "mapping/value.h"
#include "mapping/words.h"

typedef enum TimeUnit { UNIT_PATTERN, UNIT_SECONDS, UNIT_MILLIS, UNIT_MICROS, UNIT_NANOS } TimeUnit;

struct TimeFormat {
    TimeUnit unit;
    Buffer steps; /* of a pattern: characters that stand for themselves, a space for blanks, or % and a letter of `conversions` */
};

/* What there is, without those that stand for several others. */
static const char conversions[] = "YymbdjaHIpMSfzZs%";
static const char known[] = "%Y %y %m %b %B %d %e %j %a %A %H %I %p %M %S %f %z %Z %s %F %T %R %D %n %t %%";

static const struct {
    char letter;
    const char *steps;
} shorthands[] = {{'B', "%b"}, {'h', "%b"}, {'e', " %d"},      {'A', "%a"},    {'k', " %H"},      {'l', " %I"},
                  {'n', " "},  {'t', " "},  {'F', "%Y-%m-%d"}, {'R', "%H:%M"}, {'T', "%H:%M:%S"}, {'D', "%m/%d/%y"}};

static const char *const months[] = {"january", "february", "march",     "april",   "may",      "june",
                                     "july",    "august",   "september", "october", "november", "december"};
static const char *const weekdays[] = {"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"};
static const char *const halves[] = {"am", "pm"};
static const char *const zones[] = {"utc", "gmt", "z"};

static bool is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* ---- compiling ------------------------------------------------------------------------------- */

static bool put_conversion(TimeFormat *format, char letter) {
    if (letter == 0) return false;
    if (strchr(conversions, letter)) {
        buffer_append_byte(&format->steps, '%');
        buffer_append_byte(&format->steps, letter);
        return true;
    }
    for (size_t i = 0; i < sizeof shorthands / sizeof *shorthands; i++) {
        if (shorthands[i].letter != letter) continue;
        buffer_append_text(&format->steps, shorthands[i].steps);
        return true;
    }
    return false;
}

static bool has(const TimeFormat *format, char letter) {
    for (size_t i = 0; i + 1 < format->steps.size; i++)
        if (format->steps.data[i] == '%' && format->steps.data[++i] == letter) return true;
    return false;
}

/* Does the pattern say what a time is made of, and each part of it once? */
static int check_pattern(const TimeFormat *format, Error *error) {
    unsigned seen = 0;
    for (size_t i = 0; i + 1 < format->steps.size; i++) {
        if (format->steps.data[i] != '%' || format->steps.data[++i] == '%') continue;
        unsigned bit = 1u << (strchr(conversions, format->steps.data[i]) - conversions);
        if (seen & bit) return error_set(error, -EINVAL, "has %%%c twice", format->steps.data[i]);
        seen |= bit;
    }
    bool has_day = has(format, 'j') ? !has(format, 'm') && !has(format, 'b') && !has(format, 'd')
                                    : has(format, 'm') + has(format, 'b') == 1 && has(format, 'd');
    if (has(format, 's')) {
        for (const char *other = "YymbdjHIpMSzZ"; *other; other++)
            if (has(format, *other)) return error_set(error, -EINVAL, "has %%s and %%%c, which mean the same", *other);
        return 0;
    }
    if (has(format, 'Y') + has(format, 'y') != 1 || !has_day)
        return error_set(error, -EINVAL,
                         "must define the day exactly once: by %%Y or %%y, with %%m or %%b and %%d, or with %%j, or by %%s alone");
    if (has(format, 'I') != has(format, 'p')) return error_set(error, -EINVAL, "has only one of %%I and %%p, which are needed together");
    if (has(format, 'I') && has(format, 'H')) return error_set(error, -EINVAL, "has %%H and %%I, which mean the same");
    if (has(format, 'z') && has(format, 'Z')) return error_set(error, -EINVAL, "has %%z and %%Z, which mean the same");
    return 0;
}

static int compile_pattern(TimeFormat *format, Span text, Error *error) {
    if (text.size == 0 || !memchr(text.data, '%', text.size))
        return error_set(error, -EINVAL, "is neither rfc3339, unix, unixMs, unixUs or unixNs, nor a pattern with %% such as %%Y-%%m-%%d");
    for (size_t i = 0; i < text.size; i++) {
        if (is_blank(text.data[i]))
            buffer_append_byte(&format->steps, ' ');
        else if (text.data[i] != '%')
            buffer_append_byte(&format->steps, text.data[i]);
        else if (++i == text.size || !put_conversion(format, text.data[i]))
            return error_set(error, -EINVAL, "has a %% at byte %zu without one of %s", i - 1, known);
    }
    return check_pattern(format, error);
}

int time_format_compile(Span text, TimeFormat **ret_format, Error *error) {
    static const struct {
        const char *name;
        TimeUnit unit;
    } units[] = {{"unix", UNIT_SECONDS}, {"unixMs", UNIT_MILLIS}, {"unixUs", UNIT_MICROS}, {"unixNs", UNIT_NANOS}};
    *ret_format = NULL;
    if (span_equal(text, SPAN("rfc3339"))) return 0;
    TimeFormat *format = calloc(1, sizeof *format);
    check(format);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (span_equal(text, span_of(units[i].name))) format->unit = units[i].unit;
    int r = format->unit == UNIT_PATTERN ? compile_pattern(format, text, error) : 0;
    if (r == 0)
        *ret_format = format;
    else
        time_format_free(format);
    return r;
}

void time_format_free(TimeFormat *format) {
    if (!format) return;
    buffer_deinit(&format->steps);
    free(format);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* What a pattern has found so far. */
typedef struct TimeReading {
    const char *at, *end;
    TimeParts parts;
    int day_of_year; /* 0: not said */
    bool is_afternoon;
    bool is_unix, is_negative;
    int64_t unix_seconds; /* without a sign */
} TimeReading;

/* least..most digits; false: there are fewer. */
static bool take_number(TimeReading *reading, size_t least, size_t most, int *ret_value) {
    size_t count = 0;
    *ret_value = 0;
    for (; count < most && reading->at < reading->end && text_is_digit(*reading->at); count++)
        *ret_value = *ret_value * 10 + (*reading->at++ - '0');
    return count >= least;
}

static bool take_in_range(TimeReading *reading, int least, int most, int *ret_value) {
    return take_number(reading, 1, most > 99 ? 3 : 2, ret_value) && *ret_value >= least && *ret_value <= most;
}

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* One of the names, or its first `short_size` letters (0: no short ones); -1: none of them. */
static int take_name(TimeReading *reading, const char *const *names, size_t count, size_t short_size) {
    for (size_t i = 0; i < count; i++) {
        size_t size = strlen(names[i]), same = 0, left = (size_t)(reading->end - reading->at);
        while (same < size && same < left && lower(reading->at[same]) == names[i][same]) same++;
        if (same < size && (short_size == 0 || same < short_size)) continue;
        reading->at += same == size ? size : short_size;
        return (int)i;
    }
    return -1;
}

static bool take_fraction(TimeReading *reading) {
    const char *start = reading->at;
    for (int unit = 100000; reading->at < reading->end && text_is_digit(*reading->at); reading->at++, unit /= 10)
        reading->parts.micros += unit * (*reading->at - '0');
    return reading->at > start;
}

static bool take_offset(TimeReading *reading) {
    int hours, minutes = 0;
    if (reading->at == reading->end) return false;
    char sign = *reading->at++;
    if (sign == 'Z' || sign == 'z') return true;
    if ((sign != '+' && sign != '-') || !take_number(reading, 2, 2, &hours) || hours > 23) return false;
    bool has_colon = reading->at < reading->end && *reading->at == ':';
    reading->at += has_colon;
    if (has_colon || (reading->at < reading->end && text_is_digit(*reading->at)))
        if (!take_number(reading, 2, 2, &minutes) || minutes > 59) return false;
    reading->parts.offset = (hours * 60 + minutes) * (sign == '-' ? -1 : 1);
    return true;
}

static bool take_seconds(TimeReading *reading) {
    reading->is_negative = reading->at < reading->end && *reading->at == '-';
    reading->at += reading->is_negative;
    size_t count = 0;
    for (; count < 15 && reading->at < reading->end && text_is_digit(*reading->at); count++)
        reading->unix_seconds = reading->unix_seconds * 10 + (*reading->at++ - '0');
    reading->is_unix = true;
    return count > 0;
}

static bool take(TimeReading *reading, char letter) {
    TimeParts *parts = &reading->parts;
    switch (letter) {
    case 'Y': return take_number(reading, 4, 4, &parts->date.year);
    case 'y':
        if (!take_number(reading, 2, 2, &parts->date.year)) return false;
        parts->date.year += parts->date.year < 69 ? 2000 : 1900;
        return true;
    case 'm': return take_in_range(reading, 1, 12, &parts->date.month);
    case 'b': return (parts->date.month = 1 + take_name(reading, months, 12, 3)) > 0;
    case 'd': return take_in_range(reading, 1, 31, &parts->date.day);
    case 'j': return take_in_range(reading, 1, 366, &reading->day_of_year);
    case 'a': return take_name(reading, weekdays, 7, 3) >= 0;
    case 'H': return take_in_range(reading, 0, 23, &parts->hour);
    case 'I': return take_in_range(reading, 1, 12, &parts->hour);
    case 'p': {
        int half = take_name(reading, halves, 2, 0);
        reading->is_afternoon = half == 1;
        return half >= 0;
    }
    case 'M': return take_in_range(reading, 0, 59, &parts->minute);
    case 'S': return take_in_range(reading, 0, 60, &parts->second);
    case 'f': return take_fraction(reading);
    case 'z': return take_offset(reading);
    case 'Z': return take_name(reading, zones, 3, 0) >= 0;
    case 's': return take_seconds(reading);
    case '%': return reading->at < reading->end && *reading->at++ == '%';
    default: unreachable();
    }
}

static bool read_pattern(const TimeFormat *format, TimeReading *reading) {
    for (size_t i = 0; i < format->steps.size; i++) {
        char step = format->steps.data[i];
        if (step == '%') {
            if (!take(reading, format->steps.data[++i])) return false;
        } else if (step == ' ') {
            while (reading->at < reading->end && is_blank(*reading->at)) reading->at++;
        } else if (reading->at == reading->end || *reading->at++ != step) {
            return false;
        }
    }
    return reading->at == reading->end;
}

/* From the day of the year to month and day; false: there is no such day. */
static bool find_day(TimeReading *reading) {
    Date *date = &reading->parts.date;
    if (reading->day_of_year > 0) {
        date->day = reading->day_of_year;
        for (date->month = 1; date->month < 12 && date->day > date_month_days(date->year, date->month); date->month++)
            date->day -= date_month_days(date->year, date->month);
    }
    return date->day <= date_month_days(date->year, date->month);
}

static bool read_time(const TimeFormat *format, Span text, TimeParts *ret_parts, const char **ret_reason) {
    TimeReading reading = {.at = text.data, .end = text.data + text.size};
    *ret_reason = "does not fit the format";
    if (!read_pattern(format, &reading)) return false;
    if (reading.is_unix) {
        *ret_reason = "is not a time of the years 0001 to 9999 in UTC";
        if (reading.unix_seconds > INT64_C(253402300799)) return false;
        int64_t micros = reading.unix_seconds * 1000000 + reading.parts.micros;
        return time_of_unix(reading.is_negative ? -micros : micros, ret_parts);
    }
    *ret_reason = "is not a day of the calendar";
    if (!find_day(&reading)) return false;
    if (has(format, 'I')) reading.parts.hour = reading.parts.hour % 12 + (reading.is_afternoon ? 12 : 0);
    *ret_parts = reading.parts;
    return true;
}

static bool read_number(TimeUnit unit, Span text, TimeParts *ret_parts, const char **ret_reason) {
    static const int powers[] = {[UNIT_SECONDS] = 6, [UNIT_MILLIS] = 3, [UNIT_MICROS] = 0, [UNIT_NANOS] = -3};
    int64_t micros;
    *ret_reason = "is not a number in JSON notation";
    int r = value_scaled(text, powers[unit], &micros);
    if (r == VALUE_DOES_NOT_FIT) return false;
    *ret_reason = "is not a time of the years 0001 to 9999 in the unit of the format";
    return r == 0 && time_of_unix(micros, ret_parts);
}

bool time_format_put(const TimeFormat *format, bool is_date, Span text, Buffer *row, const char **ret_reason) {
    TimeParts parts;
    char out[TIME_TEXT_SIZE + 1];
    if (!text.data) text.data = "";
    if (format->unit == UNIT_PATTERN ? !read_time(format, text, &parts, ret_reason) : !read_number(format->unit, text, &parts, ret_reason))
        return false;
    if (!is_date) {
        if (!time_write(&parts, out, ret_reason)) return false;
        row_put_plain(row, (Span){out, TIME_TEXT_SIZE});
        return true;
    }
    *ret_reason = "is not a date such as 2006-01-02, from year 0001 on";
    if (parts.date.year < 1) return false;
    date_write(&parts.date, out);
    row_put_plain(row, (Span){out, DATE_TEXT_SIZE});
    return true;
}
