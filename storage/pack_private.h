/* Parts of a pack file that more than one module reads. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/cursor.h"
#include "base/span.h"
#include "storage/ledger.h"
#include "storage/partitions.h"

/* The header frame (PACK_FIRST_SLICE bytes); false: it does not hold. */
bool pack_parse_header(Span frame, Uuid *ret_id, Uuid *ret_instance);
/* The fields that stand both in a slice's end frame and in the footer. */
void pack_get_common(Cursor *cursor, SliceRecord *slice);

/* ---- pack_runs.c: the runs in a slice's description ---- */
/* `,"partitions":[…],"runs":[…]` */
void pack_describe_runs(const OffsetRun *runs, size_t count, const Partitions *partitions, Buffer *out);
/* false: what the description says of the runs of a slice with so many rows cannot be. None: it
 * says nothing. */
bool pack_parse_runs(Span description, uint32_t sink, uint64_t rows, OffsetRuns *ret_runs, Partitions *ret_partitions);
