#include "sinks/postgres_values.h"

#include <arpa/inet.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "sinks/decimal_order.h"
#include "sinks/postgres_array.h"
#include "sinks/xml_content.h"

static const char out_of_range[] = "is out of range";
static const char too_long[] = "is too long";
static const char too_many_seconds[] = "has more digits of a second";

/* ---- numbers ---- */

/* Longer ones are none that a number type of the table keeps. */
#define NUMBER_BYTES_MAX 1100

/* NUL-terminated; NULL: too long. */
static const char *number_text(Span text, char out[static NUMBER_BYTES_MAX]) {
    if (text.size >= NUMBER_BYTES_MAX) return NULL;
    memcpy(out, text.data, text.size);
    out[text.size] = '\0';
    return out;
}

static const char *check_range(Span text, long long smallest, long long largest) {
    char copy[NUMBER_BYTES_MAX];
    const char *number = number_text(text, copy);
    if (!number) return out_of_range;
    long long value = strtoll(number, NULL, 10); /* the ends of long long when it is beyond them */
    return value < smallest || value > largest ? out_of_range : NULL;
}

const char *postgres_check_smallint(const void *type, Span text, Buffer *changed) {
    return check_range(text, INT16_MIN, INT16_MAX);
}

const char *postgres_check_integer(const void *type, Span text, Buffer *changed) {
    return check_range(text, INT32_MIN, INT32_MAX);
}

static const char not_kept[] = "has more digits than are kept";

/* Is the whole number one of the type that has so many bits for its digits? */
static const char *check_whole(Span text, int bits) {
    char copy[NUMBER_BYTES_MAX];
    const char *number = number_text(text, copy);
    if (!number) return out_of_range;
    unsigned long long value = strtoull(number[0] == '-' ? number + 1 : number, NULL, 10);
    if (value == 0) return NULL;
    return 64 - __builtin_clzll(value) - __builtin_ctzll(value) > bits ? not_kept : NULL;
}

const char *postgres_check_whole_real(const void *type, Span text, Buffer *changed) {
    return check_whole(text, FLT_MANT_DIG);
}

const char *postgres_check_whole_double(const void *type, Span text, Buffer *changed) {
    return check_whole(text, DBL_MANT_DIG);
}

/* Is the number right between the value, which is nearest to it, and a neighbour? */
static bool is_between_two(float value, double number) {
    uint32_t bits;
    float size = value < 0 ? -value : value, above, below;
    memcpy(&bits, &size, sizeof bits);
    if (bits == 0) return false;
    bits++;
    memcpy(&above, &bits, sizeof above);
    bits -= 2;
    memcpy(&below, &bits, sizeof below);
    if (number < 0) number = -number;
    return number >= ((double)size + (double)above) / 2 || number <= ((double)size + (double)below) / 2;
}

/* The server shows the fewest digits that are nearer to the number than to its neighbours: right
 * between two of them, the text is not shown again. */
const char *postgres_check_real(const void *type, Span text, Buffer *changed) {
    char copy[NUMBER_BYTES_MAX], shown[64];
    const char *number = number_text(text, copy);
    if (!number) return not_kept;
    float value = strtof(number, NULL);
    if (!isfinite(value)) return out_of_range;
    if (is_between_two(value, strtod(number, NULL))) return not_kept;
    for (int digits = 1; digits <= FLT_DECIMAL_DIG; digits++) {
        (void)snprintf(shown, sizeof shown, "%.*g", digits, (double)value);
        float again = strtof(shown, NULL);
        if (again < value || again > value) continue;
        return decimal_compare(text, span_of(shown)) == 0 ? NULL : not_kept;
    }
    return not_kept;
}

/* Of the digits that are not zeros: the powers of ten of the first and the last one; false: all are
 * zeros. */
