#include "mapping/mask_number.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "mapping/words.h"

typedef unsigned __int128 Wide;

#define DIGITS_MAX 36  /* that are read of a number: a step and its places still have room beside them */
#define PLACES_MOST 22 /* beyond those of the step that are looked at */
#define EXPONENT_MAX 1000000000L

/* `magnitude` x 10^exponent; digits beyond DIGITS_MAX are cut off. */
typedef struct MaskDecimal {
    Wide magnitude;
    long exponent;
    unsigned digits; /* of the magnitude */
    bool negative, cut;
} MaskDecimal;

MaskStep mask_step_of(Span text) {
    MaskStep step = {0};
    bool behind = false;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '.') {
            behind = true;
            continue;
        }
        step.size = step.size * 10 + (uint64_t)(text.data[i] - '0');
        step.places += behind;
    }
    check(step.size > 0);
    return step;
}

static void take_digit(MaskDecimal *number, char digit, bool behind) {
    if (number->digits == DIGITS_MAX) {
        number->cut = number->cut || digit != '0';
        if (!behind) number->exponent++;
        return;
    }
    number->magnitude = number->magnitude * 10 + (unsigned)(digit - '0');
    if (number->magnitude > 0) number->digits++;
    if (behind) number->exponent--;
}

static MaskDecimal read_decimal(Span text) {
    MaskDecimal number = {0};
    const char *p = text.data, *end = p + text.size;
    if (p < end && *p == '-') {
        number.negative = true;
        p++;
    }
    for (; p < end && text_is_digit(*p); p++) take_digit(&number, *p, false);
    if (p < end && *p == '.')
        for (p++; p < end && text_is_digit(*p); p++) take_digit(&number, *p, true);
    if (p < end && (*p == 'e' || *p == 'E')) {
        long exponent = 0;
        bool minus = ++p < end && *p == '-';
        if (p < end && (*p == '-' || *p == '+')) p++;
        for (; p < end && exponent < EXPONENT_MAX; p++) exponent = exponent * 10 + (*p - '0');
        number.exponent += minus ? -exponent : exponent;
    }
    return number;
}

static Wide power_of_ten(unsigned exponent) {
    Wide power = 1;
    check(exponent <= 38);
    while (exponent-- > 0) power *= 10;
    return power;
}

/* How many steps it is, without the sign; what is left over decides about one more. */
static int count_steps(const MaskDecimal *number, MaskStep step, Wide *ret_count, bool *ret_half, bool *ret_rest) {
    Wide magnitude = number->magnitude, divisor = step.size;
    bool cut = number->cut;
    long exponent = number->exponent + (long)step.places;
    *ret_count = 0;
    *ret_half = *ret_rest = false;
    if (magnitude == 0) return 0; /* nothing was cut off */
    if (exponent > 0) {
        if (exponent > DIGITS_MAX || number->digits + (unsigned long)exponent > DIGITS_MAX) return MASK_NUMBER_TOO_LARGE;
        magnitude *= power_of_ten((unsigned)exponent);
    } else if (exponent < 0) {
        unsigned long places = (unsigned long)-exponent;
        for (; places > PLACES_MOST && magnitude > 0; places--) {
            cut = cut || magnitude % 10 != 0;
            magnitude /= 10;
        }
        if (places > PLACES_MOST) places = PLACES_MOST; /* 0 whatever it is divided by */
        divisor *= power_of_ten((unsigned)places);      /* even: a half is exact, whatever was cut off */
    } else if (number->digits == DIGITS_MAX && cut) {
        return MASK_NUMBER_TOO_LARGE;
    }
    Wide rest = magnitude % divisor;
    *ret_count = magnitude / divisor;
    *ret_half = rest >= divisor - rest;
    *ret_rest = rest > 0 || cut;
    return 0;
}

/* The multiple, without its sign: `count` steps. */
static void put_multiple(Buffer *out, Wide count, MaskStep step, bool negative) {
    char digits[48];
    size_t size = 0;
    Wide value = count * step.size;
    negative = negative && value > 0;
    do {
        digits[size++] = (char)('0' + (int)(value % 10));
        value /= 10;
        if (size == step.places) digits[size++] = '.';
    } while (value > 0 || size < step.places || digits[size - 1] == '.');
    check(size < sizeof digits);
    if (negative) buffer_append_byte(out, '-');
    while (size > 0) buffer_append_byte(out, digits[--size]);
}

static int find_multiple(Span number, MaskStep step, MaskMultiple which, Wide *ret_count, bool *ret_negative) {
    MaskDecimal decimal = read_decimal(number);
    Wide count;
    bool half, rest;
    int r = count_steps(&decimal, step, &count, &half, &rest);
    if (r) return r;
    if (which == MASK_MULTIPLE_NEAREST ? half : decimal.negative && rest) count++;
    *ret_count = count;
    *ret_negative = decimal.negative;
    return 0;
}

int mask_multiple(Buffer *out, Span number, MaskStep step, MaskMultiple which, bool is_integer) {
    Wide count;
    bool negative;
    int r = find_multiple(number, step, which, &count, &negative);
    if (r) return r;
    Wide most = (Wide)INT64_MAX + (negative ? 1 : 0);
    if (is_integer && count * step.size > most) count = most / step.size;
    put_multiple(out, count, step, negative);
    return 0;
}

int mask_range(Buffer *out, Span number, MaskStep step) {
    Wide count;
    bool negative;
    int r = find_multiple(number, step, MASK_MULTIPLE_BELOW, &count, &negative);
    if (r) return r;
    put_multiple(out, count, step, negative);
    buffer_append_byte(out, '-');
    if (negative && count > 0)
        put_multiple(out, count - 1, step, true);
    else
        put_multiple(out, count + 1, step, false);
    return 0;
}

static int noise_integer(Buffer *out, Span number, long double factor) {
    char text[24];
    check(number.size < sizeof text); /* as value_put wrote it */
    memcpy(text, number.data, number.size);
    text[number.size] = 0;
    long double value = (long double)strtoll(text, NULL, 10);
    long double noisy = roundl(value + value * factor);
    long long result = noisy >= 9223372036854775807.0L ? INT64_MAX : noisy <= -9223372036854775808.0L ? INT64_MIN : (long long)noisy;
    buffer_printf(out, "%lld", result);
    return 0;
}

int mask_noise(Buffer *out, Span number, double share, uint64_t random, bool is_integer) {
    double factor = ((double)(random >> 11) / 4503599627370496.0 - 1.0) * share; /* 2^52: of 53 bits, -1 up to 1 */
    if (is_integer) return noise_integer(out, number, (long double)factor);
    _cleanup_free_ char *text = text_copy_span(number);
    double value = strtod(text, NULL), noisy = value + value * factor;
    if (!isfinite(noisy)) return MASK_NUMBER_TOO_LARGE;
    const char *point = strchr(text, '.');
    char digits[64];
    if (strpbrk(text, "eE") || fabs(noisy) >= 1e15) {
        (void)snprintf(digits, sizeof digits, "%.15g", noisy);
    } else {
        size_t places = point ? strlen(point + 1) : 0;
        (void)snprintf(digits, sizeof digits, "%.*f", places < 15 ? (int)places : 15, noisy);
    }
    const char *shown = digits[0] == '-' && strspn(digits, "-0.") == strlen(digits) ? digits + 1 : digits; /* no -0 */
    buffer_append_text(out, shown);
    return 0;
}
