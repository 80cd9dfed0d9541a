#include "gateway/http/refuse.h"

#include <sys/socket.h>

#include "gateway/http/reason.h"

void http_loop_next_id(HttpLoop *loop, char *out) {
    Uuid id;
    uuid_next(&loop->ids, (usec_t)h2o_now(loop->evloop) * USEC_MS, &id);
    uuid_format(&id, out);
}

void http_loop_error(HttpLoop *loop, int status, const char *name, const char *message, Span origin, Span *ret_body, Span *ret_headers) {
    Buffer *out = &loop->scratch;
    check_on_thread(&loop->owner);
    check(status >= 400 && status < 600 && name && message);
    buffer_clear(out);
    loop->handler.error_body(loop->handler.context, status, name, message, out);
    size_t body_size = out->size;
    check(body_size > 0);
    buffer_append_text(out, "Content-Type: application/json\r\nX-Request-Id: ");
    http_loop_next_id(loop, buffer_reserve(out, UUID_TEXT_SIZE));
    out->size += UUID_TEXT_SIZE;
    buffer_append_text(out, "\r\n");
    if (status == 503) buffer_append_text(out, "Retry-After: 1\r\n");
    if (loop->handler.error_headers) loop->handler.error_headers(origin, out);
    *ret_body = (Span){out->data, body_size};
    *ret_headers = (Span){out->data + body_size, out->size - body_size};
}

void http_loop_send_raw(HttpLoop *loop, int fd, const HttpRefusal *refusal, Span origin) {
    Span body, headers;
    check(fd >= 0);
    http_loop_error(loop, refusal->status, refusal->name, refusal->message, origin, &body, &headers);
    Buffer out = {0};
    buffer_printf(&out, "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Length: %zu\r\n", refusal->status, http_reason(refusal->status),
                  body.size);
    buffer_append_span(&out, headers);
    if (refusal->headers) buffer_append_text(&out, refusal->headers);
    check(out.data[out.size - 1] == '\n');
    buffer_append_text(&out, "\r\n");
    buffer_append_span(&out, body);
    (void)!send(fd, out.data, out.size, MSG_DONTWAIT | MSG_NOSIGNAL); /* less than any send buffer; a peer that left gets nothing */
    buffer_deinit(&out);
}
