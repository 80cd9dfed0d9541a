/*
 * Checks the raw head of an HTTP/1 request. The parser (picohttpparser in libh2o) accepts both
 * lengths, two lengths, two encodings, none or two Hosts and folded lines, and hides them. If two
 * servers read such a head differently, they can disagree about the end of the request (request
 * smuggling). So it is refused here. Pure functions over bytes; any thread; no allocation.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

typedef enum HeadResult {
    HEAD_OK,
    HEAD_INCOMPLETE, /* the empty line has not come yet */
    HEAD_BAD,        /* 400 and close */
} HeadResult;

/* All spans point into the bytes that were given. */
typedef struct HttpHead {
    size_t size;        /* with the empty line; the body begins there */
    Span method;        /* as sent */
    Span target;        /* as sent, with query */
    Span lines;         /* the header lines, each with its CRLF, without the empty line: for http_head_next */
    unsigned minor;     /* HTTP/1.minor */
    bool chunked;       /* Transfer-Encoding: chunked */
    bool has_length;    /* Content-Length is there */
    uint64_t length;    /* its value; 0 without */
    const char *reason; /* HEAD_BAD: one sentence, constant */
} HttpHead;

/* Sets `reason` of ret_head on HEAD_BAD, everything else on HEAD_OK. One empty line before the
 * request line is skipped, as the parser does. */
HeadResult http_head_check(Span bytes, HttpHead *ret_head);

/* Does the head have more than `most` header lines, the last one whole or only begun? Without
 * looking at what they hold; also for a head whose end has not come yet. */
bool http_head_longer(Span bytes, unsigned most);

/* Removes the first line from `lines`. The name is as sent (libh2o changes it to lower case in
 * place), and the value has no surrounding white space. Returns false if there are no more
 * lines. */
bool http_head_next(Span *lines, Span *ret_name, Span *ret_value);
/* Returns the value of the first header of that name, in any case; data NULL if there is none. */
Span http_head_find(const HttpHead *head, Span name);
