#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "config/inference.h"
#include "config/source_bridge.h"
#include "gateway/control/change_parts.h"
#include "gateway/control/left_runs.h"

int failure_set(Failure *failure, int status, const char *name, const char *format, ...) {
    check(status >= 400 && status < 600 && name[0]);
    failure->status = status;
    failure->name = name;
    failure->retry_after = status == 503 ? 1 : 0;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(failure->error.text, sizeof failure->error.text, format, arguments);
    va_end(arguments);
    return -1;
}

/* failure->error says it already. */
int failure_bad_request(Failure *failure) {
    failure->status = 400;
    failure->name = "badRequest";
    return -1;
}

void outcome_deinit(ChangeOutcome *outcome) {
    source_unref(outcome->source);
    for (size_t i = 0; i < outcome->sink_count; i++) {
        sink_unref(outcome->sinks[i]);
        sink_gate_unref(outcome->of_sinks[i].gate);
    }
    free(outcome->sinks);
    free(outcome->of_sinks);
    json_decref(outcome->plan);
    free(outcome->text);
    *outcome = (ChangeOutcome){0};
}

SinkOutcome *outcome_add_sink(ChangeOutcome *outcome, Sink *take_sink) {
    array_extend(outcome->sinks, outcome->sink_count);
    array_extend(outcome->of_sinks, outcome->sink_count);
    outcome->sinks[outcome->sink_count] = take_sink;
    outcome->of_sinks[outcome->sink_count] = (SinkOutcome){0};
    return &outcome->of_sinks[outcome->sink_count++];
}

/* ---- sources --------------------------------------------------------------------------------- */

static int create_source(Control *control, const ChangeRequest *request, ChangeOutcome *outcome, Failure *failure) {
    if (source_from_request(request->body, &outcome->source, &failure->error) < 0) return failure_bad_request(failure);
    const char *id = outcome->source->source_id;
    const RegistrySource *known = registry_find(&control->registry, id);
    if (known && known->source->deleted != 0) return failure_deleted_source(failure, id);
    if (known) return failure_set(failure, 409, "sourceAlreadyExists", "Source \"%s\" exists already.", id);
    outcome->source_is_new = outcome->source_stamps = outcome->shows = true;
    outcome->done = "The source is created.";
    if (bridge_check_source(control, outcome->source, failure) < 0) return -1;
    return change_check_source_limit(control, failure);
}

bool change_sync_wait_differs(const RegistrySource *known, const ChangeOutcome *outcome) {
    const Source *source = outcome->source ? outcome->source : known->source;
    for (size_t i = 0; i < known->sink_count; i++) {
        const Sink *old = known->sinks[i]->sink, *now = change_becomes(outcome, old);
        if (old->deleted == 0 && settings_effective(SETTING_SYNC_WAIT, &known->source->settings, &old->settings) !=
                                     settings_effective(SETTING_SYNC_WAIT, &source->settings, &now->settings))
            return true;
    }
    return false;
}

/* Settings of one owner; `settings` belongs to an unshared copy. */
static int apply_settings(Settings *settings, const ChangeRequest *request, bool *ret_differs, Failure *failure) {
    const char *key;
    json_t *value;
    json_object_foreach(request->body, key, value) {
        if (strcmp(key, "settings") == 0) continue;
        return failure_set(failure, 400, "badRequest", "Field \"%.60s\" is not known: the body is {\"settings\":[{\"key\",\"value\"}]}.",
                           key);
    }
    const json_t *items = json_object_get(request->body, "settings");
    if (!items) return failure_set(failure, 400, "badRequest", "The body needs \"settings\": [{\"key\",\"value\"}].");
    Settings before = *settings;
    if (settings_apply(settings, items, &failure->error) < 0) return failure_bad_request(failure);
    *ret_differs = !settings_equal(&before, settings);
    return 0;
}

static bool shown_alike(json_t *take_a, json_t *take_b) {
    bool alike = json_equal(take_a, take_b) == 1;
    json_decref(take_a);
    json_decref(take_b);
    return alike;
}

/* ---- what is said of the rows that wait when something ends ---------------------------------- */

void outcome_set_done(ChangeOutcome *outcome, Buffer *text) {
    check(!outcome->text);
    outcome->done = outcome->text = buffer_take(text);
}

/* Each pause that holds the sink back once its definitions are these: none is ended but by its own
 * resume, or the deletion of what it is of. */
