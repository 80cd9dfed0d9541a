#include "gateway/delivery/writer/stage.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/metrics.h"
#include "gateway/delivery/writer/chains.h"
#include "gateway/delivery/writer/closed.h"
#include "gateway/delivery/writer/connections.h"
#include "gateway/delivery/writer/import.h"
#include "gateway/delivery/writer/imports.h"
#include "gateway/delivery/writer/open_file.h"
#include "gateway/delivery/writer/pause.h"
#include "gateway/delivery/writer/rules.h"
#include "gateway/delivery/writer/sink_ends.h"
#include "gateway/delivery/writer/sink_log.h"
#include "gateway/delivery/writer/sinks.h"
#include "gateway/delivery/writer/space.h"
#include "gateway/delivery/writer/space_state.h"
#include "gateway/delivery/writer/staging.h"
#include "gateway/delivery/writer/step_clock.h"
#include "gateway/delivery/writer/stored.h"
#include "gateway/delivery/writer/transaction.h"
#include "gateway/delivery/writer/versions.h"
#include "gateway/delivery/writer/waiters.h"
#include "gateway/delivery/writer/waiting.h"

#define STAGES_IN_FLIGHT_MAX 2        /* one is written while the next one forms */
#define OWN_PACK_BYTES (1u << 20)     /* a sink with more gets a pack of its own */
#define SHARED_PACK_BYTES (32u << 20) /* small sinks share packs up to about this */
#define SHARED_PACK_SINKS 2000
#define SMALL_UPLOAD_BYTES (1u << 20) /* a larger one is not held back */
#define SMALL_UPLOAD_WAIT (100 * USEC_MS)
#define STAGE_PAUSE_FIRST USEC_SECOND
#define STAGE_PAUSE_MAX USEC_MINUTE

/* ---- judging --------------------------------------------------------------------------------- */

/* Rows of the log whose destination is known, from the front. */
static size_t stageable_runs(const SinkState *sink) {
    size_t count = 0;
    while (count < sink->log->count && versions_find(sink->versions, sink->log->runs[count].mapping_version)) count++;
    return count;
}

bool writer_can_stage(const SinkState *sink) {
    return sink->rules->known && !sink->stopped && (sink->log->count == 0 || stageable_runs(sink) > 0);
}

static void queue_stage(Writer *writer, SinkState *sink, CloseReason close_after) {
    sink->stage->close_after = close_after;
    if (sink->stage->queued) return;
    sink->stage->queued = true;
    sink_queue_add(&writer->stages->due, sink);
}

static void queue_close(Writer *writer, SinkState *sink, CloseReason reason) {
    sink->stage->close_after = reason;
    sink_queue_add(&writer->stages->closing, sink);
}

void writer_unqueue_stage(Writer *writer, SinkState *sink) {
    if (!sink->stage->queued) return;
    sink_queue_remove(&writer->stages->due, sink);
    sink->stage->queued = false;
}

static usec_t age(usec_t now, usec_t since) {
    return now > since ? now - since : 0;
}

/* Files of it wait or are on their way: the next one is closed when they are through, so that it
 * takes all that came meanwhile. */
static bool is_busy(const SinkState *sink) {
    return sink->imports->running || sink->waiting->count > 0;
}

/*
 * While files of it wait or are imported, what is staged goes no further: a little of it waits for
 * their end, so that one pack takes what came meanwhile. Else each Append would become a pack of
 * its own, with all the syncs that a pack has.
 */
static void hold_small_upload(const Waiting *waiting, ConditionsVerdict *verdict) {
    if (!verdict->stage || waiting->log_bytes >= SMALL_UPLOAD_BYTES || waiting->log_age >= SMALL_UPLOAD_WAIT) return;
    usec_t left = SMALL_UPLOAD_WAIT - waiting->log_age;
    verdict->stage = false;
    if (left < verdict->next) verdict->next = left;
}

