#include "base/clock.h"

#include <string.h>
#include <time.h>

#include "base/error.h"

static usec_t read_clock(clockid_t id) {
    struct timespec now;
    check(clock_gettime(id, &now) == 0);
    return (usec_t)now.tv_sec * USEC_SECOND + now.tv_nsec / 1000;
}

static usec_t system_wall(Clock *clock) {
    return read_clock(CLOCK_REALTIME);
}

static usec_t system_boot(Clock *clock) {
    return read_clock(CLOCK_BOOTTIME);
}

Clock *clock_system(void) {
    static Clock clock = {.wall = system_wall, .boot = system_boot}; /* never written */
    return &clock;
}

static void put_digits(char *out, int count, int64_t value) {
    while (count-- > 0) {
        out[count] = (char)('0' + value % 10);
        value /= 10;
    }
}

void clock_format_utc(usec_t wall, char out[static 25]) {
    enum { DAYS_TO_YEAR_0 = 719528 }; /* from 0000-01-01 to 1970-01-01 */
    const usec_t least = -DAYS_TO_YEAR_0 * USEC_DAY, most = 253402300800 * USEC_SECOND - 1;

    if (wall < least) wall = least;
    if (wall > most) wall = most;

    /* Counted from 0000-03-01, so that the leap day is the last of its year; shifted by one cycle
     * of 400 years to stay positive. */
    int64_t since = wall + (DAYS_TO_YEAR_0 + 146097 - 60) * USEC_DAY;
    int64_t day = since / USEC_DAY, in_day = since % USEC_DAY / USEC_MS;
    int64_t era = day / 146097, day_of_era = day % 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_from_march = (5 * day_of_year + 2) / 153;
    int64_t day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    int64_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    int64_t year = year_of_era + era * 400 - 400 + (month <= 2);

    memcpy(out, "0000-00-00T00:00:00.000Z", 25);
    put_digits(out, 4, year);
    put_digits(out + 5, 2, month);
    put_digits(out + 8, 2, day_of_month);
    put_digits(out + 11, 2, in_day / 3600000);
    put_digits(out + 14, 2, in_day / 60000 % 60);
    put_digits(out + 17, 2, in_day / 1000 % 60);
    put_digits(out + 20, 3, in_day % 1000);
}

/* Of exactly `count` digits at `at`; -1: they are not there. */
static int take_digits(Span text, size_t at, size_t count) {
    int value = 0;
    if (at + count > text.size) return -1;
    for (size_t i = at; i < at + count; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') return -1;
        value = value * 10 + (text.data[i] - '0');
    }
    return value;
}

static bool has_at(Span text, size_t at, const char *characters) {
    return at < text.size && text.data[at] != 0 && strchr(characters, text.data[at]);
}

static bool in_range(int value, int least, int most) {
    return value >= least && value <= most;
}

/* The rest of `text` from `at` on: "Z", or "+02:00". */
static bool take_offset(Span text, size_t at, int *ret_minutes) {
    *ret_minutes = 0;
    if (has_at(text, at, "Zz")) return at + 1 == text.size;
    int hours = take_digits(text, at + 1, 2), minutes = take_digits(text, at + 4, 2);
    if (!has_at(text, at, "+-") || !has_at(text, at + 3, ":") || at + 6 != text.size) return false;
    if (!in_range(hours, 0, 23) || !in_range(minutes, 0, 59)) return false;
    *ret_minutes = (hours * 60 + minutes) * (text.data[at] == '-' ? -1 : 1);
    return true;
}

bool clock_parse(Span text, int64_t *ret_nsec) {
    int year = take_digits(text, 0, 4), month = take_digits(text, 5, 2), day = take_digits(text, 8, 2);
    int hour = take_digits(text, 11, 2), minute = take_digits(text, 14, 2), second = take_digits(text, 17, 2);
    if (year < 0 || !in_range(month, 1, 12) || !in_range(day, 1, 31) || !in_range(hour, 0, 23) || !in_range(minute, 0, 59) ||
        !in_range(second, 0, 60))
        return false;
    if (!has_at(text, 4, "-") || !has_at(text, 7, "-") || !has_at(text, 10, "Tt ") || !has_at(text, 13, ":") || !has_at(text, 16, ":"))
        return false;
    size_t at = 19;
    int64_t fraction = 0;
    if (has_at(text, at, ".")) {
        size_t start = ++at;
        int64_t unit = 100000000;
        for (; take_digits(text, at, 1) >= 0; at++, unit /= 10) fraction += unit * take_digits(text, at, 1);
        if (at == start) return false;
    }
    int offset;
    if (!take_offset(text, at, &offset)) return false;
    struct tm parts = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day, .tm_hour = hour, .tm_min = minute};
    int64_t seconds = (int64_t)timegm(&parts) + second;
    if (parts.tm_mday != day) return false; /* the month has no such day, and timegm() went on to the next one */
    return !__builtin_mul_overflow(seconds - (int64_t)offset * 60, 1000000000, ret_nsec) &&
           !__builtin_add_overflow(*ret_nsec, fraction, ret_nsec);
}
