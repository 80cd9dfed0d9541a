#include "gateway/delivery/writer/writer.h"

#include <errno.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/log.h"
#include "gateway/delivery/load_job.h"
#include "gateway/delivery/loader.h"
#include "gateway/delivery/writer/asked.h"
#include "gateway/delivery/writer/backup_point.h"
#include "gateway/delivery/writer/backup_state.h"
#include "gateway/delivery/writer/commit.h"
#include "gateway/delivery/writer/connections.h"
#include "gateway/delivery/writer/damage.h"
#include "gateway/delivery/writer/define_sinks.h"
#include "gateway/delivery/writer/divide.h"
#include "gateway/delivery/writer/drain.h"
#include "gateway/delivery/writer/drain_state.h"
#include "gateway/delivery/writer/failed.h"
#include "gateway/delivery/writer/figures.h"
#include "gateway/delivery/writer/import.h"
#include "gateway/delivery/writer/imports.h"
#include "gateway/delivery/writer/lending.h"
#include "gateway/delivery/writer/log_state.h"
#include "gateway/delivery/writer/positions_alone.h"
#include "gateway/delivery/writer/progress.h"
#include "gateway/delivery/writer/recorded.h"
#include "gateway/delivery/writer/recover.h"
#include "gateway/delivery/writer/sinks.h"
#include "gateway/delivery/writer/space.h"
#include "gateway/delivery/writer/space_state.h"
#include "gateway/delivery/writer/stage.h"
#include "gateway/delivery/writer/staging.h"
#include "gateway/delivery/writer/step_clock.h"
#include "gateway/delivery/writer/stored.h"
#include "gateway/delivery/writer/sums.h"
#include "gateway/delivery/writer/transaction.h"
#include "gateway/delivery/writer/waiters.h"
#include "gateway/delivery/writer/watch.h"

#define BACKOFF_FIRST (5 * USEC_SECOND)
#define BACKOFF_MAX (10 * USEC_MINUTE)

usec_t writer_backoff(Writer *writer, unsigned failures) {
    usec_t pause = BACKOFF_FIRST;
    for (unsigned i = 1; i < failures && pause < BACKOFF_MAX; i++) pause *= 2;
    if (pause > BACKOFF_MAX) pause = BACKOFF_MAX;
    return pause - pause / 5 + (usec_t)random_below(&writer->random, (uint64_t)(pause / 5));
}

/* ---- messages -------------------------------------------------------------------------------- */

typedef struct AppendList {
    Append **items;
    size_t count, capacity;
} AppendList;

static void commit_list(Writer *writer, AppendList *list) {
    if (list->count) writer_commit(writer, list->items, list->count);
    list->count = 0;
}

static void handle(Writer *writer, Message *message) {
    switch (message->kind) {
    case MESSAGE_DEFINE: writer_define(writer, (Define *)message); break;
    case MESSAGE_CLOSE: writer_close_asked(writer, (Close *)message); break;
    case MESSAGE_PROGRESS: writer_answer_progress(writer, (Progress *)message); break;
    case MESSAGE_TOTALS: writer_answer_totals(writer, (TotalsQuery *)message); break;
    case MESSAGE_REJECTS_REMOVE: writer_remove_rejects(writer, (RejectsRemove *)message); break;
    case MESSAGE_FILE_ACTION: writer_file_action(writer, (FileAction *)message); break;
    case MESSAGE_STAGE: writer_stage_back(writer, (Stage *)message); break;
    case MESSAGE_DIVIDE: writer_divide_ended(writer, (Divide *)message); break;
    case MESSAGE_EXPIRE: writer_expire_ended(writer, (Expire *)message); break;
    case MESSAGE_IMPORT: writer_import_back(writer, (LoadJob *)message); break;
    case MESSAGE_POSITIONS: writer_positions_back(writer, (LoadJob *)message); break;
    case MESSAGE_PENDING_REJECTS: writer_pending_rejects(writer, (PendingRejects *)message); break;
    case MESSAGE_BACKUP_ORDER: writer_backup_order(writer, (BackupOrder *)message); break;
    case MESSAGE_DRAIN:
        writer_backup_give_up(writer);
        writer_begin_drain(writer);
        free(message);
        break;
    default: unreachable();
    }
}

/* They are recorded when all messages are taken, so they do not divide the Appends around them. */
static bool is_recorded_later(const Message *message) {
    return message->kind == MESSAGE_STAGE || message->kind == MESSAGE_IMPORT;
}

static void take_list(Writer *writer, Message *message) {
    AppendList list = {0};
    for (Message *next = NULL; message; message = next) {
        next = message->next;
        if (writer_backup_keeps(writer, message)) continue;
        if (message->kind == MESSAGE_APPEND) {
            array_reserve(list.items, list.count, list.capacity);
            list.items[list.count++] = (Append *)message;
        } else if (is_recorded_later(message)) {
            handle(writer, message);
        } else {
            /* In order: a Close takes what was received before it, a Define is known to the rows
             * that come after it. */
            commit_list(writer, &list);
            handle(writer, message);
        }
    }
    commit_list(writer, &list);
    free(list.items);
}

