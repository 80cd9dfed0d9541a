/* Names of JetStream's streams and consumers, and subjects to filter with. Pure; any thread. */
#pragma once

#include <stdbool.h>

#include "base/span.h"

#define NATS_NAME_BYTES_MAX 255

/* May it be the name of a stream or consumer: 1 to 255 bytes without spaces, control characters,
 * '.', '*', '>', '/' and '\\'? */
bool nats_name_valid(Span name);
/* A subject to filter with: tokens of visible characters with '.' between them, '*' and a last '>'
 * as wildcards, at most 255 bytes. */
bool nats_filter_valid(Span subject);
