/*
 * The connections of a loop, in two lists: those that never sent a whole request, and those that
 * did. Each list is ordered by last activity, the oldest first. Loop thread only.
 */
#pragma once

#include "gateway/http/parts.h"

/* All of them, those that never sent a whole request first; NULL: the first, or no further one.
 * The present one may end once the next is known. */
HttpConnection *http_connection_next(HttpLoop *loop, HttpConnection *connection);
HttpConnection *http_connection_of_link(h2o_linklist_t *link);
/* A new one, as the last of its list. */
void http_connection_put(HttpConnection *connection);
void http_connection_heard_first(HttpConnection *connection);          /* bytes came, and no whole request came yet */
static inline void http_connection_heard(HttpConnection *connection) { /* bytes came */
    if (!connection->served) http_connection_heard_first(connection);
}
void http_connection_served(HttpConnection *connection); /* a whole request came */
/* Does the kernel hold bytes of it? */
bool http_connection_unread(const HttpConnection *connection);
ConnectionState http_connection_state(const HttpConnection *connection);
/* Takes the connection out of the queue of deferred ones; its request, or NULL. */
h2o_req_t *http_connection_take_deferred(HttpConnection *connection);
/* `refusal` NULL: without a word. The connection is gone afterwards, unless it is being written
 * to: then it is doomed. */
void http_connection_end(HttpConnection *connection, const HttpRefusal *refusal);
