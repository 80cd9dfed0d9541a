/*
 * What an answer says to a browser: whether a page of another origin may send the request, and may
 * read the answer (CORS, the Fetch standard). A browser that sends credentials, as sendBeacon
 * always does, takes no `*`: it wants its origin and its header names back. Any thread.
 */
#pragma once

#include <stddef.h>

#include "base/buffer.h"
#include "base/span.h"
#include "config/source_http.h"

#define CORS_BYTES_MAX 640

/* Puts the header lines of an answer to a request of `origin` (data NULL: it names none) to `out`;
 * returns their size. */
size_t cors_put(char out[static CORS_BYTES_MAX], Span origin);
/* Appends the header lines of an answer to a preflight: the names that the page wants to send are
 * `wanted`, as the browser lists them. */
void cors_put_preflight(Buffer *out, Span origin, Span wanted);
/* The same when pages of that origin may not send to the source. */
#define CORS_REFUSED "Vary: Origin\r\n"

/* May pages of the origin send to the source? Requests without an origin come from no page. */
bool cors_allows(const HttpSource *source, Span origin);
