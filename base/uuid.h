/* UUIDs of RFC 9562: version 7, which are ordered by time, and version 8, which are made from a
 * name. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

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
