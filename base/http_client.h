/*
 * A blocking HTTP client for short exchanges: one request, one answer held in memory. On libcurl:
 * HTTP/1.1 (RFC 9112) over TCP or TLS, with the system's certificates. Follows no redirects, uses
 * no proxy, and ignores the proxy variables of the environment. Any thread.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/span.h"

typedef struct HttpClientRequest {
    const char *method;         /* "GET" */
    const char *url;            /* http:// or https:// */
    const char *const *headers; /* "Name: value", no line breaks */
    size_t header_count;
    Span body; /* sent when has_body, also when it is empty */
    bool has_body;
    usec_t silence_max;          /* the answer fails when no byte moves for so long; rounded up to seconds, at least 1 s */
    usec_t whole_max;            /* the same for all of it, from looking up the name to the last byte; 0: no such limit */
    size_t answer_bytes_max;     /* a longer answer fails with -EFBIG */
    const atomic_bool *given_up; /* when another thread sets it, the call fails within about a second, -ECANCELED; may be NULL */
} HttpClientRequest;

typedef struct HttpClientAnswer {
    int status;  /* 200 */
    Buffer body; /* decoded of its transfer coding */
} HttpClientAnswer;

/* 0 when an answer came, whatever its status: then ret_answer is set, http_client_answer_deinit(). Errors: -EINVAL the URL is none,
 * -EHOSTUNREACH the name has no address, -ECONNREFUSED nobody answers there, -ETIMEDOUT, -EFBIG, -ECANCELED, -EACCES the certificate is not trusted,
 * -EPROTO what answers does not speak HTTP, -EIO else. The text never holds headers or the user and password of a URL. */
int http_client_call(const HttpClientRequest *request, HttpClientAnswer *ret_answer, Error *error);
void http_client_answer_deinit(HttpClientAnswer *answer);
