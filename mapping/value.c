#include "mapping/value.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/text.h"
#include "base/uuid.h"
#include "mapping/block.h"
#include "mapping/json_check.h"
#include "mapping/json_value.h"
#include "mapping/row.h"
#include "mapping/time_text.h"
#include "mapping/words.h"

#define DECIMAL_DIGITS_MAX 1000
#define JSON_WHOLE_MAX 131072 /* digits of a number in jsonb, before and behind the point */
#define JSON_FRACTION_MAX 16383
/* An exponent beyond this, of any sign, decides alone; no text is long enough to make up for it. */
#define EXPONENT_LIMIT INT64_C(1000000000000)

/* A JSON number taken apart: -?WHOLE.FRACTIONeEXPONENT */
typedef struct Number {
    bool negative;
    Span whole, fraction; /* digits */
    int64_t exponent;     /* held to EXPONENT_LIMIT */
} Number;

static Span take_digits(const char **p, const char *end) {
    const char *start = *p;
    while (*p < end && text_is_digit(**p)) ++*p;
    return (Span){start, (size_t)(*p - start)};
}

static bool parse_number(Span text, Number *ret) {
    const char *p = text.data, *end = p + text.size;
    *ret = (Number){0};
    if (p < end && *p == '-') {
        ret->negative = true;
        p++;
    }
    ret->whole = take_digits(&p, end);
    if (ret->whole.size == 0 || (ret->whole.size > 1 && *ret->whole.data == '0')) return false;
    if (p < end && *p == '.') {
        p++;
        ret->fraction = take_digits(&p, end);
        if (ret->fraction.size == 0) return false;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        bool minus = p < end && *p == '-';
        if (p < end && (*p == '-' || *p == '+')) p++;
        Span digits = take_digits(&p, end);
        if (digits.size == 0) return false;
        for (size_t i = 0; i < digits.size && ret->exponent < EXPONENT_LIMIT; i++)
            ret->exponent = ret->exponent * 10 + (digits.data[i] - '0');
        if (ret->exponent > EXPONENT_LIMIT) ret->exponent = EXPONENT_LIMIT;
        if (minus) ret->exponent = -ret->exponent;
    }
    return p == end;
}

/* The number's digits as one row; the digit at place `at` counts 10^(whole.size - 1 - at +
 * exponent). */
static size_t digit_count(const Number *number) {
    return number->whole.size + number->fraction.size;
}

static char digit_at(const Number *number, size_t at) {
    check_debug(at < digit_count(number));
    return at < number->whole.size ? number->whole.data[at] : number->fraction.data[at - number->whole.size];
}

/* First and last digits that are not 0; false when all are. */
static bool significant(const Number *number, size_t *ret_first, size_t *ret_last) {
    size_t first = 0, last = digit_count(number);
    while (first < last && digit_at(number, first) == '0') first++;
    if (first == last) return false;
    while (digit_at(number, last - 1) == '0') last--;
    check(first < last && last <= digit_count(number));
    *ret_first = first;
    *ret_last = last - 1;
    return true;
}

/* Power of ten that the digit at `at` counts. */
static int64_t power_at(const Number *number, size_t at) {
    return (int64_t)number->whole.size - 1 - (int64_t)at + number->exponent;
}

static size_t format_integer(bool negative, uint64_t magnitude, char out[static 24]) {
    char digits[24];
    size_t size = 0, at = 0;
    do digits[size++] = (char)('0' + magnitude % 10);
    while (magnitude /= 10);
    if (negative) out[at++] = '-';
    while (size > 0) out[at++] = digits[--size];
    check(at > 0 && at <= 20); /* a sign and 19 digits at most */
    return at;
}

/* Is it the text that put_integer would write? Some such texts are not seen. */
static bool is_plain_integer(Span text) {
    size_t at = text.size && *text.data == '-' ? 1 : 0;
    if (text.size - at > 18 || text.size == at || (text.data[at] == '0' && text.size > 1)) return false;
    while (at < text.size && text_is_digit(text.data[at])) at++;
    return at == text.size;
}

/* Of a JSON number. */
static bool has_exponent(Span number) {
    for (const char *p = number.data, *end = p + number.size; p < end; p++)
        if (*p == 'e' || *p == 'E') return true;
    return false;
}

