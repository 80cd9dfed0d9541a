/*
 * What a listener wants of its loops: limits, and the functions that take requests and messages.
 * For loop.h, which has the manual.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/mailbox.h"
#include "base/span.h"

struct st_h2o_req_t;

/* Descriptors that a loop may hold beside its connections: its own, and sockets whose answer is
 * on its way to a peer that still sends. */
#define HTTP_LOOP_DESCRIPTORS 44
/* Connections above the cap that the loops of a listener take while the connection that must go
 * is another loop's. */
#define HTTP_CONNECTIONS_ABOVE 32

typedef struct HttpLimits {
    usec_t keep_alive_idle, head_timeout, body_timeout, body_longest, write_timeout;
    uint64_t body_rate_min; /* bytes a second past body_timeout */
    size_t body_bytes;      /* of a request, as sent; above it a JSON 413 */
    size_t header_bytes;
    unsigned connections_an_address; /* none for loopback */
} HttpLimits;

/* How a request is refused whose body is still arriving. The texts are constant. */
typedef struct HttpRefusal {
    int status;
    const char *name, *message;
    const char *headers; /* more header lines; NULL: none */
} HttpRefusal;

/* What runs on a loop. All of it is called on the loop's thread. */
typedef struct HttpHandler {
    /* A request is complete and its raw head is sound. Answers now or later, always on this
     * loop. */
    void (*on_request)(void *context, struct st_h2o_req_t *request);
    /* A message from the mailbox; the handler owns it. */
    void (*on_message)(void *context, Message *take_message);
    /* Once a turn: a slice, of a few milliseconds at most, of work that would hold up the other
     * connections; true: there is more, the loop comes back at once. NULL: none. */
    bool (*on_work)(void *context);
    /* After each turn of the loop: post what the turn gathered. */
    void (*on_turn)(void *context);
    /* A request is still arriving: may its sender go on? `head` is the whole raw request head.
     * NULL: it may; else the answer, which should be the one that on_request would give; then the
     * connection is closed. Without this function everybody may. Shall be cheap. */
    const HttpRefusal *(*may_send)(void *context, Span head);
    /* Formats the body of an error that the loop itself finds (413, 400, 408, 503, those of
     * may_send) as the listener's JSON. */
    void (*error_body)(void *context, int status, const char *name, const char *message, Buffer *out);
    /* Is this address free of the limit of connections an address (loopback always is)? NULL:
     * none. */
    bool (*unlimited)(void *context, Span address);
    /* Appends the lines ("Name: value\r\n") that stand on each of those errors besides Content-Type
     * and X-Request-Id. `origin`: what the request says of it (origin.h), as far as it has come;
     * data NULL: nothing. NULL: no such lines. */
    void (*error_headers)(Span origin, Buffer *out);
    void *context;
} HttpHandler;
