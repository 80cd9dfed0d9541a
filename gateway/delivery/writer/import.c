#include "gateway/delivery/writer/import.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/failpoint.h"
#include "base/log.h"
#include "base/metrics.h"
#include "gateway/delivery/load_job.h"
#include "gateway/delivery/loader.h"
#include "gateway/delivery/writer/backup_state.h"
#include "gateway/delivery/writer/chains.h"
#include "gateway/delivery/writer/connections.h"
#include "gateway/delivery/writer/divide.h"
#include "gateway/delivery/writer/drain_state.h"
#include "gateway/delivery/writer/failed.h"
#include "gateway/delivery/writer/imports.h"
#include "gateway/delivery/writer/job_runs.h"
#include "gateway/delivery/writer/left_out.h"
#include "gateway/delivery/writer/log_state.h"
#include "gateway/delivery/writer/open_file.h"
#include "gateway/delivery/writer/positions_alone.h"
#include "gateway/delivery/writer/repaired.h"
#include "gateway/delivery/writer/rules.h"
#include "gateway/delivery/writer/settled.h"
#include "gateway/delivery/writer/sink_log.h"
#include "gateway/delivery/writer/sinks.h"
#include "gateway/delivery/writer/slices.h"
#include "gateway/delivery/writer/step_clock.h"
#include "gateway/delivery/writer/stored.h"
#include "gateway/delivery/writer/transaction.h"
#include "gateway/delivery/writer/unreachable.h"
#include "gateway/delivery/writer/versions.h"
#include "gateway/delivery/writer/waiters.h"
#include "gateway/delivery/writer/waiting.h"
#include "gateway/delivery/writer/watch.h"

#define JOBS_A_CONNECTION_MAX 8 /* given out at once; the loaders run fewer on one connection */
#define FILES_A_JOB_MAX 16
#define JOB_BYTES_MAX (50u << 20) /* files are drawn into a job up to this; the first one may be larger */
#define FILES_LOOKED_AT_MOST 256
#define SETTLED_A_JOB_MAX 500

/* ---- which file ------------------------------------------------------------------------------ */

static usec_t earlier(usec_t a, usec_t b) {
    return a < b ? a : b;
}

/* Keyed: the head or nothing. Else the one that failed least often, the oldest of those, before any
 * whose connection is down. */
static WaitingFile *pick(Writer *writer, SinkState *sink, usec_t *next) {
    WaitingFile *best = NULL;
    usec_t now = writer->now->boot;
    if (sink->imports->paused_until > now) {
        *next = earlier(*next, sink->imports->paused_until);
        return NULL;
    }
    for (size_t i = 0; i < sink->waiting->count && i < FILES_LOOKED_AT_MOST; i++) {
        WaitingFile *file = &sink->waiting->items[i];
        bool ready = waiting_is_at_rest(file) && file->next_try <= now;
        if (waiting_is_at_rest(file) && !ready) *next = earlier(*next, file->next_try);
        if (file->keyed) {
            if (i == 0 && ready) return file;
            break; /* nothing passes a keyed file, and it passes nothing */
        }
        if (!ready) continue;
        bool better = !best || (connection_is_held(best->connection, now) && !connection_is_held(file->connection, now)) ||
                      (connection_is_held(best->connection, now) == connection_is_held(file->connection, now) &&
                       file->attempts < best->attempts);
        if (better) best = file;
    }
    return best;
}

static void queue_on(SinkState *sink, WriterConnection *connection) {
    if (sink->imports->queued_on == connection) return;
    if (sink->imports->queued_on) connection_leave_queue(sink);
    connection_join_queue(connection, sink);
}

/* Where its bridge stands with its destination, which is looked at between imports. */
static usec_t consider_look(Writer *writer, SinkState *sink) {
    usec_t due = writer_look_due(sink), now = writer->now->boot;
    if (due > now) return due;
    WriterConnection *connection = sink->stopped || sink->stays_stopped ? NULL : writer_positions_connection(writer, sink);
    if (!connection || connection->paused) return USEC_NEVER; /* its resume wakes the sink */
    if (connection_is_held(connection, now)) return connection->paused_until;
    queue_on(sink, connection);
    return now;
}

/* Runs without rows, which nothing that waits comes before. */
static usec_t consider_positions(Writer *writer, SinkState *sink, usec_t due) {
    if (due > writer->now->boot) return due;
    WriterConnection *connection = sink->stopped || sink->stays_stopped ? NULL : writer_positions_connection(writer, sink);
    if (connection) queue_on(sink, connection);
    return USEC_NEVER;
}

