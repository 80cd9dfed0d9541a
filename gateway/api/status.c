/* The gateway at a glance, and all sources with their sinks and statistics. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "config/source_bridge.h"
#include "gateway/api/bridge_json.h"
#include "gateway/api/statistics.h"
#include "gateway/flow/version.h"

/* ---- the gateway ----------------------------------------------------------------------------- */

static json_t *disk_json(const ControlView *view, const DiskStatistics *disk) {
    uint64_t used = disk->database + disk->staging + disk->expired;
    json_t *json = json_pack("{s:I, s:I, s:I, s:I, s:I, s:b}", "budget", (json_int_t)disk->budget, "used", (json_int_t)used, "database",
                             (json_int_t)disk->database, "staging", (json_int_t)disk->staging, "expired", (json_int_t)disk->expired,
                             "intakeStopped", (int)atomic_load(&view->usage->intake_stopped));
    check(json);
    return json;
}

static json_t *not_ready_json(const char *name, const char *message) {
    if (!name) return json_null();
    json_t *json = json_pack("{s:o, s:s}", "error", json_sprintf("stream.api.%s", name), "message", message);
    check(json);
    return json;
}

static void status_end(Control *control, Survey *survey, bool complete) {
    const ControlView *view = control_view(control);
    const Registry *registry = view->registry;
    Clock *clock = view->clock;
    usec_t now = clock->wall(clock), up = clock->boot(clock) - view->started;
    const char *message, *name;
    unsigned retry_after;
    char now_text[25];
    clock_format_utc(now, now_text);
    name = api_not_ready(control, &message, &retry_after);
    size_t sinks = 0;
    for (size_t i = 0; i < registry->count; i++)
        if (registry->sources[i]->source->deleted == 0) sinks += registry_live_sinks(registry->sources[i]);
    json_t *json = json_pack("{s:s, s:s, s:s, s:I, s:b, s:o, s:o, s:I, s:I, s:o}", "service", "sluice", "version", SLUICE_VERSION, "time",
                             now_text, "uptime", (json_int_t)(up / USEC_SECOND), "ready", name == NULL, "notReady",
                             not_ready_json(name, message), "disk", complete ? disk_json(view, &survey->disk) : json_null(), "sourcesCount",
                             (json_int_t)registry_live_sources(registry), "sinksCount", (json_int_t)sinks, "connections",
                             api_connections_json(view, survey, complete));
    check(json);
    api_call_answer(steal(survey->pending.call), 200, json);
}

void api_status(ApiRequest *request) {
    survey_connections_start(request, status_end);
}

/* ---- sources --------------------------------------------------------------------------------- */

typedef struct Aggregation {
    Survey survey;        /* first */
    json_t *answer;       /* without statistics */
    json_t **sinks;       /* by index of the survey; in `answer` */
    SinkAspects *aspects; /* the same */
    size_t sink_room, aspect_room, number_room;
    usec_t now; /* wall, when it was asked */
} Aggregation;

/* What both have. */
static void set_state(json_t *json, bool disabled, const Pause *paused) {
    if (disabled) check(json_object_set_new(json, "disabled", json_true()) == 0);
    if (paused->at != 0) check(json_object_set_new(json, "paused", pause_to_json(paused)) == 0);
}

static json_t *add_sink(const Control *control, Aggregation *aggregation, const Source *source, const Sink *sink) {
    const SinkTarget *target = &sink->target;
    json_t *json = json_pack("{s:s, s:s, s:s, s:{s:s, s:s}}", "sinkId", sink->sink_id, "name", sink->name, "type", "table", "table",
                             "connection", target->connection, "tableId", target->table.table_id);
    check(json);
    set_state(json, sink->disabled, &sink->paused);
    Survey *survey = &aggregation->survey;
    size_t at = survey->count;
    array_reserve(survey->sinks, at, aggregation->number_room);
    array_reserve(aggregation->sinks, at, aggregation->sink_room);
    array_reserve(aggregation->aspects, at, aggregation->aspect_room);
    survey->sinks[at] = sink->number;
    aggregation->sinks[at] = json;
    statistics_set_aspects(control, source, sink, &aggregation->aspects[at]);
    survey->count++;
    return json;
}

static void set_bridge(const Control *control, const Source *source, json_t *json) {
    if (!source->kind->bridge) return;
    BridgeStatus *status = control_bridge_status(control, source);
    check(json_object_set_new(json, "bridge", bridge_summary_json(source, status)) == 0);
    bridge_status_unref(status);
}

static json_t *add_source(const Control *control, Aggregation *aggregation, const RegistrySource *known) {
    const Source *source = known->source;
    json_t *sinks = json_array();
    check(sinks);
    for (size_t i = 0; i < known->sink_count; i++) {
        const Sink *sink = known->sinks[i]->sink;
        if (sink->deleted == 0) check(json_array_append_new(sinks, add_sink(control, aggregation, source, sink)) == 0);
    }
    json_t *json = json_pack("{s:s, s:s, s:s, s:o}", "sourceId", source->source_id, "name", source->name, "type", source_kind_name(source),
                             "sinks", sinks);
    check(json);
    set_state(json, source->disabled, &source->paused);
    set_bridge(control, source, json);
    return json;
}

static void aggregation_see(Survey *survey, size_t index, const SinkStatistics *statistics) {
    Aggregation *aggregation = (Aggregation *)survey;
    json_t *json = statistics_to_json(statistics, &aggregation->aspects[index], aggregation->now);
    check(json_object_set_new(aggregation->sinks[index], "statistics", json) == 0);
}

static void aggregation_end(Control *control, Survey *survey, bool complete) {
    (void)control;
    Aggregation *aggregation = (Aggregation *)survey;
    if (complete)
        api_call_answer(steal(survey->pending.call), 200, steal(aggregation->answer));
    else
        api_call_fail_stalled(steal(survey->pending.call));
}

static void aggregation_drop(Survey *survey) {
    Aggregation *aggregation = (Aggregation *)survey;
    for (size_t i = 0; i < survey->count; i++) statistics_drop_aspects(&aggregation->aspects[i]);
    free(aggregation->aspects);
    free(aggregation->sinks);
    json_decref(aggregation->answer);
}

void api_aggregation(ApiRequest *request) {
    ApiPage page;
    if (!api_page(request, request->parameters[0], request->parameters[1], &page)) return;
    const Registry *registry = request->view->registry;
    Aggregation *aggregation = survey_new(sizeof *aggregation, aggregation_see, aggregation_end, aggregation_drop);
    json_t *list = json_array();
    check(list);
    aggregation->now = request->view->clock->wall(request->view->clock);
    const char *last = NULL;
    for (size_t i = registry_after(registry, page.after_id); i < registry->count && json_array_size(list) < page.limit; i++) {
        const RegistrySource *source = registry->sources[i];
        if (source->source->deleted != 0) continue;
        check(json_array_append_new(list, add_source(request->control, aggregation, source)) == 0);
        last = source->source->source_id;
    }
    aggregation->answer = json_pack("{s:o, s:o}", "sources", list, "page", api_page_json(&page, registry_live_sources(registry), last));
    check(aggregation->answer);
    survey_start(request, &aggregation->survey);
}
