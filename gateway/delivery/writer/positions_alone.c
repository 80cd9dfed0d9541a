#include "gateway/delivery/writer/positions_alone.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "gateway/delivery/load_job.h"
#include "gateway/delivery/writer/chains.h"
#include "gateway/delivery/writer/drain_state.h"
#include "gateway/delivery/writer/imports.h"
#include "gateway/delivery/writer/job_runs.h"
#include "gateway/delivery/writer/left_out.h"
#include "gateway/delivery/writer/log_state.h"
#include "gateway/delivery/writer/open_file.h"
#include "gateway/delivery/writer/rules.h"
#include "gateway/delivery/writer/sink_ends.h"
#include "gateway/delivery/writer/sink_log.h"
#include "gateway/delivery/writer/sinks.h"
#include "gateway/delivery/writer/slices.h"
#include "gateway/delivery/writer/space.h"
#include "gateway/delivery/writer/step_clock.h"
#include "gateway/delivery/writer/stored.h"
#include "gateway/delivery/writer/transaction.h"
#include "gateway/delivery/writer/unreachable.h"
#include "gateway/delivery/writer/versions.h"
#include "gateway/delivery/writer/waiters.h"
#include "gateway/delivery/writer/watch.h"
#include "storage/rejects.h"

#define POSITIONS_AFTER (5 * USEC_SECOND) /* rows may follow, and take them along */
#define LOOK_EVERY (5 * USEC_SECOND)

/* ---- giving out ------------------------------------------------------------------------------ */

usec_t writer_positions_due(const SinkState *sink) {
    const SinkLog *log = sink->log;
    usec_t paused_until = sink->imports->paused_until;
    if (log->ahead.count > 0) return paused_until;
    if (log->idle_from == 0 || log->count > 0 || sink->open->exists || sink->waiting->count > 0) return USEC_NEVER;
    usec_t due = log->idle_since + POSITIONS_AFTER;
    return due > paused_until ? due : paused_until;
}

usec_t writer_look_due(const SinkState *sink) {
    return sink->watch->count > 0 ? sink->watch->due : USEC_NEVER;
}

/* Somebody set or made positions: what waited for that goes at once. */
static void expedite(SinkState *sink) {
    sink->imports->paused_until = 0;
    for (size_t i = 0; i < sink->waiting->count; i++) sink->waiting->items[i].next_try = 0;
}

void writer_look_now(Writer *writer, SinkState *sink) {
    sink->watch->due = writer->now->boot;
    sink->watch->failures = 0;
    expedite(sink);
    writer_schedule(writer, sink);
}

void writer_drop_watched(Writer *writer, SinkState *sink) {
    if (writer_look_due(sink) <= writer->now->boot) watch_drop(writer->watched, sink->watch, writer->now->boot);
}

WriterConnection *writer_positions_connection(Writer *writer, SinkState *sink) {
    const SinkVersion *version = versions_find(sink->versions, versions_current(sink->versions));
    bool keyed;
    return version ? versions_connection_of(sink->versions, writer->connections, version->target, &keyed, NULL) : NULL;
}

static int set_target(LoadJob *job, const char *target, const char *label, Error *error) {
    json_error_t fault;
    json_t *stored = json_loads(target, 0, &fault);
    if (!stored) return error_set(error, -EBADMSG, "a target is not JSON: %s", fault.text);
    int r = sink_target_load(stored, &job->target, error);
    json_decref(stored);
    job->label = strdup(label ? label : "?");
    check(job->label);
    return r;
}

static void post(Writer *writer, SinkState *sink, WriterConnection *connection, LoadJob *job) {
    check(!sink->imports->running && !sink->imports->queued_on && !connection->paused);
    sink->imports->running = sink->imports->positions = true;
    sink->imports->begun = writer->log->last_commit;
    connection->running++;
    writer->imports->in_flight++;
    writer_schedule(writer, sink);
    writer->options.post_import(writer->options.post_import_context, job);
}

static LoadJob *make_job(Writer *writer, const SinkState *sink, const WriterConnection *connection, FileAction *action) {
    LoadJob *job = load_job_new(MESSAGE_POSITIONS, writer->mailbox, action);
    job->sink = sink->totals.sink;
    job->connection = strdup(connection->name);
    check(job->connection);
    return job;
}

