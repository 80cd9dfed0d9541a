/* Text that people wrote: UTF-8 checks, excerpts that are safe to show in an error, and the names that were probably meant. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/span.h"

/* Decodes one character (RFC 3629, strictly) at `at` < `end`; its length in bytes, 0 when it is not UTF-8. */
size_t text_decode(const char *at, const char *end, uint32_t *ret_character);
/* UTF-8 throughout, without control characters (U+0000..1F, U+7F..9F). */
bool text_is_plain(Span text);
/* UTF-8 throughout, without NUL. */
bool text_is_utf8(Span text);
/* How many characters; the text must be UTF-8. */
size_t text_characters(Span text);

#define TEXT_EXCERPT_SIZE 64
/* The start of a text for an error message: control characters and bad bytes become '?', a longer one ends in "...". Returns `out`. */
const char *text_excerpt(Span text, char out[static TEXT_EXCERPT_SIZE]);

/* Appends those of `names` that `name` was probably meant to be, as `"a", "b"`; nothing when none is near. */
void text_near(Buffer *out, Span name, const char *const *names, size_t count);

/* strdup that ends the process when memory is out; NULL stays NULL. */
char *text_copy(const char *text);