static usec_t consider_files(Writer *writer, SinkState *sink, usec_t positions) {
    usec_t next = USEC_NEVER;
    if (positions != USEC_NEVER) return consider_positions(writer, sink, positions);
    if (sink->waiting->count == 0) return next;
    WaitingFile *oldest = &sink->waiting->items[0];
    bool stays = !waiting_is_at_rest(oldest) || oldest->bridge || oldest->connection->paused;
    usec_t expires = stays ? USEC_NEVER : writer_expires(writer, oldest);
    if (expires <= writer->now->boot && writer->imports->expiring == 0) {
        writer_begin_expire(writer, sink, oldest);
    } else if (expires != USEC_NEVER) {
        next = expires > writer->now->boot ? expires : writer->now->boot + USEC_SECOND;
    }
    WaitingFile *file = pick(writer, sink, &next);
    if (!file) return next;
    queue_on(sink, file->connection);
    return next;
}

usec_t writer_consider_import(Writer *writer, SinkState *sink) {
    usec_t positions = writer_positions_due(sink);
    if (sink->imports->running || writer->drain->begun || writer->broken) return USEC_NEVER;
    writer_drop_watched(writer, sink);
    if (sink->waiting->count == 0 && positions == USEC_NEVER && sink->watch->count == 0) return USEC_NEVER;
    bool imports = sink->rules->known && !sink->rules->paused && !sink->stays_stopped;
    if (!imports && sink->imports->queued_on) connection_leave_queue(sink);
    usec_t next = sink->rules->known && sink->watch->count > 0 ? consider_look(writer, sink) : USEC_NEVER;
    if (next <= writer->now->boot) return USEC_NEVER; /* when it is back, the rest is considered */
    return imports ? earlier(next, consider_files(writer, sink, positions)) : next;
}

/* ---- jobs ------------------------------------------------------------------------------------ */

static int add_file(Txn *txn, LoadJob *job, const WaitingFile *waiting, Error *error) {
    LoadFile *file = &job->files[job->file_count];
    int r = ledger_find_file(txn, &waiting->id, &file->file, error);
    if (r == LEDGER_NOT_FOUND) return error_set(error, -EBADMSG, "a file that waits is not in the ledger");
    if (r < 0) return r;
    job->file_count++;
    uint64_t pending;
    r = rejects_count_pending(txn, &waiting->id, &pending, error);
    if (r < 0) return r;
    job->rejects_pending = job->rejects_pending || pending > 0;
    return slices_read(txn, &file->file, &file->slices, &file->slice_count, error);
}

static bool may_join(const Writer *writer, const WaitingFile *first, const WaitingFile *file) {
    return !first->alone && !file->alone && waiting_is_at_rest(file) && file->digest == first->digest && file->bridge == first->bridge &&
           file->next_try <= writer->now->boot;
}

static int add_files(Writer *writer, Txn *txn, SinkState *sink, WaitingFile *first, LoadJob *job, Error *error) {
    uint64_t bytes = 0;
    job->files = calloc(FILES_A_JOB_MAX, sizeof *job->files);
    check(job->files);
    for (WaitingFile *file = first; file < sink->waiting->items + sink->waiting->count && job->file_count < FILES_A_JOB_MAX; file++) {
        if (file != first && (!may_join(writer, first, file) || bytes + file->bytes > JOB_BYTES_MAX)) break;
        int r = add_file(txn, job, file, error);
        if (r < 0) return r;
        bytes += file->bytes;
        waiting_leave_rest(file, &file->importing);
    }
    const FileRecord *record = &job->files[0].file;
    json_error_t fault;
    json_t *target = json_loads(record->target, 0, &fault);
    if (!target) return error_set(error, -EBADMSG, "the target of a file is not JSON: %s", fault.text);
    int r = sink_target_load(target, &job->target, error);
    json_decref(target);
    if (r < 0) return r;
    job->label = strdup(record->label);
    check(job->label);
    return 0;
}

static void add_settled(const Writer *writer, const SinkState *sink, const WriterConnection *connection, LoadJob *job) {
    job->settled = calloc(SETTLED_A_JOB_MAX, sizeof *job->settled);
    check(job->settled);
    uint64_t oldest = backup_marks_oldest(&writer->backup->marks);
    job->settled_count = settled_choose(sink->settled, connection, oldest, job->settled, SETTLED_A_JOB_MAX);
}

