#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/log.h"
#include "gateway/delivery/load_job.h"
#include "gateway/delivery/loader.h"
#include "gateway/delivery/writer/parts.h"

/* A running import may hold a drain for so long; then it is left to the control thread, who makes the loaders give up. */
#define DRAIN_IMPORTS (5 * USEC_SECOND)

#define BACKOFF_FIRST (5 * USEC_SECOND)
#define BACKOFF_MOST (10 * USEC_MINUTE)

/* ---- sinks and connections ----------------------------------------------------------------------------------------------------------- */

SinkState *writer_sink(Writer *writer, uint32_t number) {
    return number < writer->sink_capacity ? writer->sinks[number] : NULL;
}

SinkState *writer_sink_added(Writer *writer, uint32_t number) {
    if (number >= writer->sink_capacity) {
        size_t capacity = writer->sink_capacity ? writer->sink_capacity : 64;
        while (capacity <= number) capacity *= 2;
        writer->sinks = realloc(writer->sinks, capacity * sizeof(SinkState *));
        check(writer->sinks);
        memset(writer->sinks + writer->sink_capacity, 0, (capacity - writer->sink_capacity) * sizeof(SinkState *));
        writer->sink_capacity = capacity;
    }
    if (!writer->sinks[number]) {
        SinkState *sink = calloc(1, sizeof *sink);
        check(sink);
        totals_init(&sink->totals, number);
        writer->sinks[number] = sink;
    }
    return writer->sinks[number];
}

void writer_sink_free(SinkState *sink) {
    if (!sink) return;
    sink_gate_unref(sink->gate);
    free(sink->label);
    for (size_t i = 0; i < sink->version_count; i++) free(sink->versions[i].target);
    free(sink->versions);
    free(sink->runs);
    if (sink->has_open) file_record_deinit(&sink->open);
    free(sink->files);
    free(sink->settled);
    free(sink);
}

WriterConnection *writer_connection(Writer *writer, const char *name) {
    for (size_t i = 0; i < writer->connection_count; i++)
        if (strcmp(writer->connections[i]->name, name) == 0) return writer->connections[i];
    WriterConnection *connection = calloc(1, sizeof *connection);
    check(connection);
    connection->name = strdup(name);
    writer->connections = realloc(writer->connections, (writer->connection_count + 1) * sizeof(WriterConnection *));
    check(connection->name && writer->connections);
    writer->connections[writer->connection_count++] = connection;
    return connection;
}

void writer_touch(Writer *writer, SinkState *sink) {
    scheduler_hasten(&writer->sink_timers, &sink->timer, writer->boot);
}

void writer_mark_dirty(Writer *writer, SinkState *sink) {
    if (sink->dirty) return;
    sink->dirty = true;
    array_reserve(writer->dirty, writer->dirty_count, writer->dirty_capacity);
    writer->dirty[writer->dirty_count++] = sink;
}

int writer_store_totals(Writer *writer, Txn *txn, Error *error) {
    for (size_t i = 0; i < writer->dirty_count; i++) {
        SinkTotals totals = writer->dirty[i]->totals;
        totals.rejected_events += writer->dirty[i]->new_rejected_events;
        int r = totals_store(txn, &totals, error);
        if (r < 0) return r;
    }
    TotalsAsOf as_of = {.commit = writer->last_commit, .commit_time = writer->last_commit_time, .running = writer->running};
    return totals_store_as_of(txn, &as_of, error);
}

void writer_totals_stored(Writer *writer) {
    for (size_t i = 0; i < writer->dirty_count; i++) writer->dirty[i]->dirty = false;
    writer->dirty_count = 0;
    writer->stored_commit = writer->last_commit;
    writer->stored_at = writer->boot;
    writer->stored_running = writer->running;
}

usec_t writer_backoff(Writer *writer, unsigned failures) {
    usec_t pause = BACKOFF_FIRST;
    for (unsigned i = 1; i < failures && pause < BACKOFF_MOST; i++) pause *= 2;
    if (pause > BACKOFF_MOST) pause = BACKOFF_MOST;
    return pause - pause / 5 + (usec_t)random_below(&writer->random, (uint64_t)(pause / 5));
}

/* ---- transactions -------------------------------------------------------------------------------------------------------------------- */

