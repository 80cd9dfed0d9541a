/*
 * The CORS header lines of answers (the Fetch standard). They tell a browser whether a page of
 * another origin may send the request and read the answer. A browser that sends credentials, as
 * sendBeacon always does, does not accept `*`: the answer must have its origin and the header names
 * that it asked for. Any thread.
 */
#pragma once

#include <stddef.h>

#include "base/buffer.h"
#include "base/span.h"
#include "config/source_http.h"

#define CORS_BYTES_MAX 640

/* Writes the header lines of an answer to a request of `origin` (data NULL: it has none) to `out`.
 * Returns their size. */
size_t cors_put(char out[static CORS_BYTES_MAX], Span origin);
/* Appends the header lines of an answer to a preflight. `wanted`: the names of the headers that the
 * page wants to send, as the browser lists them. */
void cors_put_preflight(Buffer *out, Span origin, Span wanted);
/* The same for an origin whose pages may not send to the source. */
#define CORS_REFUSED "Vary: Origin\r\n"

/* May pages of the origin send to the source? Requests without an origin do not come from pages. */
bool cors_allows(const HttpSource *source, Span origin);
