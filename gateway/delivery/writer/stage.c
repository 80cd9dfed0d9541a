#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/checksum.h"
#include "base/log.h"
#include "base/metrics.h"
#include "gateway/delivery/writer/parts.h"

#define STAGES_IN_FLIGHT_MOST 2       /* one is written while the next one forms */
#define OWN_PACK_BYTES (1u << 20)     /* a sink with more gets a pack of its own */
#define SHARED_PACK_BYTES (32u << 20) /* small sinks share packs up to about this */
#define SHARED_PACK_SINKS 2000
#define STAGE_PAUSE_FIRST USEC_SECOND
#define STAGE_PAUSE_MOST USEC_MINUTE

/* ---- versions ------------------------------------------------------------------------------------------------------------------------ */

uint64_t target_digest(const char *target) {
    return checksum_of(target, strlen(target));
}

static int parse_target(const char *text, TableTarget *ret_table, Error *error) {
    json_error_t fault;
    json_t *stored = json_loads(text, 0, &fault);
    if (!stored) return error_set(error, -EBADMSG, "a table target is not JSON: %s", fault.text);
    int r = table_target_load(stored, ret_table, error);
    json_decref(stored);
    return r;
}

static bool is_keyed(const TableTarget *table) {
    for (size_t i = 0; i < table->column_count; i++)
        if (table->columns[i].primary_key) return true;
    return false;
}

SinkVersion *writer_find_version(SinkState *sink, uint32_t version) {
    for (size_t i = 0; i < sink->version_count; i++)
        if (sink->versions[i].version == version) return &sink->versions[i];
    return NULL;
}

int writer_add_version(Writer *writer, SinkState *sink, uint32_t version, char *take_target, Error *error) {
    TableTarget table;
    int r = parse_target(take_target, &table, error);
    if (r < 0) {
        free(take_target);
        return r;
    }
    SinkVersion *at = writer_find_version(sink, version);
    if (at) {
        free(at->target);
    } else {
        sink->versions = realloc(sink->versions, (sink->version_count + 1) * sizeof *sink->versions);
        check(sink->versions);
        at = &sink->versions[sink->version_count++];
    }
    *at = (SinkVersion){.version = version,
                        .target = take_target,
                        .digest = target_digest(take_target),
                        .keyed = is_keyed(&table),
                        .connection = writer_connection(writer, table.connection)};
    table_target_deinit(&table);
    return 0;
}

/* ---- waiting files ------------------------------------------------------------------------------------------------------------------- */

WriterConnection *writer_target_connection(Writer *writer, SinkState *sink, const char *target, bool *ret_keyed, Error *error) {
    uint64_t digest = target_digest(target);
    for (size_t i = 0; i < sink->version_count; i++) {
        if (sink->versions[i].digest != digest) continue;
        *ret_keyed = sink->versions[i].keyed;
        return sink->versions[i].connection;
    }
    TableTarget table;
    if (parse_target(target, &table, error) < 0) return NULL;
    WriterConnection *connection = writer_connection(writer, table.connection);
    *ret_keyed = is_keyed(&table);
    table_target_deinit(&table);
    return connection;
}

WaitingFile *writer_add_waiting(Writer *writer, SinkState *sink, const FileRecord *file, Error *error) {
    bool keyed;
    WriterConnection *connection = writer_target_connection(writer, sink, file->target, &keyed, error);
    if (!connection) return NULL;
    array_reserve(sink->files, sink->file_count, sink->file_capacity);
    WaitingFile *waiting = &sink->files[sink->file_count++];
    *waiting = (WaitingFile){
        .id = file->id,
        .mapping_version = file->mapping_version,
        .attempts = file->attempts,
        .first_row = file->first_row,
        .rows = file->rows,
        .bytes = file->bytes,
        .damaged = file->damaged_rows,
        .digest = target_digest(file->target),
        .first_time = file->first_time,
        .last_time = file->last_time,
        .waits_since = writer->running,
        .first_failed = file->first_failed,
        .connection = connection,
        .keyed = keyed,
    };
    sink->file_rows += file->rows - file->damaged_rows;
    sink->file_bytes += file->bytes;
    if (file->bytes > writer->largest_file) writer->largest_file = file->bytes;
    return waiting;
}

