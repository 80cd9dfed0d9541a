#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "base/log.h"
#include "gateway/delivery/writer/parts.h"

/* ---- versions in the catalog: 't', sink, version -> target --------------------------------------------------------------------------- */

static Span version_key(uint32_t sink, uint32_t version, char out[static 9]) {
    out[0] = 't';
    store_be32(out + 1, sink);
    store_be32(out + 5, version);
    return (Span){.data = out, .size = 9};
}

static bool is_needed(const SinkState *sink, const SinkVersion *version, uint32_t current) {
    if (version->version >= current) return true;
    for (size_t i = 0; i < sink->run_count; i++)
        if (sink->runs[i].mapping_version == version->version) return true;
    return false;
}

int writer_drop_versions(Writer *writer, Txn *txn, SinkState *sink, Error *error) {
    uint32_t current = 0;
    if (!sink->known || sink->version_count < 2) return 0;
    for (size_t i = 0; i < sink->version_count; i++)
        if (sink->versions[i].version > current) current = sink->versions[i].version;
    /* The one before the latest stays: loops may still map with it until the change is through. */
    uint32_t before = 0;
    for (size_t i = 0; i < sink->version_count; i++)
        if (sink->versions[i].version < current && sink->versions[i].version > before) before = sink->versions[i].version;
    size_t kept = 0;
    for (size_t i = 0; i < sink->version_count; i++) {
        if (is_needed(sink, &sink->versions[i], before)) {
            sink->versions[kept++] = sink->versions[i];
            continue;
        }
        char key[9];
        int r = catalog_remove(txn, CATALOG_VERSIONS, version_key(sink->totals.sink, sink->versions[i].version, key), error);
        if (r < 0) {
            while (i < sink->version_count) sink->versions[kept++] = sink->versions[i++];
            sink->version_count = kept;
            return r;
        }
        free(sink->versions[i].target);
    }
    sink->version_count = kept;
    return 0;
}

/* ---- Define -------------------------------------------------------------------------------------------------------------------------- */

static char *target_text(const Sink *sink) {
    json_t *stored = table_target_store(&sink->table);
    char *text = stored ? json_dumps(stored, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    check(text);
    json_decref(stored);
    return text;
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
        char key[9];
        int r = catalog_put(txn, CATALOG_VERSIONS, version_key(sink->number, sink->mapping_version, key), span_of(targets[i]), error);
        if (r < 0) return r;
    }
    return writer_erase(writer, txn, define->erased, define->erased_count, error);
}

/* Drops what waits and is not on its way: rows in the log, the open file, closed files. */
static int discard(Writer *writer, Txn *txn, SinkState *sink, uint64_t *rows, Error *error) {
    uint64_t dropped = 0;
    for (size_t i = sink->file_count + (sink->has_open ? 1 : 0); i-- > 0;) {
        bool is_open = i == sink->file_count;
        FileRecord file;
        if (!is_open && !waiting_is_at_rest(&sink->files[i])) continue;
        int r = ledger_find_file(txn, is_open ? &sink->open.id : &sink->files[i].id, &file, error);
        if (r != 0) return r < 0 ? r : error_set(error, -EBADMSG, "a file that waits is not in the ledger");
        uint64_t file_rows = file.rows - file.damaged_rows;
        r = ledger_end_file(txn, &file, FILE_DELETED, writer->wall, writer->running, error);
        if (r == 0) r = rejects_drop_pending(txn, &file.id, error);
        file_record_deinit(&file);
        if (r < 0) return r;
        dropped += file_rows;
        if (is_open) {
            file_record_deinit(&sink->open);
            sink->has_open = false;
        } else {
            writer_remove_waiting(sink, i);
        }
    }
    for (size_t i = 0; i < sink->run_count; i++) {
        int r = ledger_discard_rows(txn, sink->totals.sink, sink->runs[i].first_row, sink->runs[i].rows, error);
        if (r < 0) return r;
        dropped += sink->runs[i].rows;
    }
    sink->run_count = 0;
    sink->log_rows = sink->log_bytes = 0;
    SinkTotals *totals = &sink->totals;
    totals->staged_row = totals->next_row;
    totals->first_commit = 0;
    totals->oldest_commit_time = 0;
    totals->dropped_rows += dropped;
    sink->close_row = 0;
    if (sink->file_count == 0) sink->failures = 0;
    writer_mark_dirty(writer, sink);
    *rows += dropped;
    return 0;
}

