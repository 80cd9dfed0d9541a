/* Parts of a repair in modules of their own. */
#pragma once

#include "storage/totals.h"

typedef void (*RepairFound)(void *context, uint32_t sink, const char *why, const char *done);
/* Totals, and what they are true for. After the ledger. */
int repair_totals(Txn *txn, RepairFound found, void *context, Error *error);