/* They cannot be decided about. */
static void give_up_ahead(Writer *writer, SinkState *sink) {
    SinkLog *log = sink->log;
    while (log->ahead.count > 0) { /* what comes later does not follow: it is read again */
        uint32_t partition = log->ahead.items[0].partition;
        sink_ends_forget(sink->ends, partition);
        sink_log_forget(log, partition);
    }
    chains_save(writer, sink);
}

void writer_start_positions(Writer *writer, SinkState *sink, WriterConnection *connection, bool sets) {
    SinkLog *log = sink->log;
    Error error = {0};
    if (sets && log->ahead.count == 0) sink_log_send_idle(log);
    sink->watch->due = writer->now->boot + LOOK_EVERY;
    LoadJob *job = make_job(writer, sink, connection, NULL);
    const SinkVersion *version = versions_find(sink->versions, versions_current(sink->versions));
    int r = set_target(job, version->target, sink->label, &error);
    if (r == 0) {
        const JobPositions wanted = {.runs = log->ahead.items,
                                     .run_count = sets ? log->ahead.count : 0,
                                     .next_row = sink->totals.next_row,
                                     .watched = sink->watch->items,
                                     .watched_count = sink->watch->count};
        job_runs_put(writer->partitions, job, &wanted);
    }
    if (r == 0 && (job->run_count > 0 || (!sets && job->position_count > 0))) {
        post(writer, sink, connection, job);
        return;
    }
    if (r < 0) log_failure(LOG_ERROR, "positions cannot be set", &error);
    give_up_ahead(writer, sink);
    writer_schedule(writer, sink);
    load_job_free(job);
}

/* ---- a file is deleted ----------------------------------------------------------------------- */

/* Its runs are those of the job; it is the only file of it. */
static int read_file(Writer *writer, Txn *txn, LoadJob *job, const WaitingFile *file, Error *error) {
    LoadFile *load = &job->files[0];
    LoadFile *damaged;
    SliceRecord slice;
    int r = ledger_find_file(txn, &file->id, &load->file, error);
    if (r == LEDGER_NOT_FOUND) return error_set(error, -EBADMSG, "a file that waits is not in the ledger");
    if (r < 0) return r;
    job->file_count = 1;
    r = slices_read(txn, &load->file, &load->slices, &load->slice_count, error);
    if (r == 0) r = job_runs_read(txn, writer->partitions, job, &damaged, &slice, error);
    if (r == JOB_RUNS_UNKNOWN) r = error_set(error, -EBADMSG, "the partition of a run is not known any more");
    if (r < 0) return r;
    job->runs = load->runs;
    job->run_count = load->run_count;
    load->runs = NULL; /* they come back */
    return set_target(job, load->file.target, load->file.label, error);
}

int writer_begin_delete(Writer *writer, SinkState *sink, WaitingFile *file, FileAction *action) {
    Error *error = &action->request.error;
    if (file != &sink->waiting->items[0] || sink->log->ahead.count > 0)
        return error_set(error, -EBUSY, "Files of this sink are imported in the order of their rows: delete the oldest one first.");
    if (sink->imports->running || file->connection->paused || writer->drain->begun)
        return error_set(error, -EBUSY, "The sink is being imported, or its connection is paused.");
    Txn *txn;
    LoadJob *job = make_job(writer, sink, file->connection, action);
    job->files = calloc(1, sizeof *job->files);
    check(job->files);
    int r = txn_begin_read(writer->options.environment, &txn, error);
    if (r == 0) {
        r = read_file(writer, txn, job, file, error);
        txn_abort(txn);
    }
    if (r < 0) {
        load_job_free(job);
        return r;
    }
    if (sink->imports->queued_on) connection_leave_queue(sink);
    waiting_leave_rest(file, &file->importing);
    post(writer, sink, file->connection, job);
    return 0;
}

static int record_deleted(Writer *writer, Txn *txn, SinkState *sink, LoadJob *job, WaitingFile *waiting, Error *error) {
    LoadFile *load = &job->files[0];
    load->runs = job->runs;
    load->run_count = job->run_count;
    int r = left_out_record(txn, sink, waiting, load, error);
    job->runs = NULL;
    chains_note_runs(writer, sink, job, load->runs, load->run_count);
    chains_note_positions(writer, sink, job);
    if (r == 0) r = chains_store(txn, sink, error);
    if (r < 0) return r;
    uint64_t rows = file_readable_rows(&load->file);
    r = ledger_end_file(txn, &load->file, FILE_DELETED, writer->now->wall, writer->now->running, error);
    if (r == 0) r = rejects_drop_pending(txn, &load->file.id, error);
    if (r < 0) return r;
    sink->totals.dropped_rows += rows;
    waiting_remove(sink->waiting, waiting);
    writer_mark_dirty(writer, sink);
    return 0;
}