void writer_remove_waiting(SinkState *sink, size_t index) {
    const WaitingFile *file = &sink->files[index];
    sink->file_rows -= file->rows - file->damaged;
    sink->file_bytes -= file->bytes;
    memmove(&sink->files[index], &sink->files[index + 1], (sink->file_count - index - 1) * sizeof *sink->files);
    sink->file_count--;
}

/* ---- judging ------------------------------------------------------------------------------------------------------------------------- */

/* Rows of the log whose destination is known, from the front. */
static size_t stageable_runs(SinkState *sink) {
    size_t count = 0;
    while (count < sink->run_count && writer_find_version(sink, sink->runs[count].mapping_version)) count++;
    return count;
}

static void queue_stage(Writer *writer, SinkState *sink, CloseReason close_after) {
    sink->close_after = close_after;
    if (sink->stage_queued) return;
    sink->stage_queued = true;
    array_reserve(writer->stage_queue, writer->stage_queue_count, writer->stage_queue_capacity);
    writer->stage_queue[writer->stage_queue_count++] = sink;
}

static void queue_close(Writer *writer, SinkState *sink, CloseReason reason) {
    sink->close_after = reason;
    array_reserve(writer->close_queue, writer->close_queue_count, writer->close_queue_capacity);
    writer->close_queue[writer->close_queue_count++] = sink;
}

static usec_t age(usec_t now, usec_t since) {
    return now > since ? now - since : 0;
}

/* Files of it wait or are on their way: the next one is closed when they are through, so that it takes all that came meanwhile. */
static bool is_busy(const SinkState *sink) {
    return sink->importing || sink->file_count > 0;
}

static ConditionsVerdict judge_conditions(Writer *writer, const SinkState *sink) {
    Waiting waiting = {.log_rows = sink->log_rows, .log_bytes = sink->log_bytes};
    if (sink->run_count) waiting.log_age = age(writer->boot, sink->runs[0].since);
    if (sink->has_open) {
        waiting.file_rows = sink->open.rows;
        waiting.file_bytes = sink->open.bytes;
        waiting.file_age = age(writer->boot, sink->open_since);
    }
    /* Of what cannot be imported now time alone closes nothing. */
    bool failing = sink->failures > 0 || (sink->file_count > 0 && sink->files[0].connection->failures > 0) ||
                   writer_is_paused(writer, sink);
    if (!is_busy(sink)) {
        ConditionsVerdict verdict = conditions_judge(&sink->conditions, &waiting, failing);
        /* Its events are refused until there is space, and only its import makes some. */
        bool space_is_short = writer->space_short || (sink->gate && atomic_load(&sink->gate->closed));
        if (space_is_short && verdict.close == CLOSE_NONE && !failing && (waiting.log_rows > 0 || waiting.file_rows > 0)) {
            verdict.close = CLOSE_SIZE;
            verdict.stage = waiting.log_rows > 0;
        }
        return verdict;
    }

    Conditions held = sink->conditions;
    held.import_rows = held.import_bytes = UINT64_MAX;
    held.import_age = USEC_NEVER;
    ConditionsVerdict verdict = conditions_judge(&held, &waiting, failing);
    /* What is staged already is closed at its size all the same; while imports fail, at its count too: files stay files of usual size. */
    if (sink->has_open) {
        if (sink->open.bytes >= sink->conditions.import_bytes) verdict.close = CLOSE_SIZE;
        if (failing && sink->open.rows >= sink->conditions.import_rows) verdict.close = CLOSE_COUNT;
    }
    return verdict;
}

