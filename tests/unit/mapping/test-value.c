#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "guard.h"
#include "mapping/scanner.h"
#include "mapping/value.h"
#include "mapping/words.h"

/* The table of dataTypes is in tests/mapping/values.json; here is what goes beyond single cases. */
static int put(DataType type, const char *text, size_t size, unsigned known, Buffer *row) {
    const char *reason = NULL;
    buffer_clear(row);
    int r = value_put(row, type, (Span){text, size}, known, &reason);
    if (r) {
        assert_int_equal(row->size, 0);
        assert_non_null(reason);
    }
    (void)buffer_text(row);
    return r;
}

static void text_is_utf8_without_nul(void **state) {
    Buffer row = {0};
    assert_int_equal(put(DATA_TEXT, "abc\xc3\xa9", 5, 0, &row), 0);
    assert_string_equal(row.data, "abc\xc3\xa9");
    assert_int_equal(put(DATA_TEXT, "", 0, 0, &row), 0);
    assert_string_equal(row.data, "\"\"");
    assert_int_equal(put(DATA_TEXT, NULL, 0, 0, &row), 0);
    assert_int_equal(put(DATA_TEXT, "abc\0def", 7, 0, &row), VALUE_DOES_NOT_FIT);
    assert_int_equal(put(DATA_TEXT, "0123456789\0", 11, 0, &row), VALUE_DOES_NOT_FIT);
    assert_int_equal(put(DATA_TEXT, "0123456789\xff", 11, 0, &row), VALUE_DOES_NOT_FIT);
    assert_int_equal(put(DATA_TEXT, "\xed\xa0\x80", 3, 0, &row), VALUE_DOES_NOT_FIT);
    const char *reason;
    assert_int_equal(value_put(&row, DATA_TEXT, SPAN("\xff"), 0, &reason), VALUE_DOES_NOT_FIT);
    assert_non_null(strstr(reason, "\"dataType\": \"bytes\""));
    assert_int_equal(put(DATA_BYTES, "\xff\0a", 3, 0, &row), 0);
    assert_string_equal(row.data, "\"\\xff0061\"");
    buffer_deinit(&row);
}

static uint64_t random_state = 88172645463325252;
static uint32_t random_below(uint32_t limit) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 33) % limit;
}

/* Numbers near every border, against strtod: what it makes infinite is refused, what it makes 0
 * though it is not is written as 0. */
static void numbers_agree_with_strtod(void **state) {
    static const char *const digits[] = {"1",
                                         "9",
                                         "17976931348623157",
                                         "17976931348623158",
                                         "179769313486231580793728971405303415079934132710037826936173",
                                         "24703282292062327",
                                         "24703282292062328",
                                         "2470328229206232720",
                                         "2470328229206232721",
                                         "494065645841246544",
                                         "5",
                                         "22250738585072014"};
    Buffer row = {0};
    for (int round = 0; round < 40000; round++) {
        char text[200];
        const char *some = digits[random_below(12)];
        size_t point = random_below((uint32_t)strlen(some));
        int exponent = (random_below(2) ? 308 : -324) + (int)random_below(5) - 2 - (random_below(2) ? (int)strlen(some) : 0) +
                       (int)random_below(3);
        if (point == 0)
            snprintf(text, sizeof text, "%s0.%s%se%d", random_below(2) ? "-" : "", random_below(2) ? "000" : "", some, exponent);
        else
            snprintf(text, sizeof text, "%s%.*s.%s%se%+d", random_below(2) ? "-" : "", (int)point, some, some + point,
                     random_below(2) ? "0" : "", exponent);
        double value = strtod(text, NULL);
        int r = put(DATA_NUMBER, text, strlen(text), 0, &row);
        assert_int_equal(r, isinf(value) ? VALUE_DOES_NOT_FIT : 0);
        if (r) continue;
        if (value == 0)
            assert_string_equal(row.data, *text == '-' ? "-0" : "0");
        else
            assert_string_equal(row.data, text);
    }
    /* The border to 0, 2^-1075, in full, and a digit beyond it. */
    char border[1200] = {0};
    snprintf(border, sizeof border, "%.1075f", ldexp(1, -1074) / 1);
    char half[1400];
    snprintf(half, sizeof half, "%.1080Lf", ldexpl(1, -1075));
    assert_int_equal(put(DATA_NUMBER, half, strlen(half), 0, &row), 0);
    assert_string_equal(row.data, "0");
    size_t size = strlen(half);
    memset(half + size, '0', 100);
    memcpy(half + size + 100, "1", 2);
    assert_int_equal(put(DATA_NUMBER, half, strlen(half), 0, &row), 0);
    assert_string_equal(row.data, half);
    assert_int_equal(put(DATA_NUMBER, border, strlen(border), 0, &row), 0);
    assert_string_equal(row.data, border);
    buffer_deinit(&row);
}

__extension__ typedef __int128 Wide;

