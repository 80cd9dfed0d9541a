/* Time in microseconds. The Clock interface allows tests to set the time. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

typedef int64_t usec_t; /* microseconds: since 1970 for wall time, since the start of the machine for boot time, otherwise a duration */
#define USEC_MS ((usec_t)1000)
#define USEC_SECOND ((usec_t)1000000)
#define USEC_MINUTE (60 * USEC_SECOND)
#define USEC_HOUR (60 * USEC_MINUTE)
#define USEC_DAY (24 * USEC_HOUR)
#define USEC_NEVER INT64_MAX

typedef struct Clock Clock;
struct Clock {
    usec_t (*wall)(Clock *clock); /* CLOCK_REALTIME: may jump; only for times that are shown or stored */
    usec_t (*boot)(Clock *clock); /* CLOCK_BOOTTIME: never decreases and includes sleep; for all ages and deadlines */
};

/* The clock of the machine. It has no state; any thread. */
Clock *clock_system(void);

/* Writes "2006-01-02T15:04:05.000Z" (RFC 3339, UTC, milliseconds) and a NUL, 25 bytes together. The
 * year has to be in 0..9999. */
void clock_format_utc(usec_t wall, char out[static 25]);
/* Reads an RFC 3339 date and time with its offset, such as "2006-01-02T15:04:05.000Z" or "…+02:00".
 * *ret_nsec is nanoseconds since 1970; further digits are cut off. Returns false if the text is not
 * such a time, or if the time does not fit into 64 bits (1678..2261). */
bool clock_parse(Span text, int64_t *ret_nsec);
