/*
 * Masked values: a mask of config/mask_table.h, compiled with its keys, gives the cell of a column
 * in place of the value. The same value, mask and key give the same cell, on any machine. Pure; a
 * compiled mask is immutable: any thread.
 */
#pragma once

#include "base/buffer.h"
#include "base/error.h"
#include "base/span.h"
#include "config/mask_keys.h"
#include "config/mask_table.h"

typedef struct CompiledMask CompiledMask;

/* For a column of the dataType, which mask_check_type took. `keys` may be NULL when it needs none.
 * -EINVAL: the rest of a sentence that begins with the mask: there is no such key, a fixed text
 * does not fit the dataType. Nothing of the keys is kept but what is made of them. */
int mask_compile(const Mask *mask, DataType type, const MaskKeys *keys, CompiledMask **ret_mask, Error *error);
void mask_free(CompiledMask *mask); /* NULL-safe; overwrites what was made of keys */

enum { MASK_DOES_NOT_FIT = 1 };
/*
 * Appends the cell to the row. `text` is what a JSON string means, or another value as it is
 * written; `known`: VALUE_IS_… of value.h. `scratch` is overwritten, and `text` does not lie in it.
 * 0, or MASK_DOES_NOT_FIT with the rest of a sentence that begins with the value, and holds nothing
 * of it (static); `row` is then as it was.
 */
int mask_put(const CompiledMask *mask, Span text, unsigned known, Buffer *row, Buffer *scratch, const char **ret_reason);
