/* Changes that are asked for: whether they may be, with what is there and on its way, and their
 * tasks. */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "gateway/control/change_parts.h"
#include "gateway/templates/check.h"

#define CHANGES_MAX 1000 /* on their way at once */

static bool has_template(const Sink *sink, const char *text) {
    for (size_t i = 0; sink && i < sink->target.column_count; i++)
        if (sink->target.columns[i].template_text && strcmp(sink->target.columns[i].template_text, text) == 0) return true;
    return false;
}

/* Templates that are new with this change; those without a verdict are added to *needed. */
static int check_templates(Control *control, const Source *source, const Sink *sink, const Sink *old, TemplateCheck **needed,
                           Failure *failure) {
    for (size_t i = 0; i < sink->target.column_count; i++) {
        const Column *column = &sink->target.columns[i];
        if (!column->template_text || has_template(old, column->template_text)) continue;
        if (template_check_meta(column->template_text, source, &failure->error) < 0) {
            error_prefix(&failure->error, "The template of column \"%s\"", column->name);
            return failure_bad_request(failure);
        }
        int r = template_verdicts_find(control->verdicts, column->template_text, &failure->error);
        if (r == 0) continue;
        if (r == TEMPLATE_UNKNOWN) {
            if (!*needed) *needed = template_check_new(control->mailbox, MESSAGE_TEMPLATE_CHECK);
            template_check_add(*needed, column->template_text);
            continue;
        }
        Error error = failure->error;
        if (r == -ETIME) /* the call's, not the column's */
            return failure_set(failure, 503, "templateCheckTimeout",
                               "Nothing is changed: %s. Try again: those templates are not checked again.", error.text);
        error_prefix(&failure->error, "The template of column \"%s\"", column->name);
        bool theirs = r == -EINVAL;
        failure->status = theirs ? 400 : 503;
        failure->name = theirs ? "badRequest" : "templatesUnavailable";
        failure->retry_after = theirs ? 0 : 1;
        return -1;
    }
    return 0;
}

int change_check(Control *control, const ChangeRequest *request, const ChangeOutcome *outcome, TemplateCheck **ret_needed,
                 Failure *failure) {
    if (!outcome->done || outcome->withdraws || !outcome->shows) return 0;
    const RegistrySource *known = request->source_id ? registry_find(&control->registry, request->source_id) : NULL;
    SnapshotSource *shown;
    SinkGate *gate = sink_gate_new(), **gates = calloc(outcome->sink_count + 1, sizeof *gates);
    check(gates);
    for (size_t i = 0; i < outcome->sink_count; i++) gates[i] = gate;
    int r = registry_compile(&control->registry, known, outcome->source, outcome->sinks, gates, outcome->sink_count, &shown,
                             &failure->error);
    free(gates);
    sink_gate_unref(gate);
    if (r < 0) {
        failure->status = 400;
        failure->name = "badRequest";
        return -1;
    }
    snapshot_source_unref(shown);
    TemplateCheck *needed = NULL;
    for (size_t i = 0; i < outcome->sink_count; i++) {
        const RegistrySink *old = known ? registry_sink_numbered(known, outcome->sinks[i]->number) : NULL;
        const Source *source = outcome->source ? outcome->source : known->source;
        if (check_templates(control, source, outcome->sinks[i], old ? old->sink : NULL, &needed, failure) == 0) continue;
        template_check_free(needed);
        return -1;
    }
    *ret_needed = needed;
    return needed ? CHANGE_NEEDS_TEMPLATES : 0;
}

static const char *task_type(const ChangeRequest *request) {
    static const char *const types[][2] = {
        [CHANGE_CREATE] = {"source.create", "sink.create"},
        [CHANGE_PATCH] = {"source.update", "sink.update"},
        [CHANGE_SETTINGS] = {"source.settings", "sink.settings"},
        [CHANGE_ENABLE] = {"source.enable", "sink.enable"},
        [CHANGE_DISABLE] = {"source.disable", "sink.disable"},
        [CHANGE_DELETE] = {"source.delete", "sink.delete"},
        [CHANGE_UNDELETE] = {"source.undelete", "sink.undelete"},
        [CHANGE_PAUSE] = {"source.pause", "sink.pause"},
        [CHANGE_RESUME] = {"source.resume", "sink.resume"},
        [CHANGE_MANIFEST] = {"source.manifest", NULL},
        [CHANGE_RUN] = {"source.run", NULL},
        [CHANGE_INFER] = {NULL, "sink.infer"},
    };
    return types[request->kind][request->of_sink];
}

static void outputs_text(Change *change, const char *key, const char *text) {
    check(json_object_set_new(change->task->outputs, key, json_string(text)) == 0);
}

int change_start(Control *control, const ChangeRequest *request, Task **ret_task, TemplateCheck **ret_needed, Failure *failure) {
    check_on_thread(&control->owner);
    check(request->by && (request->source_id || request->kind == CHANGE_CREATE) && (request->of_sink || !request->sink_id));
    check(!request->discard || request->kind == CHANGE_DELETE);
    check(!(request->prune || request->reset_settings) || request->kind == CHANGE_MANIFEST);
    check(!control->view.draining);
    size_t count = 0;
    for (const Change *at = control->changes; at; at = at->next) count++;
    if (count >= CHANGES_MAX)
        return failure_set(failure, 503, "overloaded", "%zu changes are in progress already: try again later.", count);

    ChangeOutcome outcome;
    if (change_build(control, request, &outcome, failure) < 0) return -1;
    int r = change_check_pending(control, request, &outcome, failure);
    if (r == 0) r = change_check(control, request, &outcome, ret_needed, failure);
    if (r != 0) {
        outcome_deinit(&outcome);
        return r;
    }
    Change *change = calloc(1, sizeof *change);
    check(change);
    bool new_sink = request->of_sink && request->kind == CHANGE_CREATE;
    change->pending.back = change_back;
    change->asked = control->options.clock->boot(control->options.clock);
    change->request = *request;
    change->request.source_id = text_copy(request->source_id ? request->source_id : outcome.source->source_id);
    change->request.sink_id = text_copy(new_sink ? outcome.sinks[0]->sink_id : request->sink_id);
    change->request.by = text_copy(request->by);
    change->request.body = json_incref(request->body);
    change->outcome = outcome; /* until its turn comes: what it will name; then it is built again, since definitions may be others */

    change->task = tasks_begin(control->tasks, task_type(request), change->request.source_id);
    check(json_object_set_new(change->task->outputs, "projectId", json_integer(control->options.options->project)) == 0);
    outputs_text(change, "branchId", control->options.options->branch);
    outputs_text(change, "sourceId", change->request.source_id);
    if (change->request.sink_id) outputs_text(change, "sinkId", change->request.sink_id);
    *ret_task = change->task;
    check(change->request.source_id && change->step == CHANGE_QUEUED);

    Change **end = &control->changes;
    while (*end) end = &(*end)->next;
    *end = change;
    changes_run(control);
    for (change = control->changes; change; change = change->next)
        if (change->task == *ret_task && change->step < CHANGE_DEFINING) control_note_task(control, *ret_task);
    return 0;
}

int control_change(Control *control, const ChangeRequest *request, ApiCall *call, Failure *failure) {
    Task *task = NULL;
    TemplateCheck *needed = NULL;
    int r = change_start(control, request, &task, &needed, failure);
    if (r == CHANGE_NEEDS_TEMPLATES) return control_park(control, call, needed, failure);
    if (r == 0) tasks_answer(control->tasks, task, call, 202);
    return r;
}
