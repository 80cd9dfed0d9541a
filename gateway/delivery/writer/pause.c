#include "gateway/delivery/writer/pause.h"

#include <errno.h>

#include "gateway/delivery/writer/connections.h"
#include "gateway/delivery/writer/open_file.h"
#include "gateway/delivery/writer/rules.h"
#include "gateway/delivery/writer/sink_log.h"
#include "gateway/delivery/writer/sinks.h"
#include "gateway/delivery/writer/step_clock.h"
#include "gateway/delivery/writer/versions.h"
#include "gateway/delivery/writer/waiters.h"
#include "gateway/delivery/writer/waiting.h"

static bool goes_to(const SinkVersion *version, const WriterConnection *connection) {
    if (!version->connection) return false; /* it has no rows, and nobody ordered it since the start */
    return connection ? version->connection == connection : version->connection->paused;
}

/* Does something of the sink go to the connection (NULL: to one that is paused): a file, rows in
 * the log, or the rows to come? */
static bool sink_goes_to(const SinkState *sink, const WriterConnection *connection) {
    for (size_t i = 0; i < sink->waiting->count; i++) {
        const WriterConnection *to = sink->waiting->items[i].connection;
        if (connection ? to == connection : to->paused) return true;
    }
    uint32_t current = versions_current(sink->versions);
    for (size_t i = 0; i < sink->versions->count; i++) {
        const SinkVersion *version = &sink->versions->items[i];
        bool used = version->version == current || (sink->open->exists && sink->open->file.mapping_version == version->version);
        if ((used || sink_log_has_version(sink->log, version->version)) && goes_to(version, connection)) return true;
    }
    return false;
}

bool writer_is_paused(const Writer *writer, const SinkState *sink) {
    return sink->rules->paused || (writer->connections->paused > 0 && sink_goes_to(sink, NULL));
}

/* The pause from `since` to `until` does not count for what began at `moment`. */
static usec_t later_by_pause(usec_t moment, usec_t since, usec_t until) {
    if (moment == 0) return 0;
    usec_t from = moment > since ? moment : since;
    return from < until ? moment + until - from : moment;
}

/* When the pause that is ordered began; a start may have lost the last moments of the running
 * time. */
static usec_t pause_start(const Writer *writer, usec_t running) {
    return running > 0 && running < writer->now->running ? running : writer->now->running;
}

/* USEC_NEVER: neither the sink nor its source is paused. */
static usec_t ordered_pause(const Writer *writer, const SinkOrder *order) {
    usec_t since = USEC_NEVER;
    const Pause *pauses[] = {&order->sink->paused, &order->source->paused};
    for (size_t i = 0; i < 2; i++) {
        usec_t start = pauses[i]->at != 0 ? pause_start(writer, pauses[i]->running) : USEC_NEVER;
        if (start < since) since = start;
    }
    return since;
}

/* How far the pause of the sink reaches that the order ends: it may be one of two, the sink's own
 * and its source's. */
static usec_t pause_end_of(const Writer *writer, const SinkOrder *order) {
    usec_t since = ordered_pause(writer, order);
    return since < writer->now->running ? since : writer->now->running;
}

/* A file ages towards its expiry only while it may be tried. `connection` NULL: all of the
 * sink's. */
static void leave_out_pause(SinkState *sink, const WriterConnection *connection, usec_t since, usec_t until) {
    for (size_t i = 0; i < sink->waiting->count; i++) {
        WaitingFile *file = &sink->waiting->items[i];
        if (connection && file->connection != connection) continue;
        file->waits_since = later_by_pause(file->waits_since, since, until);
        file->first_failed = later_by_pause(file->first_failed, since, until);
    }
}

/* The same for what is stored. A record that cannot be read says nothing of an age: it is reported
 * when the file is tried. */
static int store_without_pause(Txn *txn, const SinkState *sink, const WriterConnection *connection, usec_t since, usec_t until,
                               Error *error) {
    for (size_t i = 0; i < sink->waiting->count; i++) {
        const WaitingFile *file = &sink->waiting->items[i];
        _cleanup_(file_record_deinit) FileRecord record = {0};
        if (file->first_failed == 0 || (connection && file->connection != connection)) continue;
        int r = ledger_find_file(txn, &file->id, &record, error);
        if (r == -EBADMSG) *error = (Error){0};
        if (r == LEDGER_NOT_FOUND || r == -EBADMSG) continue;
        if (r < 0) return r;
        usec_t later = later_by_pause(record.first_failed, since, until);
        if (later == record.first_failed) continue;
        record.first_failed = later;
        r = ledger_update_file(txn, &record, error);
        if (r < 0) return r;
    }
    return 0;
}

int writer_store_pauses(Writer *writer, Txn *txn, const Define *define, Error *error) {
    int r = 0;
    for (size_t i = 0; i < define->connection_count && r == 0; i++) {
        const WriterConnection *connection = connection_added(writer->connections, define->connections[i].name);
        if (!connection->paused || define->connections[i].paused) continue;
        for (size_t k = 0; k < writer->sinks->capacity && r == 0; k++)
            if (writer->sinks->items[k])
                r = store_without_pause(txn, writer->sinks->items[k], connection, connection->paused_since, writer->now->running, error);
    }
    for (size_t i = 0; i < define->sink_count && r == 0; i++) {
        const SinkOrder *order = &define->sinks[i];
        const SinkState *sink = writer_sink(writer, order->sink->number);
        if (!sink || !sink->rules->paused) continue;
        r = store_without_pause(txn, sink, NULL, sink->rules->paused_since, pause_end_of(writer, order), error);
    }
    return r;
}

void writer_order_connection(Writer *writer, const ConnectionOrder *order) {
    WriterConnection *connection = connection_added(writer->connections, order->name);
    if (connection->paused == order->paused) return;
    usec_t since = connection->paused_since;
    connection->paused = order->paused;
    if (order->paused) {
        connection->paused_since = pause_start(writer, order->running);
        writer->connections->paused++;
    } else {
        writer->connections->paused--;
        connection->failing_since = later_by_pause(connection->failing_since, since, writer->now->running);
    }
    for (size_t i = 0; i < writer->sinks->capacity; i++) {
        SinkState *sink = writer->sinks->items[i];
        if (!sink || !sink_goes_to(sink, connection)) continue;
        if (!order->paused) leave_out_pause(sink, connection, since, writer->now->running);
        if (order->paused)
            sink_waiters_fail(sink, 0, -EBUSY, "The connection was paused before everything was imported; the waiting rows are kept.");
        writer_schedule(writer, sink);
    }
}

void writer_pause(Writer *writer, SinkState *sink, const SinkOrder *order) {
    usec_t since = ordered_pause(writer, order);
    bool pauses = since != USEC_NEVER, paused = sink->rules->paused;
    if (paused) leave_out_pause(sink, NULL, sink->rules->paused_since, pause_end_of(writer, order));
    sink->rules->paused = pauses;
    if (pauses && (!paused || since > sink->rules->paused_since)) sink->rules->paused_since = since;
    if (pauses && !paused)
        sink_waiters_fail(sink, 0, -EBUSY, "The sink was paused before everything was imported; the waiting rows are kept.");
}
