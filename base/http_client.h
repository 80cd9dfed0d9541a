/*
 * A blocking HTTP client for short exchanges: one request, and one answer that is held in memory.
 * It uses libcurl: HTTP/1.1 (RFC 9112) over TCP or TLS, with the certificates of the system. It
 * does not follow redirects, uses no proxy, and ignores the proxy variables of the environment. Any
 * thread.
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
    Span body; /* sent if has_body is set, also if it is empty */
    bool has_body;
    usec_t silence_max; /* the call fails if no byte is sent or received for this time; rounded up to seconds, at least 1 s */
    /* the call fails if the whole exchange takes longer, from looking up the name to the last byte;
     * 0: no limit */
    usec_t whole_max;
    size_t answer_bytes_max;     /* a longer answer fails with -EFBIG */
    const atomic_bool *given_up; /* if another thread sets it, the call fails within about one second with -ECANCELED; may be NULL */
} HttpClientRequest;

typedef struct HttpClientAnswer {
    int status;  /* 200 */
    Buffer body; /* after transfer decoding */
} HttpClientAnswer;

/* Returns 0 if an answer came, with any status. Then ret_answer is set; the caller releases it with
 * http_client_answer_deinit(). Errors: -EINVAL the URL is not valid, -EHOSTUNREACH the name has no
 * address, -ECONNREFUSED no server answers there, -ETIMEDOUT, -EFBIG, -ECANCELED, -EACCES the
 * certificate is not trusted, -EPROTO the server does not speak HTTP, -EIO any other failure. The
 * text of the error never has headers, or the user and password of a URL. */
int http_client_call(const HttpClientRequest *request, HttpClientAnswer *ret_answer, Error *error);
void http_client_answer_deinit(HttpClientAnswer *answer);