static bool powers_of_digits(Span text, long *ret_first, long *ret_last) {
    size_t at = text.size > 0 && text.data[0] == '-', first = SIZE_MAX, last = 0, digits = 0, whole = SIZE_MAX;
    for (; at < text.size && (text_is_digit(text.data[at]) || text.data[at] == '.'); at++) {
        if (text.data[at] == '.') {
            whole = digits;
            continue;
        }
        if (text.data[at] != '0') {
            if (first == SIZE_MAX) first = digits;
            last = digits;
        }
        digits++;
    }
    if (whole == SIZE_MAX) whole = digits;
    if (first == SIZE_MAX) return false;
    long exponent = 0;
    if (at < text.size) { /* e or E */
        char copy[24];
        size_t size = text.size - at - 1;
        if (size >= sizeof copy) size = sizeof copy - 1;
        memcpy(copy, text.data + at + 1, size);
        copy[size] = '\0';
        exponent = strtol(copy, NULL, 10);
        if (exponent > INT_MAX) exponent = INT_MAX;
        if (exponent < INT_MIN) exponent = INT_MIN;
    }
    *ret_first = (long)whole - 1 - (long)first + exponent;
    *ret_last = (long)whole - 1 - (long)last + exponent;
    return true;
}

const char *postgres_check_numeric(const void *context, Span text, Buffer *changed) {
    const PostgresValueType *type = context;
    long first, last;
    if (!powers_of_digits(text, &first, &last)) return NULL;
    if (last < -(long)type->scale) return type->scale > 0 ? "has more digits behind the point" : "has digits that would be rounded";
    return first >= (long)type->precision - type->scale ? "has more digits before the point" : NULL;
}

/* ---- lengths ---- */

const char *postgres_check_length(const void *context, Span text, Buffer *changed) {
    const PostgresValueType *type = context;
    /* A character has one byte or more. */
    return text.size > (size_t)type->precision && text_characters(text) > (size_t)type->precision ? too_long : NULL;
}

/* Of a fraction of a second, from its first digit on. */
static bool seconds_fit(Span digits, int precision) {
    for (size_t i = 0; i < digits.size && text_is_digit(digits.data[i]); i++)
        if (i >= (size_t)precision && digits.data[i] != '0') return false;
    return true;
}

const char *postgres_check_seconds(const void *context, Span text, Buffer *changed) {
    const PostgresValueType *type = context;
    const char *point = memchr(text.data, '.', text.size);
    if (!point) return NULL;
    const Span digits = {.data = point + 1, .size = (size_t)(text.data + text.size - point - 1)};
    return seconds_fit(digits, type->precision) ? NULL : too_many_seconds;
}

/* ---- texts ---- */

const char *postgres_check_label(const void *context, Span text, Buffer *changed) {
    const PostgresValueType *type = context;
    for (size_t i = 0; i < type->label_count; i++)
        if (span_equal(type->labels[i], text)) return NULL;
    return "is none of its labels";
}

/* As the server reads it: braces or none, and a hyphen behind any group of four digits. */
const char *postgres_check_uuid(const void *type, Span text, Buffer *changed) {
    static const char none[] = "is not a UUID";
    if (text.size >= 2 && text.data[0] == '{' && text.data[text.size - 1] == '}')
        text = (Span){.data = text.data + 1, .size = text.size - 2};
    size_t digits = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text_hex(text.data[i]) >= 0) {
            digits++;
            continue;
        }
        bool behind_group = digits > 0 && digits < 32 && digits % 4 == 0 && text.data[i - 1] != '-';
        if (text.data[i] != '-' || !behind_group) return none;
    }
    return digits == 32 && text.data[text.size - 1] != '-' ? NULL : none;
}

typedef struct Address {
    unsigned char bytes[16];
    unsigned size; /* bytes */
    unsigned bits; /* of the network */
} Address;

static bool read_address(Span text, Address *ret_address) {
    char copy[64];
    if (text.size >= sizeof copy || memchr(text.data, '\0', text.size)) return false;
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    char *slash = strchr(copy, '/');
    if (slash) *slash = '\0';
    *ret_address = (Address){.size = strchr(copy, ':') ? 16 : 4};
    if (inet_pton(ret_address->size == 16 ? AF_INET6 : AF_INET, copy, ret_address->bytes) != 1) return false;
    ret_address->bits = ret_address->size * 8;
    if (!slash) return true;
    const char *digits = slash + 1;
    size_t count = strlen(digits);
    if (count == 0 || count > 3 || strspn(digits, "0123456789") != count || (digits[0] == '0' && count > 1)) return false;
    unsigned bits = (unsigned)atoi(digits);
    if (bits > ret_address->bits) return false;
    ret_address->bits = bits;
    return true;
}

const char *postgres_check_inet(const void *type, Span text, Buffer *changed) {
    Address address;
    return read_address(text, &address) ? NULL : "is not an IP address";
}

