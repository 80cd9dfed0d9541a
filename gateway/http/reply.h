/*
 * Answers to HTTP requests, for both listeners. Header lines are given as finished text ("Name:
 * value\r\n" each), so that an answer needs one copy and no look-ups. Loop thread only.
 */
#pragma once

#include <stdbool.h>

#include "base/span.h"

struct st_h2o_req_t;

typedef struct HttpReply {
    int status;
    Span headers;    /* whole lines, each ended by CRLF, without Content-Length, Date and Connection; copied */
    Span body;       /* copied, unless body_lasts; left out for HEAD, whose Content-Length tells its size */
    bool body_lasts; /* it lives as long as the request: constant text or the request's pool */
    bool close;      /* end the connection after it; a draining loop does so anyway */
} HttpReply;

/* Sends the answer. Call it exactly once for a request. */
void http_reply(struct st_h2o_req_t *request, const HttpReply *reply);