static void take_messages(Writer *writer) {
    take_list(writer, mailbox_take(writer->mailbox));
    for (Message *message; (message = writer_backup_let_go(writer));) take_list(writer, message);
}

/* ---- the step -------------------------------------------------------------------------------- */

static void look_at_clock(Writer *writer) {
    step_clock_look(writer->now, writer->options.clock);
    atomic_store(&writer->options.usage->running, writer->now->running);
}

static void evaluate_all(Writer *writer) {
    for (Timer *timer; (timer = scheduler_take(&writer->sinks->timers, writer->now->boot));) writer_evaluate(writer, (SinkState *)timer);
    while (scheduler_take(&writer->connections->timers, writer->now->boot)) continue; /* dispatched below whatever was due */
    writer_close_files(writer);
    writer_give_out_stages(writer);
    writer_dispatch_connections(writer);
}

static usec_t earlier(usec_t a, usec_t b) {
    return a < b ? a : b;
}

static usec_t until(usec_t next, usec_t now) {
    return next > now ? next - now : 0;
}

static usec_t step(Writer *writer) {
    take_messages(writer);
    if (writer_backup_is_held(writer)) {
        writer_mind_backup(writer);
        return writer_backup_is_held(writer) ? until(writer_backup_next(writer), writer->now->boot) : 0;
    }
    writer_record_ended(writer);
    writer_run_held(writer);
    if (!writer->broken) {
        writer_trim_rest(writer);
        if (!writer->drain->begun) {
            evaluate_all(writer);
            writer_mind_space(writer);
        }
    }
    writer_mind_backup(writer);
    writer_mind_drain(writer);
    if (writer->broken || (writer->drain->begun && writer->drain->done)) return USEC_NEVER;

    usec_t next = writer->log->trim_more ? writer->now->boot : USEC_NEVER;
    if (writer->drain->begun) {
        next = earlier(next, writer->drain->until);
    } else {
        next = earlier(next, scheduler_next(&writer->sinks->timers));
        next = earlier(next, scheduler_next(&writer->connections->timers));
        next = earlier(next, writer_space_next(writer));
        next = earlier(next, writer_backup_next(writer));
        if (writer->stages->due.count && writer->stages->in_flight == 0) next = earlier(next, writer->stages->paused_until);
    }
    return next == USEC_NEVER ? USEC_NEVER : until(next, writer->options.clock->boot(writer->options.clock));
}

usec_t writer_step(Writer *writer) {
    check_on_thread(&writer->owner);
    look_at_clock(writer);
    atomic_store(&writer->options.usage->busy_since, writer->now->boot);
    usec_t next = step(writer);
    sums_check(writer);
    atomic_store(&writer->options.usage->busy_since, 0);
    return next;
}

bool writer_lent_statistics(Writer *writer, TotalsQuery *query) {
    bool lent = lending_hold(writer->lending);
    if (lent) writer_fill_statistics(writer, query);
    lending_release(writer->lending);
    return lent;
}

bool writer_is_idle(const Writer *writer) {
    if (writer->stages->in_flight || writer->imports->in_flight || writer->imports->expiring || writer->held || writer->stages->due.count)
        return false;
    if (writer->backup->asked || writer->backup->first || writer_backup_is_held(writer)) return false;
    for (size_t i = 0; i < writer->sinks->capacity; i++)
        if (writer->sinks->items[i] && writer->sinks->items[i]->waiters->first) return false;
    return true;
}

Mailbox *writer_mailbox(Writer *writer) {
    return writer->mailbox;
}

/* ---- open and close -------------------------------------------------------------------------- */

typedef struct WriterBlock {
    Writer writer; /* first */
    StepClock now;
    SinkTable sinks;
    Partitions partitions;
    WatchedKeys watched;
    StoredTotals stored;
    LogState log;
    ConnectionTable connections;
    StageQueue stages;
    ImportState imports;
    SpaceState space;
    DrainState drain;
    BackupState backup;
} WriterBlock;

static Writer *writer_new(const WriterOptions *options) {
    WriterBlock *block = calloc(1, sizeof *block);
    check(block);
    Writer *writer = &block->writer;
    writer->options = *options;
    writer->now = &block->now;
    writer->sinks = &block->sinks;
    writer->partitions = &block->partitions;
    writer->watched = &block->watched;
    writer->stored = &block->stored;
    writer->log = &block->log;
    writer->connections = &block->connections;
    writer->stages = &block->stages;
    writer->imports = &block->imports;
    writer->space = &block->space;
    writer->drain = &block->drain;
    writer->backup = &block->backup;
    writer->lending = lending_new();
    writer->builder = group_builder_new();
    writer->mailbox = mailbox_new(options->wake, options->wake_context);
    writer->random.state = options->seed;
    return writer;
}