void writer_judge(Writer *writer, SinkState *sink) {
    usec_t next = writer_consider_import(writer, sink);
    writer_mind_share(writer, sink);
    if (sink->known && !sink->stopped && !sink->staging && !sink->stage_queued) {
        ConditionsVerdict verdict = judge_conditions(writer, sink);
        bool asked = sink->close_row > 0;
        if (asked && sink->totals.staged_row >= sink->close_row && !sink->has_open) sink->close_row = 0, asked = false;
        CloseReason reason = asked ? sink->close_reason : verdict.close;
        bool only_file = asked ? sink->totals.staged_row >= sink->close_row : is_busy(sink) && reason != CLOSE_NONE;
        bool stage = sink->run_count > 0 && (verdict.stage || sink->pressed || (reason != CLOSE_NONE && !only_file));
        if (stage && stageable_runs(sink) == 0) {
            (void)snprintf(sink->last_error, sizeof sink->last_error,
                           "rows of mapping version %u wait in the log, but the record of where they go is damaged",
                           sink->runs[0].mapping_version);
            log_warning("sink %s: %s", sink->label, sink->last_error);
            writer_fail_waiters(writer, sink, 0, -ECANCELED, sink->last_error);
            stage = false;
        }
        sink->pressed = false;
        if (stage) {
            queue_stage(writer, sink, reason);
        } else if (reason != CLOSE_NONE && sink->has_open) {
            queue_close(writer, sink, reason);
        }
        if (verdict.next != USEC_NEVER && verdict.next < 400 * USEC_DAY && writer->boot + verdict.next < next)
            next = writer->boot + verdict.next;
    }
    if (next != USEC_NEVER) scheduler_hasten(&writer->sink_timers, &sink->timer, next > writer->boot ? next : writer->boot + 1);
}

/* ---- closing ------------------------------------------------------------------------------------------------------------------------- */

/* Memory goes with the transaction: see parts.h. */
static int close_open_file(Writer *writer, Txn *txn, SinkState *sink, CloseReason reason, Error *error) {
    int r = ledger_close_file(txn, &sink->open, reason, writer->wall, error);
    if (r < 0) return r;
    if (!writer_add_waiting(writer, sink, &sink->open, error)) return -EBADMSG;
    file_record_deinit(&sink->open);
    sink->has_open = false;
    writer_touch(writer, sink);
    return 0;
}

static void close_asked_is_done(SinkState *sink) {
    if (sink->close_row > 0 && sink->totals.staged_row >= sink->close_row && !sink->has_open) sink->close_row = 0;
}

void writer_close_files(Writer *writer) {
    Txn *txn;
    if (writer->close_queue_count == 0 || !writer_record_begin(writer, &txn)) {
        writer->close_queue_count = 0;
        return;
    }
    Error error = {0};
    int r = 0;
    for (size_t i = 0; i < writer->close_queue_count && r == 0; i++) {
        SinkState *sink = writer->close_queue[i];
        r = close_open_file(writer, txn, sink, sink->close_after, &error);
        if (r < 0) break;
        close_asked_is_done(sink);
        /* Judged in this round already: its import begins in this one, too. */
        (void)writer_consider_import(writer, sink);
    }
    writer->close_queue_count = 0;
    (void)writer_record_end(writer, txn, r, "cannot close files", &error);
}

/* ---- giving out ---------------------------------------------------------------------------------------------------------------------- */

static void add_items(Writer *writer, Stage *stage, size_t *capacity, SinkState *sink) {
    size_t runs = stageable_runs(sink);
    check(runs > 0);
    Uuid file = sink->has_open ? sink->open.id : (Uuid){0};
    bool fits = sink->has_open;
    uint32_t version = sink->has_open ? sink->open.mapping_version : 0;
    for (size_t i = 0; i < runs; i++) {
        Run *run = &sink->runs[i];
        if (!fits || run->mapping_version != version) {
            uuid_next(&writer->ids, writer->wall, &file);
            version = run->mapping_version;
            fits = true;
        }
        run->staging = true;
        array_reserve(stage->items, stage->count, *capacity);
        StageItem *item = &stage->items[stage->count++];
        *item = (StageItem){.sink = sink->totals.sink,
                            .mapping_version = run->mapping_version,
                            .first_row = run->first_row,
                            .rows = run->rows,
                            .from_commit = run->from_commit,
                            .to_commit = run->to_commit,
                            .file = file,
                            .description = strdup(writer_find_version(sink, run->mapping_version)->target)};
        check(item->description);
    }
    sink->staging = true;
    sink->stage_queued = false;
}

