#include "gateway/control/change.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/text.h"
#include "config/source_bridge.h"
#include "gateway/control/change_parts.h"
#include "gateway/control/left_runs.h"
#include "gateway/delivery/load_job.h"
#include "gateway/delivery/positions_job.h"

#define PREPARING_MAX 2 /* on one connection at once */

static void change_free(Change *change) {
    outcome_deinit(&change->outcome);
    buffer_deinit(&change->made);
    snapshot_source_unref(change->shown);
    free((char *)(uintptr_t)change->request.source_id);
    free((char *)(uintptr_t)change->request.sink_id);
    free((char *)(uintptr_t)change->request.by);
    json_decref(change->request.body);
    free(change);
}

static void outputs_number(Change *change, const char *key, uint64_t number) {
    check(json_object_set_new(change->task->outputs, key, json_integer((json_int_t)number)) == 0);
}

bool changes_are_pending(const Control *control, const char *source_id) {
    for (const Change *change = control->changes; change; change = change->next)
        if (strcmp(change->request.source_id, source_id) == 0) return true;
    return false;
}

void changes_free(Control *control) {
    while (control->changes) {
        Change *change = control->changes;
        control->changes = change->next;
        change_free(change);
    }
    while (control->unreachable) {
        Unreachable *known = control->unreachable;
        control->unreachable = known->next;
        free(known->connection);
        free(known->text);
        free(known);
    }
}

/* ---- ending ---------------------------------------------------------------------------------- */

static void finish(Control *control, Change *change, TaskStatus status, const char *text) {
    Change **at = &control->changes;
    while (*at && *at != change) at = &(*at)->next;
    check(*at);
    *at = change->next;
    check(status == TASK_ERROR || change->step >= CHANGE_DEFINING || !change->outcome.done);
    if (change->request.discard && status == TASK_SUCCESS) outputs_number(change, "discardedRows", change->discarded_rows);
    if (status == TASK_SUCCESS)
        log_info("%s: %s of %s%s%s", change->request.by, change->task->type, change->request.source_id, change->request.sink_id ? "/" : "",
                 change->request.sink_id ? change->request.sink_id : "");
    if (status == TASK_ERROR)
        log_warning("task %s of %s%s%s failed: %s", change->task->type, change->request.source_id, change->request.sink_id ? "/" : "",
                    change->request.sink_id ? change->request.sink_id : "", text);
    tasks_end(control->tasks, change->task, status, text);
    control_store_task(control, change->task);
    change_free(change);
    if (status == TASK_SUCCESS) left_runs_step(control);
}