static int open_once(const WriterOptions *options, bool may_repair, Writer **ret_writer, Error *error) {
    Writer *writer = writer_new(options);
    look_at_clock(writer);
    writer->stored->at = writer->now->boot;
    writer->space->checked = writer->space->retained_checked = writer->space->expiry_checked = writer->now->boot - USEC_DAY;
    int r = writer_recover(writer, may_repair, error);
    if (r < 0) {
        Error why = {0};
        if (r == -EBADMSG && may_repair && writer_repair_for_next(writer, &why) < 0)
            log_failure(LOG_ERROR, "damaged records cannot be repaired", &why);
        writer_abandon(writer);
        return r;
    }
    sums_begin(writer);
    *ret_writer = writer;
    return 0;
}

int writer_open(const WriterOptions *options, Writer **ret_writer, Error *error) {
    Error first = {0};
    int r = open_once(options, true, ret_writer, &first);
    if (r == -EBADMSG) return open_once(options, false, ret_writer, error);
    return r < 0 ? error_set(error, r, "%s", first.text) : 0;
}

/* Nobody will answer any more: send back what has a sender, free the rest. */
static void refuse(Message *message) {
    static const char text[] = "The gateway is shutting down.";
    switch (message->kind) {
    case MESSAGE_APPEND: {
        Append *append = (Append *)message;
        append->result = APPEND_FAILED;
        mailbox_post(append->reply, message);
        break;
    }
    case MESSAGE_DEFINE:
    case MESSAGE_CLOSE:
    case MESSAGE_PROGRESS:
    case MESSAGE_REJECTS_REMOVE:
    case MESSAGE_FILE_ACTION:
    case MESSAGE_BACKUP_ORDER:
    case MESSAGE_PENDING_REJECTS: request_refuse((Request *)message, text); break;
    case MESSAGE_TOTALS: request_answer((Request *)message); break; /* with what it has: nothing */
    case MESSAGE_STAGE: stage_free((Stage *)message); break;
    case MESSAGE_DIVIDE: divide_free((Divide *)message); break;
    case MESSAGE_EXPIRE: expire_free((Expire *)message); break;
    case MESSAGE_IMPORT: load_job_free((LoadJob *)message); break;
    case MESSAGE_POSITIONS: {
        FileAction *action = ((LoadJob *)message)->request.context;
        if (action) request_refuse(&action->request, text);
        load_job_free((LoadJob *)message);
        break;
    }
    case MESSAGE_DRAIN: free(message); break;
    default: unreachable();
    }
}

void writer_abandon(Writer *writer) {
    if (!writer) return;
    Message *next = NULL;
    mailbox_pass(writer->mailbox); /* its thread has ended */
    for (Message *message = mailbox_take(writer->mailbox); message; message = next) {
        next = message->next;
        refuse(message);
    }
    writer_backup_give_up(writer);
    for (Message *message = writer_backup_let_go(writer); message; message = next) {
        next = message->next;
        refuse(message);
    }
    for (Define *held = writer->held; held; held = (Define *)next) {
        next = held->request.message.next;
        refuse(&held->request.message);
    }
    writer_stages_recorded(writer, false);
    for (LoadJob *job = writer->imports->ended; job; job = (LoadJob *)next) {
        next = job->request.message.next;
        load_job_free(job);
    }
    for (size_t i = 0; i < writer->sinks->capacity; i++) {
        SinkState *sink = writer->sinks->items[i];
        if (!sink) continue;
        sink_waiters_fail(sink, 0, -ECANCELED, "The gateway is shutting down.");
        watch_drop(writer->watched, sink->watch, USEC_NEVER);
    }
    watched_keys_deinit(writer->watched);
    sinks_deinit(writer->sinks);
    partitions_deinit(writer->partitions);
    connection_table_deinit(writer->connections);
    mailbox_free(writer->mailbox);
    group_builder_free(writer->builder);
    lending_free(writer->lending);
    log_state_deinit(writer->log);
    sink_queue_deinit(&writer->stages->due);
    sink_queue_deinit(&writer->stages->closing);
    writer_backup_deinit(writer);
    free(writer->stored->dirty);
    free(writer);
}

void writer_close(Writer *writer) {
    if (!writer) return;
    thread_owner_bind(&writer->owner); /* its thread has ended */
    Txn *txn;
    Error error = {0};
    bool changed = writer->stored->count > 0 || writer->now->running > writer->stored->running;
    if (changed && writer_record_begin(writer, &txn)) (void)writer_record_end(writer, txn, 0, "cannot store the statistics", &error);
    writer_abandon(writer);
}
