/* Statistics of a sink. */
#include "gateway/api/statistics.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "config/source_bridge.h"
#include "gateway/api/bridge_json.h"

json_t *statistics_time_json(usec_t wall) {
    char text[25];
    if (wall == 0) return json_null();
    clock_format_utc(wall, text);
    return json_string(text);
}

json_t *statistics_level_json(uint64_t rows, uint64_t bytes, usec_t first, usec_t last) {
    json_t *json = json_pack("{s:I, s:I, s:o, s:o}", "recordsCount", (json_int_t)rows, "size", (json_int_t)bytes, "firstRecordAt",
                             statistics_time_json(first), "lastRecordAt", statistics_time_json(last));
    check(json);
    return json;
}

static json_t *tally_json(const Tally *tally) {
    return statistics_level_json(tally->rows, tally->bytes, tally->rows ? tally->first_time : 0, tally->rows ? tally->last_time : 0);
}

/* What was imported since the statistics were cleared. */
static json_t *target_json(const SinkTotals *totals) {
    uint64_t rows = totals->imported.rows - totals->cleared_rows, bytes = totals->imported.bytes - totals->cleared_bytes;
    return statistics_level_json(rows, bytes, rows ? totals->imported.first_time : 0, rows ? totals->imported.last_time : 0);
}

static json_t *total_json(const SinkStatistics *statistics) {
    const SinkTotals *totals = &statistics->totals;
    uint64_t rows = statistics->local.rows + statistics->staging.rows + totals->imported.rows - totals->cleared_rows;
    uint64_t bytes = statistics->local.bytes + statistics->staging.bytes + totals->imported.bytes - totals->cleared_bytes;
    return statistics_level_json(rows, bytes, rows ? totals->received.first_time : 0, rows ? totals->received.last_time : 0);
}

/* Of the oldest row that waits, wall; 0: none does. */
static usec_t oldest_waiting(const SinkStatistics *statistics) {
    usec_t local = statistics->local.rows ? statistics->local.first_time : 0;
    usec_t staging = statistics->staging.rows ? statistics->staging.first_time : 0;
    return staging != 0 && (local == 0 || staging < local) ? staging : local;
}

usec_t statistics_waiting(const SinkStatistics *statistics, usec_t now) {
    usec_t oldest = oldest_waiting(statistics);
    return oldest != 0 && now > oldest ? now - oldest : 0;
}

static json_t *oldest_json(const SinkStatistics *statistics, usec_t now) {
    usec_t oldest = oldest_waiting(statistics);
    if (oldest == 0) return json_null();
    json_t *json = json_pack("{s:o, s:I}", "receivedAt", statistics_time_json(oldest), "seconds",
                             (json_int_t)(statistics_waiting(statistics, now) / USEC_SECOND));
    check(json);
    return json;
}

static json_t *pause_json(const ControlView *view, const Source *source, const Sink *sink) {
    const char *what;
    const Pause *pause = pauses_of_sink(view->pauses, source, sink, &what);
    if (!pause) return json_null();
    json_t *json = pause_to_json(pause);
    check(json_object_set_new(json, "what", json_string(what)) == 0);
    return json;
}

/* Of declared columns that have a default, or are optional. */
static json_t *defaults_json(const ControlView *view, const Source *source, const Sink *sink) {
    json_t *json = json_object();
    const RegistrySource *known = registry_find(view->registry, source->source_id);
    const RegistrySink *found = known ? registry_find_sink(known, sink->sink_id) : NULL;
    check(json);
    for (size_t i = 0; found && i < sink->target.column_count; i++) {
        const Column *column = &sink->target.columns[i];
        if (column->inferred != COLUMN_DECLARED || (!column->default_value && !column->optional)) continue;
        json_int_t uses = (json_int_t)default_counts_of(found->gate->defaults, column->name);
        check(json_object_set_new(json, column->name, json_integer(uses)) == 0);
    }
    return json;
}

void statistics_set_aspects(const Control *control, const Source *source, const Sink *sink, SinkAspects *ret_aspects) {
    bool is_bridge = source->kind->bridge != NULL;
    *ret_aspects = (SinkAspects){.pause = pause_json(control_view(control), source, sink),
                                 .nameless = control_nameless_json(control, sink),
                                 .sink = sink->number,
                                 .defaults = defaults_json(control_view(control), source, sink),
                                 .is_bridge = is_bridge,
                                 .bridge = is_bridge ? control_bridge_status(control, source) : NULL};
}

