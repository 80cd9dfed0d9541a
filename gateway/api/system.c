/* The gateway itself: what it is, and whether it is well. */
#include <stdatomic.h>
#include <string.h>

#include "gateway/api/router.h"
#include "gateway/flow/version.h"

void api_about(ApiRequest *request) {
    json_t *answer = json_pack("{s:s, s:s, s:s}", "api", "stream", "service", "sluice", "version", SLUICE_VERSION);
    check(answer);
    api_answer(request, 200, answer);
}

static void answer_text(ApiRequest *request, const char *content_type) {
    ApiCall *call = api_keep(request);
    call->status = 200;
    call->content_type = content_type;
    mailbox_post(call->reply, &call->message);
}

void api_health(ApiRequest *request) {
    buffer_append_text(&request->call->response, "OK\n");
    answer_text(request, "text/plain; charset=utf-8");
}

const char *api_not_ready(const Control *control, const char **ret_message, unsigned *ret_retry_after) {
    const ControlView *view = control_view(control);
    const Usage *usage = view->usage;
    *ret_retry_after = 5;
    if (view->draining) {
        *ret_message = "The gateway is shutting down.";
        return "shutdown";
    }
    if (!view->connected) {
        *ret_retry_after = 1;
        *ret_message = "The gateway is starting.";
        return "starting";
    }
    if (atomic_load(&usage->broken)) {
        *ret_message = "The gateway cannot write any more and is about to stop.";
        return "broken";
    }
    if (control_is_stalled(control)) {
        *ret_message = "The local disk has not finished a commit for longer than disk.stall-timeout: no events are accepted.";
        return "diskStalled";
    }
    if (atomic_load(&usage->intake_stopped)) {
        *ret_retry_after = 30;
        *ret_message = "The disk budget is used up: no events are accepted.";
        return "overloaded";
    }
    return NULL;
}

void api_ready(ApiRequest *request) {
    const char *message;
    unsigned retry_after;
    const char *name = api_not_ready(request->control, &message, &retry_after);
    if (name) {
        request->call->retry_after = retry_after;
        api_fail(request, 503, name, "%s", message);
        return;
    }
    buffer_append_text(&request->call->response, "OK\n");
    answer_text(request, "text/plain; charset=utf-8");
}
