/* PostgreSQL: arrays as text, for parameters that a statement unnests: {"a","b"}. */
#pragma once

#include <inttypes.h>

#include "base/buffer.h"
#include "base/span.h"

/* All-zero is an array without elements yet. */
void postgres_array_add(Buffer *array, Span text);
void postgres_array_add_null(Buffer *array);
void postgres_array_add_number(Buffer *array, int64_t number);
/* The whole array, valid until the buffer changes; nothing may be added afterwards. */
const char *postgres_array_end(Buffer *array);
