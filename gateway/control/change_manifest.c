/* What a manifest makes of a source: the source, its sinks and their settings at once. What the
 * manifest leaves out of them has its default again (config/manifest_keeps.h lists what has not).
 * Sinks that it does not name stay as they are. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "gateway/control/change_parts.h"

typedef struct ManifestBuild {
    Control *control;
    const ChangeRequest *request;
    const ManifestSource *manifest;
    const RegistrySource *known;                /* NULL: the source is new */
    const RegistrySink *of[SINKS_A_SOURCE_MAX]; /* what each sink of the manifest is; NULL: a new one */
    ChangeOutcome *outcome;
    Failure *failure;
    json_t *sinks; /* of the plan */
    bool differs;
    bool source_adopts; /* the manifest sets what somebody else had set to the same */
    size_t live;        /* sinks that there will be */
    Buffer said;        /* text: what the change means for what was read; the notes of the plan, each once */
} ManifestBuild;

static json_t *entry(const char *action, json_t *take_fields) {
    json_t *json = json_pack("{s:s, s:o}", "action", action, "fields", take_fields ? take_fields : json_array());
    check(json);
    return json;
}

/* `take_changes`: the same fields with their values. */
static json_t *entry_of_change(json_t *take_fields, json_t *take_changes) {
    json_t *json = entry(json_array_size(take_fields) > 0 ? "update" : "unchanged", take_fields);
    check(json_object_set_new(json, "changes", take_changes) == 0);
    return json;
}

static void plan_sink_entry(ManifestBuild *build, const Sink *sink, json_t *take_entry) {
    json_t *table = json_pack("{s:s, s:s}", "connection", sink->target.connection, "tableId", sink_target_name(&sink->target));
    check(table && json_object_set_new(take_entry, "sinkId", json_string(sink->sink_id)) == 0);
    check(json_object_set_new(take_entry, "table", table) == 0 && json_array_append_new(build->sinks, take_entry) == 0);
}

/* A note on an entry of the plan; empty: none. */
static void note(ManifestBuild *build, json_t *plan_entry, Buffer *text) {
    if (text->size == 0) return;
    check(plan_entry && json_object_set_new(plan_entry, "note", json_string(buffer_text(text))) == 0);
    if (strstr(buffer_text(&build->said), buffer_text(text))) return;
    if (build->said.size > 0) buffer_append_byte(&build->said, ' ');
    buffer_append_span(&build->said, buffer_span(text));
}

/* `items` NULL: the manifest has none. */
static int declare_settings(const ManifestBuild *build, Settings *settings, const json_t *items) {
    if (settings_declare(settings, items, build->request->reset_settings, &build->failure->error) == 0) return 0;
    return failure_bad_request(build->failure);
}

/* Which settings the manifest leaves as somebody set them. */
static void note_kept(json_t *plan_entry, const Settings *settings) {
    json_t *kept = settings_kept(settings);
    if (json_array_size(kept) > 0) check(json_object_set(plan_entry, "kept", kept) == 0);
    json_decref(kept);
}

/* ---- the source ------------------------------------------------------------------------------ */

static int new_source(ManifestBuild *build) {
    ChangeOutcome *outcome = build->outcome;
    Failure *failure = build->failure;
    if (build->request->if_version != 0)
        return failure_set(failure, 409, "versionMismatch", "There is no source \"%s\" that has a version.", build->request->source_id);
    if (source_from_request(build->manifest->source, &outcome->source, &failure->error) < 0) return failure_bad_request(failure);
    if (declare_settings(build, &outcome->source->settings, build->manifest->settings) < 0) return -1;
    outcome->source_is_new = outcome->source_stamps = outcome->shows = build->differs = true;
    check(json_object_set_new(outcome->plan, "source", entry("create", NULL)) == 0);
    if (bridge_check_source(build->control, outcome->source, failure) < 0) return -1;
    return change_check_source_limit(build->control, failure);
}

static int known_source(ManifestBuild *build) {
    ChangeOutcome *outcome = build->outcome;
    const Source *old = build->known->source;
    if (change_check_version(build->request, old->version.number, build->failure) < 0) return -1;
    if (source_declared(old, build->manifest->source, &outcome->source, &build->failure->error) < 0)
        return failure_bad_request(build->failure);
    if (change_check_source(build->control, build->known, outcome->source, build->failure) < 0) return -1;
    json_t *fields = source_differences(old, outcome->source);
    bool shows = json_array_size(fields) > 0;
    json_decref(fields);
    if (declare_settings(build, &outcome->source->settings, build->manifest->settings) < 0) return -1;
    fields = source_differences(old, outcome->source);
    outcome->source_stamps = json_array_size(fields) > 0;
    json_t *plan_entry = entry_of_change(fields, source_changes(old, outcome->source));
    note_kept(plan_entry, &outcome->source->settings);
    check(json_object_set_new(outcome->plan, "source", plan_entry) == 0);
    _cleanup_(buffer_deinit) Buffer text = {0};
    bridge_say_change(build->control, old, outcome->source, &text);
    note(build, plan_entry, &text);
    outcome->shows = shows;
    build->source_adopts = !settings_declared_equal(&old->settings, &outcome->source->settings);
    build->differs = outcome->source_stamps || build->source_adopts;
    return 0;
}