/* Until an import succeeds, the ledger at the destination is compared with what waited at the
 * start. */
static void give_history(SinkState *sink, LoadJob *job) {
    LedgerHistory *history = sink->imports->history;
    if (!history) return;
    ledger_history_forget_files(history);
    for (size_t i = 0; i < sink->waiting->count; i++) {
        const WaitingFile *file = &sink->waiting->items[i];
        ledger_history_know(history, &file->id, file->first_row + file->rows);
    }
    job->history = history;
    sink->imports->history = NULL;
}

typedef struct LoadSettled {
    Writer *writer;
    SinkState *sink;
} LoadSettled;

static int load_settled_file(void *context, const FileRecord *file, Error *error) {
    LoadSettled *load = context;
    SinkState *sink = load->sink;
    bool keyed;
    if (file->state != FILE_IMPORTED) return 0;
    WriterConnection *connection = versions_connection_of(sink->versions, load->writer->connections, file->target, &keyed, error);
    if (!connection) return 0; /* its id stays in the destination's ledger */
    settled_add(sink->settled, &(SettledFile){.id = file->id,
                                              .done = file->done,
                                              .connection = connection,
                                              .backup = writer_backup_of(load->writer, sink, file->first_row)});
    if (file->done > load->writer->imports->last_done) load->writer->imports->last_done = file->done;
    return 0;
}

/* What a start finds, when the sink imports for the first time. By row; files that passed others
 * were imported in another order. */
static void load_settled(Writer *writer, Txn *txn, SinkState *sink) {
    LoadSettled load = {.writer = writer, .sink = sink};
    Error error = {0};
    sink->settled->loaded = true;
    if (ledger_visit_last_files(txn, sink->totals.sink, SETTLED_MAX, load_settled_file, &load, &error) < 0)
        log_failure(LOG_WARNING, "ids of imported files stay in the ledger of the destination", &error);
    settled_sort(sink->settled);
}

/* Nobody knows any more where its records are from: whoever reads the partition finds that they are
 * missing. The rest of its file is tried again. */
static void return_slice(Writer *writer, SinkState *sink, LoadFile *load, const SliceRecord *slice) {
    Txn *txn;
    Error error = {0};
    WaitingFile *waiting = waiting_find(sink->waiting, &load->file.id);
    for (size_t i = 0; i < sink->waiting->count; i++) sink->waiting->items[i].importing = false;
    writer_schedule(writer, sink);
    if (!writer_record_begin(writer, &txn)) return;
    writer_mark_dirty(writer, sink);
    int r = slices_quarantine(txn, sink, waiting, &load->file, slice, &(bool){true}, 1, &error);
    (void)writer_record_end(writer, txn, r, "cannot record rows of a partition that is not known", &error);
}

static void start_import(Writer *writer, SinkState *sink, WaitingFile *first) {
    WriterConnection *connection = first->connection;
    LoadJob *job = load_job_new(MESSAGE_IMPORT, writer->mailbox, NULL);
    job->sink = sink->totals.sink;
    job->failed_before = sink->imports->failures > 0;
    job->connection = strdup(connection->name);
    check(job->connection);

    Error error = {0};
    Txn *txn;
    LoadFile *unknown = NULL;
    SliceRecord slice;
    int r = txn_begin_read(writer->options.environment, &txn, &error);
    if (r == 0) {
        r = add_files(writer, txn, sink, first, job, &error);
        if (r == 0 && !sink->settled->loaded) load_settled(writer, txn, sink);
        if (r == 0) r = job_runs_read(txn, writer->partitions, job, &unknown, &slice, &error);
        txn_abort(txn);
    }
    if (r == JOB_RUNS_UNKNOWN) {
        return_slice(writer, sink, unknown, &slice);
        load_job_free(job);
        return;
    }
    if (r < 0) {
        log_failure(LOG_ERROR, "cannot prepare an import", &error);
        for (size_t i = 0; i < sink->waiting->count; i++) sink->waiting->items[i].importing = false;
        load_job_free(job);
        if (!writer_repaired(writer, &error)) {
            sink->imports->failures++;
            sink->imports->paused_until = writer->now->boot + writer_backoff(writer, sink->imports->failures);
            sink_set_error(sink, error.text);
            sink_waiters_fail(sink, 0, -ECANCELED, error.text);
        }
        writer_schedule(writer, sink);
        return;
    }
    add_settled(writer, sink, connection, job);
    give_history(sink, job);
    check(!sink->imports->running && !sink->imports->queued_on && !connection->paused);
    sink->imports->running = true;
    sink->imports->begun = writer->log->last_commit;
    connection->running++;
    writer->imports->in_flight++;
    writer->options.post_import(writer->options.post_import_context, job);
}

