/* What the bytes of a request that arrives say of its head and its framing. Loop thread only. */
#pragma once

#include "gateway/http/parts.h"

/* The request that begins at `begin` of the input, where the bytes from `fresh` on are new: its
 * head as soon as it is whole and sound, and then the framing of its body. false: the framing is
 * not sound. */
bool http_connection_examine(HttpConnection *connection, size_t begin, size_t fresh);
/* Was the framing of the request's body looked at whole and found sound, with `body_size` bytes of
 * data as the library has them? */
bool http_connection_chunks_are_sound(const HttpConnection *connection, size_t body_size, const char **ret_reason);
static inline bool http_connection_body_is_sound(const HttpConnection *connection, size_t body_size, const char **ret_reason) {
    *ret_reason = "The HTTP library and the gateway disagree about the end of the request body.";
    if (!connection->head.chunked) return body_size == connection->head.length;
    return http_connection_chunks_are_sound(connection, body_size, ret_reason);
}
/* Is more than a small part of a chunked request framing: extensions and trailers? */
bool http_connection_framed_too_much(const HttpConnection *connection);
/* A request with too many header lines has at least so many bytes: the cheapest look of all. */
#define HTTP_HEADERS_MIN_BYTES ((size_t)H2O_MAX_HEADERS * 3)
bool http_connection_counts_headers(const HttpConnection *connection);
static inline bool http_connection_has_many_headers(const HttpConnection *connection) {
    return connection->socket->input->size >= HTTP_HEADERS_MIN_BYTES && http_connection_counts_headers(connection);
}
/* Bytes of an unfinished request that came, as they came; only grows. */
size_t http_connection_arrived(const HttpConnection *connection);
/* Behind the present request: the begin of a head that is longer than H2O_MAX_REQLEN, which the
 * library closes without an answer; what is too much of it is forgotten, so that the sweep can
 * answer. */
void http_connection_cut_long_head(HttpConnection *connection);
static inline void http_connection_cut_next_head(HttpConnection *connection) {
    size_t begin = connection->request_size;
    if (begin > 0 && connection->socket->input->size >= begin + H2O_MAX_REQLEN) http_connection_cut_long_head(connection);
}
