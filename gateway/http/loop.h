/*
 * One HTTP loop thread: a libh2o context, its connections, and the sweep over them. Both listeners
 * use it: the intake (several loops on one listening socket, which is duplicated for each) and the
 * management API (one). HTTP/1.1 only; HTTP/2 is off.
 *
 * Every 100 ms the sweep ends connections that are slow or hostile. The limits are 10 s for the
 * head, 30 s for the body with a minimum rate, and 30 s for writing without progress. Unfinished
 * requests to unknown sources are ended at once (404). Above the budget of unfinished bytes, the
 * slowest requests are ended first.
 *
 * At the maximum number of connections, a new connection replaces an old one: one that never sent a
 * complete request nor showed that it may send; otherwise an idle one; otherwise a first request
 * that makes no progress. Among these it is the one whose last byte is the oldest, in all loops
 * (places.c). The same holds at the maximum number for one address, in its loop. If there is no
 * such connection, the new one gets a raw 503 with Retry-After and is closed.
 *
 * A connection gets a limited number of requests and bytes per turn. All pipelined requests
 * together have a limit as well. The others wait for a later turn, in the order in which they came.
 * The answers of a connection keep the order of its requests.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/mailbox.h"
#include "base/span.h"
#include "gateway/flow/usage.h"
#include "gateway/http/handler.h"
#include "gateway/http/listener.h"

struct st_h2o_req_t;
struct HttpHead;

typedef struct HttpLoop HttpLoop;

/* Starts a loop. `listener` is duplicated, and the loop listens on it (-EADDRINUSE: another process
 * listens there) and accepts at once. `usage` is shared by all loops of a listener. `name` is the
 * name of the thread and must stay valid. */
int http_loop_start(const char *name, const HttpListener *listener, const HttpLimits *limits, Usage *usage, const HttpHandler *handler,
                    HttpLoop **ret_loop, Error *error);
Mailbox *http_loop_mailbox(HttpLoop *loop); /* any thread may post */
/* Begins the drain; any thread. The loop takes the connections of the accept queue, answers new
 * connections with 503, closes idle ones and those without a complete head, and lets requests in
 * flight finish with Connection: close. It calls `drained` on its thread when no request is in
 * flight. Requests that make no progress, or are not complete at `until` (boot time), end with
 * 503. */
void http_loop_drain(HttpLoop *loop, usec_t until, void (*drained)(void *context), void *context);
/* Closes the remaining connections, joins the thread and frees the loop. NULL-safe. */
void http_loop_stop(HttpLoop *loop);

/* Loop thread only. */
bool http_loop_draining(const HttpLoop *loop);
usec_t http_loop_now(const HttpLoop *loop);           /* wall time, taken once a turn */
void http_loop_request_id(HttpLoop *loop, char *out); /* for X-Request-Id: UUID_TEXT_SIZE bytes of a fresh UUIDv7 */
Span http_request_peer(struct st_h2o_req_t *request); /* address without port; lasts as long as the request */
/* The raw head, for on_request only: later the bytes may have moved. Header names are in lower
 * case. */
const struct HttpHead *http_request_head(struct st_h2o_req_t *request);
/*
 * The handler has read the body of the request and will answer in a later turn. So the loop need
 * not stop polling the connection in the meantime, and the body may be released. Afterwards neither
 * the head nor request->entity may be read.
 */
void http_request_parked(struct st_h2o_req_t *request);
