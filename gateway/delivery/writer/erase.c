#include "gateway/delivery/writer/erase.h"

#include "gateway/delivery/writer/connections.h"
#include "gateway/delivery/writer/damage.h"
#include "gateway/delivery/writer/imports.h"
#include "gateway/delivery/writer/open_file.h"
#include "gateway/delivery/writer/sink_log.h"
#include "gateway/delivery/writer/sinks.h"
#include "gateway/delivery/writer/staging.h"
#include "gateway/delivery/writer/stored.h"
#include "gateway/delivery/writer/waiters.h"
#include "gateway/delivery/writer/waiting.h"
#include "storage/partitions.h"
#include "storage/rejects.h"

/* Nothing of it waits or is on its way. */
static bool is_idle(const SinkState *sink) {
    return sink->log->count == 0 && !sink->open->exists && sink->waiting->count == 0 && !sink->stage->staging && !sink->stage->queued &&
           !sink->imports->running && !sink->waiters->first && !sink->stopped;
}

int writer_erase(Writer *writer, Txn *txn, const uint32_t *sinks, size_t count, Error *error) {
    for (size_t i = 0; i < count; i++) {
        const SinkState *sink = writer_sink(writer, sinks[i]);
        if (sink && !is_idle(sink)) continue;
        int r = totals_remove(txn, sinks[i], error);
        if (r == 0) r = ledger_forget_ranges(txn, sinks[i], error);
        if (r == 0) r = partition_ends_forget(txn, sinks[i], error);
        if (r == 0) r = rejects_forget_sink(txn, sinks[i], error);
        if (r == 0) r = writer_forget_damage(txn, sinks[i], error);
        if (r < 0) return r;
    }
    return 0;
}

void writer_erased(Writer *writer, const uint32_t *sinks, size_t count) {
    for (size_t i = 0; i < count; i++) {
        SinkState *sink = writer_sink(writer, sinks[i]);
        if (!sink || !is_idle(sink)) continue;
        if (sink->imports->queued_on) connection_leave_queue(sink); /* for runs without rows, which go with it */
        writer_unmark_dirty(writer, sink);
        writer_sink_remove(writer, sink);
    }
}