static int know(Writer *writer, const SinkOrder *order, char *take_target, Error *error) {
    SinkState *sink = writer_sink_added(writer, order->sink->number);
    int r = writer_add_version(writer, sink, order->sink->mapping_version, take_target, error);
    if (r < 0) return r;
    sink->known = true;
    writer_pause(writer, sink, order);
    sink->deleted = order->sink->deleted != 0 || order->sink->disabled || order->source->deleted != 0 || order->source->disabled;
    conditions_from_settings(&sink->conditions, &order->source->settings, &order->sink->settings);
    SinkGate *gate = order->gate ? sink_gate_ref(order->gate) : NULL;
    sink_gate_unref(sink->gate);
    sink->gate = gate;
    if (sink->stopped && gate) atomic_store(&gate->closed, true);
    free(sink->label);
    if (asprintf(&sink->label, "%s/%s", order->source->source_id, order->sink->sink_id) < 0) sink->label = NULL;
    check(sink->label);
    if (order->import_now || (sink->deleted && !order->discard)) {
        sink->close_row = sink->totals.next_row;
        sink->close_reason = CLOSE_CHANGE;
        writer_hurry(writer, sink);
    }
    writer_touch(writer, sink);
    return 0;
}

static void answer_define(Define *define, int result) {
    define->request.result = result;
    request_answer(&define->request);
}

static bool must_wait(Writer *writer, const Define *define) {
    for (size_t i = 0; i < define->sink_count; i++) {
        SinkState *sink = writer_sink(writer, define->sinks[i].sink->number);
        if (define->sinks[i].discard && sink && sink->staging) return true;
    }
    return false;
}

static void unqueue(SinkState **queue, size_t *count, const SinkState *sink) {
    for (size_t i = 0; i < *count; i++) {
        if (queue[i] != sink) continue;
        memmove(queue + i, queue + i + 1, (*count - i - 1) * sizeof(SinkState *));
        (*count)--;
        return;
    }
}