const char *postgres_check_cidr(const void *type, Span text, Buffer *changed) {
    Address address;
    if (!read_address(text, &address)) return "is not an IP network";
    for (unsigned bit = address.bits; bit < address.size * 8; bit++)
        if (address.bytes[bit / 8] & (0x80 >> bit % 8)) return "has bits behind those of the network";
    return NULL;
}

const char *postgres_check_macaddr(const void *type, Span text, Buffer *changed) {
    /* x: a hexadecimal digit */
    static const char *const forms[] = {"xx:xx:xx:xx:xx:xx", "xx-xx-xx-xx-xx-xx", "xxxxxx:xxxxxx", "xxxxxx-xxxxxx",
                                        "xxxx.xxxx.xxxx",    "xxxx-xxxx-xxxx",    "xxxxxxxxxxxx"};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        bool fits = strlen(forms[i]) == text.size;
        for (size_t k = 0; fits && k < text.size; k++)
            fits = forms[i][k] == 'x' ? text_hex(text.data[k]) >= 0 : forms[i][k] == text.data[k];
        if (fits) return NULL;
    }
    return "is not a MAC address";
}

const char *postgres_check_xml(const void *type, Span text, Buffer *changed) {
    return xml_is_content(text) ? NULL : "is not well-formed XML";
}

/* ---- times and intervals ---- */

typedef struct Reader {
    const char *at, *end;
} Reader;

static bool take(Reader *reader, char c) {
    if (reader->at == reader->end || *reader->at != c) return false;
    reader->at++;
    return true;
}

/* One to `digits_max` digits; -1: there is none, or there are more. */
static long take_number(Reader *reader, int digits_max) {
    long number = 0;
    int digits = 0;
    for (; reader->at < reader->end && text_is_digit(*reader->at); reader->at++) {
        if (++digits > digits_max) return -1;
        number = number * 10 + (*reader->at - '0');
    }
    return digits > 0 ? number : -1;
}

/* Behind whole seconds: "" or ".digits". */
static const char *check_fraction(Reader *reader, int precision, const char *none) {
    if (!take(reader, '.')) return NULL;
    const Span digits = {.data = reader->at, .size = (size_t)(reader->end - reader->at)};
    while (reader->at < reader->end && text_is_digit(*reader->at)) reader->at++;
    size_t count = (size_t)(reader->at - digits.data);
    if (count == 0 || count > 30) return none;
    return seconds_fit(digits, precision < 0 ? 6 : precision) ? NULL : too_many_seconds;
}

const char *postgres_check_time(const void *context, Span text, Buffer *changed) {
    static const char none[] = "is not a time of day";
    const PostgresValueType *type = context;
    Reader reader = {.at = text.data, .end = text.data + text.size};
    long hours = take_number(&reader, 2);
    if (hours < 0 || hours > 24 || !take(&reader, ':')) return none;
    long minutes = take_number(&reader, 2), seconds = 0;
    if (minutes < 0 || minutes > 59) return none;
    if (take(&reader, ':')) {
        seconds = take_number(&reader, 2);
        if (seconds < 0 || seconds > 59) return none;
        if (hours == 24 && reader.at < reader.end) return none;
        const char *words = check_fraction(&reader, type->precision, none);
        if (words) return words;
    }
    if (hours == 24 && (minutes > 0 || seconds > 0)) return none;
    return reader.at == reader.end ? NULL : none;
}

/* From the longest to the shortest. */
enum { YEAR, MONTH, WEEK, DAY, HOUR, MINUTE, SECOND, UNITS };
static const struct {
    char iso;     /* before a T up to DAY, behind it from HOUR on */
    int in_parts; /* of months, days or seconds */
    const char *names[5];
} units[UNITS] = {
    [YEAR] = {'Y', 12, {"year", "years", "y", "yr", "yrs"}},        [MONTH] = {'M', 1, {"month", "months", "mon", "mons", NULL}},
    [WEEK] = {'W', 7, {"week", "weeks", "w", NULL, NULL}},          [DAY] = {'D', 1, {"day", "days", "d", NULL, NULL}},
    [HOUR] = {'H', 3600, {"hour", "hours", "h", "hr", "hrs"}},      [MINUTE] = {'M', 60, {"minute", "minutes", "min", "mins", "m"}},
    [SECOND] = {'S', 1, {"second", "seconds", "sec", "secs", "s"}},
};