static ConditionsVerdict evaluate_conditions(Writer *writer, const SinkState *sink) {
    Waiting waiting = {.log_rows = sink->log->rows, .log_bytes = sink->log->bytes};
    if (sink->log->count) waiting.log_age = age(writer->now->boot, sink->log->runs[0].since);
    if (sink->open->exists) {
        waiting.file_rows = sink->open->file.rows;
        waiting.file_bytes = sink->open->file.bytes;
        waiting.file_age = age(writer->now->boot, sink->open->since);
    }
    /* Of what cannot be imported now time alone closes nothing. */
    bool failing = sink->imports->failures > 0 || (sink->waiting->count > 0 && sink->waiting->items[0].connection->failures > 0) ||
                   writer_is_paused(writer, sink);
    if (!is_busy(sink)) {
        ConditionsVerdict verdict = conditions_evaluate(&sink->rules->conditions, &waiting, failing);
        /* Its events are refused until there is space, and only its import makes some. */
        bool space_is_short = writer->space->is_short || (sink->rules->gate && atomic_load(&sink->rules->gate->closed));
        if (space_is_short && verdict.close == CLOSE_NONE && !failing && (waiting.log_rows > 0 || waiting.file_rows > 0)) {
            verdict.close = CLOSE_SIZE;
            verdict.stage = waiting.log_rows > 0;
        }
        return verdict;
    }

    Conditions held = sink->rules->conditions;
    held.import_rows = held.import_bytes = UINT64_MAX;
    held.import_age = USEC_NEVER;
    ConditionsVerdict verdict = conditions_evaluate(&held, &waiting, failing);
    if (!failing) hold_small_upload(&waiting, &verdict);
    /* What is staged already is closed at its size all the same; while imports fail, at its count
     * too: files stay files of usual size. */
    if (sink->open->exists) {
        if (sink->open->file.bytes >= sink->rules->conditions.import_bytes) verdict.close = CLOSE_SIZE;
        if (failing && sink->open->file.rows >= sink->rules->conditions.import_rows) verdict.close = CLOSE_COUNT;
    }
    return verdict;
}

void writer_evaluate(Writer *writer, SinkState *sink) {
    writer_note_changed(writer, sink);
    if (sink->waiters->first) sink_waiters_answer(sink);
    usec_t next = writer_consider_import(writer, sink);
    writer_mind_share(writer, sink);
    if (sink->rules->known && !sink->stopped && !sink->stage->staging && !sink->stage->queued) {
        ConditionsVerdict verdict = evaluate_conditions(writer, sink);
        sink_waiters_note_closed(sink);
        bool asked = sink->waiters->close_row > 0;
        CloseReason reason = asked ? sink->waiters->close_reason : verdict.close;
        bool only_file = asked ? sink->totals.staged_row >= sink->waiters->close_row : is_busy(sink) && reason != CLOSE_NONE;
        bool stage = sink->log->count > 0 && (verdict.stage || sink->stage->forced || (reason != CLOSE_NONE && !only_file));
        if (stage && stageable_runs(sink) == 0) {
            Error error = {0};
            (void)error_set(&error, -EBADMSG, "rows of mapping version %u wait in the log, but the record of their target is damaged",
                            sink->log->runs[0].mapping_version);
            sink_set_error(sink, error.text);
            log_warning("sink %s: %s", sink->label, error.text);
            sink_waiters_fail(sink, 0, -ECANCELED, error.text);
            stage = false;
        }
        sink->stage->forced = false;
        if (stage) {
            queue_stage(writer, sink, reason);
        } else if (reason != CLOSE_NONE && sink->open->exists) {
            queue_close(writer, sink, reason);
        }
        if (verdict.next != USEC_NEVER && verdict.next < 400 * USEC_DAY && writer->now->boot + verdict.next < next)
            next = writer->now->boot + verdict.next;
    }
    if (next != USEC_NEVER) scheduler_hasten(&writer->sinks->timers, &sink->timer, next > writer->now->boot ? next : writer->now->boot + 1);
}

/* ---- closing --------------------------------------------------------------------------------- */

/* Memory goes with the transaction: see state.h. */
static int close_open_file(Writer *writer, Txn *txn, SinkState *sink, CloseReason reason, Error *error) {
    check(sink->open->exists && sink->open->file.state == FILE_OPEN && sink->open->file.rows > 0);
    int r = ledger_close_file(txn, &sink->open->file, reason, writer->now->wall, error);
    if (r < 0) return r;
    if (!writer_add_waiting(writer, sink, &sink->open->file, sink->open->runs, error)) return -EBADMSG;
    open_file_forget(sink->open);
    writer_schedule(writer, sink);
    return 0;
}

