#include "gateway/control/call.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"

#define RETRY_AFTER_STALL 5 /* seconds */

void api_call_free(ApiCall *call) {
    if (!call) return;
    free(call->method);
    free(call->path);
    free(call->query);
    free(call->token);
    free(call->if_match);
    free(call->body_type);
    free(call->peer);
    buffer_deinit(&call->headers);
    buffer_deinit(&call->body);
    buffer_deinit(&call->response);
    free(call->location);
    free(call->allow);
    free(call);
}

static void dump(json_t *take_json, Buffer *out) {
    _cleanup_free_ char *text = json_dumps(take_json, JSON_COMPACT);
    json_decref(take_json);
    check(text);
    buffer_append_text(out, text);
    buffer_append_byte(out, '\n');
}

void api_call_answer(ApiCall *take_call, int status, json_t *take_json) {
    check(take_call->status == 0 && status >= 200 && status < 600); /* it is answered once */
    buffer_clear(&take_call->response);
    dump(take_json, &take_call->response);
    take_call->status = status;
    mailbox_post(take_call->reply, &take_call->message);
}

void api_error_body(int status, const char *name, const char *message, Buffer *out) {
    json_t *full_name = json_sprintf("stream.api.%s", name);
    /* Texts from the floors below carry no full stop, since they are also parts of longer ones. */
    size_t size = strlen(message);
    const char *stop = size > 0 && strchr(".!?", message[size - 1]) ? "" : ".";
    json_t *text = json_sprintf("%s%s", message, stop);
    if (!text) text = json_string("The request contains text that is not UTF-8."); /* the only way to a message that is no JSON */
    json_t *body = json_pack("{s:i, s:o, s:o}", "statusCode", status, "error", full_name, "message", text);
    check(body);
    dump(body, out);
}

void api_call_fail(ApiCall *take_call, int status, const char *name, const char *message) {
    check(take_call->status == 0 && status >= 400 && status < 600);
    buffer_clear(&take_call->response);
    api_error_body(status, name, message, &take_call->response);
    take_call->status = status;
    mailbox_post(take_call->reply, &take_call->message);
}

void api_call_fail_stalled(ApiCall *take_call) {
    take_call->retry_after = RETRY_AFTER_STALL;
    api_call_fail(take_call, 503, "diskStalled",
                  "The local disk has not finished a commit for longer than disk.stall-timeout. The requested change may still happen.");
}
