#include "gateway/api/survey.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define PORTION 500 /* sinks */

static size_t portion(const Survey *survey) {
    size_t left = survey->count - survey->seen;
    return left < PORTION ? left : PORTION;
}

/* Connections are asked for once. */
static size_t portion_of_connections(const Survey *survey) {
    return survey->seen == 0 ? survey->connection_count : 0;
}

/* The next portion, to be filled into the two arrays. */
static void set_query(const Survey *survey, TotalsQuery *query, SinkStatistics *statistics, ConnectionStatistics *connections) {
    query->sinks = survey->count > 0 ? survey->sinks + survey->seen : NULL;
    query->statistics = statistics;
    query->count = portion(survey);
    query->connections = connections;
    query->connection_count = portion_of_connections(survey);
    if (query->connection_count > 0) memcpy(connections, survey->connections, query->connection_count * sizeof *connections);
}

static void take(Survey *survey, const TotalsQuery *query) {
    if (query->connection_count > 0) memcpy(survey->connections, query->connections, query->connection_count * sizeof *query->connections);
    survey->disk = query->disk;
    for (size_t i = 0; i < query->count; i++) survey->see(survey, survey->seen + i, &query->statistics[i]);
    survey->seen += query->count;
    check(survey->seen <= survey->count);
}

static void ask(Control *control, Survey *survey) {
    TotalsQuery *query = calloc(1, sizeof *query);
    check(query);
    set_query(survey, query, survey->statistics, survey->being_seen);
    query->request.message.kind = MESSAGE_TOTALS;
    control_ask_writer(control, &survey->pending, &query->request);
}

static void survey_back(Control *control, PendingRequest *pending, Message *take_message) {
    Survey *survey = (Survey *)pending;
    check(take_message->kind == MESSAGE_TOTALS);
    if (survey->pending.call) take(survey, (const TotalsQuery *)take_message);
    free(take_message);
    if (survey->pending.call && survey->seen < survey->count) {
        ask(control, survey);
        return;
    }
    if (survey->pending.call) {
        survey->end(control, survey, true);
        check(!survey->pending.call);
    }
    pending_request_end(pending);
}

/* What is on its way fills the arrays of the survey, so these are others. */
static void survey_late(Control *control, PendingRequest *pending) {
    Survey *survey = (Survey *)pending;
    if (!survey->pending.call) return;
    _cleanup_free_ SinkStatistics *statistics = calloc(PORTION, sizeof *statistics);
    _cleanup_free_ ConnectionStatistics *connections = calloc(survey->connection_count + 1, sizeof *connections);
    check(statistics && connections);
    bool lent;
    do {
        TotalsQuery query = {0};
        set_query(survey, &query, statistics, connections);
        lent = control_lent_statistics(control, &query);
        if (lent) take(survey, &query);
    } while (lent && survey->seen < survey->count);
    survey->end(control, survey, lent);
    check(!survey->pending.call);
}

static void survey_drop(PendingRequest *pending) {
    Survey *survey = (Survey *)pending;
    if (survey->drop) survey->drop(survey);
    free(survey->sinks);
    free(survey->connections);
    free(survey->listed);
    free(survey->statistics);
    free(survey->being_seen);
}

void *survey_new(size_t bytes, void (*see)(Survey *survey, size_t index, const SinkStatistics *statistics),
                 void (*end)(Control *control, Survey *survey, bool complete), void (*drop)(Survey *survey)) {
    check(bytes >= sizeof(Survey) && end);
    Survey *survey = pending_request_new(bytes, survey_back, survey_drop, NULL);
    survey->pending.late = survey_late;
    survey->see = see;
    survey->end = end;
    survey->drop = drop;
    return survey;
}

void survey_start(ApiRequest *request, Survey *take_survey) {
    Survey *survey = take_survey;
    Control *control = request->control;
    check(survey->see || survey->count == 0);
    survey->pending.call = api_keep(request);
    if (control_is_stalled(control)) {
        survey_late(control, &survey->pending);
        pending_request_end(&survey->pending);
        return;
    }
    survey->statistics = calloc(portion(survey) + 1, sizeof *survey->statistics);
    survey->being_seen = calloc(survey->connection_count + 1, sizeof *survey->being_seen);
    check(survey->statistics && survey->being_seen);
    ask(control, survey);
}

void survey_all_connections(const ControlView *view, Survey *survey) {
    const Connections *list = &view->options->list;
    size_t total = connections_total(list);
    survey->connections = calloc(total + 1, sizeof *survey->connections);
    survey->listed = calloc(total + 1, sizeof *survey->listed);
    check(survey->connections && survey->listed);
    for (size_t i = 0; i < total; i++) {
        const Connection *connection = connections_at(list, i);
        if (!connection) continue;
        survey->listed[survey->connection_count] = connection;
        survey->connections[survey->connection_count++].name = connection->name;
    }
}

void survey_connections_start(ApiRequest *request, void (*end)(Control *control, Survey *survey, bool complete)) {
    Survey *survey = survey_new(sizeof *survey, NULL, end, NULL);
    survey_all_connections(request->view, survey);
    survey_start(request, survey);
}