static void dispatch(Writer *writer, WriterConnection *connection) {
    while (connection->first && !connection->paused) {
        if (connection_is_held(connection, writer->now->boot)) {
            scheduler_set(&writer->connections->timers, &connection->timer, connection->paused_until);
            return;
        }
        /* After a failure one job finds out whether it is back. */
        unsigned most = connection->failures > 0 ? 1 : JOBS_A_CONNECTION_MAX;
        if (connection->running >= most) return;
        SinkState *sink = connection->first;
        connection_leave_queue(sink);
        if (sink->imports->running) continue;
        usec_t next = USEC_NEVER;
        bool imports = !sink->rules->paused && !sink->stays_stopped;
        bool sets = imports && writer_positions_due(sink) <= writer->now->boot;
        WaitingFile *file = imports ? pick(writer, sink, &next) : NULL;
        if (sets || writer_look_due(sink) <= writer->now->boot) {
            if (writer_positions_connection(writer, sink) == connection)
                writer_start_positions(writer, sink, connection, sets);
            else
                writer_schedule(writer, sink);
        } else if (file && file->connection == connection) {
            start_import(writer, sink, file);
        } else {
            writer_schedule(writer, sink);
        }
    }
}

void writer_dispatch_connections(Writer *writer) {
    for (size_t i = 0; i < writer->connections->count; i++) dispatch(writer, writer->connections->items[i]);
}

void writer_expedite(Writer *writer, SinkState *sink) {
    sink->imports->paused_until = 0;
    for (size_t i = 0; i < sink->waiting->count; i++) {
        sink->waiting->items[i].next_try = 0;
        sink->waiting->items[i].connection->paused_until = 0;
    }
    writer_schedule(writer, sink);
}

/* ---- how it ended ---------------------------------------------------------------------------- */

void writer_import_back(Writer *writer, LoadJob *take_job) {
    SinkState *sink = writer_sink(writer, take_job->sink);
    WriterConnection *connection = connection_find(writer->connections, take_job->connection);
    check(sink && sink->imports->running && writer->imports->in_flight > 0);
    check(connection && connection->running > 0);
    writer->imports->in_flight--;
    connection->running--;
    sink->imports->running = false;
    if (take_job->request.result != SINK_DONE) {
        ledger_history_free(sink->imports->history);
        sink->imports->history = take_job->history;
        take_job->history = NULL;
    }
    if (take_job->made_table) sink->made_table = writer->now->wall;
    take_job->request.message.next = NULL;
    if (writer->imports->ended) {
        writer->imports->ended_tail->request.message.next = &take_job->request.message;
    } else {
        writer->imports->ended = take_job;
    }
    writer->imports->ended_tail = take_job;
}

/* Rows that were given up as unreadable are at the destination: they were imported before, and
 * nobody heard of it. */
static int record_found(Txn *txn, SinkState *sink, LoadFile *load, WaitingFile *waiting, Error *error) {
    uint64_t rows = load->found_rows;
    if (rows == 0) return 0;
    uint64_t left_out = load->file.left_out;
    int r = ledger_restore_rows(txn, &load->file, rows, error);
    if (r < 0) return r;
    waiting_regain_rows(sink->waiting, waiting, rows);
    uint64_t returned = left_out > load->file.left_out ? left_out - load->file.left_out : 0;
    totals_regain(&sink->totals, rows > returned ? rows - returned : 0, returned);
    log_info("%" PRIu64 " rows of sink %s that were given up are at the destination: they are counted as imported", rows, load->file.label);
    return 0;
}

/* The rejects of the import that committed become visible; what an earlier try of it left behind is
 * dropped. */
static int settle_rejects(Txn *txn, const LoadFile *load, uint64_t *ret_rows, Error *error) {
    *ret_rows = 0;
    if (load->already_imported || load->rejected_rows > 0) return rejects_publish(txn, &load->file.id, ret_rows, error);
    return rejects_drop_pending(txn, &load->file.id, error);
}

