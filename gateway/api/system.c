/* The gateway itself: what it is, whether it is well, what it counts. */
#include <stdatomic.h>
#include <string.h>

#include "base/metrics.h"
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

static void not_ready(ApiRequest *request, unsigned retry_after, const char *name, const char *message) {
    request->call->retry_after = retry_after;
    api_fail(request, 503, name, "%s", message);
}

void api_ready(ApiRequest *request) {
    const Control *control = request->control;
    const Usage *usage = control->options.usage;
    if (control->draining) {
        not_ready(request, 5, "shutdown", "The gateway is shutting down.");
    } else if (!control->connected) {
        not_ready(request, 1, "starting", "The gateway is starting.");
    } else if (atomic_load(&usage->broken)) {
        not_ready(request, 5, "broken", "The gateway cannot write any more and is about to end.");
    } else if (control_is_stalled(control)) {
        not_ready(request, 5, "diskStalled",
                  "The local disk has not finished a commit for longer than disk.stall-timeout: no event is taken.");
    } else if (atomic_load(&usage->intake_stopped)) {
        not_ready(request, 30, "overloaded", "The disk budget is used up: no event is taken.");
    } else {
        buffer_append_text(&request->call->response, "OK\n");
        answer_text(request, "text/plain; charset=utf-8");
    }
}

static void gauge(Buffer *out, const char *name, const char *help, uint64_t value) {
    buffer_printf(out, "# HELP %s %s\n# TYPE %s gauge\n%s %llu\n", name, help, name, name, (unsigned long long)value);
}

void api_metrics(ApiRequest *request) {
    const Control *control = request->control;
    const Usage *usage = control->options.usage;
    Buffer *out = &request->call->response;
    uint64_t used, map;
    environment_usage(control->options.environment, &used, &map);
    metrics_format(out);
    gauge(out, "sluice_in_flight_bytes", "Bytes of accepted requests that are not committed yet.",
          atomic_load(&usage->in_flight_bytes) + atomic_load(&usage->large_bytes));
    gauge(out, "sluice_unfinished_bytes", "Bytes of request bodies that are still arriving.", atomic_load(&usage->unfinished_bytes));
    gauge(out, "sluice_connections", "Open connections of the intake.", atomic_load(&usage->connections));
    gauge(out, "sluice_intake_stopped", "1 while the disk budget is used up and no event is taken.", atomic_load(&usage->intake_stopped));
    gauge(out, "sluice_database_used_bytes", "Bytes in use in the local database.", used);
    gauge(out, "sluice_database_limit_bytes", "Bytes that the local database can hold.", map);
    gauge(out, "sluice_sources", "Sources that are not deleted.", registry_live_sources(&control->registry));
    answer_text(request, "text/plain; version=0.0.4; charset=utf-8");
}