void writer_break(Writer *writer, const char *what, const Error *error) {
    if (writer->broken) return;
    log_failure(LOG_ERROR, what, error);
    writer->broken = true;
    atomic_store(&writer->options.usage->broken, true);
    Message *message = calloc(1, sizeof *message);
    check(message);
    message->kind = MESSAGE_BROKEN;
    mailbox_post(writer->options.control, message);
}

static void set_lending(Writer *writer, bool lends) {
    check(pthread_mutex_lock(&writer->lending) == 0);
    writer->lends = lends;
    check(pthread_mutex_unlock(&writer->lending) == 0);
}

int writer_end_txn(Writer *writer, Txn *take_txn, Error *error) {
    Clock *clock = writer->options.clock;
    set_lending(writer, true);
    int r = txn_commit(take_txn, error);
    set_lending(writer, false);
    atomic_store(&writer->options.usage->busy_since, clock->boot(clock));
    return r;
}

bool writer_lent_statistics(Writer *writer, TotalsQuery *query) {
    check(pthread_mutex_lock(&writer->lending) == 0);
    bool lent = writer->lends;
    if (lent) writer_fill_statistics(writer, query);
    check(pthread_mutex_unlock(&writer->lending) == 0);
    return lent;
}

bool writer_record_begin(Writer *writer, Txn **ret_txn) {
    Error error = {0};
    if (writer->broken) return false;
    if (txn_begin_write(writer->options.environment, ret_txn, &error) == 0) return true;
    writer_break(writer, "cannot begin a transaction", &error);
    return false;
}

bool writer_record_end(Writer *writer, Txn *take_txn, int result, const char *what, Error *error) {
    if (result == 0) result = writer_store_totals(writer, take_txn, error);
    if (result < 0) {
        Error why = {0};
        txn_abort(take_txn);
        /* Or the next start would end in the same way. */
        if (result == -EBADMSG && writer_repair_for_next(writer, &why) < 0)
            log_failure(LOG_ERROR, "damaged records cannot be repaired", &why);
    } else {
        result = writer_end_txn(writer, take_txn, error);
    }
    if (result < 0) {
        writer_break(writer, what, error);
        return false;
    }
    writer_totals_stored(writer);
    return true;
}

/* ---- messages ------------------------------------------------------------------------------------------------------------------------ */

typedef struct AppendList {
    Append **items;
    size_t count, capacity;
} AppendList;

static void commit_list(Writer *writer, AppendList *list) {
    if (list->count) writer_commit(writer, list->items, list->count);
    list->count = 0;
}

static void begin_drain(Writer *writer) {
    writer->draining = true;
    writer->drain_until = writer->boot + DRAIN_IMPORTS;
    for (size_t i = 0; i < writer->sink_capacity; i++)
        if (writer->sinks[i]) writer_fail_waiters(writer, writer->sinks[i], 0, -ECANCELED, "The gateway is shutting down.");
    for (size_t i = 0; i < writer->stage_queue_count; i++) writer->stage_queue[i]->stage_queued = false;
    writer->stage_queue_count = 0;
}

static void handle(Writer *writer, Message *message) {
    switch (message->kind) {
    case MESSAGE_DEFINE: writer_define(writer, (Define *)message); break;
    case MESSAGE_CLOSE: writer_close_asked(writer, (Close *)message); break;
    case MESSAGE_TOTALS: writer_answer_totals(writer, (TotalsQuery *)message); break;
    case MESSAGE_REJECTS_REMOVE: writer_remove_rejects(writer, (RejectsRemove *)message); break;
    case MESSAGE_FILE_ACTION: writer_file_action(writer, (FileAction *)message); break;
    case MESSAGE_STAGE: writer_stage_ended(writer, (Stage *)message); break;
    case MESSAGE_DIVIDE: writer_divide_ended(writer, (Divide *)message); break;
    case MESSAGE_EXPIRE: writer_expire_ended(writer, (Expire *)message); break;
    case MESSAGE_IMPORT: writer_import_back(writer, (LoadJob *)message); break;
    case MESSAGE_PENDING_REJECTS: writer_pending_rejects(writer, (PendingRejects *)message); break;
    case MESSAGE_DRAIN:
        begin_drain(writer);
        free(message);
        break;
    default: unreachable();
    }
}

static void take_messages(Writer *writer) {
    AppendList list = {0};
    Message *next = NULL;
    for (Message *message = mailbox_take(writer->mailbox); message; message = next) {
        next = message->next;
        if (message->kind == MESSAGE_APPEND) {
            array_reserve(list.items, list.count, list.capacity);
            list.items[list.count++] = (Append *)message;
        } else {
            /* In order: a Close takes what was received before it, a Define is known to the rows that come after it. */
            commit_list(writer, &list);
            handle(writer, message);
        }
    }
    commit_list(writer, &list);
    free(list.items);
}

