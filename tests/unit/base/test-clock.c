#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "base/random.h"

static void known_moments(void **state) {
    char text[25];
    clock_format_utc(0, text);
    assert_string_equal(text, "1970-01-01T00:00:00.000Z");
    clock_format_utc(-1, text);
    assert_string_equal(text, "1969-12-31T23:59:59.999Z");
    clock_format_utc(1709210096 * USEC_SECOND + 789999, text);
    assert_string_equal(text, "2024-02-29T12:34:56.789Z");
}

static void the_ends_of_the_range_hold(void **state) {
    char text[25];
    clock_format_utc(INT64_MIN, text);
    assert_string_equal(text, "0000-01-01T00:00:00.000Z");
    clock_format_utc(INT64_MAX, text);
    assert_string_equal(text, "9999-12-31T23:59:59.999Z");
    clock_format_utc(-62167219200 * USEC_SECOND, text);
    assert_string_equal(text, "0000-01-01T00:00:00.000Z");
    clock_format_utc(253402300799 * USEC_SECOND, text);
    assert_string_equal(text, "9999-12-31T23:59:59.000Z");
}

static void agrees_with_the_c_library(void **state) {
    Random random = {.state = 7};
    for (int i = 0; i < 20000; i++) {
        time_t second = (time_t)random_below(&random, 62167219200 + 253402300800) - 62167219200;
        int ms = (int)random_below(&random, 1000);
        struct tm parts;
        char expected[64], text[25];
        assert_non_null(gmtime_r(&second, &parts));
        (void)snprintf(expected, sizeof expected, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", parts.tm_year + 1900, parts.tm_mon + 1,
                       parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, ms);
        clock_format_utc(second * USEC_SECOND + ms * USEC_MS, text);
        assert_string_equal(text, expected);
    }
}

static void times_that_people_write(void **state) {
    static const struct {
        const char *text;
        int64_t nsec;
    } good[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01t00:00:00.5z", 500000000},
        {"1970-01-01 01:00:00.000000001+01:00", 1},
        {"1969-12-31T23:59:59.999Z", -1000000},
        {"2024-02-29T12:34:56.7891234567-00:30", 1709211896789123456},
        {"2016-12-31T23:59:60Z", 1483228800000000000},
        {"2261-12-31T00:00:00Z", 9214560000000000000},
    };
    static const char *const bad[] = {"",
                                      "2024",
                                      "2024-02-29",
                                      "2024-02-29T12:34Z",
                                      "2024-02-29T12:34:56",
                                      "2023-02-29T12:34:56Z",
                                      "2024-04-31T12:34:56Z",
                                      "2024-13-01T12:34:56Z",
                                      "2024-1-01T12:34:56Z",
                                      "2024-02-29T24:00:00Z",
                                      "2024-02-29T12:34:61Z",
                                      "2024-02-29T12:34:56.Z",
                                      "2024-02-29T12:34:56Zx",
                                      "2024-02-29T12:34:56+1:00",
                                      "2024-02-29T12:34:56+01:60",
                                      "2024-02-29T12:34:56+01:000",
                                      "+024-02-29T12:34:56Z",
                                      " 2024-02-29T12:34:56Z",
                                      "9999-12-31T00:00:00Z",
                                      "0001-01-01T00:00:00Z"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        int64_t nsec = 7;
        if (!clock_parse(span_of(good[i].text), &nsec)) fail_msg("%s is refused", good[i].text);
        assert_int_equal(nsec, good[i].nsec);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t nsec;
        if (clock_parse(span_of(bad[i]), &nsec)) fail_msg("%s is taken", bad[i]);
    }
}

static void the_system_clock_runs(void **state) {
    Clock *clock = clock_system();
    usec_t wall = clock->wall(clock), boot = clock->boot(clock);
    assert_true(wall > 1600000000 * USEC_SECOND);
    assert_true(wall / USEC_SECOND - time(NULL) <= 1);
    for (int i = 0; i < 1000; i++) {
        usec_t next = clock->boot(clock);
        assert_true(next >= boot);
        boot = next;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_moments),
        cmocka_unit_test(the_ends_of_the_range_hold),
        cmocka_unit_test(agrees_with_the_c_library),
        cmocka_unit_test(times_that_people_write),
        cmocka_unit_test(the_system_clock_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
