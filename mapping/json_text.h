/* Changes of form on JSON text that the scanner has accepted: no checks are repeated here. All append to `out`. Pure; any thread. */
#pragma once

#include "base/buffer.h"
#include "base/span.h"

/* Without the white space outside strings; everything else, order and duplicates too, as it stands. */
void json_compact(Buffer *out, Span text);

enum { JSON_LONE_SURROGATE = 1 };
/* What the JSON string means; `inner` is without its quotes. 0 or JSON_LONE_SURROGATE (then `out` is as it was). `\u0000` gives a NUL. */
int json_unescape(Buffer *out, Span inner);

/* `text` as a JSON string with quotes; well-formed UTF-8 is the caller's promise. */
void json_quote(Buffer *out, Span text);