static int put_integer(Buffer *row, Span text, const char **ret_reason) {
    if (is_plain_integer(text)) {
        row_put_plain(row, text);
        return 0;
    }
    static const char not_integer[] = "is not an integer";
    static const char out_of_range[] = "is not an integer from -9223372036854775808 to 9223372036854775807";
    Number number;
    *ret_reason = not_integer;
    if (!parse_number(text, &number)) return VALUE_DOES_NOT_FIT;
    size_t first, last;
    if (!significant(&number, &first, &last)) {
        row_put_plain(row, SPAN("0"));
        return 0;
    }
    if (power_at(&number, last) < 0) return VALUE_DOES_NOT_FIT;
    *ret_reason = out_of_range;
    if (power_at(&number, first) > 18) return VALUE_DOES_NOT_FIT;
    uint64_t magnitude = 0; /* below 10^19, which fits */
    for (size_t at = first; at <= last; at++) magnitude = magnitude * 10 + (uint64_t)(digit_at(&number, at) - '0');
    for (int64_t power = power_at(&number, last); power > 0; power--) magnitude *= 10;
    if (magnitude > (uint64_t)INT64_MAX + number.negative) return VALUE_DOES_NOT_FIT;
    char out[24];
    row_put_plain(row, (Span){out, format_integer(number.negative, magnitude, out)});
    return 0;
}

/* Compares the digits from `first` with `limit`, whose first digit counts the same power: <0, 0,
 * >0. */
static int compare_digits(const Number *number, size_t first, const char *limit) {
    size_t count = digit_count(number);
    for (size_t at = first; *limit || at < count; at++) {
        char mine = at < count ? digit_at(number, at) : '0', other = *limit ? *limit++ : '0';
        if (mine != other) return mine < other ? -1 : 1;
    }
    return 0;
}

static int put_number(Buffer *row, Span text, unsigned known, const char **ret_reason) {
    /* 300 digits make neither infinity nor what is rounded to 0. */
    if ((known & VALUE_IS_NUMBER) && text.size <= 300 && !has_exponent(text)) {
        row_put_plain(row, text);
        return 0;
    }
    /* From 2^1024 - 2^970 on a number is rounded to infinity: 1.797…e308. */
    static const char too_large[] = "179769313486231580793728971405303415079934132710037826936173778980444968292764750946649017977587207096"
                                    "330286416692887910946555547851"
                                    "940402630657488671505820681908902000708383676273854845817711531764475730270069855571366959622842914819"
                                    "860834936475292719074168444365"
                                    "510704342711559699508093042880";
    Number number;
    size_t first, last;
    *ret_reason = "is not a number in JSON notation";
    if (!parse_number(text, &number)) return VALUE_DOES_NOT_FIT;
    if (significant(&number, &first, &last)) {
        int64_t power = power_at(&number, first);
        if (power > 308 || (power == 308 && compare_digits(&number, first, too_large) >= 0)) {
            *ret_reason = "is not a number in the range of a double";
            return VALUE_DOES_NOT_FIT;
        }
        /* PostgreSQL refuses what rounds to 0 though it is not. 2^-1075 = 2.47…e-324 is the largest
         * of these: the border needs all the digits of that, which strtod knows. */
        bool is_zero = power < -324;
        if (power == -324) {
            char small[1024]; /* digits and exponent without a point, which would depend on the locale */
            size_t count = last - first + 1, kept = count < 1000 ? count : 1000; /* the border has 752 */
            for (size_t i = 0; i < kept; i++) small[i] = digit_at(&number, first + i);
            if (kept < count) small[kept++] = '1'; /* stands for the rest */
            check(kept > 0 && kept <= 1001);
            (void)snprintf(small + kept, sizeof small - kept, "e-%zu", 323 + kept);
            is_zero = strtod(small, NULL) == 0;
        }
        if (is_zero) text = number.negative ? SPAN("-0") : SPAN("0");
    }
    row_put_plain(row, text);
    return 0;
}

/* Written without exponent, does it take no more digits than a decimal has? */
static bool takes_decimal(const Number *number) {
    int64_t whole = (int64_t)number->whole.size + number->exponent, fraction = (int64_t)number->fraction.size - number->exponent;
    if (whole < 1) whole = 1;
    if (fraction < 0) fraction = 0;
    return whole + fraction <= DECIMAL_DIGITS_MAX;
}

static int put_decimal(Buffer *row, Span text, unsigned known, const char **ret_reason) {
    if ((known & VALUE_IS_NUMBER) && text.size <= DECIMAL_DIGITS_MAX && !has_exponent(text)) {
        row_put_plain(row, text);
        return 0;
    }
    Number number;
    *ret_reason = "is not a number in JSON notation";
    if (!parse_number(text, &number)) return VALUE_DOES_NOT_FIT;
    if (!takes_decimal(&number)) {
        *ret_reason = "needs more than 1,000 digits";
        return VALUE_DOES_NOT_FIT;
    }
    row_put_plain(row, text);
    return 0;
}

