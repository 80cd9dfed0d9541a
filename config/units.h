/* Numbers with units as people write them: sizes "100B", "5MB" (powers of 1024), lengths of time
 * "30s", "1m", "24h", "7d". */
#pragma once

#include <stdint.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/span.h"

/* "5MB" -> bytes; a bare number is bytes. -EINVAL: not a size, -ERANGE: too large. */
int units_parse_size(Span text, uint64_t *ret_bytes);
/* "30s" -> microseconds; units us, ms, s, m, h, d, also joined as in "1h30m". A number without unit
 * is -EINVAL. */
int units_parse_time(Span text, usec_t *ret_usec);
void units_format_size(Buffer *out, uint64_t bytes); /* the largest unit that divides it */
void units_format_time(Buffer *out, usec_t usec);
