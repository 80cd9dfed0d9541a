/* UUIDs of RFC 9562: version 7, which are ordered by time, and version 8, which are made from a
 * name. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/clock.h"
#include "base/span.h"

typedef struct Uuid {
    uint8_t bytes[16]; /* network order */
} Uuid;

#define UUID_TEXT_SIZE 36

/* A generator of ids that never decrease, also if the clock goes back (RFC 9562, 6.2 method 1: a
 * 12-bit counter in rand_a; if the counter overflows, the millisecond is increased). Used by one
 * thread. All-zero is a new generator. */
typedef struct UuidSource {
    uint64_t last_ms;
    usec_t wall; /* the last `wall` of a call; most calls of one turn have the same one */
    uint32_t counter;
    uint64_t pool[32]; /* random bits, fetched in blocks */
    uint32_t pool_left;
} UuidSource;

void uuid_next(UuidSource *source, usec_t wall, Uuid *ret_id);
/* Makes a version 8 UUID: the XXH3-128 of the name (xxHash specification 0.1.1, canonical, so
 * big-endian) with the bits of version and variant set, which leaves 122 bits of the hash. Equal
 * names always have equal ids. Not for secrets, and not if an attacker could choose colliding
 * names. */
void uuid_derive(Span name, Uuid *ret_id);
/* Writes UUID_TEXT_SIZE bytes in lower case, without a NUL. */
void uuid_format(const Uuid *id, char *out);
bool uuid_parse(Span text, Uuid *ret_id); /* lower or upper case, with hyphens */
bool uuid_equal(const Uuid *a, const Uuid *b);
bool uuid_is_nil(const Uuid *id);
/* < 0, 0, > 0: the order of the bytes. Ids of version 7 are then in the order of their times. */
int uuid_compare(const Uuid *a, const Uuid *b);
/* The milliseconds since 1970 in an id of version 7. Returns false for another id. */
bool uuid_time(const Uuid *id, uint64_t *ret_ms);

/* The smallest and the greatest of some ids (uuid_compare). Both are nil if they are not known. */
typedef struct UuidRange {
    Uuid first, last;
} UuidRange;

/* Makes `range` contain the ids of `more`, too. If one of both is not known, the result is not
 * known. */
void uuid_range_add(UuidRange *range, const UuidRange *more);
bool uuid_range_is_known(const UuidRange *range);
/* Could the id be one of them? Also true if they are not known. */
bool uuid_range_may_have(const UuidRange *range, const Uuid *id);

/* Half of an id, 0 or 1, as a number in the order of its bytes. */
static inline uint64_t uuid_half(const Uuid *id, size_t half) {
    uint64_t word;
    memcpy(&word, id->bytes + 8 * half, sizeof word);
    return __builtin_bswap64(word);
}

/* Adds one id to the ids of a range, whose `first` was set to the first of them while `last` was
 * nil. It is done for each event, so it is short if ids ascend, and calls nothing. */
static inline void uuid_range_extend(UuidRange *range, const Uuid *id) {
    uint64_t high = uuid_half(id, 0), first = uuid_half(&range->first, 0), last = uuid_half(&range->last, 0);
    if (__builtin_expect(high > last, 1)) {
        range->last = *id;
        return;
    }
    if (high < first || (high == first && uuid_half(id, 1) < uuid_half(&range->first, 1))) range->first = *id;
    if (high == last && uuid_half(id, 1) > uuid_half(&range->last, 1)) range->last = *id;
}
