/*
 * What a manifest would do, without doing it: the outcome as it would be built now, and what each
 * table of its sinks looks like at its destination, also of those that would not change. Nothing is
 * queued behind other changes, and nothing is stored.
 */

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "gateway/control/change_parts.h"
#include "gateway/delivery/load_job.h"

#define PREVIEWS_MAX 50 /* on their way at once: a dead destination must not gather more */

typedef struct Preview {
    PendingRequest pending; /* first */
    char *source_id;
    json_t *plan;
    Sink **sinks; /* references, in the order of the plan; NULL: its table is not looked at */
    size_t count, at;
    bool can_be_applied;
} Preview;

static void preview_drop(PendingRequest *pending) {
    Preview *preview = (Preview *)pending;
    free(preview->source_id);
    json_decref(preview->plan);
    for (size_t i = 0; i < preview->count; i++) sink_unref(preview->sinks[i]);
    free(preview->sinks);
}

static void set(json_t *object, const char *key, json_t *take_value) {
    check(take_value && json_object_set_new(object, key, take_value) == 0);
}

/* The destination's words may be cut within a character. */
static json_t *words_json(const char *words) {
    json_t *json = json_string(words);
    return json ? json : json_string("The destination's message is not UTF-8.");
}

static void note_table(Preview *preview, const LoadJob *job) {
    json_t *table = json_object_get(json_array_get(json_object_get(preview->plan, "sinks"), preview->at), "table");
    if (job->request.result == SINK_DONE) {
        json_t *columns = json_array(), *left_out = json_array();
        check(columns && left_out);
        for (size_t i = 0; i < job->target.column_count; i++) {
            const char *name = job->target.columns[i].name;
            if (table_inspection_adds(&job->inspection, i)) check(json_array_append_new(columns, json_string(name)) == 0);
            if (table_inspection_lacks(&job->inspection, i)) check(json_array_append_new(left_out, json_string(name)) == 0);
        }
        bool adds = json_array_size(columns) > 0;
        set(table, "action", json_string(job->inspection.creates ? "create" : adds ? "addColumns" : "unchanged"));
        if (adds) set(table, "columns", json_incref(columns));
        if (json_array_size(left_out) > 0) set(table, "leftOut", json_incref(left_out));
        json_decref(columns);
        json_decref(left_out);
        return;
    }
    _cleanup_free_ char *text = change_prepare_failure(job);
    set(table, "action", json_string(job->request.result == SINK_REFUSED ? "refused" : "unknown"));
    set(table, "message", words_json(text));
    preview->can_be_applied = false;
}

/* The next table, from preview->at on; none: answers. */
static void look(Control *control, Preview *preview) {
    while (preview->at < preview->count && !preview->sinks[preview->at]) preview->at++;
    if (preview->at < preview->count) {
        LoadJob *job = change_prepare_job(control, preview->source_id, preview->sinks[preview->at], &preview->pending);
        job->inspects = true;
        control_ask_loaders(control, &preview->pending, job);
        return;
    }
    set(preview->plan, "dryRun", json_true());
    set(preview->plan, "canBeApplied", json_boolean(preview->can_be_applied));
    api_call_answer(steal(preview->pending.call), 200, steal(preview->plan));
    check(control->previews > 0 && !preview->plan);
    control->previews--;
    pending_request_end(&preview->pending);
}

static void preview_back(Control *control, PendingRequest *pending, Message *take_message) {
    Preview *preview = (Preview *)pending;
    check(take_message->kind == MESSAGE_PREPARE && preview->at < preview->count);
    LoadJob *job = (LoadJob *)take_message;
    check(job->inspects);
    note_table(preview, job);
    load_job_free(job);
    preview->at++;
    look(control, preview);
}

/* As the outcome has it, or as it stays; NULL when it ends, or imports nothing. */
static Sink *sink_of(const Control *control, const ChangeRequest *request, const ChangeOutcome *outcome, const char *sink_id) {
    const Sink *sink = NULL;
    for (size_t i = 0; i < outcome->sink_count && !sink; i++)
        if (strcmp(outcome->sinks[i]->sink_id, sink_id) == 0) sink = outcome->sinks[i];
    const RegistrySource *source = registry_find(&control->registry, request->source_id);
    const RegistrySink *known = source ? registry_find_sink(source, sink_id) : NULL;
    if (!sink && known) sink = known->sink;
    return sink && sink->deleted == 0 && !sink->disabled ? sink_ref(sink) : NULL;
}

/* 0: the call is taken; else as change_start. */
static int start(Control *control, const ChangeRequest *request, ApiCall *call, TemplateCheck **ret_needed, Failure *failure) {
    check(request->kind == CHANGE_MANIFEST);
    if (control->previews >= PREVIEWS_MAX)
        return failure_set(failure, 503, "overloaded", "%d dry runs are in progress already: try again later.", PREVIEWS_MAX);
    ChangeOutcome outcome;
    control->assumed = request->assumed;
    int r = change_build(control, request, &outcome, failure);
    control->assumed = NULL;
    if (r < 0) return -1;
    r = change_check(control, request, &outcome, ret_needed, failure);
    if (r != 0) {
        outcome_deinit(&outcome);
        return r;
    }
    Preview *preview = pending_request_new(sizeof *preview, preview_back, preview_drop, call);
    preview->source_id = text_copy(request->source_id);
    preview->plan = steal(outcome.plan);
    preview->can_be_applied = true;
    const json_t *sinks = json_object_get(preview->plan, "sinks");
    preview->count = json_array_size(sinks);
    preview->sinks = calloc(preview->count + 1, sizeof *preview->sinks);
    check(preview->sinks);
    for (size_t i = 0; i < preview->count; i++) {
        json_t *entry = json_array_get(sinks, i);
        preview->sinks[i] = sink_of(control, request, &outcome, json_string_value(json_object_get(entry, "sinkId")));
        if (!preview->sinks[i] || connections_find(&control->options.options->list, preview->sinks[i]->target.connection)) continue;
        /* Its connection is assumed: there is nobody to ask. */
        set(json_object_get(entry, "table"), "action", json_string("unseen"));
        sink_unref(preview->sinks[i]);
        preview->sinks[i] = NULL;
    }
    outcome_deinit(&outcome);
    control->previews++;
    look(control, preview);
    return 0;
}

int control_preview(Control *control, const ChangeRequest *request, ApiCall *call, Failure *failure) {
    TemplateCheck *needed = NULL;
    int r = start(control, request, call, &needed, failure);
    return r == CHANGE_NEEDS_TEMPLATES ? control_park(control, call, needed, failure) : r;
}
