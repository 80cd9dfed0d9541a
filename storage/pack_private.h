/* Parts of a pack file that more than one module reads. */
#pragma once

#include <stdbool.h>

#include "base/cursor.h"
#include "base/span.h"
#include "storage/ledger.h"

/* The header frame (PACK_FIRST_SLICE bytes); false: it does not hold. */
bool pack_parse_header(Span frame, Uuid *ret_id, Uuid *ret_instance);
/* The fields that stand both in a slice's end frame and in the footer. */
void pack_get_common(Cursor *cursor, SliceRecord *slice);