static void integers_agree_with_wide_arithmetic(void **state) {
    Buffer row = {0};
    for (int round = 0; round < 40000; round++) {
        Wide value = (Wide)INT64_MAX - 20 + random_below(40);
        if (random_below(2)) value = random_below(1000000);
        if (random_below(2)) value = -value;
        bool fits = value >= INT64_MIN && value <= INT64_MAX;
        bool negative = value < 0;
        unsigned long long magnitude = (unsigned long long)(negative ? -value : value);
        char plain[64], text[128];
        snprintf(plain, sizeof plain, "%s%llu", negative ? "-" : "", magnitude);
        uint32_t zeros = random_below(4), moved = random_below(3);
        snprintf(text, sizeof text, "%s%.*s%se%d", plain, (int)zeros, "0000", random_below(2) ? ".00" : "", -(int)zeros);
        if (moved && magnitude > 1000)
            snprintf(text, sizeof text, "%.*s.%se%u", (int)strlen(plain) - (int)moved, plain, plain + strlen(plain) - moved, moved);
        if (magnitude == 0) continue;
        assert_int_equal(put(DATA_INTEGER, text, strlen(text), 0, &row), fits ? 0 : VALUE_DOES_NOT_FIT);
        if (fits) assert_string_equal(row.data, plain);
    }
    buffer_deinit(&row);
}

/* No value of any type is read beyond its end, and cells that were refused leave nothing. */
static void junk_is_judged_inside_its_bounds(void **state) {
    static const char *const seeds[] = {"2006-01-02T15:04:05.123456+01:00",
                                        "2016-12-31T23:59:60Z",
                                        "2024-02-29",
                                        "-12345.678e+90",
                                        "9223372036854775807",
                                        "true",
                                        "false",
                                        "{\"a\":[1,\"\\u00e9\"]}",
                                        "0.000e-5",
                                        "\xe6\x97\xa5\xf0\x9f\x98\x80"};
    static const char junk[] = "0123456789-+.:TZeE tf\"\\{}[]\x80\xff";
    Guard guard = guard_new(64);
    Buffer row = {0};
    for (int round = 0; round < 60000; round++) {
        char text[64];
        const char *seed = seeds[random_below(10)];
        size_t size = strlen(seed);
        memcpy(text, seed, size);
        for (uint32_t i = random_below(3); i > 0; i--) text[random_below((uint32_t)size)] = junk[random_below(sizeof junk)];
        size = random_below(4) ? size : random_below((uint32_t)size + 1);
        for (int type = DATA_TEXT; type <= DATA_BYTES; type++)
            (void)put((DataType)type, guard_place(&guard, text, size).data, size, 0, &row);
    }
    buffer_deinit(&row);
    guard_free(&guard);
}

/* What is known of a value saves work, it never changes the cell. */
static void what_is_known_changes_nothing(void **state) {
    static const char letters[] = "00012345678999..eE+-";
    Buffer row = {0}, other = {0};
    int numbers = 0;
    for (int round = 0; round < 200000; round++) {
        char text[1400];
        size_t size = random_below(20) ? 1 + random_below(24) : random_below(sizeof text);
        uint32_t letter_count = random_below(2) ? sizeof letters - 1 : random_below(4) ? 14 : 16;
        for (size_t i = 0; i < size; i++) text[i] = letters[random_below(letter_count)];
        if (size && random_below(3) == 0) *text = '-';
        ScanFault fault;
        if (scan_validate((Span){text, size}, &fault)) continue;
        numbers++;
        for (int type = DATA_TEXT; type <= DATA_BYTES; type++) {
            int r = put((DataType)type, text, size, 0, &row);
            assert_int_equal(put((DataType)type, text, size, VALUE_IS_TEXT | VALUE_IS_JSON | VALUE_IS_NUMBER, &other), r);
            assert_int_equal(row.size, other.size);
            if (row.size) assert_memory_equal(row.data, other.data, row.size);
        }
    }
    assert_true(numbers > 20000);
    buffer_deinit(&row);
    buffer_deinit(&other);
}

/* Against the check of text.h, which reads eight bytes at a time. */
static void text_is_text_wherever_it_stands(void **state) {
    static const char *const parts[] = {
        "a",        "0123456789abcdefghijklmnop", "\xc3\xa9", "\xe6\x97\xa5", "\xf0\x9f\x98\x80", "\x7f", "\xc2",
        "\xe6\x97", "\xf0\x9f\x98\xe9",           "\x80",     "\xed\xa0\x80", "\xc0\x80"};
    Guard guard = guard_new(1 << 10);
    for (int round = 0; round < 100000; round++) {
        char text[400];
        size_t size = 0;
        uint32_t count = random_below(4) ? 6 : 12;
        for (uint32_t i = random_below(12); i > 0; i--) {
            const char *part = parts[random_below(count)];
            memcpy(text + size, part, strlen(part));
            size += strlen(part);
            if (random_below(200) == 0) text[size++] = 0;
        }
        Span place = guard_place(&guard, text, size);
        assert_int_equal(value_is_text(place), text_check(place) == size);
    }
    guard_free(&guard);
}

static void bytes_are_digits_of_two(void **state) {
    Buffer row = {0};
    for (size_t size = 0; size < 100; size++) {
        char text[100], expected[256] = "\"\\x";
        for (size_t i = 0; i < size; i++) {
            text[i] = (char)random_below(256);
            snprintf(expected + 3 + 2 * i, 3, "%02x", (unsigned char)text[i]);
        }
        strcat(expected, "\"");
        assert_int_equal(put(DATA_BYTES, text, size, 0, &row), 0);
        assert_string_equal(row.data, expected);
    }
    buffer_deinit(&row);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_utf8_without_nul),
        cmocka_unit_test(numbers_agree_with_strtod),
        cmocka_unit_test(integers_agree_with_wide_arithmetic),
        cmocka_unit_test(junk_is_judged_inside_its_bounds),
        cmocka_unit_test(what_is_known_changes_nothing),
        cmocka_unit_test(text_is_text_wherever_it_stands),
        cmocka_unit_test(bytes_are_digits_of_two),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
