#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "mapping/time_format.h"
#include "mapping/time_text.h"

static TimeFormat *compile(const char *text) {
    TimeFormat *format = NULL;
    Error error = {0};
    if (time_format_compile(span_of(text), &format, &error) != 0) fail_msg("%s: %s", text, error.text);
    return format;
}

/* `expected`: the text, or what the reason holds. */
static void gives(const char *format_text, bool is_date, const char *value, const char *expected) {
    TimeFormat *format = compile(format_text);
    Buffer row = {0};
    const char *reason = "";
    /* Of just its bytes, so that a byte behind them is found by the sanitizer. */
    size_t size = strlen(value);
    char *bytes = malloc(size + 1);
    memcpy(bytes, value, size);
    char *exact = realloc(bytes, size ? size : 1);
    bool fits = time_format_put(format, is_date, (Span){exact, size}, &row, &reason);
    if (fits ? strcmp(buffer_text(&row), expected) != 0 : !strstr(reason, expected))
        fail_msg("%s of %s: %s, not %s", value, format_text, fits ? buffer_text(&row) : reason, expected);
    if (!fits) assert_int_equal(row.size, 0);
    free(exact);
    buffer_deinit(&row);
    time_format_free(format);
}

static void numbers_since_1970(void **state) {
    gives("unix", false, "0", "1970-01-01T00:00:00.000000Z");
    gives("unix", false, "-0", "1970-01-01T00:00:00.000000Z");
    gives("unix", false, "1700000000", "2023-11-14T22:13:20.000000Z");
    gives("unix", false, "1700000000.1234567", "2023-11-14T22:13:20.123456Z");
    gives("unix", false, "1.7e9", "2023-11-14T22:13:20.000000Z");
    gives("unix", false, "-1.5", "1969-12-31T23:59:58.500000Z");
    gives("unix", false, "-0.0000001", "1969-12-31T23:59:59.999999Z");
    gives("unix", false, "253402300799.999999", "9999-12-31T23:59:59.999999Z");
    gives("unix", false, "253402300800", "in the unit of the format");
    gives("unix", false, "-62135596800", "0001-01-01T00:00:00.000000Z");
    gives("unix", false, "-62135596800.000001", "in the unit of the format");
    gives("unix", false, "1e999999999999", "in the unit of the format");
    gives("unix", false, "1e-999999999999", "1970-01-01T00:00:00.000000Z");
    gives("unix", false, "", "is not a number");
    gives("unix", false, "01", "is not a number");
    gives("unix", false, "+1", "is not a number");
    gives("unix", false, "1 ", "is not a number");
    gives("unix", false, "2023-11-14T22:13:20Z", "is not a number");
    gives("unixMs", false, "1700000000123", "2023-11-14T22:13:20.123000Z");
    gives("unixMs", false, "1700000000123.4567", "2023-11-14T22:13:20.123456Z");
    gives("unixUs", false, "1700000000123456", "2023-11-14T22:13:20.123456Z");
    gives("unixNs", false, "1700000000123456789", "2023-11-14T22:13:20.123456Z");
    gives("unixNs", false, "-1", "1969-12-31T23:59:59.999999Z");
    gives("unix", true, "1700000000", "2023-11-14");
    gives("unix", true, "-1", "1969-12-31");
    gives("unixMs", true, "951782400000", "2000-02-29");
}

/* All days of 800 years against the C library. */
static void days_are_those_of_the_calendar(void **state) {
    for (int64_t day = -719162; day<2932896; day += day> - 200000 && day < 100000 ? 1 : 97) {
        TimeParts parts;
        struct tm tm;
        time_t seconds = (time_t)day * 86400 + 86399;
        assert_true(time_of_unix((int64_t)seconds * 1000000, &parts));
        assert_non_null(gmtime_r(&seconds, &tm));
        assert_int_equal(parts.date.year, tm.tm_year + 1900);
        assert_int_equal(parts.date.month, tm.tm_mon + 1);
        assert_int_equal(parts.date.day, tm.tm_mday);
        assert_int_equal(parts.hour * 3600 + parts.minute * 60 + parts.second, 86399);
    }
}

