/* The Origin header (RFC 6454), by which a browser says whose page sends a request. Loop thread
 * only. */
#pragma once

#include "gateway/http/head.h"

struct st_h2o_req_t;

/* A host name has 253 bytes at most. */
#define HTTP_ORIGIN_BYTES_MAX 300

/* The origin that the request names; data NULL: none, or what no browser sends. Lasts as long as
 * the request. */
Span http_request_origin(struct st_h2o_req_t *request);
/* The same of a raw head that is sound. */
Span http_head_origin(const HttpHead *head);
/* Is it a list of names of headers (RFC 9110), as a preflight asks for them, that can be repeated in
 * an answer? */
bool http_are_header_names(Span text);