static void say_sink_waits(const Control *control, const Source *source, const Sink *sink, Buffer *text) {
    const char *connection = sink->target.connection;
    const bool paused[] = {sink->paused.at != 0, source->paused.at != 0, pauses_find(&control->pauses, connection) != NULL};
    buffer_append_text(text, "; waiting rows are imported");
    const char *joint = " when ";
    for (size_t i = 0; i < 3; i++) {
        if (!paused[i]) continue;
        buffer_append_text(text, joint);
        joint = " and ";
        if (i == 2) {
            buffer_printf(text, "connection \"%s\"", connection);
        } else {
            buffer_append_text(text, i == 0 ? "the sink" : "the source");
        }
    }
    size_t count = (size_t)paused[0] + paused[1] + paused[2];
    if (count > 0) buffer_append_text(text, count > 1 ? " are resumed" : " is resumed");
    buffer_append_byte(text, '.');
}

/* The same of a source: `outcome` is what becomes of it and its sinks. */
static void say_source_waits(const Control *control, const RegistrySource *known, const ChangeOutcome *outcome, Buffer *text) {
    buffer_append_text(text, "; waiting rows are imported");
    if (outcome->source->paused.at != 0) {
        buffer_append_text(text, " when the source is resumed.");
        return;
    }
    bool any = false;
    for (size_t i = 0; i < known->sink_count; i++) {
        const char *what;
        any = any || pauses_of_sink(&control->pauses, outcome->source, change_becomes(outcome, known->sinks[i]->sink), &what);
    }
    buffer_append_text(text, any ? ", of sinks that are paused or have a paused connection when that is resumed." : ".");
}

/* Of an unshared copy; false: it is so already. */
static bool set_pause(const Control *control, const ChangeRequest *request, Pause *pause) {
    bool was = pause->at != 0, will_be = request->kind == CHANGE_PAUSE;
    check(will_be || request->kind == CHANGE_RESUME);
    if (was == will_be) return false;
    if (will_be) {
        pause_begin(pause, control->options.clock->wall(control->options.clock), usage_running(control->options.usage), request->by);
    } else {
        pause_end(pause);
    }
    check((pause->at != 0) == will_be);
    return true;
}

static void delete_source(ChangeOutcome *outcome, const RegistrySource *known, usec_t now, usec_t running) {
    check(outcome->source->deleted == 0 && now > 0);
    outcome->source->deleted = now;
    outcome->source->deleted_running = running;
    pause_end(&outcome->source->paused); /* what waits is imported or dropped: a deleted one cannot be resumed */
    for (size_t i = 0; i < known->sink_count; i++) {
        if (known->sinks[i]->sink->deleted != 0) continue;
        Sink *sink = sink_copy(known->sinks[i]->sink);
        pause_end(&sink->paused);
        sink->deleted = now; /* the same time: so they come back together */
        sink->deleted_running = running;
        (void)outcome_add_sink(outcome, sink);
    }
}

static int undelete_source(Control *control, ChangeOutcome *outcome, const RegistrySource *known, Failure *failure) {
    for (size_t i = 0; i < known->sink_count; i++) {
        const Sink *old = known->sinks[i]->sink;
        if (old->deleted != known->source->deleted) continue;
        if (change_check_positions_kept(control, known->source, old, failure) < 0) return -1;
        Sink *sink = sink_copy(old);
        sink->deleted = 0;
        (void)outcome_add_sink(outcome, sink);
        if (change_check_table(control, known->source->source_id, sink, outcome, failure) < 0) return -1;
    }
    outcome->source->deleted = 0;
    if (bridge_check_source(control, outcome->source, failure) < 0) return -1;
    return change_check_source_limit(control, failure);
}

