/* UUIDs of RFC 9562: version 7, which are time-ordered, and version 8, which are made of a name. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/span.h"

typedef struct Uuid {
    uint8_t bytes[16]; /* network order */
} Uuid;

#define UUID_TEXT_SIZE 36

/* Makes ids that never go backwards, also when the clock does (RFC 9562, 6.2 method 1: a 12-bit
 * counter in rand_a; when it overflows the millisecond is stepped on). One thread. All-zero is a
 * fresh one. */
typedef struct UuidSource {
    uint64_t last_ms;
    usec_t wall; /* as it was given last; within one millisecond it mostly is the same, that of a turn */
    uint32_t counter;
    uint64_t pool[32]; /* random bits, fetched in blocks */
    uint32_t pool_left;
} UuidSource;

void uuid_next(UuidSource *source, usec_t wall, Uuid *ret_id);
/* Version 8: the XXH3-128 of the name (xxHash specification 0.1.1, canonical, so big-endian) with
 * the bits of version and variant set: 122 bits of it are left. Equal names have equal ids, for
 * ever. Not for secrets, and not for names that somebody may make alike on purpose. */
void uuid_derive(Span name, Uuid *ret_id);
/* Writes UUID_TEXT_SIZE lower-case bytes, no NUL. */
void uuid_format(const Uuid *id, char *out);
bool uuid_parse(Span text, Uuid *ret_id); /* lower or upper case, with hyphens */
bool uuid_equal(const Uuid *a, const Uuid *b);
bool uuid_is_nil(const Uuid *id);