/* ---- sinks ----------------------------------------------------------------------------------- */

static int new_sink(ManifestBuild *build, size_t index) {
    const Source *source = build->outcome->source;
    Sink *sink;
    bool first_rejects = source_first_sink_rejects(source) && build->live == 0;
    if (sink_from_request(build->manifest->sinks[index], first_rejects, &sink, &build->failure->error) < 0)
        return failure_bad_request(build->failure);
    sink_complete(source, sink);
    SinkOutcome *of_sink = outcome_add_sink(build->outcome, sink);
    if (change_check_inference(sink, build->failure) < 0) return -1;
    if (build->known) bridge_note_new(build->control, build->known, sink);
    of_sink->is_new = of_sink->stamps = of_sink->prepares = true;
    if (declare_settings(build, &sink->settings, build->manifest->sink_settings[index]) < 0) return -1;
    build->live++;
    build->outcome->shows = build->differs = true;
    plan_sink_entry(build, sink, entry("create", NULL));
    return change_check_connection(build->control, source, sink, build->failure);
}

/* With the id that it has from now on, and with a name that came from its id. */
static Sink *renamed(const Sink *old, const char *id) {
    Sink *sink = sink_copy(old);
    if (strcmp(sink->name, sink->sink_id) == 0) {
        free(sink->name);
        sink->name = text_copy(id);
    }
    free(sink->sink_id);
    sink->sink_id = text_copy(id);
    return sink;
}

static int known_sink(ManifestBuild *build, size_t index, const Sink *old) {
    Sink *sink;
    _cleanup_(cleanup_sink_unref) Sink *base = renamed(old, json_string_value(json_object_get(build->manifest->sinks[index], "sinkId")));
    if (sink_declared(base, build->manifest->sinks[index], &sink, &build->failure->error) < 0) return failure_bad_request(build->failure);
    sink_complete(build->outcome->source, sink);
    SinkOutcome *of_sink = outcome_add_sink(build->outcome, sink);
    if (change_check_inference(sink, build->failure) < 0) return -1;
    json_t *fields = sink_differences(old, sink);
    bool shows = json_array_size(fields) > 0;
    json_decref(fields);
    if (declare_settings(build, &sink->settings, build->manifest->sink_settings[index]) < 0) return -1;
    fields = sink_differences(old, sink);
    of_sink->stamps = json_array_size(fields) > 0;
    of_sink->adopts = !settings_declared_equal(&old->settings, &sink->settings);
    json_t *plan_entry = entry_of_change(fields, sink_changes(old, sink));
    note_kept(plan_entry, &sink->settings);
    if (strcmp(old->sink_id, sink->sink_id) != 0) check(json_object_set_new(plan_entry, "renamedFrom", json_string(old->sink_id)) == 0);
    plan_sink_entry(build, sink, plan_entry);
    build->outcome->shows = build->outcome->shows || shows;
    build->differs = build->differs || of_sink->stamps || of_sink->adopts;
    if (!sink_target_differs(old, sink)) return bridge_check_sink(build->outcome->source, sink, build->failure);
    of_sink->keeps = bridge_note_target(build->control, build->known, build->outcome->source, old, sink) && build->request->keep_positions;
    if (of_sink->keeps && bridge_check_keep(build->control, build->outcome->source, old, sink, build->failure) < 0) return -1;
    of_sink->closes = true;
    of_sink->prepares = !sink->disabled;
    _cleanup_(buffer_deinit) Buffer text = {0};
    bridge_say_target(build->outcome->source, old, sink, of_sink->keeps, &text);
    note(build, json_array_get(build->sinks, json_array_size(build->sinks) - 1), &text);
    return change_check_connection(build->control, build->outcome->source, sink, build->failure);
}

static int declared_sink(ManifestBuild *build, size_t index) {
    return build->of[index] ? known_sink(build, index, build->of[index]->sink) : new_sink(build, index);
}

static bool is_declared(const ManifestBuild *build, const RegistrySink *sink) {
    for (size_t i = 0; i < build->manifest->sink_count; i++)
        if (build->of[i] == sink) return true;
    return false;
}

/* They end with the same snapshot in which the others begin: no event finds a source without
 * sinks. */
