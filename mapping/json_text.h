/* Conversions of JSON text that the scanner has accepted; nothing is checked again. All functions
 * append to `out`. Pure; any thread. */
#pragma once

#include <stdbool.h>

#include "base/buffer.h"
#include "base/span.h"

/* Removes the white space outside strings. Everything else is unchanged, also order and duplicate
 * keys. */
void json_compact(Buffer *out, Span text);

enum { JSON_LONE_SURROGATE = 1 };
/* Appends the text that a JSON string means. `inner` is the string without its quotes. Returns 0,
 * or JSON_LONE_SURROGATE (then `out` is unchanged). `\u0000` gives a NUL. */
int json_unescape(Buffer *out, Span inner);

/* What an unescaped text holds. */
typedef struct JsonFound {
    bool special; /* a comma, quote, backslash, CR or LF */
    bool nul;
} JsonFound;

#define JSON_UNESCAPE_ROOM 16

/* The same into memory with room for `inner.size` and JSON_UNESCAPE_ROOM bytes. Memory can be read
 * up to `readable`, which is at or behind the end of `inner`. With `doubled`, each quote is doubled,
 * as in a quoted cell; this needs no more room. Returns the end of the written text, or NULL for a
 * lone surrogate. */
char *json_unescape_to(char *to, Span inner, const char *readable, bool doubled, JsonFound *ret_found);

/* Appends `text` as a JSON string with quotes. The caller makes sure that it is valid UTF-8. */
void json_quote(Buffer *out, Span text);
