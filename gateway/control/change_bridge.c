/* What control knows of sources that read a broker, beside what it does for all. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "config/source_kafka.h"
#include "config/source_nats.h"
#include "gateway/control/change_parts.h"

static bool shares(const Control *control, const Source *source, const Source *other) {
    const BridgeSource *bridge = source_bridge(source), *of_other = source_bridge(other);
    return other->kind == source->kind && other->deleted == 0 && strcmp(other->source_id, source->source_id) != 0 &&
           strcmp(bridge->connection, of_other->connection) == 0 &&
           source->kind->bridge->shares(source, other, control->options.options->project);
}

/* Looks at what is on its way, too. */
static int check_shared(const Control *control, const Source *source, Failure *failure) {
    const char *taken = NULL;
    for (size_t i = 0; i < control->registry.count && !taken; i++) {
        const Source *other = control->registry.sources[i]->source;
        if (shares(control, source, other)) taken = other->source_id;
    }
    for (const Change *change = control->changes; change && !taken; change = change->next) {
        const Source *other = change->outcome.source;
        if (other && shares(control, source, other)) taken = other->source_id;
    }
    if (!taken) return 0;
    _cleanup_free_ char *group = source->kind->bridge->group(source, control->options.options->project);
    return failure_set(
        failure, 409, "groupTaken",
        "Source \"%s\" reads as \"%s\" already: each of them would get only a part of the records. Give this one another \"%s\".", taken,
        group, source->kind->bridge->group_field);
}

int bridge_check_source(const Control *control, const Source *source, Failure *failure) {
    const BridgeSource *bridge = source_bridge(source);
    if (!bridge) return 0;
    const char *type = source->kind->bridge->connection_type;
    const ConnectionType *found = change_connection_type(control, bridge->connection);
    if (!found) return failure_no_connection(control, bridge->connection, failure);
    if (strcmp(found->name, type) == 0) return check_shared(control, source, failure);
    return failure_set(failure, 400, "badRequest", "Connection \"%s\" is of type %s: a source of type %s reads a connection of type %s.",
                       bridge->connection, found->name, source->kind->name, type);
}

/* ---- runs of sources that end ---------------------------------------------------------------- */

bool bridge_is_finished(const Control *control, const Source *source) {
    BridgeStatus *status = source_ends(source) ? control_bridge_status(control, source) : NULL;
    bool finished = status && status->state == BRIDGE_FINISHED && status->run == source->run;
    bridge_status_unref(status);
    return finished;
}

bool bridge_is_starting(const Control *control, const Source *source) {
    BridgeStatus *status = control_bridge_status(control, source);
    bool starting = !source->disabled && (!status || status->state == BRIDGE_STARTING);
    bridge_status_unref(status);
    return starting;
}

usec_t bridge_run_behind(const Control *control, const Source *source) {
    BridgeStatus *status = source_ends(source) ? control_bridge_status(control, source) : NULL;
    usec_t later = status ? status->later_run : 0;
    bridge_status_unref(status);
    return later;
}

char *bridge_group(const Control *control, const Source *source, const SinkTarget *target) {
    char *group = source->kind->bridge->group(source, control->options.options->project);
    if (target->table.strategy != STRATEGY_REPLACE || source->run == 0) return group;
    char *of_run = run_group(group, (uint64_t)(source->run / USEC_MS));
    free(group);
    return of_run;
}

/* Not by what people call it, and when its rows are imported. */
static bool decides_rows(const char *field) {
    return strcmp(field, "sinkId") != 0 && strcmp(field, "name") != 0 && strcmp(field, "description") != 0 &&
           strncmp(field, "settings", 8) != 0;
}

static bool any_decides_rows(json_t *take_differences) {
    bool any = false;
    size_t i;
    json_t *field;
    json_array_foreach(take_differences, i, field) any = any || decides_rows(json_string_value(field));
    json_decref(take_differences);
    return any;
}