static void prune(ManifestBuild *build) {
    const Control *control = build->control;
    for (size_t i = 0; i < build->known->sink_count; i++) {
        const Sink *old = build->known->sinks[i]->sink;
        if (old->deleted != 0 || is_declared(build, build->known->sinks[i])) continue;
        Sink *sink = sink_copy(old);
        sink->deleted = control->options.clock->wall(control->options.clock);
        sink->deleted_running = usage_running(control->options.usage);
        pause_end(&sink->paused);
        SinkOutcome *of_sink = outcome_add_sink(build->outcome, sink);
        of_sink->stamps = of_sink->closes = true;
        build->live--;
        build->outcome->shows = build->differs = true;
        plan_sink_entry(build, sink, entry("delete", NULL));
    }
}

/* What is as it was before needs no place in the transaction. */
static void drop_unchanged(ChangeOutcome *outcome) {
    size_t kept = 0;
    for (size_t i = 0; i < outcome->sink_count; i++) {
        if (!outcome->of_sinks[i].stamps && !outcome->of_sinks[i].adopts) {
            sink_unref(outcome->sinks[i]);
            continue;
        }
        outcome->sinks[kept] = outcome->sinks[i];
        outcome->of_sinks[kept++] = outcome->of_sinks[i];
    }
    outcome->sink_count = kept;
}

/* The table of the sink is taken: by a sink that the manifest does not name? */
static int say_prune(ManifestBuild *build, const Sink *sink) {
    for (size_t i = 0; build->known && !build->request->prune && i < build->known->sink_count; i++) {
        const Sink *other = build->known->sinks[i]->sink;
        if (other->deleted != 0 || is_declared(build, build->known->sinks[i]) || !change_same_table(build->control, sink, other)) continue;
        return failure_set(build->failure, 409, "tableTaken",
                           "Sink \"%s/%s\" imports into table \"%s\" of connection \"%s\" already, and the manifest does not name it. With "
                           "--prune (prune=true) sink \"%s\" goes on in its place.",
                           build->request->source_id, other->sink_id, sink_target_name(&sink->target), sink->target.connection,
                           sink->sink_id);
    }
    return -1;
}

static int build_sinks(ManifestBuild *build) {
    if (build->known && handover_find(build->control, build->request, build->known, build->manifest, build->of, build->failure) < 0)
        return -1;
    if (build->known && build->request->prune) prune(build);
    for (size_t i = 0; i < build->manifest->sink_count; i++)
        if (declared_sink(build, i) < 0) return -1;
    if (build->live > SINKS_A_SOURCE_MAX)
        return failure_set(build->failure, 422, "resourceLimitReached", "A source has at most %d sinks, and this one would have %zu.",
                           SINKS_A_SOURCE_MAX, build->live);
    ChangeOutcome *outcome = build->outcome;
    for (size_t i = 0; i < outcome->sink_count; i++) {
        const SinkOutcome *of_sink = &outcome->of_sinks[i];
        if (outcome->sinks[i]->deleted != 0 || !(of_sink->is_new || of_sink->closes)) continue;
        if (change_check_table(build->control, build->request->source_id, outcome->sinks[i], outcome, build->failure) == 0) continue;
        return say_prune(build, outcome->sinks[i]);
    }
    return 0;
}

/* Takes what was said. */
static void say_done(ManifestBuild *build) {
    _cleanup_(buffer_deinit) Buffer text = {0}, said = build->said;
    build->said = (Buffer){0};
    if (!build->differs) return;
    buffer_append_text(&text, build->known ? "The source and its sinks are as declared." : "The source and its sinks are created.");
    if (said.size > 0) buffer_printf(&text, " %s", buffer_text(&said));
    outcome_set_done(build->outcome, &text);
}

int change_build_manifest(Control *control, const ChangeRequest *request, ChangeOutcome *outcome, Failure *failure) {
    ManifestSource manifest;
    if (manifest_source_parse(request->body, request->source_id, &manifest, &failure->error) < 0) return failure_bad_request(failure);
    const RegistrySource *known = registry_find(&control->registry, request->source_id);
    ManifestBuild build = {
        .control = control, .request = request, .manifest = &manifest, .known = known, .outcome = outcome, .failure = failure};
    build.live = known ? registry_live_sinks(known) : 0;
    build.sinks = json_array();
    outcome->plan = json_pack("{s:s, s:o}", "sourceId", request->source_id, "sinks", build.sinks);
    check(outcome->plan);
    int r;
    if (known && known->source->deleted != 0) {
        r = failure_deleted_source(failure, request->source_id);
    } else {
        r = known ? known_source(&build) : new_source(&build);
    }
    if (r == 0) r = build_sinks(&build);
    manifest_source_deinit(&manifest);
    if (r < 0) {
        buffer_deinit(&build.said);
        return r;
    }
    drop_unchanged(outcome);
    if (known && change_sync_wait_differs(known, outcome)) outcome->shows = true;
    say_done(&build);
    if (known && !outcome->source_stamps && !build.source_adopts) {
        source_unref(outcome->source);
        outcome->source = NULL;
    }
    return 0;
}