/* ---- the step ------------------------------------------------------------------------------------------------------------------------ */

/* The writer wakes at least this often. A longer step is a machine that slept, or a clock that jumped: nobody tried anything meanwhile. */
#define RUNNING_STEP_MOST USEC_HOUR

static void look_at_clock(Writer *writer) {
    Clock *clock = writer->options.clock;
    usec_t boot = clock->boot(clock);
    usec_t passed = writer->boot > 0 && boot > writer->boot ? boot - writer->boot : 0;
    writer->running += passed < RUNNING_STEP_MOST ? passed : RUNNING_STEP_MOST;
    writer->boot = boot;
    writer->wall = clock->wall(clock);
    atomic_store(&writer->options.usage->running, writer->running);
}

static void judge_all(Writer *writer) {
    for (Timer *timer; (timer = scheduler_take(&writer->sink_timers, writer->boot));) writer_judge(writer, (SinkState *)timer);
    while (scheduler_take(&writer->connection_timers, writer->boot)) continue; /* pumped below whatever was due */
    writer_close_files(writer);
    writer_give_out_stages(writer);
    writer_pump_connections(writer);
}

static void mind_drain(Writer *writer) {
    if (!writer->draining || writer->drained) return;
    bool imports_may_go_on = writer->boot >= writer->drain_until;
    if (!writer->broken && (writer->stages_in_flight || (writer->imports_in_flight && !imports_may_go_on))) return;
    writer->drained = true;
    Drained *drained = calloc(1, sizeof *drained);
    check(drained);
    drained->message.kind = MESSAGE_DRAINED;
    drained->who = -1;
    mailbox_post(writer->options.control, &drained->message);
}

static usec_t earlier(usec_t a, usec_t b) {
    return a < b ? a : b;
}

static usec_t step(Writer *writer) {
    take_messages(writer);
    writer_record_imports(writer);
    writer_run_held(writer);
    if (!writer->broken) {
        writer_trim_rest(writer);
        if (!writer->draining) {
            judge_all(writer);
            writer_mind_space(writer);
        }
    }
    mind_drain(writer);
    if (writer->broken || (writer->draining && writer->drained)) return USEC_NEVER;

    usec_t next = writer->trim_more ? writer->boot : USEC_NEVER;
    if (writer->draining) {
        next = earlier(next, writer->drain_until);
    } else {
        next = earlier(next, scheduler_next(&writer->sink_timers));
        next = earlier(next, scheduler_next(&writer->connection_timers));
        next = earlier(next, writer_space_next(writer));
        if (writer->stage_queue_count && writer->stages_in_flight == 0) next = earlier(next, writer->stage_paused_until);
    }
    if (next == USEC_NEVER) return USEC_NEVER;
    usec_t now = writer->options.clock->boot(writer->options.clock);
    return next > now ? next - now : 0;
}

usec_t writer_step(Writer *writer) {
    check_on_thread(&writer->owner);
    look_at_clock(writer);
    atomic_store(&writer->options.usage->busy_since, writer->boot);
    usec_t next = step(writer);
    atomic_store(&writer->options.usage->busy_since, 0);
    return next;
}

bool writer_is_idle(const Writer *writer) {
    if (writer->stages_in_flight || writer->imports_in_flight || writer->expiring_in_flight || writer->held || writer->stage_queue_count)
        return false;
    for (size_t i = 0; i < writer->sink_capacity; i++)
        if (writer->sinks[i] && writer->sinks[i]->waiters) return false;
    return true;
}

Mailbox *writer_mailbox(Writer *writer) {
    return writer->mailbox;
}

/* ---- open and close ------------------------------------------------------------------------------------------------------------------ */

/* `ret_repaired`: damaged records refused it, and were repaired. */
static int open_once(const WriterOptions *options, Writer **ret_writer, bool *ret_repaired, Error *error) {
    Writer *writer = calloc(1, sizeof *writer);
    check(writer);
    writer->options = *options;
    check(pthread_mutex_init(&writer->lending, NULL) == 0);
    writer->mailbox = mailbox_new(options->wake, options->wake_context);
    writer->builder = group_builder_new();
    writer->random.state = options->seed;
    look_at_clock(writer);
    writer->stored_at = writer->boot;
    writer->space_checked = writer->retained_checked = writer->expiry_checked = writer->boot - USEC_DAY;
    int r = writer_recover(writer, error);
    if (r < 0) {
        Error why = {0};
        *ret_repaired = r == -EBADMSG && writer_repair_for_next(writer, &why) == 0;
        writer_abandon(writer);
        return r;
    }
    *ret_writer = writer;
    return 0;
}

