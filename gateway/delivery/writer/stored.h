/* The totals of sinks, and which of them changed since they were stored. A start replays the log
 * from the commit that the stored ones know. */
#pragma once

#include "gateway/delivery/writer/state.h"

typedef struct StoredTotals {
    SinkState **dirty; /* sinks whose totals changed */
    size_t count, capacity;
    uint64_t commit; /* the stored totals are true for it */
    usec_t at;       /* boot */
    usec_t running;
} StoredTotals;

void writer_mark_dirty(Writer *writer, SinkState *sink);
void writer_unmark_dirty(Writer *writer, SinkState *sink); /* it is erased */
/* Stores the totals of all sinks that changed, true for the last commit that memory knows. */
int writer_store_totals(Writer *writer, Txn *txn, Error *error);
void writer_totals_stored(Writer *writer); /* that transaction is committed */
/* So much has changed, or for so long, that the next commit stores them. */
bool writer_totals_are_due(const Writer *writer);
