/*
 * Masked values. A mask of config/mask_table.h, compiled with its keys, makes the cell of a column
 * from the original value. The same value, mask and key give the same cell on any machine. Pure. A
 * compiled mask is immutable; any thread.
 */
#pragma once

#include "base/buffer.h"
#include "base/error.h"
#include "base/span.h"
#include "config/mask_keys.h"
#include "config/mask_table.h"

typedef struct CompiledMask CompiledMask;

/* Compiles a mask for a column of the dataType, which mask_check_type has accepted. `keys` may be
 * NULL if the mask needs none. -EINVAL: there is no such key, or a fixed text does not fit the
 * dataType; the text is the rest of a sentence that begins with the mask. The keys themselves are
 * not kept. */
int mask_compile(const Mask *mask, DataType type, const MaskKeys *keys, CompiledMask **ret_mask, Error *error);
void mask_free(CompiledMask *mask); /* NULL-safe; overwrites data that was derived from keys */

enum { MASK_DOES_NOT_FIT = 1 };
/*
 * Appends the cell to the row. `text` is the text of a JSON string, or another value as it is
 * written. `known`: VALUE_IS_… of value.h. `scratch` is overwritten, and `text` must not be inside
 * it. Returns 0, or MASK_DOES_NOT_FIT with the rest of a sentence that begins with the value and
 * does not contain it (static). Then `row` is unchanged.
 */
int mask_put(const CompiledMask *mask, Span text, unsigned known, Buffer *row, Buffer *scratch, const char **ret_reason);