void writer_close_files(Writer *writer) {
    Txn *txn;
    if (writer->stages->closing.count == 0 || !writer_record_begin(writer, &txn)) {
        writer->stages->closing.count = 0;
        return;
    }
    Error error = {0};
    int r = failpoint_error("writer.before-close", &error);
    for (size_t i = 0; i < writer->stages->closing.count && r == 0; i++) {
        SinkState *sink = writer->stages->closing.items[i];
        r = close_open_file(writer, txn, sink, sink->stage->close_after, &error);
        if (r < 0) break;
        sink_waiters_note_closed(sink);
        /* Judged in this round already: its import begins in this one, too. */
        (void)writer_consider_import(writer, sink);
    }
    writer->stages->closing.count = 0;
    (void)writer_record_end(writer, txn, r, "cannot close files", &error);
}

/* ---- giving out ------------------------------------------------------------------------------ */

static void add_items(Writer *writer, Stage *stage, size_t *capacity, SinkState *sink) {
    size_t runs = stageable_runs(sink);
    check(runs > 0 && sink->stage->queued && !sink->stage->staging);
    check(!sink->open->exists || sink->open->file.first_row + sink->open->file.rows == sink->log->runs[0].first_row);
    Uuid file = sink->open->exists ? sink->open->file.id : (Uuid){0};
    bool fits = sink->open->exists, has_runs = sink->open->runs;
    uint32_t version = sink->open->exists ? sink->open->file.mapping_version : 0;
    for (size_t i = 0; i < runs; i++) {
        LogRun *run = &sink->log->runs[i];
        check(!run->staging);
        if (!fits || run->mapping_version != version || (run->run_count > 0) != has_runs) {
            uuid_next(&writer->ids, writer->now->wall, &file);
            version = run->mapping_version;
            has_runs = run->run_count > 0;
            fits = true;
        }
        run->staging = true;
        array_reserve(stage->items, stage->count, *capacity);
        StageItem *item = &stage->items[stage->count++];
        *item = (StageItem){.sink = sink->totals.sink,
                            .mapping_version = run->mapping_version,
                            .first_row = run->first_row,
                            .rows = run->rows,
                            .from_commit = run->runs_from,
                            .has_runs = run->run_count > 0,
                            .to_commit = run->to_commit,
                            .file = file,
                            .description = strdup(versions_find(sink->versions, run->mapping_version)->target)};
        check(item->description);
    }
    sink->stage->staging = true;
    sink->stage->queued = false;
}

void writer_give_out_stages(Writer *writer) {
    while (writer->stages->due.count > 0 && writer->stages->in_flight < STAGES_IN_FLIGHT_MAX &&
           writer->now->boot >= writer->stages->paused_until) {
        Stage *stage = calloc(1, sizeof *stage);
        check(stage);
        stage->request.message.kind = MESSAGE_STAGE;
        stage->request.reply = writer->mailbox;
        uuid_next(&writer->ids, writer->now->wall, &stage->pack);
        size_t capacity = 0, taken = 0;
        uint64_t bytes = 0;
        while (taken < writer->stages->due.count && taken < SHARED_PACK_SINKS) {
            SinkState *sink = writer->stages->due.items[taken];
            bool large = sink->log->bytes > OWN_PACK_BYTES;
            if (taken > 0 && (large || bytes + sink->log->bytes > SHARED_PACK_BYTES)) break;
            bytes += sink->log->bytes;
            add_items(writer, stage, &capacity, sink);
            taken++;
            if (large) break;
        }
        sink_queue_drop_front(&writer->stages->due, taken);
        writer->stages->in_flight++;
        mailbox_post(writer->options.stager, &stage->request.message);
    }
}

void stage_free(Stage *stage) {
    if (!stage) return;
    for (size_t i = 0; i < stage->count; i++) {
        free(stage->items[i].description);
        free(stage->items[i].runs);
    }
    free(stage->items);
    free(stage);
}

/* ---- recording ------------------------------------------------------------------------------- */

/* Rows [first, first+rows), which are the oldest in the log, have left it. */
static void drop_from_log(SinkState *sink, uint64_t rows, uint64_t bytes) {
    SinkTotals *totals = &sink->totals;
    SinkLog *log = sink->log;
    sink_log_drop(log, rows, bytes);
    totals->staged_row += rows;
    totals->first_commit = log->count ? log->runs[0].from_commit : 0;
    totals->oldest_commit_time = log->count ? log->runs[0].commit_time : 0;
}