static int change_source(Control *control, const ChangeRequest *request, const RegistrySource *known, ChangeOutcome *outcome,
                         Failure *failure) {
    const Source *old = known->source;
    _cleanup_(buffer_deinit) Buffer text = {0};
    if (change_check_version(request, old->version.number, failure) < 0) return -1;
    bool differs = true;
    usec_t now = control->options.clock->wall(control->options.clock);
    outcome->shows = outcome->source_stamps = true;
    if (request->kind == CHANGE_PATCH) {
        if (source_patched(old, request->body, &outcome->source, &failure->error) < 0) return failure_bad_request(failure);
        differs = !shown_alike(source_store(old), source_store(outcome->source));
        if (change_check_source(control, known, outcome->source, failure) < 0) return -1;
        buffer_append_text(&text, "The source is changed.");
        bridge_say_change(control, old, outcome->source, &text);
        outcome_set_done(outcome, &text);
    } else {
        outcome->source = source_copy(old);
    }
    switch (request->kind) {
    case CHANGE_SETTINGS:
        if (apply_settings(&outcome->source->settings, request, &differs, failure) < 0) return -1;
        outcome->shows = change_sync_wait_differs(known, outcome);
        outcome->done = "The settings are changed.";
        break;
    case CHANGE_ENABLE:
        differs = old->disabled;
        outcome->source->disabled = false;
        outcome->done = "The source is enabled.";
        break;
    case CHANGE_DISABLE:
        differs = !old->disabled;
        outcome->source->disabled = true;
        outcome->withdraws = true;
        buffer_append_text(&text, "The source is disabled");
        say_source_waits(control, known, outcome, &text);
        outcome_set_done(outcome, &text);
        break;
    case CHANGE_DELETE:
        delete_source(outcome, known, now, usage_running(control->options.usage));
        outcome->withdraws = true;
        buffer_append_text(&text, request->discard ? "The source is deleted, and the waiting rows are dropped." : "The source is deleted");
        if (!request->discard) say_source_waits(control, known, outcome, &text);
        outcome_set_done(outcome, &text);
        break;
    case CHANGE_UNDELETE:
        differs = old->deleted != 0;
        if (differs && undelete_source(control, outcome, known, failure) < 0) return -1;
        outcome->done = "The source is restored.";
        break;
    case CHANGE_PAUSE:
        differs = set_pause(control, request, &outcome->source->paused);
        outcome->shows = source_bridge(old) != NULL;
        outcome->done = outcome->shows ? "The source is paused: nothing is read, and no import of its sinks starts."
                                       : "The source is paused: events are accepted, but no import of its sinks starts.";
        break;
    case CHANGE_RESUME:
        outcome->shows = source_bridge(old) != NULL;
        differs = set_pause(control, request, &outcome->source->paused);
        outcome->done = "The source is resumed.";
        if (!differs && bridge_is_finished(control, old)) {
            differs = outcome->runs = true;
            outcome->done = "The source was finished, and is read once more.";
        } else if (!differs && source_ends(old) && bridge_is_starting(control, old)) {
            failure->retry_after = 1;
            return failure_set(failure, 409, "bridgeNotRunning",
                               "Source \"%s\" is starting, and it is not known yet whether it is finished: try again later.",
                               old->source_id);
        } else if (!differs && source_ends(old)) {
            outcome->same = "The source is neither paused nor finished: nothing was changed.";
        }
        break;
    case CHANGE_RUN:
        differs = outcome->runs = source_ends(old);
        outcome->done = "A topic was created again, and the source is read once more.";
        break;
    case CHANGE_CREATE:
    case CHANGE_MANIFEST:
    case CHANGE_INFER:
    case CHANGE_PATCH: break;
    }
    if (!differs) outcome->done = NULL;
    return 0;
}

/* ---- sinks ----------------------------------------------------------------------------------- */

int change_check_inference(const Sink *sink, Failure *failure) {
    if (!sink->target.infer) return 0;
    bool is_newer_by;
    _cleanup_free_ char *wrong = inference_wrong(&sink->target, &is_newer_by);
    if (!wrong) return 0;
    const char *field = is_newer_by ? "mergeIf.newerBy" : "mapping.infer.maxColumns";
    (void)error_set(&failure->error, -EINVAL, "Field \"table.%s\" %s", field, wrong);
    return failure_bad_request(failure);
}

static int create_sink(Control *control, const ChangeRequest *request, const RegistrySource *known, ChangeOutcome *outcome,
                       Failure *failure) {
    bool first_rejects = source_first_sink_rejects(known->source) && registry_live_sinks(known) == 0;
    Sink *sink;
    if (sink_from_request(request->body, first_rejects, &sink, &failure->error) < 0) return failure_bad_request(failure);
    sink_complete(known->source, sink);
    SinkOutcome *of_sink = outcome_add_sink(outcome, sink);
    if (change_check_inference(sink, failure) < 0) return -1;
    const RegistrySink *same = registry_find_sink(known, sink->sink_id);
    if (same && same->sink->deleted != 0) return failure_deleted_sink(failure, known->source->source_id, sink->sink_id);
    if (same) return failure_set(failure, 409, "sinkAlreadyExists", "Sink \"%s\" exists already.", sink->sink_id);
    if (change_check_one_more(control, known, sink, outcome, failure) < 0) return -1;
    bridge_note_new(control, known, sink);
    of_sink->is_new = of_sink->stamps = of_sink->prepares = outcome->shows = true;
    outcome->done = "The sink is created.";
    return 0;
}

