#include "mapping/time_text.h"

#include <string.h>

#include "base/error.h"
#include "mapping/words.h"

#define DAY_MICROS (INT64_C(86400) * 1000000)

/* `count` digits at `at`, or -1. */
static int fixed_digits(Span text, size_t at, size_t count) {
    if (text.size < at + count) return -1;
    int value = 0;
    for (size_t i = at; i < at + count; i++) {
        if (!text_is_digit(text.data[i])) return -1;
        value = value * 10 + (text.data[i] - '0');
    }
    return value;
}

int date_month_days(int year, int month) {
    check(month >= 1 && month <= 12);
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap ? 1 : 0);
}

bool date_read(Span text, Date *ret_date) {
    Date date = {fixed_digits(text, 0, 4), fixed_digits(text, 5, 2), fixed_digits(text, 8, 2)};
    *ret_date = date;
    if (date.year < 0 || date.month < 1 || date.month > 12 || text.data[4] != '-' || text.data[7] != '-') return false;
    return date.day >= 1 && date.day <= date_month_days(date.year, date.month);
}

static void next_day(Date *date) {
    if (++date->day <= date_month_days(date->year, date->month)) return;
    date->day = 1;
    if (++date->month <= 12) return;
    date->month = 1;
    date->year++;
}

static void day_before(Date *date) {
    if (--date->day >= 1) return;
    if (--date->month < 1) {
        date->month = 12;
        date->year--;
    }
    date->day = date_month_days(date->year, date->month);
}

static void format_digits(char *out, size_t count, int value) {
    while (count > 0) {
        out[--count] = (char)('0' + value % 10);
        value /= 10;
    }
    check(value == 0);
}

void date_write(const Date *date, char out[static DATE_TEXT_SIZE]) {
    format_digits(out, 4, date->year);
    out[4] = '-';
    format_digits(out + 5, 2, date->month);
    out[7] = '-';
    format_digits(out + 8, 2, date->day);
}

/* From `at` to the end of the text. */
static bool read_offset(Span text, size_t at, bool strict, int *ret_minutes) {
    Span offset = {text.data + at, text.size - at};
    *ret_minutes = 0;
    if (offset.size == 1 && (*offset.data == 'Z' || *offset.data == 'z')) return true;
    if (!strict && span_equal(offset, SPAN(" UTC"))) return true;
    if (offset.size == 0 || (*offset.data != '+' && *offset.data != '-')) return false;
    bool has_colon = offset.size == 6 && offset.data[3] == ':';
    if (!has_colon && (strict || (offset.size != 5 && offset.size != 3))) return false;
    int hours = fixed_digits(offset, 1, 2), minutes = offset.size == 3 ? 0 : fixed_digits(offset, has_colon ? 4 : 3, 2);
    if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59) return false;
    *ret_minutes = (hours * 60 + minutes) * (*offset.data == '-' ? -1 : 1);
    return true;
}

bool time_read(Span text, bool strict, TimeParts *ret_parts, const char **ret_reason) {
    TimeParts parts;
    *ret_reason = "is not an RFC 3339 time such as 2006-01-02T15:04:05.000Z";
    if (text.size < 20 || !date_read(text, &parts.date) || !strchr("Tt ", text.data[10]) || text.data[10] == 0) return false;
    parts.hour = fixed_digits(text, 11, 2);
    parts.minute = fixed_digits(text, 14, 2);
    parts.second = fixed_digits(text, 17, 2);
    if (parts.hour < 0 || parts.hour > 23 || parts.minute < 0 || parts.minute > 59 || parts.second < 0 || parts.second > 60) return false;
    if (text.data[13] != ':' || text.data[16] != ':') return false;
    size_t at = 19;
    parts.micros = 0;
    if (text.data[at] == '.') {
        size_t start = ++at;
        int unit = 100000;
        for (; at < text.size && text_is_digit(text.data[at]); at++, unit /= 10) parts.micros += unit * (text.data[at] - '0');
        if (at == start) return false;
    }
    if (!read_offset(text, at, strict, &parts.offset)) return false;
    *ret_parts = parts;
    return true;
}

/* Of days since 1970-01-01, which are those of years from 1 on. */
static Date date_of_days(int64_t days) {
    days += 719162; /* from 0001-01-01 on */
    check(days >= 0);
    int64_t cycle = days / 146097, day = days % 146097; /* of 400 years */
    int64_t century = day / 36524 < 3 ? day / 36524 : 3;
    day -= century * 36524;
    int64_t four = day / 1461;
    day -= four * 1461;
    int64_t single = day / 365 < 3 ? day / 365 : 3;
    day -= single * 365;
    Date date = {.year = (int)(cycle * 400 + century * 100 + four * 4 + single + 1), .month = 1};
    for (; day >= date_month_days(date.year, date.month); date.month++) day -= date_month_days(date.year, date.month);
    date.day = (int)day + 1;
    return date;
}

bool time_of_unix(int64_t micros, TimeParts *ret_parts) {
    if (micros < INT64_C(-62135596800000000) || micros > INT64_C(253402300799999999)) return false;
    int64_t days = micros / DAY_MICROS - (micros % DAY_MICROS < 0), in_day = micros - days * DAY_MICROS;
    int seconds = (int)(in_day / 1000000);
    *ret_parts = (TimeParts){.date = date_of_days(days),
                             .hour = seconds / 3600,
                             .minute = seconds / 60 % 60,
                             .second = seconds % 60,
                             .micros = (int)(in_day % 1000000)};
    return true;
}

bool time_write(const TimeParts *parts, char out[static TIME_TEXT_SIZE + 1], const char **ret_reason) {
    Date date = parts->date;
    int in_day = parts->hour * 60 + parts->minute - parts->offset, second = parts->second;
    if (in_day < 0) {
        in_day += 1440;
        day_before(&date);
    } else if (in_day >= 1440) {
        in_day -= 1440;
        next_day(&date);
    }
    if (second == 60) {
        *ret_reason = "has a second 60, but only 23:59:60 in UTC can be a leap second";
        if (in_day != 1439) return false;
        second = 0;
        in_day = 0;
        next_day(&date);
    }
    *ret_reason = "is not a time of the years 0001 to 9999 in UTC";
    if (date.year < 1 || date.year > 9999) return false;
    check(in_day >= 0 && in_day < 1440 && date.day >= 1 && date.day <= date_month_days(date.year, date.month));
    memcpy(out, "0000-00-00T00:00:00.000000Z", TIME_TEXT_SIZE + 1);
    date_write(&date, out);
    format_digits(out + 11, 2, in_day / 60);
    format_digits(out + 14, 2, in_day % 60);
    format_digits(out + 17, 2, second);
    format_digits(out + 20, 6, parts->micros);
    return true;
}
