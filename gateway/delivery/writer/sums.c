#include "gateway/delivery/writer/sums.h"

#include "gateway/delivery/writer/connections.h"
#include "gateway/delivery/writer/drain_state.h"
#include "gateway/delivery/writer/imports.h"
#include "gateway/delivery/writer/log_state.h"
#include "gateway/delivery/writer/open_file.h"
#include "gateway/delivery/writer/rules.h"
#include "gateway/delivery/writer/sink_ends.h"
#include "gateway/delivery/writer/sink_log.h"
#include "gateway/delivery/writer/sinks.h"
#include "gateway/delivery/writer/space_state.h"
#include "gateway/delivery/writer/staging.h"
#include "gateway/delivery/writer/stored.h"
#include "gateway/delivery/writer/waiters.h"
#include "gateway/delivery/writer/waiting.h"

uint64_t sums_unaccounted(const SinkState *sink) {
    const SinkTotals *totals = &sink->totals;
    const OpenFile *open = sink->open;
    uint64_t waits = sink->log->rows + sink->waiting->rows + (open->exists ? file_readable_rows(&open->file) : 0);
    return totals->received.rows - waits - totals->imported.rows - totals->rejected_rows - totals->dropped_rows - totals->overtaken_rows -
           totals->returned_rows;
}

void sums_note_repair(SinkState *sink) {
    sink->unaccounted = sums_unaccounted(sink);
}

void sums_begin(Writer *writer) {
    for (size_t i = 0; i < writer->sinks->capacity; i++)
        if (writer->sinks->items[i]) sums_note_repair(writer->sinks->items[i]);
}

/* ---- a sink that changed --------------------------------------------------------------------- */

/* Its rows: each is in the log, in the open file or in one that waits, or has gone a way that is
 * counted. */
static void check_rows(const SinkState *sink) {
    const SinkTotals *totals = &sink->totals;
    const SinkLog *log = sink->log;
    const OpenFile *open = sink->open;
    const WaitingFiles *waiting = sink->waiting;
    check(sums_unaccounted(sink) == sink->unaccounted);
    check(totals->staged_row <= totals->next_row);
    check(totals->next_row - totals->staged_row == log->rows);
    check((log->count == 0) == (log->rows == 0));
    check(log->count == 0 || log->runs[0].first_row == totals->staged_row);
    check(sink_log_end(log, totals->staged_row) == totals->next_row);
    check(totals->first_commit == (log->count ? log->runs[0].from_commit : 0));
    if (open->exists) check(open->file.first_row + open->file.rows == totals->staged_row);
    if (waiting->count == 0) {
        check(waiting->rows == 0 && waiting->bytes == 0);
        return;
    }
    const WaitingFile *last = &waiting->items[waiting->count - 1];
    check(last->first_row + last->rows <= (open->exists ? open->file.first_row : totals->staged_row));
}

/* It is where its state says. */
static void check_places(const Writer *writer, const SinkState *sink) {
    const SinkStaging *stage = sink->stage;
    const SinkImports *imports = sink->imports;
    check(!(stage->staging && stage->queued));
    if (stage->staging) check(writer->stages->in_flight > 0 && sink->log->count > 0 && sink->log->runs[0].staging);
    if (!stage->staging && sink->log->count > 0) check(!sink->log->runs[0].staging);
    if (stage->queued) check(writer->stages->due.count > 0 && sink->log->count > 0);
    if (imports->running) check(writer->imports->in_flight > 0 && (imports->positions || sink->waiting->count > 0) && !imports->queued_on);
    check(imports->running || !imports->positions);
    if (imports->queued_on) check(imports->queued_on->first && (imports->next_queued || imports->queued_on->last == sink));
    if (!imports->queued_on) check(!imports->next_queued);
    if (sink->rules->known) check(sink->label);
    if (sink->waiters->first) check(sink->rules->known && !writer->drain->begun);
    if (sink->dirty) check(writer->stored->count > 0);
}

/* ---- all of it ------------------------------------------------------------------------------- */

static size_t places_in(const SinkQueue *queue, const SinkState *sink) {
    size_t places = 0;
    for (size_t i = 0; i < queue->count; i++) places += queue->items[i] == sink;
    return places;
}

typedef struct Counts {
    size_t dirty, queued, running, expiring, dividing, waits_in_queue;
} Counts;

static void check_whole_sink(const Writer *writer, const SinkState *sink, Counts *counts) {
    const WaitingFiles *waiting = sink->waiting;
    sink_log_check(sink->log, sink->stopped);
    sink_ends_check(sink->ends, sink->totals.next_row);
    waiting_check(waiting);
    check(places_in(&writer->stages->due, sink) == sink->stage->queued);
    size_t importing = 0;
    for (size_t i = 0; i < waiting->count; i++) {
        const WaitingFile *file = &waiting->items[i];
        importing += file->importing;
        counts->expiring += file->expiring;
        counts->dividing += file->dividing;
        check(connection_find(writer->connections, file->connection->name) == file->connection);
        check(writer->space->largest_file >= file->bytes);
    }
    check(sink->imports->running == (importing > 0 || sink->imports->positions));
    counts->dirty += sink->dirty;
    counts->queued += sink->stage->queued;
    counts->running += sink->imports->running;
    counts->waits_in_queue += sink->imports->queued_on != NULL;
}

static void check_all(const Writer *writer) {
    Counts counts = {0};
    for (size_t i = 0; i < writer->sinks->capacity; i++) {
        const SinkState *sink = writer->sinks->items[i];
        if (!sink) continue;
        check(sink->totals.sink == i);
        if (!sink->stopped) check_rows(sink);
        check_places(writer, sink);
        check_whole_sink(writer, sink, &counts);
    }
    check(counts.dirty == writer->stored->count);
    check(counts.queued == writer->stages->due.count);
    check(counts.running == writer->imports->in_flight);
    check(counts.expiring == writer->imports->expiring);
    check(counts.dividing <= writer->stages->in_flight);
    log_state_check(writer->log);
    connection_table_check(writer->connections);

    size_t queued = 0;
    for (size_t i = 0; i < writer->connections->count; i++)
        for (const SinkState *sink = writer->connections->items[i]->first; sink; sink = sink->imports->next_queued) queued++;
    check(queued == counts.waits_in_queue);
}

/* What is counted against the budget is what the ledger has. */
static void check_space(const Writer *writer) {
    Txn *txn;
    uint64_t bytes;
    if (txn_begin_read(writer->options.environment, &txn, NULL) < 0) return;
    int r = ledger_pack_bytes(txn, &bytes, NULL);
    txn_abort(txn);
    check(r < 0 || bytes == writer->space->staging_bytes);
}

void sums_check(Writer *writer) {
    SinkQueue *changed = &writer->sinks->changed;
    for (size_t i = 0; i < changed->count; i++) {
        SinkState *sink = changed->items[i];
        sink->changed = false;
        if (writer->broken) continue; /* what it knows is not what the disk has */
        if (!sink->stopped) check_rows(sink);
        check_places(writer, sink);
    }
    changed->count = 0;
    if (writer->broken) return;

    unsigned running = 0;
    for (size_t i = 0; i < writer->connections->count; i++) running += writer->connections->items[i]->running;
    check(running == writer->imports->in_flight);
    check(!writer->imports->ended && !writer->stages->ended && writer->stages->closing.count == 0);
    check(writer->stored->commit <= writer->log->last_commit);
    if (!writer->options.checks_all) return;
    check_all(writer);
    check_space(writer);
}