/* As finish, with what was made before. */
static void fail_change(Control *control, Change *change, const char *text) {
    if (change->made.size == 0) {
        finish(control, change, TASK_ERROR, text);
        return;
    }
    _cleanup_free_ char *whole = NULL;
    check(asprintf(&whole, "%s The sources and sinks are as before; what was created at the destinations stays: %s.", text,
                   buffer_text(&change->made)) > 0);
    finish(control, change, TASK_ERROR, whole);
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* Where a change may go from where it is. */
static const unsigned next_steps[] = {
    [CHANGE_QUEUED] = 1u << CHANGE_HELD | 1u << CHANGE_PREPARING | 1u << CHANGE_COPYING | 1u << CHANGE_WITHDRAWING | 1u << CHANGE_DEFINING,
    [CHANGE_HELD] = 1u << CHANGE_HELD | 1u << CHANGE_PREPARING | 1u << CHANGE_COPYING | 1u << CHANGE_DEFINING,
    [CHANGE_PREPARING] = 1u << CHANGE_HELD,
    [CHANGE_COPYING] = 1u << CHANGE_COPYING | 1u << CHANGE_DEFINING,
    [CHANGE_WITHDRAWING] = 1u << CHANGE_DEFINING,
    [CHANGE_DEFINING] = 1u << CHANGE_FENCING | 1u << CHANGE_CLOSING,
    [CHANGE_FENCING] = 1u << CHANGE_CLOSING,
    [CHANGE_CLOSING] = 1u << CHANGE_CLOSING,
};

static void go_to(Change *change, ChangeStep step) {
    check(next_steps[change->step] & 1u << step);
    check(change->task->status == TASK_PROCESSING);
    check(change->outcome.withdraws || step != CHANGE_WITHDRAWING);
    check(!change->outcome.withdraws ||
          (step != CHANGE_HELD && step != CHANGE_PREPARING && step != CHANGE_COPYING && step != CHANGE_FENCING));
    change->step = step;
}

static void start_define(Control *control, Change *change);

/* The source as it is shown now is replaced by what the change wants, or by what the registry
 * has. */
static void show(Control *control, Change *change) {
    RegistrySource *known = registry_find(&control->registry, change->request.source_id);
    check(known && change->outcome.shows);
    check(change->shown || (change->outcome.source && change->outcome.source->deleted != 0));
    snapshot_source_unref(known->shown);
    known->shown = steal(change->shown);
    (void)failpoint_hit("change.before-publish");
    control_publish(control);
    (void)failpoint_hit("change.after-publish");
    change->fence = control->generation;
    check(!control_fenced(control, change->fence)); /* control itself held the one before until now */
}

/* The next open file that ends, from change->at on; none: that was all of it. */
static void start_close(Control *control, Change *change) {
    const ChangeOutcome *outcome = &change->outcome;
    while (change->at < outcome->sink_count && !outcome->of_sinks[change->at].closes) change->at++;
    if (change->at == outcome->sink_count) {
        finish(control, change, TASK_SUCCESS, outcome->done);
        return;
    }
    Close *close = calloc(1, sizeof *close);
    check(close);
    close->request.message.kind = MESSAGE_CLOSE;
    close->request.reply = control->mailbox;
    close->sink = outcome->sinks[change->at]->number;
    close->reason = CLOSE_CHANGE;
    close->request.context = &change->pending;
    go_to(change, CHANGE_CLOSING);
    mailbox_post(control->peers.writer, &close->request.message);
}

static void fence_passed(Control *control, Change *change) {
    check(change->fence > 0 && change->fence <= control->generation);
    if (change->step == CHANGE_WITHDRAWING) {
        start_define(control, change);
    } else {
        start_close(control, change);
    }
}

void changes_fence(Control *control) {
    bool again = true;
    while (again) { /* what a passed fence starts may change the list */
        again = false;
        for (Change *change = control->changes; change && !again; change = change->next) {
            bool waits = change->step == CHANGE_WITHDRAWING || change->step == CHANGE_FENCING;
            if (!waits || !control_fenced(control, change->fence)) continue;
            fence_passed(control, change);
            again = true;
        }
    }
    changes_run(control);
}

static bool conditions_differ(const Source *old_source, const Sink *old, const Source *source, const Sink *sink) {
    for (int i = 0; i < SETTING_COUNT_; i++) {
        if (!settings_info((SettingId)i)->is_import_condition) continue;
        if (settings_effective((SettingId)i, &old_source->settings, &old->settings) !=
            settings_effective((SettingId)i, &source->settings, &sink->settings))
            return true;
    }
    return false;
}

/* What the writer must know: of the sinks that change, and of all when their source does. */
static void add_orders(const Change *change, const RegistrySource *known, Define *define) {
    const ChangeOutcome *outcome = &change->outcome;
    const Source *source = outcome->source ? outcome->source : known->source;
    for (size_t k = 0; k < outcome->sink_count; k++) {
        const RegistrySink *old = known ? registry_sink_numbered(known, outcome->sinks[k]->number) : NULL;
        SinkOrder *order = define_order(define, source, outcome->sinks[k], old ? old->gate : outcome->of_sinks[k].gate);
        bool ends = outcome->withdraws;
        order->discard = ends && change->request.discard;
        order->import_now = old && !order->discard && (ends || conditions_differ(known->source, old->sink, source, outcome->sinks[k]));
    }
    if (!outcome->source || !known) return;
    bool pauses = (known->source->paused.at != 0) != (source->paused.at != 0); /* of deleted sinks rows may wait */
    for (size_t i = 0; i < known->sink_count; i++) {
        const RegistrySink *entry = known->sinks[i];
        bool changes = entry->sink->deleted != 0 && !pauses;
        for (size_t k = 0; k < outcome->sink_count; k++) changes = changes || outcome->sinks[k]->number == entry->sink->number;
        if (changes) continue;
        SinkOrder *order = define_order(define, source, entry->sink, entry->gate);
        order->import_now = outcome->withdraws || conditions_differ(known->source, entry->sink, source, entry->sink);
    }
}

static void start_define(Control *control, Change *change) {
    const ChangeOutcome *outcome = &change->outcome;
    const RegistrySource *known = registry_find(&control->registry, change->request.source_id);
    const Source *source = outcome->source ? outcome->source : known->source;
    check(source && source->number > 0 && outcome->done);
    Define *define = define_new(control->mailbox, &change->pending);
    if (outcome->source) registry_store_source(&control->registry, define, source);
    for (size_t k = 0; k < outcome->sink_count; k++) registry_store_sink(&control->registry, define, source, outcome->sinks[k]);
    add_orders(change, known, define);
    outputs_number(change, "version", change->request.of_sink ? outcome->sinks[0]->version.number : source->version.number);
    tasks_store(control->tasks, change->task, TASK_SUCCESS, outcome->done, define);
    check(define->change_count > 0);
    go_to(change, CHANGE_DEFINING);
    change->at = 0;
    (void)failpoint_hit("change.before-store"); /* the tables are prepared */
    mailbox_post(control->peers.writer, &define->request.message);
}

/* The writer has stored it: memory follows. */
static void take_over(Control *control, Change *change) {
    ChangeOutcome *outcome = &change->outcome;
    RegistrySource *known = outcome->source ? registry_put(&control->registry, source_ref(outcome->source))
                                            : registry_find(&control->registry, change->request.source_id);
    for (size_t k = 0; k < outcome->sink_count; k++) {
        (void)registry_put_sink(known, sink_ref(outcome->sinks[k]), outcome->of_sinks[k].gate);
        if (change->request.kind != CHANGE_INFER) inference_redefined(control, outcome->sinks[k]->number);
    }
    registry_check_sinks(known);
}

/* The definition was not stored: what was withdrawn is shown again. */
static void show_committed(Control *control, Change *change) {
    RegistrySource *known = registry_find(&control->registry, change->request.source_id);
    Error error = {0};
    if (!known || registry_compile(&control->registry, known, NULL, NULL, NULL, 0, &change->shown, &error) < 0) {
        log_failure(LOG_ERROR, "the start of a source cannot be repeated", &error);
        return;
    }
    show(control, change);
}

static void define_ended(Control *control, Change *change, Define *define) {
    if (define->request.result < 0) {
        _cleanup_free_ char *text = NULL;
        check(asprintf(&text, "It could not be stored, and nothing is changed: %s.", define->request.error.text) > 0);
        (void)json_object_del(change->task->outputs, "version");
        if (change->outcome.withdraws) show_committed(control, change);
        fail_change(control, change, text);
        return;
    }
    change->discarded_rows = define->discarded_rows;
    take_over(control, change);
    if (change->outcome.withdraws || !change->outcome.shows) {
        start_close(control, change);
        return;
    }
    show(control, change);
    go_to(change, CHANGE_FENCING); /* the old generation comes back by message, also when nobody ever held it */
}

static Unreachable **find_unreachable(Control *control, const char *connection) {
    Unreachable **at = &control->unreachable;
    while (*at && strcmp((*at)->connection, connection) != 0) at = &(*at)->next;
    return at;
}

static void set_unreachable(Control *control, const char *connection, const char *text) {
    Unreachable **at = find_unreachable(control, connection);
    if (!*at) {
        *at = calloc(1, sizeof **at);
        check(*at);
        (*at)->connection = text_copy(connection);
    }
    free((*at)->text);
    (*at)->text = text_copy(text);
    (*at)->when = control->options.clock->boot(control->options.clock);
}

/* What is there now and was not before stays, whatever becomes of the change. */
static void note_made(Change *change, const LoadJob *job) {
    bool grew = false;
    for (size_t i = 0; i < job->target.column_count; i++) grew = grew || table_inspection_adds(&job->inspection, i);
    if (!job->inspection.creates && !grew) return;
    buffer_printf(&change->made, "%s%stable \"%s\" of connection \"%s\"", change->made.size ? ", " : "", grew ? "new columns of " : "",
                  sink_target_name(&job->target), job->connection);
}

static void start_prepare(Control *control, Change *change);

static void prepare_ended(Control *control, Change *change, const LoadJob *job) {
    if (job->request.result == SINK_DONE) {
        note_made(change, job);
        change->at++;
        go_to(change, CHANGE_HELD); /* the next one may be at another connection, and the limit there is for all */
        start_prepare(control, change);
        return;
    }
    _cleanup_free_ char *text = change_prepare_failure(job);
    if (job->request.result == SINK_UNREACHABLE) set_unreachable(control, job->connection, text);
    fail_change(control, change, text);
}

static size_t preparing_on(const Control *control, const char *connection) {
    size_t count = 0;
    for (const Change *change = control->changes; change; change = change->next)
        count += change->step == CHANGE_PREPARING && strcmp(change->outcome.sinks[change->at]->target.connection, connection) == 0;
    return count;
}

char *change_prepare_failure(const LoadJob *job) {
    char *text = NULL;
    const char *says = job->request.error.text[0] ? job->request.error.text : "no reason was given";
    const char *stop = strchr(".!?;", says[strlen(says) - 1]) ? "" : ".";
    const char *table = sink_target_name(&job->target), *connection = job->connection;
    if (job->request.result == SINK_REFUSED) {
        check(asprintf(&text, "Table \"%s\" of connection \"%s\" cannot take the rows: %s%s", table, connection, says, stop) > 0);
    } else if (job->request.result == SINK_UNREACHABLE) {
        bool named = strncmp(says, "Connection \"", 12) == 0;
        check(asprintf(&text, "Nothing is changed, try again: %s%s%s%s%s", named ? "" : "connection \"", named ? "" : connection,
                       named ? "" : "\" cannot be reached now: ", says, stop) > 0);
    } else {
        check(asprintf(&text, "Nothing is changed, try again: table \"%s\" of connection \"%s\" could not be checked now: %s%s", table,
                       connection, says, stop) > 0);
    }
    return text;
}

LoadJob *change_prepare_job(Control *control, const char *source_id, const Sink *sink, PendingRequest *context) {
    Sink *copy = sink_copy(sink);
    LoadJob *job = load_job_new(MESSAGE_PREPARE, control->mailbox, context);
    job->connection = text_copy(copy->target.connection);
    check(asprintf(&job->label, "%s/%s", source_id, copy->sink_id) > 0);
    job->sink = copy->number;
    job->target = copy->target;
    copy->target = (SinkTarget){0};
    sink_unref(copy);
    return job;
}

/* The next positions that another table is to have as well; none: all of them have. */
static void start_copy(Control *control, Change *change) {
    const ChangeOutcome *outcome = &change->outcome;
    while (change->copied < outcome->sink_count && !outcome->of_sinks[change->copied].keeps) change->copied++;
    if (change->copied == outcome->sink_count) {
        start_define(control, change);
        return;
    }
    const RegistrySource *known = registry_find(&control->registry, change->request.source_id);
    const Source *source = outcome->source ? outcome->source : known->source;
    const Sink *sink = outcome->sinks[change->copied];
    _cleanup_free_ char *group = source->kind->bridge->group(source, control->options.options->project), *label = NULL;
    check(asprintf(&label, "%s/%s", source->source_id, sink->sink_id) > 0 && sink->origin.former_count > 0);
    go_to(change, CHANGE_COPYING);
    loaders_post(control->peers.loaders,
                 copy_job_new(&sink->origin.former[0], &sink->target, label, sink->number, group, control->mailbox, &change->pending));
}

static void copy_ended(Control *control, Change *change, const LoadJob *job) {
    if (job->request.result != SINK_DONE) {
        _cleanup_free_ char *text = NULL;
        check(asprintf(&text, "Nothing is changed: the positions for table \"%s\" of connection \"%s\" could not be copied: %s.",
                       sink_target_name(&job->target), job->connection, job->request.error.text) > 0);
        fail_change(control, change, text);
        return;
    }
    if (job->changed > 0)
        buffer_printf(&change->made, "%spositions for table \"%s\" of connection \"%s\"", change->made.size ? ", " : "",
                      sink_target_name(&job->target), job->connection);
    change->positions += job->changed;
    outputs_number(change, "copiedPositions", change->positions);
    change->copied++;
    start_copy(control, change);
}

/* The next table that is to be looked at, from change->at on; none: all of them can take the
 * rows. */
static void start_prepare(Control *control, Change *change) {
    const ChangeOutcome *outcome = &change->outcome;
    while (change->at < outcome->sink_count && !outcome->of_sinks[change->at].prepares) change->at++;
    if (change->at == outcome->sink_count) {
        start_copy(control, change);
        return;
    }
    const Sink *sink = outcome->sinks[change->at];
    const char *connection = sink->target.connection;
    const Unreachable *known = *find_unreachable(control, connection);
    if (known && change->asked <= known->when) {
        fail_change(control, change, known->text);
        return;
    }
    if (preparing_on(control, connection) >= PREPARING_MAX) {
        go_to(change, CHANGE_HELD);
        return;
    }
    go_to(change, CHANGE_PREPARING);
    check(preparing_on(control, connection) <= PREPARING_MAX);
    loaders_post(control->peers.loaders, change_prepare_job(control, change->request.source_id, sink, &change->pending));
}

/* Those that were held up by others at their connection go, end, or stay held. */
static void prepare_held(Control *control) {
    for (Change *change = control->changes, *next; change; change = next) {
        next = change->next;
        if (change->step == CHANGE_HELD) start_prepare(control, change);
    }
}

/* Version and description of what changed. */
static void stamp(const Control *control, const Change *change) {
    static const char *const what[] = {
        [CHANGE_CREATE] = "created",
        [CHANGE_PATCH] = "changed",
        [CHANGE_SETTINGS] = "settings changed",
        [CHANGE_ENABLE] = "enabled",
        [CHANGE_DISABLE] = "disabled",
        [CHANGE_DELETE] = "deleted",
        [CHANGE_UNDELETE] = "brought back",
        [CHANGE_PAUSE] = "paused",
        [CHANGE_RESUME] = "resumed",
        [CHANGE_MANIFEST] = "manifest applied",
        [CHANGE_RUN] = "another run, since a topic was created again",
        [CHANGE_INFER] = "columns inferred",
    };
    const ChangeRequest *request = &change->request;
    const ChangeOutcome *outcome = &change->outcome;
    usec_t now = control->options.clock->wall(control->options.clock);
    for (size_t i = 0; i < outcome->sink_count; i++) {
        Sink *sink = outcome->sinks[i];
        if (outcome->of_sinks[i].is_new) sink->created = now;
        if (outcome->of_sinks[i].stamps) sink_stamp(sink, sink->version.number + 1, now, request->by, what[request->kind]);
    }
    if (outcome->source_is_new) outcome->source->created = now;
    if (outcome->source_stamps) source_stamp(outcome->source, outcome->source->version.number + 1, now, request->by, what[request->kind]);
}

static void give_numbers(Control *control, ChangeOutcome *outcome) {
    Registry *registry = &control->registry;
    check(registry->next_source > 0 && registry->next_sink > 0);
    if (outcome->source_is_new) outcome->source->number = registry->next_source++;
    for (size_t i = 0; i < outcome->sink_count; i++) {
        if (!outcome->of_sinks[i].is_new) continue;
        check(outcome->sinks[i]->number == 0 && !outcome->of_sinks[i].gate);
        outcome->sinks[i]->number = registry->next_sink++;
        outcome->of_sinks[i].gate = sink_gate_new();
    }
}

static void begin_run(const Control *control, Change *change) {
    ChangeOutcome *outcome = &change->outcome;
    if (!outcome->source) outcome->source = source_copy(registry_find(&control->registry, change->request.source_id)->source);
    usec_t now = control->options.clock->wall(control->options.clock), behind = bridge_run_behind(control, outcome->source);
    source_begin_run(outcome->source, now > behind ? now : behind + USEC_MS);
}

static int compile(Control *control, Change *change, Error *error) {
    const ChangeOutcome *outcome = &change->outcome;
    const RegistrySource *known = registry_find(&control->registry, change->request.source_id);
    SinkGate **gates = calloc(outcome->sink_count + 1, sizeof *gates);
    check(gates);
    for (size_t i = 0; i < outcome->sink_count; i++) gates[i] = outcome->of_sinks[i].gate;
    int r = registry_compile(&control->registry, known, outcome->source, outcome->sinks, gates, outcome->sink_count, &change->shown, error);
    free(gates);
    return r;
}

static void start(Control *control, Change *change) {
    Failure failure = {0};
    ChangeOutcome *outcome = &change->outcome;
    check(change->step == CHANGE_QUEUED && change->at == 0 && !change->shown);
    for (const Change *other = control->changes; other; other = other->next)
        check(other == change || other->step == CHANGE_QUEUED || strcmp(other->request.source_id, change->request.source_id) != 0);
    outcome_deinit(outcome);
    if (change_build(control, &change->request, outcome, &failure) < 0) {
        finish(control, change, TASK_ERROR, failure.error.text);
        return;
    }
    if (outcome->plan) check(json_object_update(change->task->outputs, outcome->plan) == 0);
    if (!outcome->done) {
        finish(control, change, TASK_SUCCESS, outcome->same ? outcome->same : "Nothing was changed.");
        return;
    }
    give_numbers(control, outcome);
    if (outcome->runs) begin_run(control, change);
    stamp(control, change);
    if (outcome->shows && compile(control, change, &failure.error) < 0) {
        finish(control, change, TASK_ERROR, failure.error.text);
        return;
    }
    if (outcome->withdraws) {
        go_to(change, CHANGE_WITHDRAWING);
        show(control, change);
    } else {
        start_prepare(control, change);
    }
}

void changes_run(Control *control) {
    bool again = true;
    while (again) {
        again = false;
        for (Change *change = control->changes; change && !again; change = change->next) {
            if (change->step != CHANGE_QUEUED) continue;
            bool held = false;
            for (const Change *earlier = control->changes; earlier != change; earlier = earlier->next)
                held = held || strcmp(earlier->request.source_id, change->request.source_id) == 0;
            if (held) continue;
            start(control, change);
            again = true;
        }
    }
}

void change_back(Control *control, PendingRequest *pending, Message *take_message) {
    Change *change = (Change *)pending;
    if (take_message->kind == MESSAGE_PREPARE) {
        LoadJob *job = (LoadJob *)take_message;
        check(change->step == CHANGE_PREPARING && change->at < change->outcome.sink_count);
        prepare_ended(control, change, job);
        load_job_free(job);
        prepare_held(control);
    } else if (take_message->kind == MESSAGE_GROUP_POSITIONS) {
        check(change->step == CHANGE_COPYING && change->copied < change->outcome.sink_count);
        copy_ended(control, change, (LoadJob *)take_message);
        load_job_free((LoadJob *)take_message);
    } else if (take_message->kind == MESSAGE_DEFINE) {
        Define *define = (Define *)take_message;
        check(change->step == CHANGE_DEFINING && change->at == 0);
        define_ended(control, change, define);
        define_free(define);
    } else {
        check(take_message->kind == MESSAGE_CLOSE && change->step == CHANGE_CLOSING && change->at < change->outcome.sink_count);
        /* The definition holds whatever the close says: rows of two mapping versions never share a
         * file. */
        Close *close = (Close *)take_message;
        if (close->request.result < 0) log_failure(LOG_WARNING, "the open file of a changed sink is not closed yet", &close->request.error);
        free(close);
        change->at++;
        start_close(control, change);
    }
    changes_run(control);
}
