#include "gateway/delivery/writer/stored.h"

#include "base/array.h"
#include "gateway/delivery/writer/group_plan.h"
#include "gateway/delivery/writer/log_state.h"
#include "gateway/delivery/writer/step_clock.h"

/* Totals are stored in a commit that is due anyway, after so many groups or so long: what a start
 * has to replay. */
#define TOTALS_EVERY_GROUPS 10000
#define TOTALS_EVERY USEC_SECOND

void writer_mark_dirty(Writer *writer, SinkState *sink) {
    if (sink->dirty) return;
    sink->dirty = true;
    StoredTotals *stored = writer->stored;
    array_reserve(stored->dirty, stored->count, stored->capacity);
    stored->dirty[stored->count++] = sink;
}

void writer_unmark_dirty(Writer *writer, SinkState *sink) {
    StoredTotals *stored = writer->stored;
    size_t kept = 0;
    if (!sink->dirty) return;
    for (size_t i = 0; i < stored->count; i++)
        if (stored->dirty[i] != sink) stored->dirty[kept++] = stored->dirty[i];
    check(kept + 1 == stored->count);
    stored->count = kept;
    sink->dirty = false;
}

int writer_store_totals(Writer *writer, Txn *txn, Error *error) {
    StoredTotals *stored = writer->stored;
    for (size_t i = 0; i < stored->count; i++) {
        SinkTotals totals = stored->dirty[i]->totals;
        totals.rejected_events += stored->dirty[i]->plan->rejected_events;
        int r = totals_store(txn, &totals, error);
        if (r < 0) return r;
    }
    TotalsAsOf as_of = {.commit = writer->log->last_commit, .commit_time = writer->log->last_commit_time, .running = writer->now->running};
    return totals_store_as_of(txn, &as_of, error);
}

void writer_totals_stored(Writer *writer) {
    StoredTotals *stored = writer->stored;
    for (size_t i = 0; i < stored->count; i++) stored->dirty[i]->dirty = false;
    stored->count = 0;
    stored->commit = writer->log->last_commit;
    stored->at = writer->now->boot;
    stored->running = writer->now->running;
}

bool writer_totals_are_due(const Writer *writer) {
    const StoredTotals *stored = writer->stored;
    if (stored->count == 0) return false;
    return writer->log->last_commit - stored->commit >= TOTALS_EVERY_GROUPS || writer->now->boot - stored->at >= TOTALS_EVERY;
}
