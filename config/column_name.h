/*
 * Fields of JSON objects as paths, and the names of their columns. Pure: a name is a function of
 * the path and of the names that are taken, so that all nodes that read one map give the same one.
 *
 * Path: the syntax of mapping/pathset.h, keys only. The canonical one, which field_path_append
 * writes, has a bare step for each key of ASCII letters, digits and '_' that does not begin with a
 * digit, and a quoted one (a JSON string in brackets) for all others.
 */
#pragma once

#include <stdbool.h>

#include "base/buffer.h"
#include "base/span.h"
#include "config/definition.h"
#include "config/path_text.h"

#define COLUMN_NAME_SIZE 64 /* 63 bytes, as PostgreSQL keeps, and NUL */

/* The canonical form of a path in any form, or false: it is none, or it is `.`. An index in
 * brackets or bare is a key. */
bool field_path_canonical(Span path, Buffer *out);
/* Both canonical: are they equal, or is `path` below `of`? */
bool field_path_within(Span path, Span of);
/* The number of its keys. `path`: canonical. */
size_t field_path_levels(Span path);

/* Is the name taken at the destination, or in the definition? Case is not told apart. */
typedef bool (*ColumnNameTaken)(void *context, const char *name);

/*
 * The name of a field's column: the keys of its path, joined by "__" and cut after 63 bytes. ASCII
 * letters become lower case. Each ASCII character that is no letter, digit or '_' becomes '_'.
 * Beyond ASCII all characters are kept but separators, control and format characters, and those of
 * private use, which become '_'. A name that would begin with a digit gets a '_' before it. A name
 * that is reserved, or taken, ends in '_' and 8 hexadecimal digits: of the SHA-256 of the path, or,
 * if that name is taken too, of path and a count. `path`: canonical.
 */
void column_name_of_field(Span path, ColumnNameTaken taken, void *context, char ret_name[static COLUMN_NAME_SIZE]);
/* The name of the field's column for values of another type: NAME__v_TYPE; `name` is that of the
 * field's column. */
void column_name_of_variant(const char *name, Span path, DataType type, ColumnNameTaken taken, void *context,
                            char ret_name[static COLUMN_NAME_SIZE]);
/* Names that no field gets: those of config/inference.h, and what databases have in every table. */
bool column_name_reserved(Span name);
