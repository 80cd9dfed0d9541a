/* Changes of form on JSON text that the scanner has accepted: no checks are repeated here. All
 * append to `out`. Pure; any thread. */
#pragma once

#include <stdbool.h>

#include "base/buffer.h"
#include "base/span.h"

/* Without the white space outside strings; everything else, order and duplicates too, as it
 * stands. */
void json_compact(Buffer *out, Span text);

enum { JSON_LONE_SURROGATE = 1 };
/* What the JSON string means; `inner` is without its quotes. 0 or JSON_LONE_SURROGATE (then `out`
 * is as it was). `\u0000` gives a NUL. */
int json_unescape(Buffer *out, Span inner);

/* The same on bare memory with room for `inner.size` bytes; each quote is doubled when `doubled`,
 * as a quoted cell asks for, which takes no more room. Returns the end of what was written, NULL
 * for a lone surrogate. */
char *json_unescape_to(char *to, Span inner, bool doubled);

/* `text` as a JSON string with quotes; well-formed UTF-8 is the caller's promise. */
void json_quote(Buffer *out, Span text);