static int open_file(Writer *writer, Txn *txn, SinkState *sink, const StageItem *item, Error *error) {
    FileRecord file = {.id = item->file,
                       .sink = item->sink,
                       .mapping_version = item->mapping_version,
                       .state = FILE_OPEN,
                       .first_row = item->first_row,
                       .opened = writer->now->wall,
                       .target = strdup(item->description),
                       .label = strdup(sink->label)};
    check(file.target && file.label);
    int r = ledger_open_file(txn, &file, error);
    if (r < 0) {
        file_record_deinit(&file);
        return r;
    }
    sink->open->file = file;
    sink->open->exists = true;
    sink->open->runs = item->has_runs;
    sink->open->since = sink->log->runs[0].since;
    return 0;
}

static int record_slice(Writer *writer, Txn *txn, SinkState *sink, const StageItem *item, Error *error) {
    int r = 0;
    if (sink->open->exists && !uuid_equal(&sink->open->file.id, &item->file)) r = close_open_file(writer, txn, sink, CLOSE_CHANGE, error);
    if (r == 0 && !sink->open->exists) r = open_file(writer, txn, sink, item, error);
    if (r == 0) r = ledger_add_slice(txn, &sink->open->file, &item->slice, item->runs, error);
    if (r < 0) return r;

    Tally *staged = &sink->totals.staged;
    if (staged->rows == 0) staged->first_time = item->slice.first_time;
    staged->last_time = item->slice.last_time;
    staged->rows += item->slice.rows;
    staged->bytes += item->slice.bytes;
    drop_from_log(sink, item->slice.rows, item->slice.bytes);
    metrics_add(METRIC_SLICES_STAGED, 1);
    return 0;
}

static int record_damage(Txn *txn, SinkState *sink, const StageItem *item, Error *error) {
    /* The broker still has what a bridge read: the runs behind the damage do not follow, and are
     * given back at their import. */
    bool returned = item->has_runs || sink_ends_any(sink->ends);
    int r = returned ? ledger_return_rows(txn, item->sink, item->damaged_first, item->damaged_rows, error)
                     : ledger_skip_rows(txn, item->sink, item->damaged_first, item->damaged_rows, error);
    if (r < 0) return r;
    if (sink->open->exists) {
        sink->open->file.rows += item->damaged_rows;
        *(returned ? &sink->open->file.left_out : &sink->open->file.damaged_rows) += item->damaged_rows;
    }
    totals_lose(&sink->totals, returned ? RANGE_RETURNED : RANGE_QUARANTINED, item->damaged_rows);
    drop_from_log(sink, item->damaged_rows, 0);
    chains_note_loss(sink);
    r = chains_store(txn, sink, error);
    if (r < 0) return r;
    log_error("rows %" PRIu64 " to %" PRIu64 " of sink %s are damaged in the log and cannot be read: they are %s", item->damaged_first,
              item->damaged_first + item->damaged_rows - 1, sink->label ? sink->label : "?",
              returned ? "read again from the broker" : "quarantined");
    return 0;
}

/* What of an item's run is left in the log waits on, and is staged by the next Stage. */
static void let_runs_go(SinkState *sink) {
    sink_log_let_go(sink->log);
    sink->stage->staging = false;
}

/*
 * The import that held it back ended while the slice was on its way: what is staged is enough by
 * itself, and the rows that came meanwhile go into the next file. Who asked for a file gets all of
 * it.
 */
static CloseReason evaluate_file(const SinkState *sink) {
    const SinkRules *rules = sink->rules;
    if (!rules->known || sink->stopped || is_busy(sink) || sink->waiters->close_row > 0) return CLOSE_NONE;
    if (sink->open->file.rows >= rules->conditions.import_rows) return CLOSE_COUNT;
    return sink->open->file.bytes >= rules->conditions.import_bytes ? CLOSE_SIZE : CLOSE_NONE;
}