/* Wall time for a file that is done: later than any before, also when the clock jumped back. */
static usec_t done_time(Writer *writer) {
    usec_t wall = writer->now->wall, last = writer->imports->last_done;
    writer->imports->last_done = wall > last ? wall : last + 1;
    return writer->imports->last_done;
}

static int record_file_done(Writer *writer, Txn *txn, SinkState *sink, LoadFile *load, WriterConnection *connection, Error *error) {
    WaitingFile *waiting = waiting_find(sink->waiting, &load->file.id);
    check(waiting && waiting->importing);
    check(waiting->rows == load->file.rows && waiting->first_row == load->file.first_row);
    uint64_t rejected = 0;
    int r = record_found(txn, sink, load, waiting, error);
    if (r == 0) r = left_out_record(txn, sink, waiting, load, error);
    if (r == 0) r = settle_rejects(txn, load, &rejected, error);
    if (r == 0) r = failpoint_error("writer.rejects-published", error);
    if (r < 0) return r;
    load->file.rejected_rows = rejected;
    uint64_t rows = file_readable_rows(&load->file);
    uint64_t bytes = rows > 0 ? load->file.bytes : 0;
    check(rejected <= rows && waiting->damaged == load->file.rows - rows);
    load->file.done = done_time(writer);
    r = ledger_end_file(txn, &load->file, FILE_IMPORTED, load->file.done, writer->now->running, error);
    if (r == 0) r = failpoint_error("writer.import-recorded", error);
    if (r < 0) return r;

    Tally *imported = &sink->totals.imported;
    if (imported->rows == 0 && rows > 0) imported->first_time = load->file.first_time;
    imported->last_time = load->file.last_time;
    imported->rows += rows - rejected;
    imported->bytes += bytes;
    sink->totals.rejected_rows += rejected;
    metrics_add(METRIC_FILES_IMPORTED, 1);
    metrics_add(METRIC_ROWS_IMPORTED, rows - rejected);
    metrics_add(METRIC_ROWS_REJECTED, rejected);
    settled_add(sink->settled, &(SettledFile){.id = load->file.id,
                                              .done = load->file.done,
                                              .connection = connection,
                                              .backup = writer_backup_of(writer, sink, load->file.first_row)});
    waiting_remove(sink->waiting, waiting);
    return 0;
}

static int record_done(Writer *writer, Txn *txn, SinkState *sink, LoadJob *job, Error *error) {
    WriterConnection *connection = connection_added(writer->connections, job->connection);
    settled_forget(sink->settled, job->settled, job->settled_count);
    for (size_t i = 0; i < job->file_count; i++) {
        int r = record_file_done(writer, txn, sink, &job->files[i], connection, error);
        if (r < 0) return r;
        chains_note_runs(writer, sink, job, job->files[i].runs, job->files[i].run_count);
    }
    chains_note_positions(writer, sink, job);
    int r = chains_store(txn, sink, error);
    if (r < 0) return r;
    return 0;
}

static void note_success(Writer *writer, SinkState *sink, const LoadJob *job) {
    WriterConnection *connection = connection_added(writer->connections, job->connection);
    if (sink->imports->failures > 0) log_info("imports of %s succeed again after %u that failed", job->label, sink->imports->failures);
    sink->imports->failures = 0;
    sink->imports->failing_since = 0;
    sink->imports->paused_until = 0;
    sink_set_error(sink, "");
    if (job->refusal[0]) (void)snprintf(sink->last_refusal, sizeof sink->last_refusal, "%s", job->refusal);
    writer_note_reachable(writer, connection);
    connection->paused_until = 0;
}

/* true: its first one that failed, as far as is recorded. */
static bool note_try(const Writer *writer, WaitingFile *waiting, FileRecord *file) {
    if (waiting->first_failed == 0) waiting->first_failed = writer->now->running > 0 ? writer->now->running : 1;
    waiting->tries++;
    bool changed = file->first_failed != waiting->first_failed;
    file->first_failed = waiting->first_failed;
    return changed;
}

/* Fewer rows may be taken in the time that an import may take. */
static bool may_shrink(const Writer *writer, const LoadJob *job) {
    if (job->request.result == SINK_DONE || !job->out_of_time || !job->proven_absent || writer->drain->begun) return false;
    const FileRecord *file = &job->files[0].file;
    return job->file_count > 1 || file_readable_rows(file) > 1;
}

