/* The Origin header (RFC 6454), with which a browser names the origin of the page that sends a
 * request. Loop thread only. */
#pragma once

#include "gateway/http/head.h"

struct st_h2o_req_t;

/* A host name has 253 bytes at most. */
#define HTTP_ORIGIN_BYTES_MAX 300

/* Returns the origin of the request. Data NULL: there is none, or it is one that no browser sends.
 * Valid as long as the request. */
Span http_request_origin(struct st_h2o_req_t *request);
/* The same for a raw head that is valid. */
Span http_head_origin(const HttpHead *head);
/* Is it a list of names of headers (RFC 9110), as a preflight asks for them, that can be repeated in
 * an answer? */
bool http_are_header_names(Span text);
