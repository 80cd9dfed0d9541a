#include "gateway/delivery/writer/drain.h"

#include <errno.h>
#include <stdlib.h>

#include "gateway/delivery/writer/drain_state.h"
#include "gateway/delivery/writer/imports.h"
#include "gateway/delivery/writer/sinks.h"
#include "gateway/delivery/writer/staging.h"
#include "gateway/delivery/writer/step_clock.h"
#include "gateway/delivery/writer/waiters.h"

/* A running import may hold a drain for so long; then it is left to the control thread, who makes
 * the loaders give up. */
#define DRAIN_IMPORTS (5 * USEC_SECOND)

void writer_begin_drain(Writer *writer) {
    DrainState *drain = writer->drain;
    drain->begun = true;
    drain->until = writer->now->boot + DRAIN_IMPORTS;
    for (size_t i = 0; i < writer->sinks->capacity; i++)
        if (writer->sinks->items[i]) sink_waiters_fail(writer->sinks->items[i], 0, -ECANCELED, "The gateway is shutting down.");
    SinkQueue *due = &writer->stages->due;
    for (size_t i = 0; i < due->count; i++) due->items[i]->stage->queued = false;
    sink_queue_drop_front(due, due->count);
}

void writer_mind_drain(Writer *writer) {
    DrainState *drain = writer->drain;
    if (!drain->begun || drain->done) return;
    bool imports_may_go_on = writer->now->boot >= drain->until;
    if (!writer->broken && (writer->stages->in_flight || (writer->imports->in_flight && !imports_may_go_on))) return;
    drain->done = true;
    Drained *drained = calloc(1, sizeof *drained);
    check(drained);
    drained->message.kind = MESSAGE_DRAINED;
    drained->who = -1;
    mailbox_post(writer->options.control, &drained->message);
}
