/* Connections: list, pause, resume. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "gateway/api/statistics.h"

/* The config refuses passwords in URIs, so nothing secret is in there. */
static json_t *connection_json(const Control *control, const Connection *connection) {
    json_t *json = json_pack("{s:s, s:s, s:s}", "name", connection->name, "type", connection->type->name, connection->type->place,
                             connection_place(connection));
    check(json);
    const Pause *pause = pauses_find(&control->pauses, connection->name);
    if (pause) check(json_object_set_new(json, "paused", pause_to_json(pause)) == 0);
    return json;
}

json_t *api_connections_json(const Control *control, const Survey *survey, bool complete) {
    const Connections *connections = &control->options.options->list;
    json_t *list = json_array();
    check(list);
    for (size_t i = 0; i < connections->count; i++) {
        json_t *json = connection_json(control, &connections->items[i]);
        const ConnectionStatistics *statistics = &survey->connections[i];
        if (complete) {
            check(json_object_set_new(json, "failing", json_boolean(statistics->failing)) == 0);
            check(json_object_set_new(json, "lastError", statistics_error_json(statistics->last_error)) == 0);
        }
        check(json_array_append_new(list, json) == 0);
    }
    return list;
}

static void end(Control *control, Survey *survey, bool complete) {
    json_t *answer = json_pack("{s:o}", "connections", api_connections_json(control, survey, complete));
    check(answer);
    api_call_answer(steal(survey->call), 200, answer);
}

void api_connections(ApiRequest *request) {
    survey_connections_start(request, end);
}

/* ---- pause and resume -------------------------------------------------------------------------------------------------------------- */

typedef struct Pausing {
    Errand errand; /* first */
    ApiCall *call;
    char *connection;
    Pause pause; /* what it becomes */
} Pausing;

static void pausing_drop(Errand *errand) {
    Pausing *pausing = (Pausing *)errand;
    api_call_free(pausing->call);
    free(pausing->connection);
    pause_end(&pausing->pause);
    free(pausing);
}

static json_t *answer_json(const Control *control, const char *name) {
    const Connection *connection = connections_find(&control->options.options->list, name);
    if (connection) return connection_json(control, connection);
    json_t *json = json_pack("{s:s}", "name", name); /* resumed, and the config file does not name it */
    check(json);
    return json;
}

static void pausing_back(Control *control, Errand *errand, Message *take_message) {
    Pausing *pausing = (Pausing *)errand;
    Define *define = (Define *)take_message;
    if (define->request.result < 0) {
        log_failure(LOG_ERROR, "a pause of a connection cannot be stored", &define->request.error);
        api_call_fail(steal(pausing->call), 503, "notStored", "It could not be stored, and nothing is changed.");
    } else {
        pauses_set(&control->pauses, pausing->connection, &pausing->pause);
        api_call_answer(steal(pausing->call), 200, answer_json(control, pausing->connection));
    }
    define_free(define);
    errand_end(errand);
    pausing_drop(errand);
}

static void start(ApiRequest *request, bool pauses) {
    Control *control = request->control;
    const char *name = request->connection;
    const Pause *known = pauses_find(&control->pauses, name);
    if (!connections_find(&control->options.options->list, name) && (pauses || !known)) {
        api_fail(request, 404, "connectionNotFound", "There is no connection \"%.60s\".", name);
        return;
    }
    log_info("%s: connection %s is %s", request->by, name, pauses ? "paused" : "resumed");
    Pausing *pausing = calloc(1, sizeof *pausing);
    check(pausing);
    pausing->errand.back = pausing_back;
    pausing->errand.drop = pausing_drop;
    pausing->connection = text_copy(name);
    /* Stored in any case: what is here may be older than what another call has on its way. */
    if (pauses && known) pause_begin(&pausing->pause, known->at, known->running, known->by);
    usec_t now = control->options.clock->wall(control->options.clock), running = usage_running(control->options.usage);
    if (pauses) pause_begin(&pausing->pause, now, running, request->by);
    pausing->call = api_keep(request);
    errand_begin(control, &pausing->errand);
    Define *define = define_new(control->mailbox, &pausing->errand);
    pauses_store(define, name, &pausing->pause);
    mailbox_post(control->peers.writer, &define->request.message);
}

void api_connections_pause(ApiRequest *request) {
    start(request, true);
}

void api_connections_resume(ApiRequest *request) {
    start(request, false);
}
