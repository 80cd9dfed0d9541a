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

/* Adds one id to the ids of a range, which is all-zero before the first one. Inline and short if
 * ids ascend, as this is done for each event. */
static inline void uuid_range_extend(UuidRange *range, const Uuid *id, bool is_first) {
    uint64_t high, last;
    memcpy(&high, id->bytes, sizeof high);
    memcpy(&last, range->last.bytes, sizeof last);
    if (__builtin_expect(is_first, 0)) range->first = *id;
    if (__builtin_expect(__builtin_bswap64(high) > __builtin_bswap64(last), 1)) {
        range->last = *id;
        return;
    }
    if (uuid_compare(id, &range->first) < 0) range->first = *id;
    if (uuid_compare(id, &range->last) > 0) range->last = *id;
}