bool bridge_runs_again(const ChangeRequest *request, const RegistrySource *known, const ChangeOutcome *outcome) {
    const Source *now = outcome->source ? outcome->source : known ? known->source : NULL;
    bool declares = request->kind == CHANGE_CREATE || request->kind == CHANGE_PATCH || request->kind == CHANGE_MANIFEST;
    if (!outcome->done || !declares || !source_ends(now)) return false;
    if (outcome->source && (!known || any_decides_rows(source_differences(known->source, now)))) return true;
    for (size_t i = 0; i < outcome->sink_count; i++) {
        const Sink *sink = outcome->sinks[i];
        const RegistrySink *old = known ? registry_sink_numbered(known, sink->number) : NULL;
        if (sink->deleted == 0 && (!old || any_decides_rows(sink_differences(old->sink, sink)))) return true;
    }
    return false;
}

static const Source *find_number(const Control *control, uint32_t number) {
    for (size_t i = 0; i < control->registry.count; i++)
        if (control->registry.sources[i]->source->number == number) return control->registry.sources[i]->source;
    return NULL;
}

void bridge_run_anew(Control *control, RunAnew *take_news) {
    const Source *source = find_number(control, take_news->source);
    bool is_present = source && source->deleted == 0 && source->run == take_news->run;
    free(take_news);
    if (!is_present || control->view.draining || changes_are_pending(control, source->source_id)) return;
    ChangeRequest request = {.kind = CHANGE_RUN, .source_id = source->source_id, .by = "replace"};
    Task *task;
    TemplateCheck *needed = NULL;
    Failure failure = {0};
    int r = change_start(control, &request, &task, &needed, &failure);
    check(r != CHANGE_NEEDS_TEMPLATES); /* its templates are those that it had */
    if (r < 0) log_warning("another run of source %s cannot begin: %s", source->source_id, failure.error.text);
}

/* ------------------------------------------------------------------------------------------------------------------------------------------- */

int bridge_check_sink(const Source *source, const Sink *sink, Failure *failure) {
    _cleanup_free_ char *wrong = source_sink_start_wrong(source, sink), *replace_wrong = source_sink_replace_wrong(source, sink);
    if (replace_wrong) return failure_set(failure, 400, "badRequest", "Field \"table.strategy\" %s.", replace_wrong);
    return wrong ? failure_set(failure, 400, "badRequest", "Field \"startFrom\" %s.", wrong) : 0;
}

static bool replaces(const Sink *sink) {
    return sink->target.table.strategy == STRATEGY_REPLACE;
}

/* The rows of the last run are in the table, and a sink that appends would read them once more. */
static int check_former_run(const RegistrySource *known, const Sink *sink, Failure *failure) {
    const RegistrySink *old = known ? registry_sink_numbered(known, sink->number) : NULL;
    if (!old || old->sink->deleted != 0 || sink->deleted != 0 || !replaces(old->sink) || sink->target.table.strategy != STRATEGY_APPEND)
        return 0;
    if (!sink_target_same_place(&old->sink->target, &sink->target)) return 0;
    return failure_set(failure, 400, "badRequest",
                       "Field \"table.strategy\" cannot become \"append\" with the same table: the rows of the last run are in it and "
                       "would be stored twice. Use another table.");
}

int bridge_check_strategies(const RegistrySource *known, const ChangeOutcome *outcome, Failure *failure) {
    const Source *source = outcome->source ? outcome->source : known->source;
    const Sink *first = NULL;
    for (size_t i = 0; i < (known ? known->sink_count : 0) + outcome->sink_count; i++) {
        bool listed = known && i < known->sink_count;
        const Sink *sink = listed ? known->sinks[i]->sink : outcome->sinks[i - (known ? known->sink_count : 0)];
        for (size_t k = 0; listed && k < outcome->sink_count; k++)
            if (outcome->sinks[k]->number == known->sinks[i]->sink->number) sink = outcome->sinks[k];
        if (sink->deleted != 0) continue;
        if (replaces(sink) && bridge_check_sink(source, sink, failure) < 0) return -1;
        if (!first) first = sink;
        if (replaces(sink) == replaces(first)) continue;
        return failure_set(failure, 400, "badRequest",
                           "Field \"table.strategy\" is \"replace\" in sink \"%s\" but not in sink \"%s\": it must be in all sinks of a "
                           "source, or in none.",
                           replaces(sink) ? sink->sink_id : first->sink_id, replaces(sink) ? first->sink_id : sink->sink_id);
    }
    for (size_t i = 0; i < outcome->sink_count; i++)
        if (check_former_run(known, outcome->sinks[i], failure) < 0) return -1;
    return 0;
}

