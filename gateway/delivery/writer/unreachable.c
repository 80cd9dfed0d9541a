#include "gateway/delivery/writer/unreachable.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "gateway/delivery/writer/imports.h"
#include "gateway/delivery/writer/sinks.h"
#include "gateway/delivery/writer/step_clock.h"

void writer_note_reachable(Writer *writer, WriterConnection *connection) {
    if (connection->failures == 0) return;
    usec_t since = writer->now->boot - connection->failing_boot;
    log_info("connection %s answers again after %" PRId64 " s; the last %u tries had failed", connection->name, since / USEC_SECOND,
             connection->failures);
    connection->failures = 0;
    connection->last_error[0] = '\0';
}

void writer_note_unreachable(Writer *writer, WriterConnection *connection, const char *why) {
    if (connection->failures++ == 0) {
        connection->failing_since = writer->now->running;
        connection->failing_boot = writer->now->boot;
    }
    (void)snprintf(connection->last_error, sizeof connection->last_error, "%.255s", why);
    connection->paused_until = writer->now->boot + writer_backoff(writer, connection->failures);
    scheduler_set(&writer->connections->timers, &connection->timer, connection->paused_until);
    for (SinkState *sink = connection->first; sink; sink = sink->imports->next_queued)
        writer_schedule(writer, sink); /* it may have files that go elsewhere */
}
