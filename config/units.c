#include "config/units.h"

#include <errno.h>
#include <stdbool.h>

#include "base/text.h"

typedef struct Unit {
    const char *name;
    uint64_t size;
} Unit;

static const Unit size_units[] = {{"TB", 1ULL << 40}, {"GB", 1ULL << 30}, {"MB", 1ULL << 20}, {"KB", 1ULL << 10}, {"B", 1}};
static const Unit time_units[] = {{"d", (uint64_t)USEC_DAY},    {"h", (uint64_t)USEC_HOUR}, {"m", (uint64_t)USEC_MINUTE},
                                  {"s", (uint64_t)USEC_SECOND}, {"ms", (uint64_t)USEC_MS},  {"us", 1}};
#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Takes the digits at the start of `text`. -EINVAL: there is none, -ERANGE: beyond 64 bits. */
static int take_number(Span *text, uint64_t *ret_number) {
    uint64_t number = 0;
    size_t used = 0;
    for (; used < text->size && text_is_digit(text->data[used]); used++)
        if (__builtin_mul_overflow(number, 10U, &number) || __builtin_add_overflow(number, (unsigned)(text->data[used] - '0'), &number))
            return -ERANGE;
    if (used == 0) return -EINVAL;
    text->data += used;
    text->size -= used;
    *ret_number = number;
    return 0;
}

/* Takes ".5" as a fraction of `unit` that must come out whole. */
static int add_fraction(Span digits, uint64_t unit, uint64_t *bytes) {
    uint64_t weight = 1, fraction = 0;
    if (digits.size == 0 || digits.size > 6) return -EINVAL;
    for (size_t i = 0; i < digits.size; i++) {
        fraction = fraction * 10 + (unsigned)(digits.data[i] - '0');
        weight *= 10;
    }
    /* Below 10^6 x 2^40 < 2^60: no overflow. */
    if (fraction * unit % weight != 0) return -EINVAL;
    return __builtin_add_overflow(*bytes, fraction * unit / weight, bytes) ? -ERANGE : 0;
}

int units_parse_size(Span text, uint64_t *ret_bytes) {
    uint64_t number;
    int r = take_number(&text, &number);
    if (r < 0) return r;
    Span fraction = {0};
    if (text.size > 0 && text.data[0] == '.') {
        fraction.data = text.data + 1;
        while (1 + fraction.size < text.size && text_is_digit(fraction.data[fraction.size])) fraction.size++;
        if (fraction.size == 0) return -EINVAL;
        text.data += 1 + fraction.size;
        text.size -= 1 + fraction.size;
    }
    if (text.size > 1 && text.data[0] == ' ') {
        text.data++;
        text.size--;
    }
    uint64_t unit = text.size == 0 ? 1 : 0;
    for (size_t i = 0; i < COUNT(size_units) && unit == 0; i++)
        if (span_equal_nocase(text, span_of(size_units[i].name))) unit = size_units[i].size;
    if (unit == 0) return -EINVAL;
    uint64_t bytes;
    if (__builtin_mul_overflow(number, unit, &bytes)) return -ERANGE;
    if (fraction.size > 0) r = add_fraction(fraction, unit, &bytes);
    if (r < 0) return r;
    *ret_bytes = bytes;
    return 0;
}

int units_parse_time(Span text, usec_t *ret_usec) {
    usec_t sum = 0;
    do {
        uint64_t number, part;
        int r = take_number(&text, &number);
        if (r < 0) return r;
        size_t length = 0;
        while (length < text.size && !text_is_digit(text.data[length])) length++;
        const Unit *unit = NULL;
        for (size_t i = 0; i < COUNT(time_units); i++)
            if (span_equal((Span){text.data, length}, span_of(time_units[i].name))) unit = &time_units[i];
        if (unit == NULL) return -EINVAL;
        if (__builtin_mul_overflow(number, unit->size, &part) || part > INT64_MAX || __builtin_add_overflow(sum, (usec_t)part, &sum))
            return -ERANGE;
        text.data += length;
        text.size -= length;
    } while (text.size > 0);
    *ret_usec = sum;
    return 0;
}

static void format(Buffer *out, uint64_t value, const Unit *units, size_t count, const char *zero) {
    if (value == 0) {
        buffer_append_text(out, zero);
        return;
    }
    size_t i = 0;
    while (i + 1 < count && value % units[i].size != 0) i++;
    buffer_printf(out, "%llu%s", (unsigned long long)(value / units[i].size), units[i].name);
}

void units_format_size(Buffer *out, uint64_t bytes) {
    format(out, bytes, size_units, COUNT(size_units), "0B");
}

void units_format_time(Buffer *out, usec_t usec) {
    if (usec < 0) {
        buffer_append_byte(out, '-');
        usec = usec == INT64_MIN ? INT64_MAX : -usec;
    }
    format(out, (uint64_t)usec, time_units, COUNT(time_units), "0s");
}
