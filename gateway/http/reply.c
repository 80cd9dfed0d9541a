#include "gateway/http/reply.h"

#include <h2o.h>

#include "base/error.h"
#include "gateway/http/input.h"
#include "gateway/http/reason.h"

/* libh2o wants headers as pairs; all the lines go into one pair: the first name, and everything
 * behind it as its value. */
static void put_headers(h2o_req_t *request, Span lines) {
    if (lines.size == 0) return;
    check(lines.size > 4 && lines.data[lines.size - 2] == '\r' && lines.data[lines.size - 1] == '\n');
    struct {
        h2o_iovec_t name;
        char text[];
    } *copy = h2o_mem_alloc_pool(&request->pool, sizeof *copy + lines.size);
    memcpy(copy->text, lines.data, lines.size);
    const char *colon = memchr(copy->text, ':', lines.size);
    check(colon && colon[1] == ' ');
    copy->name = h2o_iovec_init(copy->text, (size_t)(colon - copy->text));
    size_t value_at = copy->name.len + 2;
    h2o_vector_reserve(&request->pool, &request->res.headers, request->res.headers.size + 1);
    request->res.headers.entries[request->res.headers.size++] = (h2o_header_t){
        .name = &copy->name, .value = h2o_iovec_init(copy->text + value_at, lines.size - value_at - 2)};
}

void http_reply(h2o_req_t *request, const HttpReply *reply) {
    static h2o_generator_t generator = {NULL, NULL};
    check(!request->_generator); /* once */
    check(reply->status >= 200 && reply->status < 600);
    check(reply->body.data || reply->body.size == 0);
    request->res.status = reply->status;
    request->res.reason = http_reason(reply->status);
    request->res.content_length = reply->body.size;
    put_headers(request, reply->headers);
    if (reply->close || request->conn->ctx->shutdown_requested) request->http1_is_persistent = 0;

    h2o_iovec_t body = {.base = NULL, .len = 0};
    bool head = request->input.method.len == 4 && memcmp(request->input.method.base, "HEAD", 4) == 0;
    if (!head && reply->body.size) {
        if (reply->body_lasts)
            body = h2o_iovec_init(reply->body.data, reply->body.size);
        else
            body = h2o_strdup(&request->pool, reply->body.data, reply->body.size);
    }
    h2o_start_response(request, &generator);
    h2o_send(request, body.len ? &body : NULL, body.len ? 1 : 0, H2O_SEND_STATE_FINAL);
    http_connection_answered(request); /* it is still there: the library ends it in a later callback only */
}
