/* Sinks that are erased: nothing of them stays but what is retained in packs, which goes with
 * these. */
#pragma once

#include "gateway/delivery/writer/state.h"

/* In a transaction, and in memory when that is committed: sinks of which something waits are left
 * out. */
int writer_erase(Writer *writer, Txn *txn, const uint32_t *sinks, size_t count, Error *error);
void writer_erased(Writer *writer, const uint32_t *sinks, size_t count);
