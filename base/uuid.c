#include "base/uuid.h"

#include <string.h>

#include "base/checksum.h"
#include "base/random.h"

enum { COUNTER_END = 1 << 12 };

static uint64_t pool_next(UuidSource *source) {
    if (source->pool_left == 0) {
        random_bytes(source->pool, sizeof source->pool);
        source->pool_left = sizeof source->pool / sizeof *source->pool;
    }
    return source->pool[--source->pool_left];
}

/* The counter starts in the lower half, so that a millisecond has room for at least 2048 ids. */
static void start_millisecond(UuidSource *source, uint64_t ms) {
    source->last_ms = ms;
    source->counter = (uint32_t)(pool_next(source) % (COUNTER_END / 2));
}

void uuid_next(UuidSource *source, usec_t wall, Uuid *ret_id) {
    uint64_t ms = wall == source->wall ? 0 : wall > 0 ? (uint64_t)wall / (uint64_t)USEC_MS : 0;
    source->wall = wall;
    if (ms > source->last_ms) {
        start_millisecond(source, ms);
    } else if (++source->counter >= COUNTER_END) {
        start_millisecond(source, source->last_ms + 1);
    }

    uint64_t high = __builtin_bswap64(source->last_ms << 16 | 0x7000 | source->counter);
    uint64_t low = __builtin_bswap64((pool_next(source) & 0x3FFFFFFFFFFFFFFFu) | 0x8000000000000000u);
    memcpy(ret_id->bytes, &high, sizeof high);
    memcpy(ret_id->bytes + 8, &low, sizeof low);
}

/* The hexadecimal digits of 4 bytes, in their order: each half byte in a byte of its own becomes
 * its digit at once with the others. */
static inline uint64_t digits_of(const uint8_t *bytes) {
    uint32_t word;
    memcpy(&word, bytes, sizeof word);
    uint64_t halves = word;
    halves = (halves | halves << 16) & 0x0000FFFF0000FFFF;
    halves = (halves | halves << 8) & 0x00FF00FF00FF00FF;
    halves = (halves >> 4 & 0x000F000F000F000F) | (halves & 0x000F000F000F000F) << 8;
    uint64_t letters = (halves + 0x0606060606060606) >> 4 & 0x0101010101010101; /* 10 and above */
    return halves + 0x3030303030303030 + letters * ('a' - '0' - 10);
}

void uuid_derive(Span name, Uuid *ret_id) {
    checksum_wide(name.data, name.size, ret_id->bytes);
    ret_id->bytes[6] = (uint8_t)((ret_id->bytes[6] & 0x0F) | 0x80);
    ret_id->bytes[8] = (uint8_t)((ret_id->bytes[8] & 0x3F) | 0x80);
}

void uuid_format(const Uuid *id, char *out) {
    uint64_t digits[4];
    for (size_t i = 0; i < 4; i++) digits[i] = digits_of(id->bytes + 4 * i);
    const char *text = (const char *)digits;
    memcpy(out, text, 8);
    out[8] = '-';
    memcpy(out + 9, text + 8, 4);
    out[13] = '-';
    memcpy(out + 14, text + 12, 4);
    out[18] = '-';
    memcpy(out + 19, text + 16, 4);
    out[23] = '-';
    memcpy(out + 24, text + 20, 4);
    memcpy(out + 28, text + 24, 8);
}

static int digit_value(char digit) {
    if (digit >= '0' && digit <= '9') return digit - '0';
    if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
    return -1;
}

bool uuid_parse(Span text, Uuid *ret_id) {
    if (text.size != UUID_TEXT_SIZE) return false;

    Uuid id;
    const char *at = text.data;
    for (size_t i = 0; i < sizeof id.bytes; i++) {
        if ((i == 4 || i == 6 || i == 8 || i == 10) && *at++ != '-') return false;
        int high = digit_value(*at++), low = digit_value(*at++);
        if (high < 0 || low < 0) return false;
        id.bytes[i] = (uint8_t)(high << 4 | low);
    }
    *ret_id = id;
    return true;
}

bool uuid_equal(const Uuid *a, const Uuid *b) {
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

bool uuid_is_nil(const Uuid *id) {
    return uuid_equal(id, &(Uuid){0});
}

int uuid_compare(const Uuid *a, const Uuid *b) {
    return memcmp(a->bytes, b->bytes, sizeof a->bytes);
}

bool uuid_time(const Uuid *id, uint64_t *ret_ms) {
    uint64_t high;
    if (id->bytes[6] >> 4 != 7) return false;
    memcpy(&high, id->bytes, sizeof high);
    *ret_ms = __builtin_bswap64(high) >> 16;
    return true;
}

bool uuid_range_is_known(const UuidRange *range) {
    return !uuid_is_nil(&range->first) && !uuid_is_nil(&range->last);
}

void uuid_range_add(UuidRange *range, const UuidRange *more) {
    if (!uuid_range_is_known(range) || !uuid_range_is_known(more)) {
        *range = (UuidRange){0};
        return;
    }
    if (uuid_compare(&more->first, &range->first) < 0) range->first = more->first;
    if (uuid_compare(&more->last, &range->last) > 0) range->last = more->last;
}

bool uuid_range_may_have(const UuidRange *range, const Uuid *id) {
    return !uuid_range_is_known(range) || (uuid_compare(&range->first, id) <= 0 && uuid_compare(id, &range->last) <= 0);
}
