/*
 * Paths of the fields of JSON objects, and the names of their columns. All functions are pure. A
 * name depends only on the path and on the names that are taken, so that all nodes make the same
 * name.
 *
 * A path has the syntax of mapping/pathset.h, with keys only. field_path_append writes the
 * canonical form. A key of ASCII letters, digits and '_' that does not begin with a digit is a bare
 * step there. Any other key is a quoted step: a JSON string in brackets.
 */
#pragma once

#include <stdbool.h>

#include "base/buffer.h"
#include "base/span.h"
#include "config/definition.h"
#include "config/path_text.h"

#define COLUMN_NAME_SIZE 64 /* 63 bytes, the limit of PostgreSQL, and NUL */

/* Appends the canonical form of a path. Returns false when the text is no path, or is `.`. An
 * index, in brackets or bare, counts as a key. */
bool field_path_canonical(Span path, Buffer *out);
/* Returns whether `path` equals `of` or is below it. Both are canonical. */
bool field_path_within(Span path, Span of);
/* Returns the number of keys of a canonical path. */
size_t field_path_levels(Span path);

/* Returns whether the destination or the definition has the name already, regardless of case. */
typedef bool (*ColumnNameTaken)(void *context, const char *name);

/*
 * Makes the name of a field's column from its canonical path. The name consists of the keys, joined
 * by "__", and is cut after 63 bytes. ASCII letters become lower case. Each other ASCII character
 * except digits and '_' becomes '_'. Characters beyond ASCII are kept, except for separators,
 * control characters, format characters and characters of private use. These become '_'. A name
 * that would begin with a digit gets a leading '_'. A name that is reserved or taken ends in '_'
 * and 8 hexadecimal digits of the SHA-256 of the path. If that name is taken, too, the hash is that
 * of the path and a count.
 */
void column_name_of_field(Span path, ColumnNameTaken taken, void *context, char ret_name[static COLUMN_NAME_SIZE]);
/* Makes the name of the field's column for values of another type: NAME__v_TYPE. `name` is the name
 * of the field's column. */
void column_name_of_variant(const char *name, Span path, DataType type, ColumnNameTaken taken, void *context,
                            char ret_name[static COLUMN_NAME_SIZE]);
/* Returns whether no field may get the name: a base column has it (config/inference.h), or
 * databases have such a column in every table. */
bool column_name_reserved(Span name);
