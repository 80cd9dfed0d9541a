/* Connections: list, declare, remove, pause, resume. */

#include "base/cleanup.h"
#include "gateway/api/statistics.h"
#include "sinks/driver.h"

/* The config refuses passwords in URIs, so nothing secret is in there. */
static json_t *connection_json(const ControlView *view, const Connection *connection) {
    json_t *json = json_pack("{s:s, s:s, s:s}", "name", connection->name, "type", connection->type->name, connection->type->place,
                             connection_place(connection));
    check(json);
    if (connections_is_declared(&view->options->list, connection)) check(json_object_set_new(json, "declared", json_true()) == 0);
    const Pause *pause = pauses_find(view->pauses, connection->name);
    if (pause) check(json_object_set_new(json, "paused", pause_to_json(pause)) == 0);
    return json;
}

json_t *api_connections_json(const ControlView *view, const Survey *survey, bool complete) {
    json_t *list = json_array();
    check(list);
    for (size_t i = 0; i < survey->connection_count; i++) {
        json_t *json = connection_json(view, survey->listed[i]);
        const ConnectionStatistics *statistics = &survey->connections[i];
        if (complete) {
            bool imports = sink_driver_of(survey->listed[i]->type) != NULL;
            check(json_object_set_new(json, "failing", imports ? json_boolean(statistics->failing) : json_null()) == 0);
            check(json_object_set_new(json, "lastError", statistics_error_json(statistics->last_error)) == 0);
        }
        check(json_array_append_new(list, json) == 0);
    }
    return list;
}

static void end(Control *control, Survey *survey, bool complete) {
    json_t *answer = json_pack("{s:o}", "connections", api_connections_json(control_view(control), survey, complete));
    check(answer);
    api_call_answer(steal(survey->pending.call), 200, answer);
}

void api_connections(ApiRequest *request) {
    survey_connections_start(request, end);
}

/* ---- declared connections -------------------------------------------------------------------- */

void api_connections_declare(ApiRequest *request) {
    static const char *const actions[] = {[DECLARING_CREATES] = "create", [DECLARING_CHANGES] = "update", [DECLARING_NOTHING] = "none"};
    bool dry_run = false;
    Failure failure = {0};
    Declaring result;
    if (!api_boolean(request, "dryRun", request->parameters[0], &dry_run)) return;
    if (control_declare_connection(request->control, request->connection, request->body, dry_run, request->by, &result, &failure) < 0) {
        api_fail(request, failure.status, failure.name, "%s", failure.error.text);
        return;
    }
    json_t *json = json_pack("{s:s, s:s}", "name", request->connection, "action", actions[result]);
    check(json);
    api_answer(request, 200, json);
}

void api_connections_withdraw(ApiRequest *request) {
    Failure failure = {0};
    if (control_withdraw_connection(request->control, request->connection, request->by, &failure) < 0)
        api_fail(request, failure.status, failure.name, "%s", failure.error.text);
    else
        api_answer(request, 200, json_object());
}

/* ---- pause and resume ------------------------------------------------------------------------ */

static json_t *answer_json(const ControlView *view, const char *name) {
    const Connection *connection = connections_find(&view->options->list, name);
    if (connection) return connection_json(view, connection);
    json_t *json = json_pack("{s:s}", "name", name); /* resumed, and the config file does not name it */
    check(json);
    return json;
}

static void answer(const Control *control, ApiCall *take_call, const char *connection) {
    api_call_answer(take_call, 200, answer_json(control_view(control), connection));
}

static void start(ApiRequest *request, bool pauses) {
    Failure failure = {0};
    int r = control_pause_connection(request->control, request->connection, pauses, request->by, request->call, answer, &failure);
    api_taken(request, r, &failure);
}

void api_connections_pause(ApiRequest *request) {
    start(request, true);
}

void api_connections_resume(ApiRequest *request) {
    start(request, false);
}
