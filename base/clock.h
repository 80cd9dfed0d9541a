/* Time in microseconds, behind a seam so that tests can own it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

typedef int64_t usec_t; /* microseconds: since 1970 for wall time, since boot for boot time, else a length */
#define USEC_MS ((usec_t)1000)
#define USEC_SECOND ((usec_t)1000000)
#define USEC_MINUTE (60 * USEC_SECOND)
#define USEC_HOUR (60 * USEC_MINUTE)
#define USEC_DAY (24 * USEC_HOUR)
#define USEC_NEVER INT64_MAX

typedef struct Clock Clock;
struct Clock {
    usec_t (*wall)(Clock *clock); /* CLOCK_REALTIME: may jump; for what people and tables read */
    usec_t (*boot)(Clock *clock); /* CLOCK_BOOTTIME: never goes back, counts sleep; for every age and deadline */
};

/* The machine's clock; no state, any thread. */
Clock *clock_system(void);

/* "2006-01-02T15:04:05.000Z" (RFC 3339, UTC, milliseconds) into 25 bytes with its NUL; years
 * 0..9999. */
void clock_format_utc(usec_t wall, char out[static 25]);
/* An RFC 3339 date and time with its offset, "2006-01-02T15:04:05.000Z" or "…+02:00", into
 * nanoseconds since 1970; further digits are cut off. false: it is none, or not within 64 bits
 * (1678..2261). */
bool clock_parse(Span text, int64_t *ret_nsec);