bool value_is_json_number(Span number) {
    if (number.size <= JSON_FRACTION_MAX && !has_exponent(number)) return true;
    Number parsed;
    return parse_number(number, &parsed) && (int64_t)parsed.whole.size + parsed.exponent <= JSON_WHOLE_MAX &&
           (int64_t)parsed.fraction.size - parsed.exponent <= JSON_FRACTION_MAX;
}

static int put_boolean(Buffer *row, Span text, const char **ret_reason) {
    *ret_reason = "is neither true nor false";
    if (!span_equal(text, SPAN("true")) && !span_equal(text, SPAN("false"))) return VALUE_DOES_NOT_FIT;
    row_put_plain(row, text);
    return 0;
}

bool value_is_plain_integer(Span number) {
    static const char most[] = "9223372036854775808"; /* without a sign: one more than the most */
    bool negative = number.size > 0 && *number.data == '-';
    size_t at = negative ? 1 : 0, digits = number.size - at;
    if (digits == 0 || digits > 19) return false;
    for (size_t i = at; i < number.size; i++)
        if (!text_is_digit(number.data[i])) return false;
    if (digits < 19) return true;
    int order = memcmp(number.data + at, most, 19);
    return order < 0 || (order == 0 && negative);
}

bool value_is_decimal(Span number) {
    if (number.size <= DECIMAL_DIGITS_MAX && !has_exponent(number)) return true;
    Number parsed;
    return parse_number(number, &parsed) && takes_decimal(&parsed);
}

int value_scaled(Span number, int power, int64_t *ret_value) {
    Number parsed;
    size_t first, last;
    if (!parse_number(number, &parsed)) return VALUE_DOES_NOT_FIT;
    *ret_value = 0;
    if (!significant(&parsed, &first, &last)) return 0;
    if (power_at(&parsed, first) + power > 18) return VALUE_OUT_OF_RANGE;
    uint64_t magnitude = 0; /* below 10^19 */
    size_t at = first;
    for (; at <= last && power_at(&parsed, at) + power >= 0; at++) magnitude = magnitude * 10 + (uint64_t)(digit_at(&parsed, at) - '0');
    if (at > last)
        for (int64_t left = power_at(&parsed, last) + power; left > 0; left--) magnitude *= 10;
    else if (parsed.negative)
        magnitude++; /* a part is cut off, and the whole number below is asked for */
    if (magnitude > INT64_MAX) return VALUE_OUT_OF_RANGE;
    *ret_value = parsed.negative ? -(int64_t)magnitude : (int64_t)magnitude;
    return 0;
}

static int put_date(Buffer *row, Span text, const char **ret_reason) {
    Date date;
    *ret_reason = "is not a date such as 2006-01-02, from year 0001 on";
    if (text.size != DATE_TEXT_SIZE || !date_read(text, &date) || date.year == 0) return VALUE_DOES_NOT_FIT;
    row_put_plain(row, text);
    return 0;
}

static int put_timestamp(Buffer *row, Span text, const char **ret_reason) {
    char out[TIME_TEXT_SIZE + 1];
    TimeParts parts;
    if (!time_read(text, false, &parts, ret_reason) || !time_write(&parts, out, ret_reason)) return VALUE_DOES_NOT_FIT;
    row_put_plain(row, (Span){out, TIME_TEXT_SIZE});
    return 0;
}

static int put_bytes(Buffer *row, Span text) {
    /* The backslash makes it a quoted cell. */
    char *to = buffer_reserve(row, text.size * 2 + 4);
    memcpy(to, "\"\\x", 3);
    to += 3;
    size_t at = 0;
    for (; text.size - at >= BLOCK_BYTES; at += BLOCK_BYTES, to += 2 * BLOCK_BYTES) block_put_hex(to, text.data + at);
    for (; at < text.size; at++) {
        *to++ = "0123456789abcdef"[(unsigned char)text.data[at] >> 4];
        *to++ = "0123456789abcdef"[(unsigned char)text.data[at] & 15];
    }
    *to++ = '"';
    check((size_t)(to - row->data) - row->size == 2 * text.size + 4);
    row->size = (size_t)(to - row->data);
    return 0;
}

static int put_json(Buffer *row, Span text, const char **ret_reason) {
    _cleanup_(buffer_deinit) Buffer unique = {0};
    int r = json_value_read(text, &unique, ret_reason);
    if (r == JSON_VALUE_DOES_NOT_FIT) return VALUE_DOES_NOT_FIT;
    row_put(row, r == JSON_VALUE_REPEATS ? buffer_span(&unique) : text);
    return 0;
}

