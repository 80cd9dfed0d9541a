#include "sinks/decimal_order.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/text.h"

/* An exponent beyond this, of any sign, decides alone; no text is long enough to make up for it. */
#define EXPONENT_LIMIT INT64_C(1000000000000)

typedef struct Decimal {
    int sign;      /* -1, 0, 1 */
    Span digits;   /* from the first one that is not 0; may hold the point */
    int64_t power; /* of ten that the first digit counts */
} Decimal;

static const char *skip_digits(const char *p, const char *end) {
    while (p < end && text_is_digit(*p)) p++;
    return p;
}

static bool read_exponent(const char *p, const char *end, int64_t *ret_exponent) {
    *ret_exponent = 0;
    if (p == end) return true;
    if (*p != 'e' && *p != 'E') return false;
    p++;
    bool minus = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+')) p++;
    if (p == end || skip_digits(p, end) != end) return false;
    for (; p < end && *ret_exponent < EXPONENT_LIMIT; p++) *ret_exponent = *ret_exponent * 10 + (*p - '0');
    if (minus) *ret_exponent = -*ret_exponent;
    return true;
}

static bool read_decimal(Span text, Decimal *ret) {
    *ret = (Decimal){0};
    if (text.size == 0) return false;
    const char *p = text.data, *end = p + text.size;
    int sign = *p == '-' ? -1 : 1;
    if (*p == '-') p++;
    const char *start = p, *point = skip_digits(p, end);
    if (point == start) return false;
    const char *stop = point;
    if (point < end && *point == '.') {
        stop = skip_digits(point + 1, end);
        if (stop == point + 1) return false;
    }
    int64_t exponent;
    if (!read_exponent(stop, end, &exponent)) return false;
    while (start < stop && (*start == '0' || *start == '.')) start++;
    if (start == stop) return true; /* 0 */
    ret->sign = sign;
    ret->digits = (Span){start, (size_t)(stop - start)};
    ret->power = (start < point ? point - start - 1 : point - start) + exponent;
    return true;
}

/* The next digit, '0' behind the last one. */
static char take_digit(const char **p, const char *end) {
    if (*p < end && **p == '.') ++*p;
    return *p < end ? *(*p)++ : '0';
}

static int compare_digits(Span a, Span b) {
    const char *p = a.data, *p_end = p + a.size, *q = b.data, *q_end = q + b.size;
    while (p < p_end || q < q_end) {
        char left = take_digit(&p, p_end), right = take_digit(&q, q_end);
        if (left != right) return left < right ? -1 : 1;
    }
    return 0;
}

static int compare_bytes(Span a, Span b) {
    size_t size = a.size < b.size ? a.size : b.size;
    int order = size > 0 ? memcmp(a.data, b.data, size) : 0;
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

int decimal_compare(Span a, Span b) {
    Decimal left, right;
    bool left_is = read_decimal(a, &left), right_is = read_decimal(b, &right);
    if (!left_is || !right_is) return left_is || right_is ? left_is - right_is : compare_bytes(a, b);
    if (left.sign != right.sign) return left.sign < right.sign ? -1 : 1;
    if (left.sign == 0) return 0;
    int order = left.power != right.power ? (left.power < right.power ? -1 : 1) : compare_digits(left.digits, right.digits);
    return order * left.sign;
}