int writer_open(const WriterOptions *options, Writer **ret_writer, Error *error) {
    bool repaired = false;
    Error first = {0};
    int r = open_once(options, ret_writer, &repaired, &first);
    if (r == 0) return 0;
    if (repaired) return open_once(options, ret_writer, &repaired, error);
    return error_set(error, r, "%s", first.text);
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
    case MESSAGE_DEFINE: {
        Define *define = (Define *)message;
        define->request.result = error_set(&define->request.error, -ECANCELED, "%s", text);
        mailbox_post(define->request.reply, message);
        break;
    }
    case MESSAGE_CLOSE: {
        Close *close = (Close *)message;
        close->request.result = error_set(&close->request.error, -ECANCELED, "%s", text);
        mailbox_post(close->request.reply, message);
        break;
    }
    case MESSAGE_TOTALS: mailbox_post(((TotalsQuery *)message)->request.reply, message); break;
    case MESSAGE_REJECTS_REMOVE: {
        RejectsRemove *remove = (RejectsRemove *)message;
        remove->request.result = error_set(&remove->request.error, -ECANCELED, "%s", text);
        mailbox_post(remove->request.reply, message);
        break;
    }
    case MESSAGE_FILE_ACTION: {
        FileAction *action = (FileAction *)message;
        action->request.result = error_set(&action->request.error, -ECANCELED, "%s", text);
        mailbox_post(action->request.reply, message);
        break;
    }
    case MESSAGE_PENDING_REJECTS: {
        PendingRejects *pending = (PendingRejects *)message;
        pending->request.result = error_set(&pending->request.error, -ECANCELED, "%s", text);
        mailbox_post(pending->request.reply, message);
        break;
    }
    case MESSAGE_STAGE: stage_free((Stage *)message); break;
    case MESSAGE_DIVIDE: divide_free((Divide *)message); break;
    case MESSAGE_EXPIRE: expire_free((Expire *)message); break;
    case MESSAGE_IMPORT: load_job_free((LoadJob *)message); break;
    default: free(message);
    }
}

void writer_abandon(Writer *writer) {
    if (!writer) return;
    Message *next = NULL;
    if (writer->mailbox) mailbox_pass(writer->mailbox); /* its thread has ended */
    for (Message *message = writer->mailbox ? mailbox_take(writer->mailbox) : NULL; message; message = next) {
        next = message->next;
        refuse(message);
    }
    for (Define *held = writer->held; held; held = (Define *)next) {
        next = held->request.message.next;
        refuse(&held->request.message);
    }
    for (LoadJob *job = writer->ended_imports; job; job = (LoadJob *)next) {
        next = job->request.message.next;
        load_job_free(job);
    }
    for (size_t i = 0; i < writer->sink_capacity; i++) {
        SinkState *sink = writer->sinks[i];
        if (sink) writer_fail_waiters(writer, sink, 0, -ECANCELED, "The gateway is shutting down.");
        writer_sink_free(sink);
    }
    for (size_t i = 0; i < writer->connection_count; i++) {
        free(writer->connections[i]->name);
        free(writer->connections[i]);
    }
    mailbox_free(writer->mailbox);
    group_builder_free(writer->builder);
    scheduler_deinit(&writer->sink_timers);
    scheduler_deinit(&writer->connection_timers);
    free(writer->sinks);
    free(writer->dirty);
    free(writer->connections);
    free(writer->stage_queue);
    free(writer->close_queue);
    free(writer->chunks);
    check(pthread_mutex_destroy(&writer->lending) == 0);
    free(writer);
}

void writer_close(Writer *writer) {
    if (!writer) return;
    thread_owner_bind(&writer->owner); /* its thread has ended */
    Txn *txn;
    Error error = {0};
    bool changed = writer->dirty_count > 0 || writer->running > writer->stored_running;
    if (changed && writer_record_begin(writer, &txn)) (void)writer_record_end(writer, txn, 0, "cannot store the statistics", &error);
    writer_abandon(writer);
}
