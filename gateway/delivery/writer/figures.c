#include "gateway/delivery/writer/figures.h"

#include <stdio.h>
#include <string.h>

#include "gateway/delivery/writer/connections.h"
#include "gateway/delivery/writer/open_file.h"
#include "gateway/delivery/writer/pause.h"
#include "gateway/delivery/writer/sink_log.h"
#include "gateway/delivery/writer/sinks.h"
#include "gateway/delivery/writer/space_state.h"
#include "gateway/delivery/writer/waiting.h"

static void add_span(Tally *tally, usec_t first, usec_t last) {
    if (tally->first_time == 0 || first < tally->first_time) tally->first_time = first;
    if (last > tally->last_time) tally->last_time = last;
}

static void fill(const Writer *writer, const SinkState *sink, SinkStatistics *out) {
    out->totals = sink->totals;
    out->local = (Tally){.rows = sink->log->rows, .bytes = sink->log->bytes};
    for (size_t i = 0; i < sink->log->count; i++) add_span(&out->local, sink->log->runs[i].first_time, sink->log->runs[i].last_time);
    out->staging = (Tally){.rows = sink->waiting->rows, .bytes = sink->waiting->bytes};
    if (sink->open->exists) {
        out->staging.rows += file_readable_rows(&sink->open->file);
        out->staging.bytes += sink->open->file.bytes;
        add_span(&out->staging, sink->open->file.first_time, sink->open->file.last_time);
    }
    bool failing = sink->stopped;
    for (size_t i = 0; i < sink->waiting->count; i++) {
        add_span(&out->staging, sink->waiting->items[i].first_time, sink->waiting->items[i].last_time);
        if (sink->waiting->items[i].attempts > 0) out->files_failed++;
        failing = failing || sink->waiting->items[i].connection->failures > 0;
    }
    out->files_waiting = (uint32_t)sink->waiting->count;
    out->paused = writer_is_paused(writer, sink);
    out->failing = failing;
    (void)snprintf(out->last_error, sizeof out->last_error, "%s", sink_error(sink));
    out->made_table = sink->made_table;
    memcpy(out->damage, sink->damage, sizeof out->damage);
}

static void fill_connection(const Writer *writer, ConnectionStatistics *out) {
    out->paused = out->failing = false;
    out->last_error[0] = '\0';
    const WriterConnection *connection = connection_find(writer->connections, out->name);
    if (!connection) return;
    out->paused = connection->paused;
    out->failing = connection->failures > 0;
    if (out->failing) memcpy(out->last_error, connection->last_error, sizeof out->last_error);
}

void writer_fill_statistics(const Writer *writer, TotalsQuery *query) {
    for (size_t i = 0; i < query->count; i++) {
        const SinkState *sink = writer_sink(writer, query->sinks[i]);
        query->statistics[i] = (SinkStatistics){0};
        if (sink) {
            fill(writer, sink, &query->statistics[i]);
        } else {
            totals_init(&query->statistics[i].totals, query->sinks[i]);
        }
    }
    for (size_t i = 0; i < query->connection_count; i++) fill_connection(writer, &query->connections[i]);
    uint64_t map;
    query->disk = (DiskStatistics){
        .budget = writer->options.disk_budget, .staging = writer->space->staging_bytes, .expired = writer->space->expired_bytes};
    environment_usage(writer->options.environment, &query->disk.database, &map);
}