static int record_failure(Writer *writer, Txn *txn, SinkState *sink, LoadJob *job, Error *error) {
    for (size_t i = 0; i < job->file_count; i++) {
        LoadFile *load = &job->files[i];
        WaitingFile *waiting = waiting_find(sink->waiting, &load->file.id);
        check(waiting);
        waiting_come_back(&waiting->importing);
        int r = slices_quarantine(txn, sink, waiting, &load->file, load->slices, load->slice_damaged, load->slice_count, error);
        if (r < 0) return r;
        if (writer->drain->begun || job->found_damage) continue; /* it was not tried to its end */
        if (may_shrink(writer, job)) {
            waiting->alone = true;
            continue;
        }
        bool first = note_try(writer, waiting, &load->file);
        if (job->request.result == SINK_UNREACHABLE) { /* not this file's fault: it is the next one to be tried again */
            r = first ? ledger_update_file(txn, &load->file, error) : 0;
            if (r < 0) return r;
            continue;
        }
        if (job->request.result == SINK_REFUSED) waiting->alone = true;
        waiting->attempts++;
        usec_t pause = writer_backoff(writer, waiting->attempts);
        waiting->next_try = writer->now->boot + pause;
        load->file.attempts = waiting->attempts;
        load->file.next_try = writer->now->wall + pause;
        free(load->file.last_error);
        load->file.last_error = strdup(job->request.error.text);
        check(load->file.last_error);
        r = ledger_update_file(txn, &load->file, error);
        if (r < 0) return r;
    }
    return 0;
}

static void note_failure(Writer *writer, SinkState *sink, LoadJob *job) {
    WriterConnection *connection = connection_added(writer->connections, job->connection);
    metrics_add(METRIC_IMPORT_FAILURES, 1);
    sink_set_error(sink, job->request.error.text);
    log_warning("import of %s failed (%s): %s", job->label, job->request.result == SINK_REFUSED ? "refused" : "tried again",
                job->request.error.text);
    if (sink->imports->failing_since == 0) sink->imports->failing_since = writer->now->boot;
    if (job->request.result == SINK_UNREACHABLE) {
        writer_note_unreachable(writer, connection, sink_error(sink));
    } else {
        chains_note_missing(writer, sink, job);
        writer_note_reachable(writer, connection);
        sink->imports->failures++;
        sink->imports->paused_until = writer->now->boot + writer_backoff(writer, sink->imports->failures);
    }
    sink_waiters_fail(sink, job->files[0].file.first_row, -ECANCELED, job->request.error.text);
}

/* The next try is smaller, so it comes at once, and who waits for the import goes on waiting. */
static void shrink(Writer *writer, SinkState *sink, LoadJob *job) {
    metrics_add(METRIC_IMPORT_FAILURES, 1);
    sink_set_error(sink, job->request.error.text);
    log_warning("import of %s took too long and continues in smaller parts: %s", job->label, job->request.error.text);
    if (job->file_count == 1) writer_begin_divide(writer, sink, waiting_find(sink->waiting, &job->files[0].file.id));
}

int writer_record_imports(Writer *writer, Txn *txn, Error *error) {
    int r = 0;
    for (LoadJob *job = writer->imports->ended; job && r == 0; job = (LoadJob *)job->request.message.next) {
        SinkState *sink = writer_sink(writer, job->sink);
        writer_mark_dirty(writer, sink);
        r = job->request.result == SINK_DONE ? record_done(writer, txn, sink, job, error) : record_failure(writer, txn, sink, job, error);
    }
    return r;
}

void writer_imports_recorded(Writer *writer, bool recorded) {
    LoadJob *jobs = writer->imports->ended;
    writer->imports->ended = NULL;
    writer->imports->ended_tail = NULL;
    for (LoadJob *job = jobs, *next; job; job = next) {
        next = (LoadJob *)job->request.message.next;
        SinkState *sink = writer_sink(writer, job->sink);
        if (recorded) {
            if (job->request.result == SINK_DONE) note_success(writer, sink, job);
            bool shrinks = may_shrink(writer, job);
            if (job->request.result != SINK_DONE && !job->found_damage && (!shrinks || job->request.result == SINK_UNREACHABLE))
                note_failure(writer, sink, job);
            if (shrinks) shrink(writer, sink, job);
            sink_waiters_answer(sink);
            writer_schedule(writer, sink);
        }
        load_job_free(job);
    }
}