static int patch_sink(Control *control, const ChangeRequest *request, const RegistrySource *known, const Sink *old, ChangeOutcome *outcome,
                      bool *ret_differs, Failure *failure) {
    Sink *sink;
    if (sink_patched(old, request->body, &sink, &failure->error) < 0) return failure_bad_request(failure);
    sink_complete(known->source, sink);
    SinkOutcome *of_sink = outcome_add_sink(outcome, sink);
    if (change_check_inference(sink, failure) < 0) return -1;
    if (request->keep_positions && bridge_check_keep(control, known->source, old, sink, failure) < 0) return -1;
    *ret_differs = !shown_alike(sink_store(old), sink_store(sink));
    _cleanup_(buffer_deinit) Buffer text = {0};
    buffer_append_text(&text, "The sink is changed.");
    bridge_say_target(known->source, old, sink, request->keep_positions, &text);
    outcome_set_done(outcome, &text);
    if (!sink_target_differs(old, sink)) return bridge_check_sink(known->source, sink, failure);
    of_sink->keeps = bridge_note_target(control, known, known->source, old, sink) && request->keep_positions;
    of_sink->prepares = !sink->disabled;
    of_sink->closes = true;
    return change_check_connection(control, known->source, sink, failure) < 0
               ? -1
               : change_check_table(control, known->source->source_id, sink, outcome, failure);
}

/* What becomes of the events that come from now on. */
static void say_without_sink(const RegistrySource *known, const Sink *disabled, Buffer *out) {
    for (size_t i = 0; i < known->sink_count; i++) {
        const Sink *sink = known->sinks[i]->sink;
        if (sink->deleted != 0 || sink->disabled || strcmp(sink->sink_id, disabled->sink_id) == 0) continue;
        buffer_append_text(out, source_bridge(known->source)
                                    ? " When it is enabled again, it continues where it stopped."
                                    : " New events are not stored for it; its statistics count them as skippedEvents.");
        return;
    }
    buffer_printf(out, " The source has no enabled sink now: %s", source_without_sink(known->source));
}

static int change_sink(Control *control, const ChangeRequest *request, const RegistrySource *known, const Sink *old, ChangeOutcome *outcome,
                       Failure *failure) {
    _cleanup_(buffer_deinit) Buffer text = {0};
    if (change_check_version(request, old->version.number, failure) < 0) return -1;
    bool differs = true;
    usec_t now = control->options.clock->wall(control->options.clock);
    outcome->shows = true;
    if (request->kind == CHANGE_PATCH) {
        if (patch_sink(control, request, known, old, outcome, &differs, failure) < 0) return -1;
    } else if (request->kind == CHANGE_INFER) {
        size_t count;
        (void)outcome_add_sink(outcome, inference_change(old, request->body, &count));
        outcome->of_sinks[0].prepares = outcome->of_sinks[0].closes = differs = count > 0;
        buffer_printf(&text, "%zu column%s inferred.", count, count == 1 ? " is" : "s are");
        outcome_set_done(outcome, &text);
    } else {
        (void)outcome_add_sink(outcome, sink_copy(old));
    }
    Sink *sink = outcome->sinks[0];
    SinkOutcome *of_sink = &outcome->of_sinks[0];
    of_sink->stamps = true;
    switch (request->kind) {
    case CHANGE_SETTINGS:
        if (apply_settings(&sink->settings, request, &differs, failure) < 0) return -1;
        outcome->shows = change_sync_wait_differs(known, outcome);
        outcome->done = "The settings are changed.";
        break;
    case CHANGE_ENABLE:
        differs = old->disabled;
        sink->disabled = false;
        of_sink->prepares = true;
        outcome->done = "The sink is enabled.";
        break;
    case CHANGE_DISABLE:
        differs = !old->disabled;
        sink->disabled = true;
        outcome->withdraws = true;
        buffer_append_text(&text, "The sink is disabled");
        say_sink_waits(control, known->source, sink, &text);
        say_without_sink(known, sink, &text);
        outcome_set_done(outcome, &text);
        break;
    case CHANGE_DELETE:
        sink->deleted = now;
        sink->deleted_running = usage_running(control->options.usage);
        pause_end(&sink->paused);
        outcome->withdraws = true;
        buffer_append_text(&text, request->discard ? "The sink is deleted, and the waiting rows are dropped." : "The sink is deleted");
        if (!request->discard) say_sink_waits(control, known->source, sink, &text);
        outcome_set_done(outcome, &text);
        break;
    case CHANGE_UNDELETE:
        differs = old->deleted != 0;
        sink->deleted = 0;
        of_sink->prepares = !sink->disabled;
        outcome->done = "The sink is restored.";
        if (differs && (change_check_positions_kept(control, known->source, old, failure) < 0 ||
                        change_check_one_more(control, known, sink, outcome, failure) < 0))
            return -1;
        break;
    case CHANGE_PAUSE:
        differs = set_pause(control, request, &sink->paused);
        outcome->shows = false;
        outcome->done = "The sink is paused: events are accepted, but no import starts.";
        break;
    case CHANGE_RESUME:
        differs = set_pause(control, request, &sink->paused);
        outcome->shows = false;
        outcome->done = "The sink is resumed.";
        break;
    case CHANGE_RUN:
    case CHANGE_CREATE:
    case CHANGE_MANIFEST:
    case CHANGE_INFER:
    case CHANGE_PATCH: break;
    }
    if (!differs) outcome->done = NULL;
    return 0;
}

