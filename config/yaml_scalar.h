/* One YAML scalar: what stands in its text for something else, and what kind of JSON value it is.
 * Internal to config/. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/span.h"
#include "config/expansions.h"

/* Appends `text` with every ${ENV:NAME} and ${FILE:path} replaced; `document_name` is the file in
 * whose folder paths begin. What they were replaced by is added to `expansions`. The error names
 * the variable or file, never what it holds. */
int yaml_scalar_expand(const char *document_name, Span text, Buffer *out, Expansions *expansions, Error *error);
/* The JSON value (new reference) by the YAML 1.2 core schema when the scalar is plain, else a
 * string. -EINVAL: not UTF-8, or a number that JSON cannot hold. */
int yaml_scalar_resolve(Span text, bool is_plain, json_t **ret_json, Error *error);
/* Appends the file without one newline at its end, at most 1 MB; `path` begins in the folder of
 * `document_name` unless it is absolute. The error names the file. */
int yaml_scalar_expand_file(const char *document_name, const char *path, Buffer *out, Error *error);
/* Appends a whole file; -EFBIG above bytes_max, -EISDIR … */
int yaml_scalar_read_file(const char *file, size_t bytes_max, Buffer *out);