static void patterns(void **state) {
    gives("%Y-%m-%d %H:%M:%S", false, "2024-02-29 23:59:59", "2024-02-29T23:59:59.000000Z");
    gives("%Y-%m-%d %H:%M:%S", false, "2024-02-29   3:5:9", "2024-02-29T03:05:09.000000Z");
    gives("%Y-%m-%d %H:%M:%S", false, "2023-02-29 23:59:59", "is not a day of the calendar");
    gives("%Y-%m-%d %H:%M:%S", false, "2024-02-29 24:00:00", "does not fit the format");
    gives("%Y-%m-%d %H:%M:%S", false, "2024-02-29 23:59:59Z", "does not fit the format");
    gives("%Y-%m-%d %H:%M:%S", false, "2024-02-29 23:59", "does not fit the format");
    gives("%Y-%m-%d %H:%M:%S", false, "", "does not fit the format");
    gives("%F %T", false, "2024-02-29 23:59:59", "2024-02-29T23:59:59.000000Z");
    gives("%FT%T.%f%z", false, "2024-02-29T23:59:59.1234567+01:30", "2024-02-29T22:29:59.123456Z");
    gives("%FT%T%z", false, "2024-12-31T23:59:59-0100", "2025-01-01T00:59:59.000000Z");
    gives("%FT%T%z", false, "2024-12-31T23:59:59+01", "2024-12-31T22:59:59.000000Z");
    gives("%FT%T%z", false, "2024-12-31T23:59:59Z", "2024-12-31T23:59:59.000000Z");
    gives("%FT%T%z", false, "2024-12-31T23:59:59+24:00", "does not fit the format");
    gives("%FT%T%z", false, "2024-12-31T23:59:59+01:", "does not fit the format");
    gives("%FT%T%z", false, "2024-12-31T23:59:59+1", "does not fit the format");
    gives("%a, %d %b %Y %T %Z", false, "Thu, 29 Feb 2024 23:59:59 GMT", "2024-02-29T23:59:59.000000Z");
    gives("%A, %d %B %Y %T %Z", false, "thursday, 29 FEBRUARY 2024 23:59:59 utc", "2024-02-29T23:59:59.000000Z");
    gives("%a %b %e %H:%M:%S %Y", false, "Mon May  6 07:08:09 2024", "2024-05-06T07:08:09.000000Z");
    gives("%a, %d %b %Y %T %Z", false, "Thu, 29 Feb 2024 23:59:59 CET", "does not fit the format");
    gives("%a, %d %b %Y %T %Z", false, "Don, 29 Feb 2024 23:59:59 GMT", "does not fit the format");
    gives("%d/%b/%Y:%H:%M:%S %z", false, "10/Oct/2000:13:55:36 -0700", "2000-10-10T20:55:36.000000Z");
    gives("%m/%d/%y %I:%M %p", false, "1/2/69 12:05 am", "1969-01-02T00:05:00.000000Z");
    gives("%D %l:%M%p", false, "1/2/68  1:05PM", "2068-01-02T13:05:00.000000Z");
    gives("%D %I:%M%p", false, "1/2/68 12:05PM", "2068-01-02T12:05:00.000000Z");
    gives("%D %I:%M%p", false, "1/2/68 13:05PM", "does not fit the format");
    gives("%Y%m%d%H%M%S", false, "20240229235959", "2024-02-29T23:59:59.000000Z");
    gives("%Y-%j", false, "2024-366", "2024-12-31T00:00:00.000000Z");
    gives("%Y-%j", false, "2023-366", "is not a day of the calendar");
    gives("%Y-%j", true, "2023-060", "2023-03-01");
    gives("%s", false, "1700000000", "2023-11-14T22:13:20.000000Z");
    gives("%s.%f", false, "-1.5", "1969-12-31T23:59:58.500000Z");
    gives("%s.%f", false, "-0.5", "1969-12-31T23:59:59.500000Z");
    gives("%s", false, "999999999999999", "years 0001 to 9999");
    gives("%s", false, "9999999999999999", "does not fit the format");
    gives("%s", false, "-", "does not fit the format");
    gives("100%% %F", false, "100% 2024-01-02", "2024-01-02T00:00:00.000000Z");
    gives("%F%n%T", false, "2024-01-02T00:00:00", "does not fit the format");
    gives("%F%n%T", false, "2024-01-02\t\n00:00:00", "2024-01-02T00:00:00.000000Z");
    gives("%FT%T%z", false, "2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000000Z");
    gives("%FT%T%z", false, "2016-12-31T22:59:60Z", "leap second");
    gives("%F", false, "0000-01-01", "years 0001 to 9999");
    gives("%F", true, "0000-01-01", "is not a date");
    gives("%d.%m.%Y", true, "29.02.2024", "2024-02-29");
    gives("%d.%m.%Y %H:%M %z", true, "29.02.2024 23:30 -0100", "2024-02-29"); /* as it is written */
    gives("%F", true, "2024-01-02 ", "does not fit the format");
}

static void refuses(const char *text, const char *words) {
    TimeFormat *format = NULL;
    Error error = {0};
    assert_int_equal(time_format_compile(span_of(text), &format, &error), -EINVAL);
    assert_null(format);
    if (!strstr(error.text, words)) fail_msg("%s: %s", text, error.text);
}

static void formats_that_say_no_time_are_refused(void **state) {
    refuses("", "is neither rfc3339");
    refuses("unixms", "is neither rfc3339");
    refuses("YYYY-MM-DD", "nor a pattern with %");
    refuses("%Y-%m-%d %", "a % at byte 9");
    refuses("%Y-%m-%dT%Q", "a % at byte 9 without one of %Y");
    refuses("%Ey", "a % at byte 0");
    refuses("%H:%M", "must define the day exactly once");
    refuses("%Y-%m", "must define the day exactly once");
    refuses("%m-%d", "must define the day exactly once");
    refuses("%Y-%m-%d %j", "must define the day exactly once");
    refuses("%Y-%b-%m-%d", "must define the day exactly once");
    refuses("%Y %y-%m-%d", "must define the day exactly once");
    refuses("%F %d", "has %d twice");
    refuses("%F %I", "one of %I and %p");
    refuses("%F %H %p", "one of %I and %p");
    refuses("%F %H %I %p", "%H and %I");
    refuses("%F %z %Z", "%z and %Z");
    refuses("%s %Y", "%s and %Y");
    TimeFormat *format = (TimeFormat *)(uintptr_t)1;
    assert_int_equal(time_format_compile(SPAN("rfc3339"), &format, NULL), 0);
    assert_null(format);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_since_1970),
        cmocka_unit_test(days_are_those_of_the_calendar),
        cmocka_unit_test(patterns),
        cmocka_unit_test(formats_that_say_no_time_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
