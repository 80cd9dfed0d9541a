#include "gateway/values/avro_text.h"

#include <math.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

enum {
    LIMB = 1000000000, /* what a limb of a decimal counts to */
    LIMB_DIGITS = 9,
    LIMBS_MAX = (AVRO_DECIMAL_DIGITS_MAX + LIMB_DIGITS - 1) / LIMB_DIGITS + 1,
    BYTES_MAX = 416, /* 256^416 has 1,002 digits */
    DAY_SECONDS = 86400,
};

/* limbs * 256 + byte; limbs[0] is the lowest. Returns how many there are, 0 when they are too
 * few. */
static size_t shift_in(uint32_t *limbs, size_t count, unsigned byte) {
    uint64_t carry = byte;
    for (size_t i = 0; i < count; i++) {
        uint64_t sum = (uint64_t)limbs[i] * 256 + carry;
        limbs[i] = (uint32_t)(sum % LIMB);
        carry = sum / LIMB;
    }
    if (carry == 0) return count;
    if (count == LIMBS_MAX) return 0;
    limbs[count] = (uint32_t)carry;
    return count + 1;
}

/* The digits of the number without its sign, at least one; their count, 0 when there are too
 * many. */
static size_t digits_of(Span number, bool negative, char digits[static LIMBS_MAX * LIMB_DIGITS + 1]) {
    uint32_t limbs[LIMBS_MAX] = {0};
    size_t count = 1;
    /* The size of a negative number is the complement of number - 1: the borrow goes up while bytes
     * are 0. */
    unsigned char bytes[BYTES_MAX];
    memcpy(bytes, number.data, number.size);
    if (negative) {
        for (size_t i = number.size; i-- > 0 && bytes[i]-- == 0;) continue;
        for (size_t i = 0; i < number.size; i++) bytes[i] = (unsigned char)~bytes[i];
    }
    for (size_t i = 0; i < number.size; i++) {
        count = shift_in(limbs, count, bytes[i]);
        if (count == 0) return 0;
    }
    size_t size = (size_t)snprintf(digits, LIMB_DIGITS + 2, "%u", limbs[count - 1]);
    for (size_t i = count - 1; i-- > 0; size += LIMB_DIGITS) (void)snprintf(digits + size, LIMB_DIGITS + 1, "%09u", limbs[i] % LIMB);
    return size <= AVRO_DECIMAL_DIGITS_MAX ? size : 0;
}

bool avro_put_decimal(Buffer *out, Span number, size_t scale) {
    check(scale <= AVRO_DECIMAL_DIGITS_MAX);
    bool negative = number.size > 0 && (number.data[0] & 0x80) != 0;
    /* Bytes that only repeat the sign say nothing. */
    const char sign = negative ? '\xff' : '\0';
    while (number.size > 1 && number.data[0] == sign && ((number.data[1] & 0x80) != 0) == negative) {
        number.data++;
        number.size--;
    }
    if (number.size > BYTES_MAX) return false;
    char digits[LIMBS_MAX * LIMB_DIGITS + 1] = "0";
    size_t count = number.size > 0 ? digits_of(number, negative, digits) : 1;
    if (count == 0) return false;

    if (negative) buffer_append_byte(out, '-');
    size_t whole = count > scale ? count - scale : 0;
    buffer_append(out, whole > 0 ? digits : "0", whole > 0 ? whole : 1);
    if (scale == 0) return true;
    buffer_append_byte(out, '.');
    for (size_t i = count - whole; i < scale; i++) buffer_append_byte(out, '0');
    buffer_append(out, digits + whole, count - whole);
    return true;
}

typedef struct AvroDate {
    int64_t year;
    unsigned month, day;
} AvroDate;

/* The proleptic Gregorian calendar in eras of 400 years that begin on 1 March, so that the leap day
 * is a year's last. */
