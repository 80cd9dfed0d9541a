/*
 * One HTTP loop thread: a libh2o context, its connections, and the sweep over them. Both listeners
 * use it: the intake (several loops on one listening socket, dup'ed into each) and the management
 * API (one). HTTP/1.1 only; HTTP/2 is off.
 *
 * Every 100 ms the sweep ends connections that are slow or hostile: head 10 s, body 30 s with a
 * minimum rate, write 30 s without progress, unfinished requests to unknown sources at once (404),
 * and over the budget of unfinished bytes the slowest first.
 *
 * At the connection cap a new connection takes the place of one that never sent a whole request nor
 * showed that it may, then of an idle one, then of a first request that stalls; each time of the
 * one whose last byte is the longest ago, in all loops (places.c). The same holds at the cap of its
 * address, in its loop. If there is none: accept, raw 503 with Retry-After, close.
 *
 * A connection gets a bounded number of requests and bytes a turn, and all pipelined requests
 * together a bounded number: the others wait for a later turn in the order in which they came. The
 * answers of a connection keep the order of its requests.
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

/* `listener` is dup'ed, listened on (-EADDRINUSE: somebody else was first) and accepted from at
 * once. `usage` is shared by all loops of a listener. `name` is the thread's and must last. */
int http_loop_start(const char *name, const HttpListener *listener, const HttpLimits *limits, Usage *usage, const HttpHandler *handler,
                    HttpLoop **ret_loop, Error *error);
Mailbox *http_loop_mailbox(HttpLoop *loop); /* any thread may post */
/* Any thread. Drain: take what is in the accept queue, answer new connections with 503, close
 * idle ones and those without a whole head, let requests in flight finish and answer them with
 * Connection: close; calls `drained` on the loop's thread when no request is in flight. Requests
 * that stall, or are not whole at `until` (boot time), end with 503. */
void http_loop_drain(HttpLoop *loop, usec_t until, void (*drained)(void *context), void *context);
/* Closes what is left, joins the thread and frees. NULL-safe. */
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
 * The handler is done with the request's body and will answer later, from another turn: the loop
 * need not stop and start polling its connection meanwhile, and the body may go. After this neither
 * the head nor request->entity may be looked at.
 */
void http_request_parked(struct st_h2o_req_t *request);
