/* Pause and resume of a connection: stored by the writer, then known to control. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/text.h"
#include "gateway/control/change_parts.h"

typedef struct Pausing {
    PendingRequest pending; /* first */
    void (*answer)(const Control *control, ApiCall *take_call, const char *connection);
    char *connection;
    Pause pause; /* what it becomes */
} Pausing;

static void pausing_drop(PendingRequest *pending) {
    Pausing *pausing = (Pausing *)pending;
    free(pausing->connection);
    pause_end(&pausing->pause);
}

static void pausing_back(Control *control, PendingRequest *pending, Message *take_message) {
    Pausing *pausing = (Pausing *)pending;
    Define *define = (Define *)take_message;
    if (define->request.result < 0) {
        log_failure(LOG_ERROR, "a pause of a connection cannot be stored", &define->request.error);
        api_call_fail(steal(pending->call), 503, "notStored", "It could not be stored, and nothing is changed.");
    } else {
        pauses_set(&control->pauses, pausing->connection, &pausing->pause);
        pausing->answer(control, steal(pending->call), pausing->connection);
    }
    define_free(define);
    pending_request_end(pending);
}

int control_pause_connection(Control *control, const char *connection, bool pauses, const char *by, ApiCall *call,
                             void (*answer)(const Control *control, ApiCall *take_call, const char *connection), Failure *failure) {
    const Pause *known = pauses_find(&control->pauses, connection);
    if (!connections_find(&control->options.options->list, connection) && (pauses || !known))
        return failure_set(failure, 404, "connectionNotFound", "There is no connection \"%.60s\".", connection);
    log_info("%s: connection %s is %s", by, connection, pauses ? "paused" : "resumed");
    Pausing *pausing = pending_request_new(sizeof *pausing, pausing_back, pausing_drop, call);
    pausing->answer = answer;
    pausing->connection = text_copy(connection);
    /* Stored in any case: what is here may be older than what another call has on its way. */
    if (pauses && known) pause_begin(&pausing->pause, known->at, known->running, known->by);
    usec_t now = control->options.clock->wall(control->options.clock), running = usage_running(control->options.usage);
    if (pauses) pause_begin(&pausing->pause, now, running, by);
    Define *define = define_new(control->mailbox, NULL);
    pauses_store(define, connection, &pausing->pause);
    control_ask_writer(control, &pausing->pending, &define->request);
    return 0;
}