/* What a text comes to, as far as the range of the type needs it. */
typedef struct Parts {
    long months, days;
    int last; /* the unit before; -1: none yet */
} Parts;

static const char no_interval[] = "is not an interval";

/* Adds a number of units; the units come in their order, each once. */
static const char *add_unit(Parts *parts, int unit, long number) {
    if (unit <= parts->last) return no_interval;
    parts->last = unit;
    if (unit <= MONTH) parts->months += number * units[unit].in_parts;
    if (unit == WEEK || unit == DAY) parts->days += number * units[unit].in_parts;
    return labs(parts->months) > INT32_MAX || labs(parts->days) > INT32_MAX ? out_of_range : NULL;
}

/* A number with its sign, and of seconds the digits of a fraction. Nine digits of hours are within
 * the range of the type. *ret_has_fraction: only seconds may. */
static const char *take_signed(Reader *reader, int precision, long *ret_number, bool *ret_has_fraction) {
    bool is_negative = take(reader, '-');
    if (!is_negative) (void)take(reader, '+');
    *ret_number = take_number(reader, 9);
    if (*ret_number < 0) return no_interval;
    *ret_has_fraction = reader->at < reader->end && *reader->at == '.';
    /* With more digits before the point a double, which the server uses here, could round. */
    if (*ret_has_fraction && *ret_number > 999999) return no_interval;
    if (is_negative) *ret_number = -*ret_number;
    return check_fraction(reader, precision, no_interval);
}

static const char *check_iso(Reader *reader, int precision) {
    Parts parts = {.last = -1};
    bool in_time = false;
    while (reader->at < reader->end) {
        if (!in_time && take(reader, 'T')) in_time = true;
        long number;
        bool has_fraction;
        const char *words = take_signed(reader, precision, &number, &has_fraction);
        if (words) return words;
        int unit = in_time ? HOUR : YEAR, end = in_time ? UNITS : HOUR;
        while (unit < end && !take(reader, units[unit].iso)) unit++;
        if (unit == end || (has_fraction && unit != SECOND)) return no_interval;
        words = add_unit(&parts, unit, number);
        if (words) return words;
    }
    return parts.last < 0 || (in_time && parts.last < HOUR) ? no_interval : NULL;
}

static int take_unit(Reader *reader) {
    const char *start = reader->at;
    while (reader->at < reader->end && ((*reader->at | 0x20) >= 'a' && (*reader->at | 0x20) <= 'z')) reader->at++;
    const Span word = {.data = start, .size = (size_t)(reader->at - start)};
    for (int unit = 0; unit < UNITS; unit++)
        for (size_t i = 0; i < 5 && units[unit].names[i]; i++)
            if (span_equal_nocase(span_of(units[unit].names[i]), word)) return unit;
    return UNITS;
}

/* Behind the hours of "-02:03:04.5", which ends the text. */
static const char *check_clock(Reader *reader, int precision) {
    long minutes = take_number(reader, 2);
    if (minutes < 0 || minutes > 59) return no_interval;
    if (take(reader, ':')) {
        long seconds = take_number(reader, 2);
        if (seconds < 0 || seconds > 59) return no_interval;
        const char *words = check_fraction(reader, precision, no_interval);
        if (words) return words;
    }
    return reader->at == reader->end ? NULL : no_interval;
}

static const char *check_words(Reader *reader, int precision) {
    Parts parts = {.last = -1};
    for (;;) {
        long number;
        bool has_fraction;
        const char *words = take_signed(reader, precision, &number, &has_fraction);
        if (words) return words;
        if (!has_fraction && take(reader, ':')) return parts.last < HOUR ? check_clock(reader, precision) : no_interval;
        (void)take(reader, ' ');
        int unit = take_unit(reader);
        if (unit == UNITS || (has_fraction && unit != SECOND)) return no_interval;
        words = add_unit(&parts, unit, number);
        if (words || reader->at == reader->end) return words;
        if (!take(reader, ' ')) return no_interval;
    }
}

const char *postgres_check_interval(const void *context, Span text, Buffer *changed) {
    const PostgresValueType *type = context;
    Reader reader = {.at = text.data, .end = text.data + text.size};
    return take(&reader, 'P') ? check_iso(&reader, type->precision) : check_words(&reader, type->precision);
}