static int record_sink(Writer *writer, Txn *txn, SinkState *sink, const StageItem *items, size_t count, Error *error) {
    bool cut_short = false;
    for (size_t i = 0; i < count && !cut_short; i++) {
        const StageItem *item = &items[i];
        /* A slice that ends early leaves rows behind: those after it have to wait for them. */
        uint64_t run_rows = sink->log->runs[0].rows;
        check(sink->stage->staging && sink->log->runs[0].staging);
        check(sink->log->runs[0].first_row == item->first_row && item->first_row == sink->totals.staged_row);
        check(item->rows + item->damaged_rows <= run_rows);
        int r = item->rows > 0 ? record_slice(writer, txn, sink, item, error) : 0;
        if (r == 0 && item->damaged_rows > 0) r = record_damage(txn, sink, item, error);
        if (r < 0) return r;
        cut_short = item->rows + item->damaged_rows < run_rows;
    }
    let_runs_go(sink);
    writer_mark_dirty(writer, sink);
    writer_schedule(writer, sink);
    CloseReason reason = sink->stage->close_after;
    if (reason == CLOSE_NONE && sink->open->exists) reason = evaluate_file(sink);
    if (cut_short || reason == CLOSE_NONE || !sink->open->exists) {
        sink_waiters_note_closed(sink);
        return 0;
    }
    int r = close_open_file(writer, txn, sink, reason, error);
    if (r == 0) sink_waiters_note_closed(sink);
    return r;
}

static int drop_versions(Txn *txn, SinkState *sink, Error *error) {
    return sink->rules->known ? versions_drop(sink->versions, txn, sink->totals.sink, sink->log, error) : 0;
}

static int record_stage(Writer *writer, Txn *txn, const Stage *stage, Error *error) {
    int r = 0;
    if (stage->record.bytes > 0) r = ledger_add_pack(txn, &stage->record, error);
    for (size_t i = 0; i < stage->count && r == 0;) {
        size_t end = i + 1;
        while (end < stage->count && stage->items[end].sink == stage->items[i].sink) end++;
        SinkState *sink = writer_sink(writer, stage->items[i].sink);
        r = record_sink(writer, txn, sink, stage->items + i, end - i, error);
        if (r == 0) r = drop_versions(txn, sink, error);
        i = end;
    }
    /* The slices are recorded and the cursors are moved, in a transaction that is open. */
    return r == 0 ? failpoint_error("writer.cursors-moved", error) : r;
}

static void stage_failed(Writer *writer, Stage *stage) {
    log_failure(LOG_ERROR, "cannot write a staging file; trying again", &stage->request.error);
    usec_t pause = STAGE_PAUSE_FIRST;
    for (unsigned i = 0; i < writer->stages->failures && pause < STAGE_PAUSE_MAX; i++) pause *= 2;
    writer->stages->failures++;
    writer->stages->paused_until = writer->now->boot + pause;
    writer_check_space_soon(writer);
    for (size_t i = 0; i < stage->count; i++) {
        SinkState *sink = writer_sink(writer, stage->items[i].sink);
        if (!sink->stage->staging) continue;
        let_runs_go(sink);
        sink->stage->forced = true; /* it was due, and whatever forced it does so only once */
        scheduler_hasten(&writer->sinks->timers, &sink->timer, writer->stages->paused_until);
    }
}

void writer_stage_back(Writer *writer, Stage *take_stage) {
    StageQueue *stages = writer->stages;
    check(stages->in_flight > 0 && take_stage->count > 0);
    stages->in_flight--;
    if (take_stage->request.result < 0) {
        stage_failed(writer, take_stage);
        stage_free(take_stage);
        return;
    }
    take_stage->request.message.next = NULL;
    if (stages->ended) {
        stages->ended_tail->request.message.next = &take_stage->request.message;
    } else {
        stages->ended = take_stage;
    }
    stages->ended_tail = take_stage;
}

int writer_record_stages(Writer *writer, Txn *txn, Error *error) {
    int r = 0;
    for (const Stage *stage = writer->stages->ended; stage && r == 0; stage = (const Stage *)stage->request.message.next)
        r = record_stage(writer, txn, stage, error);
    if (r < 0) return r;
    writer_find_trim(writer);
    return writer_trim(writer, txn, error);
}

void writer_stages_recorded(Writer *writer, bool recorded) {
    Stage *stages = writer->stages->ended;
    writer->stages->ended = writer->stages->ended_tail = NULL;
    if (recorded) writer->stages->failures = 0;
    for (Stage *stage = stages, *next; stage; stage = next) {
        next = (Stage *)stage->request.message.next;
        if (recorded) writer->space->staging_bytes += stage->record.bytes;
        stage_free(stage);
    }
}