void writer_give_out_stages(Writer *writer) {
    while (writer->stage_queue_count > 0 && writer->stages_in_flight < STAGES_IN_FLIGHT_MOST &&
           writer->boot >= writer->stage_paused_until) {
        Stage *stage = calloc(1, sizeof *stage);
        check(stage);
        stage->request.message.kind = MESSAGE_STAGE;
        stage->request.reply = writer->mailbox;
        uuid_next(&writer->ids, writer->wall, &stage->pack);
        size_t capacity = 0, taken = 0;
        uint64_t bytes = 0;
        while (taken < writer->stage_queue_count && taken < SHARED_PACK_SINKS) {
            SinkState *sink = writer->stage_queue[taken];
            bool large = sink->log_bytes > OWN_PACK_BYTES;
            if (taken > 0 && (large || bytes + sink->log_bytes > SHARED_PACK_BYTES)) break;
            bytes += sink->log_bytes;
            add_items(writer, stage, &capacity, sink);
            taken++;
            if (large) break;
        }
        memmove(writer->stage_queue, writer->stage_queue + taken, (writer->stage_queue_count - taken) * sizeof(SinkState *));
        writer->stage_queue_count -= taken;
        writer->stages_in_flight++;
        mailbox_post(writer->options.stager, &stage->request.message);
    }
}

void stage_free(Stage *stage) {
    if (!stage) return;
    for (size_t i = 0; i < stage->count; i++) free(stage->items[i].description);
    free(stage->items);
    free(stage);
}

/* ---- recording ----------------------------------------------------------------------------------------------------------------------- */

/* Rows [first, first+rows), which are the oldest in the log, have left it. */
static void drop_from_log(SinkState *sink, uint64_t rows, uint64_t bytes) {
    Run *run = &sink->runs[0];
    check(rows <= run->rows);
    if (bytes > run->bytes) bytes = run->bytes;
    run->first_row += rows;
    run->rows -= rows;
    run->bytes -= bytes;
    sink->log_rows -= rows;
    sink->log_bytes -= bytes;
    if (run->rows == 0) {
        sink->log_bytes -= run->bytes;
        sink->run_count--;
        memmove(&sink->runs[0], &sink->runs[1], sink->run_count * sizeof *sink->runs);
    }
    SinkTotals *totals = &sink->totals;
    totals->staged_row += rows;
    totals->first_commit = sink->run_count ? sink->runs[0].from_commit : 0;
    totals->oldest_commit_time = sink->run_count ? sink->runs[0].commit_time : 0;
}

static int open_file(Writer *writer, Txn *txn, SinkState *sink, const StageItem *item, Error *error) {
    FileRecord file = {.id = item->file,
                       .sink = item->sink,
                       .mapping_version = item->mapping_version,
                       .state = FILE_OPEN,
                       .first_row = item->first_row,
                       .opened = writer->wall,
                       .target = strdup(item->description),
                       .label = strdup(sink->label)};
    check(file.target && file.label);
    int r = ledger_open_file(txn, &file, error);
    if (r < 0) {
        file_record_deinit(&file);
        return r;
    }
    sink->open = file;
    sink->has_open = true;
    sink->open_since = sink->runs[0].since;
    return 0;
}

static int record_slice(Writer *writer, Txn *txn, SinkState *sink, const StageItem *item, Error *error) {
    int r = 0;
    if (sink->has_open && !uuid_equal(&sink->open.id, &item->file)) r = close_open_file(writer, txn, sink, CLOSE_CHANGE, error);
    if (r == 0 && !sink->has_open) r = open_file(writer, txn, sink, item, error);
    if (r == 0) r = ledger_add_slice(txn, &sink->open, &item->slice, error);
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
    int r = ledger_skip_rows(txn, item->sink, item->damaged_first, item->damaged_rows, error);
    if (r < 0) return r;
    if (sink->has_open) {
        sink->open.rows += item->damaged_rows;
        sink->open.damaged_rows += item->damaged_rows;
    }
    sink->totals.dropped_rows += item->damaged_rows;
    drop_from_log(sink, item->damaged_rows, 0);
    log_error("rows %" PRIu64 " to %" PRIu64 " of sink %s are damaged in the log and cannot be read: they are quarantined",
              item->damaged_first, item->damaged_first + item->damaged_rows - 1, sink->label ? sink->label : "?");
    return 0;
}

