#include "base/uuid.h"

#include <string.h>

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
    uint64_t ms = wall > 0 ? (uint64_t)wall / (uint64_t)USEC_MS : 0;
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

void uuid_format(const Uuid *id, char *out) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < sizeof id->bytes; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) *out++ = '-';
        *out++ = digits[id->bytes[i] >> 4];
        *out++ = digits[id->bytes[i] & 15];
    }
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
