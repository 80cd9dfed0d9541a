/* Changes of form on JSON text that the scanner has accepted: no checks are repeated here. All append to `out`. Pure; any thread. */
#pragma once

#include <stdbool.h>

#include "base/buffer.h"
#include "base/span.h"

/* Without the white space outside strings; everything else, order and duplicates too, as it stands. */
void json_compact(Buffer *out, Span text);

enum { JSON_LONE_SURROGATE = 1 };
/* What the JSON string means; `inner` is without its quotes. 0 or JSON_LONE_SURROGATE (then `out` is as it was). `\u0000` gives a NUL. */
int json_unescape(Buffer *out, Span inner);

/* The two on bare memory, with each quote that they write doubled when `doubled`, as a quoted cell asks for. Whole blocks of 16 are stored: the
 * room is JSON_ROOM more than the text's size, and for json_compact_to also one more for each doubled quote. They return the end of
 * what counts; json_unescape_to NULL for a lone surrogate. */
#define JSON_ROOM 16
char *json_compact_to(char *to, Span text, bool doubled);
char *json_unescape_to(char *to, Span inner, bool doubled);

/* `text` as a JSON string with quotes; well-formed UTF-8 is the caller's promise. */
void json_quote(Buffer *out, Span text);
