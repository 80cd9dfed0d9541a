/* Connections: list, pause, resume. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "gateway/api/router.h"

/* The config refuses passwords in URIs, so nothing secret is in there. */
static json_t *connection_json(const Control *control, const Connection *connection) {
    json_t *json = json_pack("{s:s, s:s, s:s}", "name", connection->name, "type", connection->type->name, connection->type->place,
                             connection_place(connection));
    check(json);
    const Pause *pause = pauses_find(&control->pauses, connection->name);
    if (pause) check(json_object_set_new(json, "paused", pause_to_json(pause)) == 0);
    return json;
}

void api_connections(ApiRequest *request) {
    const Connections *connections = &request->control->options.options->list;
    json_t *list = json_array();
    check(list);
    for (size_t i = 0; i < connections->count; i++)
        check(json_array_append_new(list, connection_json(request->control, &connections->items[i])) == 0);
    json_t *answer = json_pack("{s:o}", "connections", list);
    check(answer);
    api_answer(request, 200, answer);
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
    if (pauses && known) pause_begin(&pausing->pause, known->at, known->by);
    if (pauses) pause_begin(&pausing->pause, control->options.clock->wall(control->options.clock), request->by);
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
