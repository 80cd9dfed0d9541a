#include <errno.h>

#include "gateway/delivery/writer/parts.h"

static bool goes_to(const SinkVersion *version, const WriterConnection *connection) {
    return connection ? version->connection == connection : version->connection->paused;
}

/* Does something of the sink go to the connection (NULL: to one that is paused): a file, rows in the log, or the rows to come? */
static bool sink_goes_to(const SinkState *sink, const WriterConnection *connection) {
    for (size_t i = 0; i < sink->file_count; i++) {
        const WriterConnection *to = sink->files[i].connection;
        if (connection ? to == connection : to->paused) return true;
    }
    uint32_t current = 0;
    for (size_t i = 0; i < sink->version_count; i++)
        if (sink->versions[i].version > current) current = sink->versions[i].version;
    for (size_t i = 0; i < sink->version_count; i++) {
        const SinkVersion *version = &sink->versions[i];
        bool used = version->version == current || (sink->has_open && sink->open.mapping_version == version->version);
        for (size_t k = 0; k < sink->run_count && !used; k++) used = sink->runs[k].mapping_version == version->version;
        if (used && goes_to(version, connection)) return true;
    }
    return false;
}

bool writer_is_paused(const Writer *writer, const SinkState *sink) {
    return sink->paused || (writer->paused_connections > 0 && sink_goes_to(sink, NULL));
}

/* The pause from `since` to now does not count for what began at `moment`. */
static usec_t later_by_pause(const Writer *writer, usec_t moment, usec_t since) {
    if (moment == 0) return 0;
    usec_t later = moment + writer->running - (moment > since ? moment : since);
    return later < writer->running ? later : writer->running;
}

/* A file ages towards its expiry only while it may be tried. `connection` NULL: all of the sink's. */
static void leave_out_pause(Writer *writer, SinkState *sink, const WriterConnection *connection, usec_t since) {
    for (size_t i = 0; i < sink->file_count; i++) {
        WaitingFile *file = &sink->files[i];
        if (connection && file->connection != connection) continue;
        file->waits_since = later_by_pause(writer, file->waits_since, since);
        file->first_failed = later_by_pause(writer, file->first_failed, since);
    }
}

void writer_order_connection(Writer *writer, const ConnectionOrder *order) {
    WriterConnection *connection = writer_connection(writer, order->name);
    if (connection->paused == order->paused) return;
    usec_t since = connection->paused_since;
    connection->paused_since = writer->running;
    connection->paused = order->paused;
    if (order->paused) {
        writer->paused_connections++;
    } else {
        writer->paused_connections--;
        connection->failing_since = later_by_pause(writer, connection->failing_since, since);
    }
    for (size_t i = 0; i < writer->sink_capacity; i++) {
        SinkState *sink = writer->sinks[i];
        if (!sink || !sink_goes_to(sink, connection)) continue;
        if (!order->paused) leave_out_pause(writer, sink, connection, since);
        if (order->paused)
            writer_fail_waiters(writer, sink, 0, -EBUSY, "The connection was paused before all was imported; what waits is kept.");
        writer_touch(writer, sink);
    }
}

void writer_pause(Writer *writer, SinkState *sink, bool paused) {
    if (sink->paused == paused) return;
    sink->paused = paused;
    if (paused) {
        sink->paused_since = writer->running;
        writer_fail_waiters(writer, sink, 0, -EBUSY, "The sink was paused before all was imported; what waits is kept.");
    } else {
        leave_out_pause(writer, sink, NULL, sink->paused_since);
    }
}
