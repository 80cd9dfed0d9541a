#include "gateway/delivery/writer/define_sinks.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/failpoint.h"
#include "gateway/delivery/writer/chains.h"
#include "gateway/delivery/writer/erase.h"
#include "gateway/delivery/writer/import.h"
#include "gateway/delivery/writer/imports.h"
#include "gateway/delivery/writer/open_file.h"
#include "gateway/delivery/writer/pause.h"
#include "gateway/delivery/writer/rules.h"
#include "gateway/delivery/writer/sink_ends.h"
#include "gateway/delivery/writer/sink_log.h"
#include "gateway/delivery/writer/sinks.h"
#include "gateway/delivery/writer/space.h"
#include "gateway/delivery/writer/stage.h"
#include "gateway/delivery/writer/staging.h"
#include "gateway/delivery/writer/step_clock.h"
#include "gateway/delivery/writer/stored.h"
#include "gateway/delivery/writer/transaction.h"
#include "gateway/delivery/writer/versions.h"
#include "gateway/delivery/writer/waiters.h"
#include "gateway/delivery/writer/waiting.h"
#include "gateway/delivery/writer/watch.h"
#include "storage/partitions.h"

static char *target_text(const Sink *sink) {
    json_t *stored = sink_target_store(&sink->target);
    char *text = stored ? json_dumps(stored, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    check(text);
    json_decref(stored);
    return text;
}

/* What comes has other positions than what waits. */
static bool goes_elsewhere(Writer *writer, const SinkState *sink, const Sink *ordered) {
    return sink_ends_any(sink->ends) && !versions_go_to(sink->versions, writer->connections, &ordered->target);
}

static int store_other_place(Writer *writer, Txn *txn, const Sink *ordered, Error *error) {
    const SinkState *sink = writer_sink(writer, ordered->number);
    int r = 0;
    if (!sink || !goes_elsewhere(writer, sink, ordered)) return 0;
    for (size_t i = 0; i < sink->ends->count && r == 0; i++) {
        const SinkEnd *end = &sink->ends->items[i];
        if (end->end >= 0 || end->unsaved)
            r = partition_end_forget(txn, sink->totals.sink, end->partition, end->end >= 0 ? end->end : end->left, error);
    }
    return r;
}

static int write_define(Writer *writer, Txn *txn, Define *define, char *const *targets, Error *error) {
    for (size_t i = 0; i < define->change_count; i++) {
        const CatalogChange *change = &define->changes[i];
        int r = change->document.data ? catalog_put(txn, change->collection, change->key, change->document, error)
                                      : catalog_remove(txn, change->collection, change->key, error);
        if (r < 0) return r;
    }
    for (size_t i = 0; i < define->sink_count; i++) {
        const Sink *sink = define->sinks[i].sink;
        int r = versions_store(txn, sink->number, sink->mapping_version, targets[i], error);
        if (r == 0) r = store_other_place(writer, txn, sink, error);
        if (r < 0) return r;
    }
    return writer_erase(writer, txn, define->erased, define->erased_count, error);
}

/* Drops what waits and is not on its way: rows in the log, the open file, closed files. */
static int discard(Writer *writer, Txn *txn, SinkState *sink, uint64_t *rows, Error *error) {
    uint64_t dropped = 0;
    for (size_t i = sink->waiting->count + (sink->open->exists ? 1 : 0); i-- > 0;) {
        bool is_open = i == sink->waiting->count;
        FileRecord file;
        if (!is_open && !waiting_is_at_rest(&sink->waiting->items[i])) continue;
        int r = ledger_find_file(txn, is_open ? &sink->open->file.id : &sink->waiting->items[i].id, &file, error);
        if (r != 0) return r < 0 ? r : error_set(error, -EBADMSG, "a file that waits is not in the ledger");
        uint64_t file_rows = file_readable_rows(&file);
        r = ledger_end_file(txn, &file, FILE_DELETED, writer->now->wall, writer->now->running, error);
        if (r == 0) r = rejects_drop_pending(txn, &file.id, error);
        file_record_deinit(&file);
        if (r < 0) return r;
        dropped += file_rows;
        if (is_open) {
            open_file_forget(sink->open);
        } else {
            waiting_remove(sink->waiting, &sink->waiting->items[i]);
        }
    }
    for (size_t i = 0; i < sink->log->count; i++) {
        int r = ledger_discard_rows(txn, sink->totals.sink, sink->log->runs[i].first_row, sink->log->runs[i].rows, error);
        if (r < 0) return r;
        dropped += sink->log->runs[i].rows;
    }
    sink_log_clear(sink->log);
    chains_forget_all(sink);
    int r = chains_store(txn, sink, error);
    if (r < 0) return r;
    SinkTotals *totals = &sink->totals;
    totals->staged_row = totals->next_row;
    totals->first_commit = 0;
    totals->oldest_commit_time = 0;
    totals->dropped_rows += dropped;
    sink->waiters->close_row = 0;
    if (sink->waiting->count == 0) sink->imports->failures = 0;
    writer_mark_dirty(writer, sink);
    *rows += dropped;
    return 0;
}

static void know(Writer *writer, const SinkOrder *order, char *take_target) {
    SinkState *sink = writer_sink_added(writer, order->sink->number);
    if (goes_elsewhere(writer, sink, order->sink)) {
        chains_leave(sink);
        watch_reset(sink->watch);
    }
    versions_put(sink->versions, writer->connections, order->sink->mapping_version, take_target, &order->sink->target);
    sink->rules->known = true;
    writer_pause(writer, sink, order);
    sink->rules->deleted = order->sink->deleted != 0 || order->sink->disabled || order->source->deleted != 0 || order->source->disabled;
    conditions_from_settings(&sink->rules->conditions, &order->source->settings, &order->sink->settings);
    SinkGate *gate = order->gate ? sink_gate_ref(order->gate) : NULL;
    sink_gate_unref(sink->rules->gate);
    sink->rules->gate = gate;
    if (sink->stopped && gate) atomic_store(&gate->closed, true);
    free(sink->label);
    if (asprintf(&sink->label, "%s/%s", order->source->source_id, order->sink->sink_id) < 0) sink->label = NULL;
    check(sink->label);
    if (order->import_now || (sink->rules->deleted && !order->discard)) {
        sink->waiters->close_row = sink->totals.next_row;
        sink->waiters->close_reason = CLOSE_CHANGE;
        writer_expedite(writer, sink);
    }
    writer_schedule(writer, sink);
}

static void answer_define(Define *define, int result) {
    define->request.result = result;
    request_answer(&define->request);
}

static bool must_wait(Writer *writer, const Define *define) {
    for (size_t i = 0; i < define->sink_count; i++) {
        SinkState *sink = writer_sink(writer, define->sinks[i].sink->number);
        if (define->sinks[i].discard && sink && sink->stage->staging) return true;
    }
    return false;
}

static int run_discards(Writer *writer, Txn *txn, Define *define, Error *error) {
    for (size_t i = 0; i < define->sink_count; i++) {
        SinkState *sink = writer_sink(writer, define->sinks[i].sink->number);
        if (!define->sinks[i].discard || !sink) continue;
        writer_unqueue_stage(writer, sink);
        int r = discard(writer, txn, sink, &define->discarded_rows, error);
        if (r < 0) return r;
        sink_waiters_fail(sink, 0, -ECANCELED, "The sink was deleted and its waiting rows were dropped.");
    }
    return 0;
}

void writer_define(Writer *writer, Define *define) {
    Error *error = &define->request.error;
    if (writer->broken) {
        answer_define(define, error_set(error, -EROFS, "the writer cannot write any more"));
        return;
    }
    if (must_wait(writer, define)) {
        define->request.message.next = (Message *)writer->held;
        writer->held = define;
        return;
    }
    for (size_t i = 0; i < define->sink_count; i++) {
        const SinkState *sink = writer_sink(writer, define->sinks[i].sink->number);
        if (!define->sinks[i].discard || !sink || !sink->stopped) continue;
        answer_define(define, error_set(error, -EBADMSG, "The waiting rows cannot be dropped; delete the sink without discard: %s",
                                        sink_error(sink)));
        return;
    }
    char **targets = calloc(define->sink_count + 1, sizeof *targets);
    check(targets);
    bool discards = false;
    for (size_t i = 0; i < define->sink_count; i++) {
        targets[i] = target_text(define->sinks[i].sink);
        discards = discards || define->sinks[i].discard;
    }

    Txn *txn;
    int r = txn_begin_write(writer->options.environment, &txn, error);
    if (r == 0) {
        r = write_define(writer, txn, define, targets, error);
        if (r == 0) r = writer_store_pauses(writer, txn, define, error);
        if (r == 0) r = failpoint_error("catalog.before-commit", error);
        if (r < 0) txn_abort(txn);
    }
    if (r == 0) {
        int discarded = discards ? run_discards(writer, txn, define, error) : 0;
        if (discards && discarded == 0) writer_find_trim(writer);
        if (discards) {
            if (!writer_record_end(writer, txn, discarded, "cannot discard rows", error)) r = -EIO;
        } else {
            r = writer_end_txn(writer, txn, error);
            if (r < 0 && r != -ENOSPC) writer_break(writer, "cannot commit a change of definitions", error);
        }
    }
    if (r == 0) (void)failpoint_hit("catalog.after-commit"); /* a crash here leaves a change that nobody was told of */
    if (r == 0) writer_erased(writer, define->erased, define->erased_count);
    for (size_t i = 0; i < define->connection_count && r == 0; i++) writer_order_connection(writer, &define->connections[i]);
    for (size_t i = 0; i < define->sink_count; i++) {
        if (r < 0) {
            free(targets[i]);
        } else {
            know(writer, &define->sinks[i], targets[i]);
        }
    }
    free(targets);
    answer_define(define, r);
}

void writer_run_held(Writer *writer) {
    Define *held = writer->held;
    writer->held = NULL;
    Define *oldest_first = NULL;
    for (Define *next; held; held = next) {
        next = (Define *)held->request.message.next;
        held->request.message.next = (Message *)oldest_first;
        oldest_first = held;
    }
    for (Define *next; oldest_first; oldest_first = next) {
        next = (Define *)oldest_first->request.message.next;
        writer_define(writer, oldest_first);
    }
}