void statistics_drop_aspects(SinkAspects *aspects) {
    json_decref(aspects->pause);
    json_decref(aspects->defaults);
    json_decref(aspects->nameless);
    bridge_status_unref(aspects->bridge);
    *aspects = (SinkAspects){0};
}

static json_t *lag_json(const SinkStatistics *statistics, const SinkAspects *aspects, usec_t now) {
    double waiting = (double)statistics_waiting(statistics, now) / (double)USEC_SECOND;
    BridgeLag lag = bridge_lag_of_sink(aspects->bridge, aspects->sink, waiting);
    return bridge_lag_json(&lag);
}

json_t *statistics_error_json(const char *last_error) {
    json_t *json = last_error[0] ? json_string(last_error) : json_null();
    return json ? json : json_string("The last import failed; the destination's message is not UTF-8."); /* or cut within a character */
}

json_t *statistics_to_json(const SinkStatistics *statistics, const SinkAspects *aspects, usec_t now) {
    const SinkTotals *totals = &statistics->totals;
    json_t *damage = statistics->damage[0] ? json_string(statistics->damage) : json_null();
    if (!damage) damage = json_string("A stored record was damaged: see the log.");
    json_t *json = json_pack("{s:o, s:{s:o, s:o, s:o}, s:o, s:{s:I, s:I}, s:I, s:I, s:I, s:{s:I, s:I}, s:b, s:O, s:b, s:o, s:o}", "total",
                             total_json(statistics), "levels", "local", tally_json(&statistics->local), "staging",
                             tally_json(&statistics->staging), "target", target_json(totals), "oldestWaiting", oldest_json(statistics, now),
                             "rejects", "events", (json_int_t)totals->rejected_events, "rows", (json_int_t)totals->rejected_rows,
                             "droppedRows", (json_int_t)totals->dropped_rows, "skippedEvents", (json_int_t)totals->skipped_events,
                             "emptyEvents", (json_int_t)totals->empty_events, "files", "waiting", (json_int_t)statistics->files_waiting,
                             "failed", (json_int_t)statistics->files_failed, "paused", (int)statistics->paused, "pausedBy", aspects->pause,
                             "failing", (int)statistics->failing, "lastError", statistics_error_json(statistics->last_error), "damage",
                             damage);
    check(json);
    check(json_object_set_new(json, "tableMadeAt", statistics_time_json(statistics->made_table)) == 0);
    if (aspects->nameless) check(json_object_set(json, "fieldsWithoutColumn", aspects->nameless) == 0);
    check(json_object_set(json, "defaultsUsed", aspects->defaults) == 0);
    if (aspects->is_bridge) check(json_object_set_new(json, "lag", lag_json(statistics, aspects, now)) == 0);
    return json;
}

/* ---- of one sink ----------------------------------------------------------------------------- */

typedef struct Query {
    Survey survey; /* first */
    SinkAspects aspects;
    SinkStatistics statistics;
} Query;

static void see(Survey *survey, size_t index, const SinkStatistics *statistics) {
    (void)index;
    ((Query *)survey)->statistics = *statistics;
}

static void end(Control *control, Survey *survey, bool complete) {
    Query *query = (Query *)survey;
    Clock *clock = control_view(control)->clock;
    if (complete)
        api_call_answer(steal(survey->pending.call), 200, statistics_to_json(&query->statistics, &query->aspects, clock->wall(clock)));
    else
        api_call_fail_stalled(steal(survey->pending.call));
}

static void drop(Survey *survey) {
    statistics_drop_aspects(&((Query *)survey)->aspects);
}

void api_statistics_total(ApiRequest *request) {
    Query *query = survey_new(sizeof *query, see, end, drop);
    query->survey.sinks = malloc(sizeof *query->survey.sinks);
    check(query->survey.sinks);
    query->survey.sinks[0] = request->sink->sink->number;
    query->survey.count = 1;
    statistics_set_aspects(request->control, request->source->source, request->sink->sink, &query->aspects);
    survey_start(request, &query->survey);
}
