/* Sinks that are erased: nothing of them stays but what is retained in packs, which goes with these. */
#include <errno.h>
#include <string.h>

#include "gateway/delivery/writer/parts.h"
#include "storage/rejects.h"

/* Nothing of it waits or is on its way. */
static bool is_idle(const SinkState *sink) {
    return sink->run_count == 0 && !sink->has_open && sink->file_count == 0 && !sink->staging && !sink->stage_queued && !sink->importing &&
           !sink->waiters && !sink->stopped;
}

int writer_erase(Writer *writer, Txn *txn, const uint32_t *sinks, size_t count, Error *error) {
    for (size_t i = 0; i < count; i++) {
        const SinkState *sink = writer_sink(writer, sinks[i]);
        if (sink && !is_idle(sink)) continue;
        int r = totals_remove(txn, sinks[i], error);
        if (r == 0) r = ledger_forget_ranges(txn, sinks[i], error);
        if (r == 0) r = rejects_forget_sink(txn, sinks[i], error);
        if (r == 0) r = writer_forget_damage(txn, sinks[i], error);
        if (r < 0) return r;
    }
    return 0;
}

static void forget_dirty(Writer *writer, const SinkState *sink) {
    size_t kept = 0;
    for (size_t i = 0; i < writer->dirty_count; i++)
        if (writer->dirty[i] != sink) writer->dirty[kept++] = writer->dirty[i];
    writer->dirty_count = kept;
}

void writer_erased(Writer *writer, const uint32_t *sinks, size_t count) {
    for (size_t i = 0; i < count; i++) {
        SinkState *sink = writer_sink(writer, sinks[i]);
        if (!sink || !is_idle(sink)) continue;
        check(!sink->queued_on);
        scheduler_set(&writer->sink_timers, &sink->timer, USEC_NEVER);
        if (sink->dirty) forget_dirty(writer, sink);
        writer_sink_free(sink);
        writer->sinks[sinks[i]] = NULL;
    }
}
