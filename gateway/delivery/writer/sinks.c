#include "gateway/delivery/writer/sinks.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "gateway/delivery/writer/group_plan.h"
#include "gateway/delivery/writer/imports.h"
#include "gateway/delivery/writer/open_file.h"
#include "gateway/delivery/writer/rules.h"
#include "gateway/delivery/writer/settled.h"
#include "gateway/delivery/writer/sink_ends.h"
#include "gateway/delivery/writer/sink_log.h"
#include "gateway/delivery/writer/staging.h"
#include "gateway/delivery/writer/step_clock.h"
#include "gateway/delivery/writer/versions.h"
#include "gateway/delivery/writer/waiters.h"
#include "gateway/delivery/writer/waiting.h"
#include "gateway/delivery/writer/watch.h"

typedef struct SinkBlock {
    SinkState sink; /* first */
    GroupPlan plan;
    SinkRules rules;
    SinkVersions versions;
    SinkLog log;
    SinkEnds ends;
    SinkWatch watch;
    SinkStaging stage;
    OpenFile open;
    WaitingFiles waiting;
    SinkImports imports;
    SettledFiles settled;
    SinkWaiters waiters;
} SinkBlock;

static SinkState *sink_new(uint32_t number) {
    SinkBlock *block = calloc(1, sizeof *block);
    check(block);
    SinkState *sink = &block->sink;
    sink->plan = &block->plan;
    sink->rules = &block->rules;
    sink->versions = &block->versions;
    sink->log = &block->log;
    sink->ends = &block->ends;
    sink->watch = &block->watch;
    sink->stage = &block->stage;
    sink->open = &block->open;
    sink->waiting = &block->waiting;
    sink->imports = &block->imports;
    sink->settled = &block->settled;
    sink->waiters = &block->waiters;
    totals_init(&sink->totals, number);
    return sink;
}

static void sink_free(SinkState *sink) {
    if (!sink) return;
    check(!sink->waiters->first && sink->watch->count == 0);
    sink_gate_unref(sink->rules->gate);
    free(sink->label);
    free(sink->last_error);
    versions_deinit(sink->versions);
    sink_log_deinit(sink->log);
    sink_ends_deinit(sink->ends);
    if (sink->open->exists) open_file_forget(sink->open);
    waiting_deinit(sink->waiting);
    settled_deinit(sink->settled);
    ledger_history_free(sink->imports->history);
    free(sink);
}

void sink_set_error(SinkState *sink, const char *why) {
    char *copy = why[0] ? text_copy(why) : NULL; /* it may be the one that is there */
    free(sink->last_error);
    sink->last_error = copy;
}

const char *sink_error(const SinkState *sink) {
    return sink->last_error ? sink->last_error : "";
}

SinkState *writer_sink(const Writer *writer, uint32_t number) {
    return number < writer->sinks->capacity ? writer->sinks->items[number] : NULL;
}

SinkState *writer_sink_added(Writer *writer, uint32_t number) {
    SinkTable *sinks = writer->sinks;
    if (number >= sinks->capacity) {
        size_t capacity = sinks->capacity ? sinks->capacity : 64;
        while (capacity <= number) capacity *= 2;
        sinks->items = realloc(sinks->items, capacity * sizeof(SinkState *));
        check(sinks->items);
        memset(sinks->items + sinks->capacity, 0, (capacity - sinks->capacity) * sizeof(SinkState *));
        sinks->capacity = capacity;
    }
    if (!sinks->items[number]) sinks->items[number] = sink_new(number);
    return sinks->items[number];
}

void writer_sink_remove(Writer *writer, SinkState *sink) {
    uint32_t number = sink->totals.sink;
    check(writer_sink(writer, number) == sink);
    check(!sink->dirty && !sink->imports->queued_on && !sink->stage->queued);
    scheduler_set(&writer->sinks->timers, &sink->timer, USEC_NEVER);
    if (sink->changed) sink_queue_remove(&writer->sinks->changed, sink);
    watch_drop(writer->watched, sink->watch, USEC_NEVER);
    writer->sinks->items[number] = NULL;
    sink_free(sink);
}

void writer_note_changed(Writer *writer, SinkState *sink) {
    if (sink->changed) return;
    sink->changed = true;
    sink_queue_add(&writer->sinks->changed, sink);
}

void writer_schedule(Writer *writer, SinkState *sink) {
    writer_note_changed(writer, sink);
    scheduler_hasten(&writer->sinks->timers, &sink->timer, writer->now->boot);
}

void sinks_deinit(SinkTable *sinks) {
    for (size_t i = 0; i < sinks->capacity; i++) sink_free(sinks->items[i]);
    free(sinks->items);
    scheduler_deinit(&sinks->timers);
    sink_queue_deinit(&sinks->changed);
    *sinks = (SinkTable){0};
}