static bool date_of(int64_t days, AvroDate *ret_date) {
    enum { ERA_DAYS = 146097, BEFORE_1970 = 719468 };
    if (days < -719162 || days > 2932896) return false; /* 0001-01-01, 9999-12-31 */
    int64_t since = days + BEFORE_1970, era = since / ERA_DAYS;
    unsigned of_era = (unsigned)(since - era * ERA_DAYS);
    unsigned year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    unsigned of_year = of_era - (365 * year + year / 4 - year / 100);
    unsigned month = (5 * of_year + 2) / 153;
    ret_date->day = of_year - (153 * month + 2) / 5 + 1;
    ret_date->month = month < 10 ? month + 3 : month - 9;
    ret_date->year = era * 400 + year + (ret_date->month <= 2);
    return true;
}

static void put_digits(char *to, int64_t number, unsigned digits) {
    for (unsigned i = digits; i-- > 0; number /= 10) to[i] = (char)('0' + number % 10);
}

static void put_date(Buffer *out, const AvroDate *date) {
    char text[10] = "0000-00-00";
    put_digits(text, date->year, 4);
    put_digits(text + 5, date->month, 2);
    put_digits(text + 8, date->day, 2);
    buffer_append(out, text, sizeof text);
}

bool avro_put_date(Buffer *out, int64_t days) {
    AvroDate date;
    if (!date_of(days, &date)) return false;
    put_date(out, &date);
    return true;
}

static int64_t parts_of_second(unsigned digits) {
    check(digits == 3 || digits == 6 || digits == 9);
    return digits == 3 ? 1000 : digits == 6 ? 1000000 : 1000000000;
}

bool avro_put_time(Buffer *out, int64_t parts, unsigned digits) {
    int64_t second = parts_of_second(digits), seconds = parts / second;
    if (parts < 0 || seconds >= DAY_SECONDS) return false;
    char text[18] = "00:00:00.000000000";
    put_digits(text, seconds / 3600, 2);
    put_digits(text + 3, seconds / 60 % 60, 2);
    put_digits(text + 6, seconds % 60, 2);
    put_digits(text + 9, parts % second, digits);
    buffer_append(out, text, 9 + digits);
    return true;
}

bool avro_put_timestamp(Buffer *out, int64_t parts, unsigned digits) {
    int64_t day = parts_of_second(digits) * DAY_SECONDS, days = parts / day, rest = parts % day;
    if (rest < 0) {
        days--;
        rest += day;
    }
    AvroDate date;
    if (!date_of(days, &date)) return false;
    put_date(out, &date);
    buffer_append_byte(out, 'T');
    check(avro_put_time(out, rest, digits));
    buffer_append_byte(out, 'Z');
    return true;
}

/* A whole number gets a point: else a column of such numbers looks like one of integers. */
static void put_finite(Buffer *out, char text[static 32]) {
    buffer_append_text(out, text);
    if (!strpbrk(text, ".e")) buffer_append_text(out, ".0");
}

static bool put_not_finite(Buffer *out, double value) {
    if (isfinite(value)) return false;
    buffer_append_text(out, isnan(value) ? "\"NaN\"" : value < 0 ? "\"-Infinity\"" : "\"Infinity\"");
    return true;
}

void avro_put_double(Buffer *out, double value) {
    if (put_not_finite(out, value)) return;
    char text[32] = "";
    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    put_finite(out, text);
}

void avro_put_float(Buffer *out, float value) {
    if (put_not_finite(out, (double)value)) return;
    char text[32] = "";
    for (int digits = 6; digits <= 9; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value) break;
    }
    put_finite(out, text);
}

void avro_put_base64(Buffer *out, Span bytes) {
    enum { SLICE = 3 << 16 }; /* a multiple of 3: only the last slice is padded */
    while (bytes.size > 0) {
        size_t size = bytes.size < SLICE ? bytes.size : SLICE;
        unsigned char *to = (unsigned char *)buffer_reserve(out, (size + 2) / 3 * 4 + 1); /* and a NUL */
        out->size += (size_t)EVP_EncodeBlock(to, (const unsigned char *)bytes.data, (int)size);
        bytes = (Span){bytes.data + size, bytes.size - size};
    }
}
