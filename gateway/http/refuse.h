/* Errors that the loop itself finds. Loop thread only. */
#pragma once

#include "gateway/http/parts.h"

/* For X-Request-Id: UUID_TEXT_SIZE bytes. */
void http_loop_next_id(HttpLoop *loop, char *out);
/* JSON body of an error into loop->scratch, and its header lines behind it; the spans last until
 * the next call. `origin`: as in HttpHandler. */
void http_loop_error(HttpLoop *loop, int status, const char *name, const char *message, Span origin, Span *ret_body, Span *ret_headers);
/* A whole answer to a bare socket, as far as its send buffer takes it. */
void http_loop_send_raw(HttpLoop *loop, int fd, const HttpRefusal *refusal, Span origin);