static int run_discards(Writer *writer, Txn *txn, Define *define, Error *error) {
    for (size_t i = 0; i < define->sink_count; i++) {
        SinkState *sink = writer_sink(writer, define->sinks[i].sink->number);
        if (!define->sinks[i].discard || !sink) continue;
        if (sink->stage_queued) unqueue(writer->stage_queue, &writer->stage_queue_count, sink);
        sink->stage_queued = false;
        int r = discard(writer, txn, sink, &define->discarded_rows, error);
        if (r < 0) return r;
        writer_fail_waiters(writer, sink, 0, -ECANCELED, "The sink was deleted and what waited was dropped.");
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
        answer_define(define,
                      error_set(error, -EBADMSG, "What waits cannot be dropped, delete the sink without that: %s", sink->last_error));
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
    if (r == 0) writer_erased(writer, define->erased, define->erased_count);
    for (size_t i = 0; i < define->connection_count && r == 0; i++) writer_order_connection(writer, &define->connections[i]);
    for (size_t i = 0; i < define->sink_count; i++) {
        if (r < 0) {
            free(targets[i]);
        } else {
            r = know(writer, &define->sinks[i], targets[i], error);
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

/* ---- Close --------------------------------------------------------------------------------------------------------------------------- */

static void answer_close(Close *close, int result) {
    close->request.result = result;
    request_answer(&close->request);
}

void writer_close_asked(Writer *writer, Close *close) {
    SinkState *sink = writer_sink(writer, close->sink);
    close->rows = 0;
    if (!sink || !sink->known) {
        answer_close(close, error_set(&close->request.error, -ENOENT, "There is no sink number %u.", close->sink));
        return;
    }
    if (writer->broken || writer->draining) {
        answer_close(close, error_set(&close->request.error, -ECANCELED, "The gateway is shutting down."));
        return;
    }
    if (sink->stopped) {
        answer_close(close, error_set(&close->request.error, -EBADMSG, "%s", sink->last_error));
        return;
    }
    if (close->reason == CLOSE_FLUSH && writer_is_paused(writer, sink)) {
        answer_close(close, error_set(&close->request.error, -EBUSY, "The sink, its source or a connection that it goes to is paused."));
        return;
    }
    close->up_to_row = sink->totals.next_row;
    close->rows = sink->totals.imported.rows;
    if (sink->log_rows > 0 || sink->has_open) {
        sink->close_row = close->up_to_row;
        sink->close_reason = close->reason;
    }
    if (close->reason == CLOSE_FLUSH) writer_hurry(writer, sink);
    writer_touch(writer, sink);
    if (!close->wait_imported) {
        close->rows = 0;
        answer_close(close, 0);
        return;
    }
    close->request.message.next = (Message *)sink->waiters;
    sink->waiters = close;
    writer_answer_waiters(writer, sink);
}

/* ---- statistics ---------------------------------------------------------------------------------------------------------------------- */

static void add_span(Tally *tally, usec_t first, usec_t last) {
    if (tally->first_time == 0 || first < tally->first_time) tally->first_time = first;
    if (last > tally->last_time) tally->last_time = last;
}

static void fill(const Writer *writer, const SinkState *sink, SinkStatistics *out) {
    out->totals = sink->totals;
    out->local = (Tally){.rows = sink->log_rows, .bytes = sink->log_bytes};
    for (size_t i = 0; i < sink->run_count; i++) add_span(&out->local, sink->runs[i].first_time, sink->runs[i].last_time);
    out->staging = (Tally){.rows = sink->file_rows, .bytes = sink->file_bytes};
    if (sink->has_open) {
        out->staging.rows += sink->open.rows - sink->open.damaged_rows;
        out->staging.bytes += sink->open.bytes;
        add_span(&out->staging, sink->open.first_time, sink->open.last_time);
    }
    bool failing = sink->stopped;
    for (size_t i = 0; i < sink->file_count; i++) {
        add_span(&out->staging, sink->files[i].first_time, sink->files[i].last_time);
        if (sink->files[i].attempts > 0) out->files_failed++;
        failing = failing || sink->files[i].connection->failures > 0;
    }
    out->files_waiting = (uint32_t)sink->file_count;
    out->paused = writer_is_paused(writer, sink);
    out->failing = failing;
    memcpy(out->last_error, sink->last_error, sizeof out->last_error);
    memcpy(out->damage, sink->damage, sizeof out->damage);
}

static void fill_connection(const Writer *writer, ConnectionStatistics *out) {
    out->paused = out->failing = false;
    out->last_error[0] = '\0';
    for (size_t i = 0; i < writer->connection_count; i++) {
        const WriterConnection *connection = writer->connections[i];
        if (strcmp(connection->name, out->name) != 0) continue;
        out->paused = connection->paused;
        out->failing = connection->failures > 0;
        if (out->failing) memcpy(out->last_error, connection->last_error, sizeof out->last_error);
    }
}

void writer_fill_statistics(Writer *writer, TotalsQuery *query) {
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
        .budget = writer->options.disk_budget, .staging = writer->staging_bytes, .expired = writer->expired_bytes};
    environment_usage(writer->options.environment, &query->disk.database, &map);
}

void writer_answer_totals(Writer *writer, TotalsQuery *query) {
    writer_fill_statistics(writer, query);
    request_answer(&query->request);
}

/* ---- rejects and files --------------------------------------------------------------------------------------------------------------- */

/* A transaction that changes no memory: what fails is told, and only a commit that left the disk unknown breaks the writer. */
static int end_small(Writer *writer, Txn *txn, int result, const char *what, Error *error) {
    if (result < 0) {
        txn_abort(txn);
        return result;
    }
    result = writer_end_txn(writer, txn, error);
    if (result < 0 && result != -ENOSPC) writer_break(writer, what, error);
    return result;
}

void writer_remove_rejects(Writer *writer, RejectsRemove *remove) {
    Txn *txn;
    int r = writer->broken ? error_set(&remove->request.error, -EROFS, "the writer cannot write any more")
                           : txn_begin_write(writer->options.environment, &txn, &remove->request.error);
    if (r == 0) {
        r = rejects_remove(txn, remove->sink, remove->up_to_number, &remove->removed, &remove->request.error);
        r = end_small(writer, txn, r, "cannot remove rejects", &remove->request.error);
    }
    if (r < 0) remove->removed = 0;
    remove->request.result = r;
    request_answer(&remove->request);
}

static int find_record(Writer *writer, const Uuid *id, FileRecord *ret_file, Error *error) {
    Txn *txn;
    int r = txn_begin_read(writer->options.environment, &txn, error);
    if (r < 0) return r;
    r = ledger_find_file(txn, id, ret_file, error);
    txn_abort(txn);
    return r == LEDGER_NOT_FOUND ? error_set(error, -ENOENT, "There is no such file.") : r;
}

static int delete_file(Writer *writer, SinkState *sink, size_t index, FileRecord *file, Error *error) {
    Txn *txn;
    if (!writer_record_begin(writer, &txn)) return error_set(error, -EROFS, "the writer cannot write any more");
    int r = ledger_end_file(txn, file, FILE_DELETED, writer->wall, writer->running, error);
    if (r == 0) r = rejects_drop_pending(txn, &file->id, error);
    if (r == 0) {
        sink->totals.dropped_rows += file->rows - file->damaged_rows;
        writer_remove_waiting(sink, index);
        if (sink->file_count == 0) sink->failures = 0;
        writer_mark_dirty(writer, sink);
    }
    if (!writer_record_end(writer, txn, r, "cannot delete a file", error)) return -EIO;
    writer_fail_waiters(writer, sink, file->first_row, -ECANCELED, "The file was deleted.");
    writer_touch(writer, sink);
    return 0;
}

static int act_on_waiting(Writer *writer, FileAction *action, FileRecord *file) {
    SinkState *sink = writer_sink(writer, file->sink);
    for (size_t i = 0; sink && i < sink->file_count; i++) {
        WaitingFile *waiting = &sink->files[i];
        if (!uuid_equal(&waiting->id, &action->file)) continue;
        if (!waiting_is_at_rest(waiting)) return error_set(&action->request.error, -EBUSY, "The file is being imported.");
        if (action->remove) return delete_file(writer, sink, i, file, &action->request.error);
        waiting->next_try = 0;
        waiting->connection->paused_until = 0;
        sink->paused_until = 0;
        writer_touch(writer, sink);
        return 0;
    }
    return error_set(&action->request.error, -EINVAL, "The file does not wait for an import.");
}

/* Of an expired file the copy is what is left. */
static int remove_expired(Writer *writer, FileAction *action) {
    char path[80];
    FileInfo info;
    writer_expired_path(&action->file, path);
    int r = writer->options.files->info(writer->options.files, path, &info, &action->request.error);
    if (r == 0) r = writer->options.files->remove(writer->options.files, path, &action->request.error);
    if (r == 0) writer->expired_bytes -= info.bytes < writer->expired_bytes ? info.bytes : writer->expired_bytes;
    return r;
}

void writer_file_action(Writer *writer, FileAction *action) {
    FileRecord file = {0};
    int r = find_record(writer, &action->file, &file, &action->request.error);
    if (r == 0) {
        action->rows = file.rows;
        if (file.state == FILE_CLOSED) {
            r = act_on_waiting(writer, action, &file);
        } else if (file.state == FILE_EXPIRED && action->remove) {
            r = remove_expired(writer, action);
        } else {
            r = error_set(&action->request.error, -EINVAL, "The file is %s.", file.state == FILE_OPEN ? "still open" : "no longer waiting");
        }
        file_record_deinit(&file);
    }
    action->request.result = r;
    request_answer(&action->request);
}