static int put_uuid(Buffer *row, Span text, const char **ret_reason) {
    *ret_reason = "is not a UUID such as 0190163d-8694-739b-aea5-966c26f8ad91";
    static const Span urn = {"urn:uuid:", 9};
    if (text.size > urn.size && span_equal_nocase((Span){text.data, urn.size}, urn)) {
        text = (Span){text.data + urn.size, text.size - urn.size};
    } else if (text.size > 2 && *text.data == '{' && text.data[text.size - 1] == '}') {
        text = (Span){text.data + 1, text.size - 2};
    }
    bool has_hyphens = text.size == UUID_TEXT_SIZE;
    char out[UUID_TEXT_SIZE];
    if (!has_hyphens && text.size != 32) return VALUE_DOES_NOT_FIT;
    for (size_t i = 0, at = 0; i < UUID_TEXT_SIZE; i++) {
        bool is_hyphen = i == 8 || i == 13 || i == 18 || i == 23;
        if (is_hyphen && has_hyphens && text.data[at++] != '-') return VALUE_DOES_NOT_FIT;
        int digit = is_hyphen ? 0 : text_hex(text.data[at++]);
        if (digit < 0) return VALUE_DOES_NOT_FIT;
        out[i] = is_hyphen ? '-' : "0123456789abcdef"[digit];
    }
    row_put_plain(row, (Span){out, UUID_TEXT_SIZE});
    return 0;
}

static bool format_exact_time(Span text, char out[static TIME_TEXT_SIZE + 1]) {
    if (text.size < 20 || text.size > 128 || (text.data[10] != 'T' && text.data[10] != 't')) return false;
    if (memcmp(text.data + 17, "60", 2) == 0) return false;
    for (size_t i = 26; text.data[19] == '.' && i < text.size && text_is_digit(text.data[i]); i++)
        if (text.data[i] != '0') return false;
    const char *reason;
    TimeParts parts;
    return time_read(text, true, &parts, &reason) && time_write(&parts, out, &reason);
}

bool value_is_exact_time(Span text) {
    char out[TIME_TEXT_SIZE + 1];
    return format_exact_time(text, out);
}

bool value_put_exact_time(Buffer *row, Span text) {
    char out[TIME_TEXT_SIZE + 1];
    if (!format_exact_time(text, out)) return false;
    row_put_plain(row, (Span){out, TIME_TEXT_SIZE});
    return true;
}

bool value_is_text(Span text) {
    if (text.size == 0) return true; /* NULL has no end to reckon */
    const char *p = text.data, *end = p + text.size;
    while (p < end) {
        if (end - p >= BLOCK_BYTES && block_not_ascii_text(block_load(p)) == 0) {
            p += BLOCK_BYTES;
            continue;
        }
        for (const char *stop = end - p > BLOCK_BYTES ? p + BLOCK_BYTES : end; p < stop;) {
            size_t size = (unsigned char)*p >= 0x80 ? text_utf8_size(p, end) : *p != 0;
            if (size == 0) return false;
            p += size;
        }
    }
    return true;
}

int value_put(Buffer *row, DataType type, Span text, unsigned known, const char **ret_reason) {
    ScanFault fault;
    if (!text.data) text.data = "";
    switch (type) {
    case DATA_TEXT:
        *ret_reason = "is not UTF-8 text without NUL, use \"dataType\": \"bytes\" for a column with such values";
        if (!known && !value_is_text(text)) return VALUE_DOES_NOT_FIT;
        row_put(row, text);
        return 0;
    case DATA_JSON:
    case DATA_JSON_TEXT:
        *ret_reason = "is not JSON";
        if (!(known & VALUE_IS_JSON) && scan_validate(text, &fault)) return VALUE_DOES_NOT_FIT;
        if (type == DATA_JSON) return put_json(row, text, ret_reason);
        row_put(row, text);
        return 0;
    case DATA_INTEGER: return put_integer(row, text, ret_reason);
    case DATA_NUMBER: return put_number(row, text, known, ret_reason);
    case DATA_DECIMAL: return put_decimal(row, text, known, ret_reason);
    case DATA_BOOLEAN: return put_boolean(row, text, ret_reason);
    case DATA_TIMESTAMP: return put_timestamp(row, text, ret_reason);
    case DATA_DATE: return put_date(row, text, ret_reason);
    case DATA_BYTES: return put_bytes(row, text);
    case DATA_UUID: return put_uuid(row, text, ret_reason);
    }
    unreachable();
}
