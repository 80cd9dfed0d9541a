/* What the bytes of a request that arrives say of its head and its framing. Loop thread only. */
#pragma once

#include "gateway/http/parts.h"

/* The request that begins at `begin` of the input, where the bytes from `fresh` on are new: its head as soon as it is whole and sound, and then
 * the framing of its body. false: the framing is not sound. */
bool http_connection_examine(HttpConnection *connection, size_t begin, size_t fresh);
/* Was the framing of the request's body looked at whole and found sound, with `body_size` bytes of data as the library has them? */
bool http_connection_body_is_sound(const HttpConnection *connection, size_t body_size, const char **ret_reason);
/* Is more than a small part of a chunked request framing: extensions and trailers? */
bool http_connection_framed_too_much(const HttpConnection *connection);
bool http_connection_has_many_headers(const HttpConnection *connection);
/* Bytes of an unfinished request that came, as they came; only grows. */
size_t http_connection_arrived(const HttpConnection *connection);
/* Behind the present request: the begin of a head that is longer than H2O_MAX_REQLEN, which the
 * library closes without an answer; what is too much of it is forgotten, so that the sweep can
 * answer. */
void http_connection_cut_next_head(HttpConnection *connection);