static int end_delete(Writer *writer, SinkState *sink, LoadJob *job, Error *error) {
    WaitingFile *waiting = waiting_find(sink->waiting, &job->files[0].file.id);
    Txn *txn;
    check(waiting && waiting->importing);
    waiting_come_back(&waiting->importing);
    if (job->request.result != SINK_DONE) return error_set(error, -EIO, "%s", job->request.error.text);
    if (!writer_record_begin(writer, &txn)) return error_set(error, -EROFS, "the writer cannot write any more");
    uint64_t first_row = job->files[0].file.first_row;
    int r = record_deleted(writer, txn, sink, job, waiting, error);
    if (!writer_record_end(writer, txn, r, "cannot delete a file", error)) return -EIO;
    sink_waiters_fail(sink, first_row, -ECANCELED, "The file was deleted.");
    return 0;
}

/* ---- how it ended ---------------------------------------------------------------------------- */

static bool only_reads(const LoadJob *job) {
    return job->run_count == 0 && !job->request.context;
}

static void note_failure(Writer *writer, SinkState *sink, WriterConnection *connection, const LoadJob *job) {
    bool reads = only_reads(job);
    sink_set_error(sink, job->request.error.text);
    if (!reads || sink->watch->failures == 0)
        log_warning("positions of %s are not %s, tried again: %s", job->label, reads ? "read" : "set", job->request.error.text);
    if (sink->imports->failing_since == 0) sink->imports->failing_since = writer->now->boot;
    chains_note_missing(writer, sink, job);
    if (job->request.result == SINK_UNREACHABLE) {
        writer_note_unreachable(writer, connection, sink_error(sink));
        sink->watch->failures++;
    } else if (reads) {
        writer_note_reachable(writer, connection);
        sink->watch->failures++;
        sink->watch->due = writer->now->boot + writer_backoff(writer, sink->watch->failures);
    } else {
        sink->imports->failures++;
        sink->imports->paused_until = writer->now->boot + writer_backoff(writer, sink->imports->failures);
    }
    if (!reads && !job->request.context) sink_waiters_fail(sink, 0, -ECANCELED, job->request.error.text);
}

/* Imports that were refused for another reason fail until one succeeds. */
static void note_success(Writer *writer, SinkState *sink, WriterConnection *connection, const LoadJob *job) {
    writer_note_reachable(writer, connection);
    connection->paused_until = 0;
    sink->watch->failures = 0;
    if (!only_reads(job)) {
        sink->imports->failures = 0;
        sink->imports->paused_until = 0;
    }
    if (sink->imports->failures > 0 || sink->stopped) return;
    sink->imports->failing_since = 0;
    sink_set_error(sink, "");
}

static void note_positions(Writer *writer, SinkState *sink, const LoadJob *job) {
    bool missed = watch_any_missing(sink->watch);
    chains_note_positions(writer, sink, job);
    if (missed && !watch_any_missing(sink->watch)) expedite(sink);
}

void writer_positions_back(Writer *writer, LoadJob *take_job) {
    LoadJob *job = take_job;
    SinkState *sink = writer_sink(writer, job->sink);
    WriterConnection *connection = connection_find(writer->connections, job->connection);
    check(sink && sink->imports->running && sink->imports->positions && writer->imports->in_flight > 0);
    check(connection && connection->running > 0);
    writer->imports->in_flight--;
    connection->running--;
    sink->imports->running = sink->imports->positions = false;
    bool nothing_there = only_reads(job) && job->request.result != SINK_DONE && job->request.error.code == -ENODATA;
    bool done = job->request.result == SINK_DONE || nothing_there;
    if (done) {
        note_success(writer, sink, connection, job);
    } else {
        note_failure(writer, sink, connection, job);
    }
    FileAction *action = job->request.context;
    if (action) {
        action->request.result = end_delete(writer, sink, job, &action->request.error);
        request_answer(&action->request);
    } else if (done) {
        chains_note_runs(writer, sink, job, job->runs, job->run_count);
        note_positions(writer, sink, job);
        if (job->run_count > 0) sink_log_drop_ahead(sink->log);
        chains_save(writer, sink);
        sink_waiters_answer(sink);
        writer_find_trim(writer);
    }
    writer_schedule(writer, sink);
    load_job_free(job);
}
