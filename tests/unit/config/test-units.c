#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "config/units.h"

static void sizes_are_powers_of_1024(void **state) {
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"0", 0},
                {"7", 7},
                {"100B", 100},
                {"5MB", 5 << 20},
                {"16KB", 16 << 10},
                {"1GB", 1 << 30},
                {"2TB", 2ULL << 40},
                {"5mb", 5 << 20},
                {"5 MB", 5 << 20},
                {"1.5MB", 1536 << 10},
                {"18446744073709551615", UINT64_MAX}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        uint64_t bytes = 99;
        assert_int_equal(units_parse_size(span_of(good[i].text), &bytes), 0);
        assert_true(bytes == good[i].bytes);
    }
}

static void bad_sizes_are_told_apart(void **state) {
    static const char *const bad[] = {"", "MB", "-1", "5 ", "5  MB", "5XB", "5M", " 5", "1.MB", "1.3B", "1.1234567GB", "0x10", "5MBB"};
    uint64_t bytes = 99;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(units_parse_size(span_of(bad[i]), &bytes), -EINVAL);
    assert_int_equal(units_parse_size(span_of("18446744073709551616"), &bytes), -ERANGE);
    assert_int_equal(units_parse_size(span_of("99999999999999TB"), &bytes), -ERANGE);
    assert_int_equal(units_parse_size(span_of("16777215.999999TB"), &bytes), -EINVAL);
    assert_int_equal(units_parse_size((Span){0}, &bytes), -EINVAL);
    assert_true(bytes == 99);
}

static void times_need_a_unit_and_may_be_joined(void **state) {
    static const struct {
        const char *text;
        usec_t usec;
    } good[] = {{"0s", 0},         {"30s", 30 * USEC_SECOND},  {"1m", USEC_MINUTE},
                {"24h", USEC_DAY}, {"7d", 7 * USEC_DAY},       {"250ms", 250 * USEC_MS},
                {"3us", 3},        {"1h30m", 90 * USEC_MINUTE}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        usec_t usec = -1;
        assert_int_equal(units_parse_time(span_of(good[i].text), &usec), 0);
        assert_true(usec == good[i].usec);
    }
    static const char *const bad[] = {"", "0", "30", "s", "30 s", "30S", "-1s", "1h30", "1.5s", "5MB"};
    usec_t usec = 77;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(units_parse_time(span_of(bad[i]), &usec), -EINVAL);
    assert_int_equal(units_parse_time(span_of("9223372036854775808us"), &usec), -ERANGE);
    assert_int_equal(units_parse_time(span_of("106751991d3h"), &usec), 0);
    assert_int_equal(units_parse_time(span_of("106751992d"), &usec), -ERANGE);
    assert_int_equal(units_parse_time(span_of("106751991d106751991d"), &usec), -ERANGE);
}

static void formatting_takes_the_largest_unit_that_divides(void **state) {
    static const struct {
        uint64_t value;
        const char *size, *time;
    } cases[] = {{0, "0B", "0s"},
                 {1000, "1000B", "1ms"},
                 {1536, "1536B", "1536us"},
                 {5 << 20, "5MB", "5242880us"},
                 {90000000, "90000000B", "90s"},
                 {86400000000, "84375000KB", "1d"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Buffer out = {0};
        units_format_size(&out, cases[i].value);
        assert_string_equal(buffer_text(&out), cases[i].size);
        buffer_clear(&out);
        units_format_time(&out, (usec_t)cases[i].value);
        assert_string_equal(buffer_text(&out), cases[i].time);
        buffer_deinit(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_powers_of_1024),
        cmocka_unit_test(bad_sizes_are_told_apart),
        cmocka_unit_test(times_need_a_unit_and_may_be_joined),
        cmocka_unit_test(formatting_takes_the_largest_unit_that_divides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
