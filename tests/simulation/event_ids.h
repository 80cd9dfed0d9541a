/* The ids of events: each row has one, made from its number, in no order. Groups and slices must
 * say between which ids their rows lie. */
#pragma once

#include <stdint.h>

#include "base/files.h"
#include "base/span.h"
#include "base/uuid.h"
#include "storage/environment.h"

/* Adds the ids of the rows to the range, which is all-zero before the first one. Returns their
 * number. */
uint64_t event_ids_of_rows(Span rows, UuidRange *range);
/* Compares all groups of the log and all slices of sinks 1 to `sinks` with their rows; fails if they
 * differ. Returns how many were compared. */
uint64_t event_ids_verify(Txn *txn, Files *files, uint32_t sinks);