static void begin_sentence(Buffer *text) {
    if (text->size > 0) buffer_append_byte(text, ' ');
}

static bool starts_alike(const BridgeStart *a, const BridgeStart *b) {
    return a->kind == b->kind && a->time == b->time && a->sequence == b->sequence;
}

void bridge_say_change(const Control *control, const Source *old, const Source *now, Buffer *text) {
    const BridgeSource *was = source_bridge(old), *is = source_bridge(now);
    if (!was) return;
    check(old->kind == now->kind && is);
    const char *field = now->kind->bridge->new_key(old, now, control->options.options->project);
    if (field) {
        begin_sentence(text);
        buffer_printf(text,
                      "What it has read is recorded by \"%s\", which has changed: it starts again as \"startFrom\" says, unless that one "
                      "was used before.",
                      field);
    } else if (!starts_alike(&was->start, &is->start)) {
        begin_sentence(text);
        buffer_append_text(text, "Its \"startFrom\" is used only where nothing was read yet.");
    }
}

/* The positions of a run are of no use to a sink that does not replace. */
static bool moves(const Source *source, const Sink *old, const Sink *now) {
    return source_keeps_positions(source) && !replaces(old) && !replaces(now) && !sink_target_same_place(&old->target, &now->target);
}

void bridge_note_new(const Control *control, const RegistrySource *known, Sink *sink) {
    if (!source_keeps_positions(known->source) || replaces(sink) || registry_live_sinks(known) == 0) return;
    sink->origin.joins = true;
    sink->origin.key = source_positions_key(known->source, control->options.options->project);
}

bool bridge_note_target(const Control *control, const RegistrySource *known, const Source *source, const Sink *old, Sink *now) {
    if (!moves(source, old, now)) return false;
    _cleanup_free_ char *key = source_positions_key(known->source, control->options.options->project);
    sink_note_former(now, &old->target, key);
    return true;
}

int bridge_check_keep(const Control *control, const Source *source, const Sink *old, const Sink *now, Failure *failure) {
    const char *from = old->target.connection, *to = now->target.connection;
    if (source_keeps_positions(source) && replaces(now))
        return failure_set(failure, 400, "badRequest",
                           "Parameter \"positions\" is not for the strategy \"replace\": each run reads from the first record.");
    if (!source_keeps_positions(source))
        return failure_set(failure, 400, "badRequest",
                           "Parameter \"positions\" is for sinks of sources that keep positions: source \"%s\" does not.",
                           source->source_id);
    if (change_same_destination(control, from, to)) return 0;
    return failure_set(failure, 400, "badRequest",
                       "Positions can be kept within one database only, but connections \"%s\" and \"%s\" are two databases: leave out "
                       "\"positions\", and set the positions with seek afterwards.",
                       from, to);
}

void bridge_say_target(const Source *source, const Sink *old, const Sink *now, bool keeps, Buffer *text) {
    if (source_keeps_positions(source) && replaces(old) && !replaces(now) && !sink_target_same_place(&old->target, &now->target)) {
        begin_sentence(text);
        buffer_append_text(text, now->start.given ? "The new table begins as the sink's \"startFrom\" says."
                                                  : "The source is read from its first record into the new table.");
        return;
    }
    if (!moves(source, old, now)) return;
    begin_sentence(text);
    if (keeps) {
        buffer_append_text(text, "The new table continues at the positions of the old one.");
        return;
    }
    buffer_printf(text, "Positions belong to the table: where the new one has none of this source, it %s.",
                  now->start.given ? "begins as the sink's \"startFrom\" says" : "continues after the last record of the old one");
}