/* What of an item's run is left in the log waits on, and is staged by the next Stage. */
static void let_runs_go(SinkState *sink) {
    for (size_t i = 0; i < sink->run_count; i++) sink->runs[i].staging = false;
    sink->staging = false;
}

static int record_sink(Writer *writer, Txn *txn, SinkState *sink, const StageItem *items, size_t count, Error *error) {
    bool cut_short = false;
    for (size_t i = 0; i < count && !cut_short; i++) {
        const StageItem *item = &items[i];
        /* A slice that ends early leaves rows behind: those after it have to wait for them. */
        uint64_t run_rows = sink->runs[0].rows;
        check(sink->runs[0].first_row == item->first_row);
        int r = item->rows > 0 ? record_slice(writer, txn, sink, item, error) : 0;
        if (r == 0 && item->damaged_rows > 0) r = record_damage(txn, sink, item, error);
        if (r < 0) return r;
        cut_short = item->rows + item->damaged_rows < run_rows;
    }
    let_runs_go(sink);
    writer_mark_dirty(writer, sink);
    writer_touch(writer, sink);
    if (cut_short || sink->close_after == CLOSE_NONE || !sink->has_open) {
        close_asked_is_done(sink);
        return 0;
    }
    int r = close_open_file(writer, txn, sink, sink->close_after, error);
    if (r == 0) close_asked_is_done(sink);
    return r;
}

static int record_stage(Writer *writer, Txn *txn, const Stage *stage, Error *error) {
    int r = 0;
    if (stage->record.bytes > 0) r = ledger_add_pack(txn, &stage->record, error);
    for (size_t i = 0; i < stage->count && r == 0;) {
        size_t end = i + 1;
        while (end < stage->count && stage->items[end].sink == stage->items[i].sink) end++;
        SinkState *sink = writer_sink(writer, stage->items[i].sink);
        r = record_sink(writer, txn, sink, stage->items + i, end - i, error);
        if (r == 0) r = writer_drop_versions(writer, txn, sink, error);
        i = end;
    }
    if (r < 0) return r;
    writer_find_trim(writer);
    return writer_trim(writer, txn, error);
}

static void stage_failed(Writer *writer, Stage *stage) {
    log_failure(LOG_ERROR, "cannot write a staging file; trying again", &stage->request.error);
    usec_t pause = STAGE_PAUSE_FIRST;
    for (unsigned i = 0; i < writer->stage_failures && pause < STAGE_PAUSE_MOST; i++) pause *= 2;
    writer->stage_failures++;
    writer->stage_paused_until = writer->boot + pause;
    writer->space_checked = writer->boot - USEC_DAY;
    for (size_t i = 0; i < stage->count; i++) {
        SinkState *sink = writer_sink(writer, stage->items[i].sink);
        if (!sink->staging) continue;
        let_runs_go(sink);
        sink->pressed = true; /* it was due, and whoever pressed it does so only once */
        scheduler_hasten(&writer->sink_timers, &sink->timer, writer->stage_paused_until);
    }
}

void writer_stage_ended(Writer *writer, Stage *take_stage) {
    Stage *stage = take_stage;
    Txn *txn;
    Error error = {0};
    writer->stages_in_flight--;
    if (stage->request.result < 0) {
        stage_failed(writer, stage);
    } else if (writer_record_begin(writer, &txn)) {
        int r = record_stage(writer, txn, stage, &error);
        if (writer_record_end(writer, txn, r, "cannot record what was staged", &error)) {
            writer->staging_bytes += stage->record.bytes;
            writer->stage_failures = 0;
        }
    }
    stage_free(stage);
}
