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

    /* Counted from 0000-03-01, so that the leap day is the last of its year; shifted by one cycle of 400 years to stay positive. */
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
