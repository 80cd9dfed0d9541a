#include "gateway/delivery/writer/progress.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "gateway/delivery/writer/connections.h"
#include "gateway/delivery/writer/drain_state.h"
#include "gateway/delivery/writer/imports.h"
#include "gateway/delivery/writer/open_file.h"
#include "gateway/delivery/writer/pause.h"
#include "gateway/delivery/writer/positions_alone.h"
#include "gateway/delivery/writer/repaired.h"
#include "gateway/delivery/writer/sink_ends.h"
#include "gateway/delivery/writer/sink_log.h"
#include "gateway/delivery/writer/sinks.h"
#include "gateway/delivery/writer/step_clock.h"
#include "gateway/delivery/writer/waiting.h"
#include "gateway/delivery/writer/watch.h"
#include "storage/partitions.h"

static void read_mark(Writer *writer, Progress *progress) {
    Txn *txn;
    Span mark;
    Error error = {0};
    if (progress->partition_count == 0 || progress->partitions[0].number == 0) return;
    int r = txn_begin_read(writer->options.environment, &txn, &error);
    if (r == 0) {
        r = partition_mark_find(txn, progress->partitions[0].number, &mark, &error);
        if (r == 0) progress->mark = (Span){.data = arena_copy(&progress->arena, mark), .size = mark.size};
        txn_abort(txn);
    }
    if (r >= 0) return;
    log_failure(LOG_ERROR, "the mark of a partition cannot be read", &error);
    (void)writer_repaired(writer, &error);
}

static usec_t failing_since(Writer *writer, SinkState *sink) {
    const WriterConnection *connection = sink->waiting->count > 0 ? sink->waiting->items[0].connection
                                                                  : writer_positions_connection(writer, sink);
    usec_t since = sink->imports->failing_since;
    if (!connection || connection->failures == 0 || connection->failing_boot == 0) return since;
    return since == 0 || connection->failing_boot < since ? connection->failing_boot : since;
}

static uint64_t waiting_bytes(const SinkState *sink) {
    return sink->log->bytes + sink->waiting->bytes + (sink->open->exists ? sink->open->file.bytes : 0);
}

static void fill_partition(Writer *writer, SinkState *sink, const Partition *partition, size_t index, PartitionProgress *out) {
    const SinkEnd *end = sink_ends_find(sink->ends, partition->number);
    const Watched *watched = watch_ask(writer->watched, sink->watch, partition, index, writer->now->boot);
    *out = (PartitionProgress){.from = end ? end->from : -1,
                               .end = end ? end->end : -1,
                               .left = end ? end->left : -1,
                               .position = watched->position,
                               .missing = watched->missing,
                               .known = watched->known};
    /* The chain began at a position; what was read before that is no news. */
    if (end && end->end >= 0 && watched->known && watched->position < 0 && watched->read >= end->begun) out->missing = true;
}

static void fill_sink(Writer *writer, Progress *progress, SinkProgress *out) {
    SinkState *sink = writer_sink(writer, out->sink);
    out->partitions = arena_zalloc(&progress->arena, (progress->partition_count + 1) * sizeof *out->partitions);
    out->waiting_bytes = 0;
    out->paused = false;
    out->failing_since = 0;
    out->made_table = 0;
    out->error[0] = '\0';
    if (!sink) { /* nobody ordered it */
        for (size_t i = 0; i < progress->partition_count; i++)
            out->partitions[i] = (PartitionProgress){.from = -1, .end = -1, .left = -1, .position = -1};
        return;
    }
    bool was_watched = sink->watch->count > 0;
    for (size_t i = 0; i < progress->partition_count; i++) fill_partition(writer, sink, &progress->partitions[i], i, &out->partitions[i]);
    if (!was_watched) sink->watch->due = writer->now->boot;
    if (progress->look_now) writer_look_now(writer, sink);
    if (progress->was_sought) sink->made_table = 0;
    out->made_table = sink->made_table;
    out->waiting_bytes = waiting_bytes(sink);
    out->paused = writer_is_paused(writer, sink);
    out->failing_since = failing_since(writer, sink);
    (void)snprintf(out->error, sizeof out->error, "%s", sink_error(sink));
    writer_schedule(writer, sink);
}

void writer_answer_progress(Writer *writer, Progress *take_progress) {
    Progress *progress = take_progress;
    for (size_t i = 0; i < progress->partition_count; i++) {
        const Partition *known = partitions_find(writer->partitions, &progress->partitions[i]);
        progress->partitions[i].number = known ? known->number : 0;
    }
    for (size_t i = 0; i < progress->sink_count; i++) fill_sink(writer, progress, &progress->sinks[i]);
    progress->mark = (Span){0};
    if (!writer->broken) read_mark(writer, progress);
    progress->request.result = 0;
    request_answer(&progress->request);
}
