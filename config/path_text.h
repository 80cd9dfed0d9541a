/*
 * How people write the paths of fields (mapping/pathset.h has the syntax), and how they are kept. A
 * leading `$.`, or `$` alone, is the root, as in JSONPath. Spellings of other languages, which
 * would silently name a key that no event has, are refused with the right one. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/span.h"

/* One step more, in its canonical form (config/column_name.h). `key`: not escaped, UTF-8, without
 * NUL. */
void field_path_append(Buffer *path, Span key);
/* Bytes of a leading root: those of `$.` before a step, of `$` alone or before a bracket; else 0.
 * What is left may be empty: the whole body. */
size_t path_root_size(Span path);
/* Is it a JSON pointer, quoted as a whole, with blanks around it, with backslashes outside of quoted steps, or with a dot before it?
 * *ret_what: the rest of a sentence that begins with the path, "is …" or "has …" (static); `ret_right`: the right spelling is appended. */
bool path_is_misspelt(Span path, const char **ret_what, Buffer *ret_right);
/*
 * What is kept of the path of a definition: it has no root. free(). `is_stored`: the path was kept
 * before. Then a leading `$` can only be from a program that took it for a key, as it did with the
 * spellings that are refused now: they become quoted steps, which are keys.
 */
char *path_keep(const char *path, bool is_stored);