/* ---- arrays ---- */

static void skip_space(Reader *reader) {
    while (reader->at < reader->end && strchr(" \t\r\n", *reader->at) && *reader->at) reader->at++;
}

/* Four hexadecimal digits; -1: there are none. */
static int32_t take_hex(Reader *reader) {
    int32_t value = 0;
    if (reader->end - reader->at < 4) return -1;
    for (int i = 0; i < 4; i++) {
        int digit = text_hex(*reader->at++);
        if (digit < 0) return -1;
        value = value << 4 | digit;
    }
    return value;
}

static void put_character(Buffer *out, uint32_t c) {
    if (c < 0x80) {
        buffer_append_byte(out, (char)c);
    } else if (c < 0x800) {
        buffer_append_byte(out, (char)(0xc0 | c >> 6));
        buffer_append_byte(out, (char)(0x80 | (c & 0x3f)));
    } else if (c < 0x10000) {
        buffer_append_byte(out, (char)(0xe0 | c >> 12));
        buffer_append_byte(out, (char)(0x80 | (c >> 6 & 0x3f)));
        buffer_append_byte(out, (char)(0x80 | (c & 0x3f)));
    } else {
        buffer_append_byte(out, (char)(0xf0 | c >> 18));
        buffer_append_byte(out, (char)(0x80 | (c >> 12 & 0x3f)));
        buffer_append_byte(out, (char)(0x80 | (c >> 6 & 0x3f)));
        buffer_append_byte(out, (char)(0x80 | (c & 0x3f)));
    }
}

/* Behind `\u`. Not NUL, and no half of a surrogate pair. */
static bool take_code(Reader *reader, Buffer *out) {
    int32_t code = take_hex(reader);
    if (code <= 0 || (code >= 0xdc00 && code <= 0xdfff)) return false;
    if (code >= 0xd800 && code <= 0xdbff) {
        if (!take(reader, '\\') || !take(reader, 'u')) return false;
        int32_t low = take_hex(reader);
        if (low < 0xdc00 || low > 0xdfff) return false;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    put_character(out, (uint32_t)code);
    return true;
}

/* A JSON string behind its first quote, unescaped. */
static bool take_string(Reader *reader, Buffer *out) {
    static const char escapes[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    while (reader->at < reader->end) {
        char c = *reader->at++;
        if (c == '"') return true;
        if (c != '\\') {
            buffer_append_byte(out, c);
            continue;
        }
        if (reader->at == reader->end) return false;
        char escape = *reader->at++;
        const char *known = escape ? strchr(escapes, escape) : NULL;
        if (known)
            buffer_append_byte(out, meanings[known - escapes]);
        else if (escape != 'u' || !take_code(reader, out))
            return false;
    }
    return false;
}

static const char *add_element(Reader *reader, int length_max, Buffer *string, Buffer *changed) {
    static const char other[] = "is not an array of strings";
    if (reader->end - reader->at >= 4 && memcmp(reader->at, "null", 4) == 0) {
        reader->at += 4;
        postgres_array_add_null(changed);
        return NULL;
    }
    buffer_clear(string);
    if (!take(reader, '"') || !take_string(reader, string)) return other;
    if (length_max >= 0 && text_characters(buffer_span(string)) > (size_t)length_max) return "has an element that is too long";
    postgres_array_add(changed, buffer_span(string));
    return NULL;
}

static const char *convert_array(Reader *reader, int length_max, Buffer *string, Buffer *changed) {
    static const char other[] = "is not an array of strings";
    skip_space(reader);
    if (!take(reader, '[')) return other;
    skip_space(reader);
    bool is_empty = take(reader, ']');
    while (!is_empty) {
        skip_space(reader);
        const char *words = add_element(reader, length_max, string, changed);
        if (words) return words;
        skip_space(reader);
        if (take(reader, ']')) break;
        if (!take(reader, ',')) return other;
    }
    skip_space(reader);
    (void)postgres_array_end(changed);
    return reader->at == reader->end ? NULL : other;
}

const char *postgres_check_array(const void *context, Span text, Buffer *changed) {
    const PostgresValueType *type = context;
    Reader reader = {.at = text.data, .end = text.data + text.size};
    Buffer string = {0};
    const char *words = convert_array(&reader, type->precision, &string, changed);
    buffer_deinit(&string);
    return words;
}