/* ---- all ------------------------------------------------------------------------------------- */

static int build(Control *control, const ChangeRequest *request, ChangeOutcome *outcome, Failure *failure) {
    if (request->kind == CHANGE_MANIFEST) return change_build_manifest(control, request, outcome, failure);
    if (!request->of_sink && request->kind == CHANGE_CREATE) return create_source(control, request, outcome, failure);
    const RegistrySource *known = registry_find(&control->registry, request->source_id);
    bool undeletes_source = !request->of_sink && request->kind == CHANGE_UNDELETE;
    if (!known || (known->source->deleted != 0 && !undeletes_source))
        return failure_set(failure, 404, "sourceNotFound", "There is no source \"%.60s\".", request->source_id);
    if (!request->of_sink) return change_source(control, request, known, outcome, failure);
    if (request->kind == CHANGE_CREATE) return create_sink(control, request, known, outcome, failure);
    const RegistrySink *sink = registry_find_sink(known, request->sink_id);
    if (!sink || (sink->sink->deleted != 0 && request->kind != CHANGE_UNDELETE))
        return failure_set(failure, 404, "sinkNotFound", "Source \"%.60s\" has no sink \"%.60s\".", request->source_id, request->sink_id);
    return change_sink(control, request, known, sink->sink, outcome, failure);
}

/* What the steps rely on. */
static void check_outcome(const ChangeOutcome *outcome) {
    check(!outcome->withdraws || outcome->shows);
    check(!outcome->runs || (outcome->shows && !outcome->withdraws && outcome->done));
    check(!outcome->source_stamps || outcome->source);
    check(!outcome->source_is_new || (outcome->source_stamps && outcome->shows && outcome->source->number == 0));
    check(outcome->sink_count <= 2 * SINKS_A_SOURCE_MAX || outcome->withdraws || !outcome->source_is_new);
    for (size_t i = 0; i < outcome->sink_count; i++) {
        const SinkOutcome *of_sink = &outcome->of_sinks[i];
        const Sink *sink = outcome->sinks[i];
        check(!of_sink->is_new || (of_sink->stamps && !of_sink->closes && sink->deleted == 0));
        check(of_sink->is_new == (sink->number == 0) && !of_sink->gate);
        check(!of_sink->prepares || (sink->deleted == 0 && !outcome->withdraws));
        for (size_t k = 0; k < i; k++) check(strcmp(sink->sink_id, outcome->sinks[k]->sink_id) != 0);
    }
}

int change_build(Control *control, const ChangeRequest *request, ChangeOutcome *ret_outcome, Failure *failure) {
    check_on_thread(&control->owner);
    ChangeOutcome outcome = {0};
    int r = build(control, request, &outcome, failure);
    if (r < 0) {
        outcome_deinit(&outcome);
        return r;
    }
    const RegistrySource *known = request->source_id ? registry_find(&control->registry, request->source_id) : NULL;
    if (outcome.done && !outcome.withdraws && bridge_check_strategies(known, &outcome, failure) < 0) {
        outcome_deinit(&outcome);
        return -1;
    }
    left_runs_note(control, known, &outcome);
    outcome.runs = outcome.runs || bridge_runs_again(request, known, &outcome);
    check_outcome(&outcome);
    *ret_outcome = outcome;
    return 0;
}
