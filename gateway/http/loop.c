#include "gateway/http/loop.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/metrics.h"
#include "gateway/http/accept.h"
#include "gateway/http/incoming.h"
#include "gateway/http/input.h"
#include "gateway/http/linger.h"
#include "gateway/http/origin.h"
#include "gateway/http/peers.h"
#include "gateway/http/places.h"
#include "gateway/http/refuse.h"
#include "gateway/http/reply.h"
#include "gateway/http/sweep.h"

/* Above what limits.body may be, so that a 413 of ours can be JSON on a kept connection. */
#define ENTITY_BYTES_MAX ((size_t)16 * 1024 * 1024 - (size_t)64 * 1024)
/* Blocks from this size on go back to the system when they are freed, whatever was freed before:
 * bodies come and go. */
#define MMAP_BYTES (256 * 1024)
#define STOP_PATIENCE (2 * USEC_SECOND)
/*
 * What a loop does for one connection before it looks at the others again. The library answers all
 * pipelined requests that it has read without a pause, so that a few connections full of small
 * requests would hold the loop for seconds. The first request of each connection is taken in every
 * turn, whatever its size; what goes beyond these limits waits for its place in the queue of
 * deferred ones.
 */
#define REQUESTS_A_TURN 8
#define BYTES_A_TURN ((size_t)256 * 1024)
#define EXTRA_REQUESTS_A_TURN 512 /* of all connections, without the first of each */
#define RESUMED_A_TURN 64         /* connections whose deferred request is taken at the begin of a turn */

static void accept_again(HttpLoop *loop) {
    loop->listener_paused = false;
    for (size_t i = 0; i < loop->listener_count; i++) h2o_socket_read_start(loop->listeners[i], http_loop_on_accept);
}

/* ---- errors of the loop itself --------------------------------------------------------------- */

static void reply_error(HttpLoop *loop, h2o_req_t *request, int status, const char *name, const char *message, bool close) {
    HttpReply reply = {.status = status, .close = close};
    metrics_add(METRIC_REQUESTS_REFUSED, 1);
    http_loop_error(loop, status, name, message, http_request_origin(request), &reply.body, &reply.headers);
    http_reply(request, &reply);
}

/* ---- requests -------------------------------------------------------------------------------- */

typedef struct LoopHandler {
    h2o_handler_t h2o;
    HttpLoop *loop;
} LoopHandler;

static HttpConnection *connection_of(h2o_req_t *request) {
    return request->conn->callbacks->get_socket(request->conn)->on_close.data;
}

static void take_request(HttpLoop *loop, HttpConnection *connection, h2o_req_t *request) {
    h2o_socket_t *socket = connection->socket;
    check(connection->served && !connection->answered && !connection->parked_reads && !connection->deferred);
    connection->requests++;
    char message[200];
    /* Mostly it was read when it came, and has not moved. */
    HeadResult result = HEAD_OK;
    if (connection->head_at != socket->input->bytes)
        result = http_head_check((Span){socket->input->bytes, socket->input->size}, &connection->head);
    const char *reason = NULL;
    if (result != HEAD_OK) {
        reply_error(loop, request, 400, "badRequest", result == HEAD_BAD ? connection->head.reason : "The head is not valid.", true);
        return;
    }
    if (!http_connection_body_is_sound(connection, request->entity.len, &reason)) {
        reply_error(loop, request, 400, "badRequest", reason, true);
        return;
    }
    if (atomic_load(&loop->stop_wanted)) {
        reply_error(loop, request, 503, "shutdown", "The gateway is shutting down.", true);
        return;
    }
    bool framed_too_much = connection->head.chunked && http_connection_framed_too_much(connection);
    connection->request_size = connection->head.chunked ? 0 : connection->head.size + (size_t)connection->head.length;
    http_connection_cut_next_head(connection);
    /* How long its framing was is forgotten, so that nobody could say where the next request
     * begins. */
    if (connection->head.chunked) request->http1_is_persistent = 0;
    if (connection->head.size > loop->limits.header_bytes) {
        (void)snprintf(message, sizeof message, "The head of the request has %zu bytes; the limit is %zu (option limits.headers).",
                       connection->head.size, loop->limits.header_bytes);
        reply_error(loop, request, 413, "headerTooLarge", message, false);
        return;
    }
    if (framed_too_much) {
        reply_error(loop, request, 413, "headerTooLarge", HTTP_FRAMED_TOO_MUCH, true);
        return;
    }
    if (request->entity.len > loop->limits.body_bytes) {
        (void)snprintf(message, sizeof message, "The body of the request has %zu bytes; the limit is %zu (option limits.body).",
                       request->entity.len, loop->limits.body_bytes);
        reply_error(loop, request, 413, "bodyTooLarge", message, false);
        return;
    }
    loop->handler.on_request(loop->handler.context, request);
}

/* Counts one more request of the connection in this turn; false: its share is used up. */
static bool take_share(HttpLoop *loop, HttpConnection *connection, size_t body_size) {
    if (connection->turn != loop->turn) {
        connection->turn = loop->turn;
        connection->turn_requests = 0;
        connection->turn_bytes = 0;
    }
    if (connection->turn_requests > 0) {
        if (connection->turn_requests >= REQUESTS_A_TURN || connection->turn_bytes >= BYTES_A_TURN ||
            loop->turn_extra >= EXTRA_REQUESTS_A_TURN)
            return false;
        loop->turn_extra++;
    }
    connection->turn_requests++;
    connection->turn_bytes += body_size;
    check(connection->turn_requests <= REQUESTS_A_TURN && loop->turn_extra <= EXTRA_REQUESTS_A_TURN);
    return true;
}

static int on_request(h2o_handler_t *handler, h2o_req_t *request) {
    HttpLoop *loop = ((LoopHandler *)handler)->loop;
    HttpConnection *connection = connection_of(request);
    check_on_thread(&loop->owner);
    check(!connection->deferred);
    http_connection_served(connection);
    if (take_share(loop, connection, request->entity.len)) {
        take_request(loop, connection, request);
    } else { /* nothing is read for it meanwhile, so that its bytes stay where they are */
        connection->deferred = request;
        h2o_linklist_insert(&loop->deferred, &connection->deferred_link);
    }
    return 0;
}

/* The begin of a turn: each connection has a fresh share, and those that wait come first, the
 * longest waiting before the others. */
static bool resume_deferred(HttpLoop *loop) {
    loop->turn++;
    loop->turn_extra = 0;
    unsigned resumed = 0;
    for (; resumed < RESUMED_A_TURN && !h2o_linklist_is_empty(&loop->deferred); resumed++) {
        HttpConnection *connection = H2O_STRUCT_FROM_MEMBER(HttpConnection, deferred_link, loop->deferred.next);
        h2o_req_t *request = http_connection_take_deferred(connection);
        check(take_share(loop, connection, request->entity.len));
        take_request(loop, connection, request);
    }
    return resumed > 0;
}

/* Errors that the library answers by itself come through the fallback path: their plain text
 * becomes the listener's JSON. */
typedef struct LoopFilter {
    h2o_filter_t h2o;
    HttpLoop *loop;
} LoopFilter;

typedef struct ErrorStream {
    h2o_ostream_t h2o;
    h2o_iovec_t body;
} ErrorStream;

static void error_stream_send(h2o_ostream_t *stream, h2o_req_t *request, h2o_iovec_t *buffers, size_t count, h2o_send_state_t state) {
    ErrorStream *self = (ErrorStream *)stream;
    h2o_ostream_send_next(stream, request, count ? &self->body : NULL, count ? 1 : 0, state);
}

static void on_library_error(h2o_filter_t *filter, h2o_req_t *request, h2o_ostream_t **slot) {
    HttpLoop *loop = ((LoopFilter *)filter)->loop;
    check_on_thread(&loop->owner);
    int status = request->res.status;
    const char *name = "badRequest", *message = "The request is not valid HTTP/1.1.";
    char too_large[200];
    if (status == 413) {
        name = "bodyTooLarge";
        (void)snprintf(too_large, sizeof too_large, "The body of the request is larger than %zu bytes (option limits.body).",
                       loop->limits.body_bytes);
        message = too_large;
        connection_of(request)->linger = true;
    } else if (status == 417) {
        message = "The only supported expectation is 100-continue.";
    }
    metrics_add(METRIC_REQUESTS_REFUSED, 1);
    Span body, headers;
    http_loop_error(loop, status, name, message, http_request_origin(request), &body, &headers);
    ErrorStream *stream = (ErrorStream *)h2o_add_ostream(request, sizeof *stream, slot);
    stream->h2o.do_send = error_stream_send;
    stream->body = h2o_strdup(&request->pool, body.data, body.size);
    request->res.content_length = body.size;
    memset(&request->res.headers, 0, sizeof request->res.headers);
    /* "Content-Type: application/json\r\n…" as one pair, like http_reply does. */
    h2o_iovec_t lines = h2o_strdup(&request->pool, headers.data, headers.size);
    size_t skip = strlen("Content-Type: ");
    h2o_add_header(&request->pool, &request->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL, lines.base + skip, lines.len - skip - 2);
    h2o_setup_next_ostream(request, &stream->h2o.next);
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void wake(void *context) {
    HttpLoop *loop = context;
    h2o_multithread_send_message(&loop->receiver, NULL);
}

static void on_library_messages(h2o_multithread_receiver_t *receiver, h2o_linklist_t *messages) {
    (void)receiver; /* nothing is ever sent this way but the wake-up itself */
    check(h2o_linklist_is_empty(messages));
}

static void set_up_library(void) {
    /* Large bodies would go to unlinked files in the temporary folder. */
    h2o_socket_buffer_mmap_settings.threshold = SIZE_MAX;
    (void)mallopt(M_MMAP_THRESHOLD, MMAP_BYTES);
}

static void set_up(HttpLoop *loop) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, set_up_library);
    h2o_config_init(&loop->config);
    loop->config.server_name = h2o_iovec_init(NULL, 0);
    loop->config.max_request_entity_size = ENTITY_BYTES_MAX;
    loop->config.http1.upgrade_to_http2 = 0;
    /* One silent deadline for idling and a request together: beyond all of the sweep's own, which
     * tell the sender. */
    usec_t longest = loop->limits.keep_alive_idle + loop->limits.head_timeout + loop->limits.body_longest + USEC_MINUTE;
    loop->config.http1.req_timeout = (uint64_t)(longest / USEC_MS);
    h2o_hostconf_t *host = h2o_config_register_host(&loop->config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    h2o_pathconf_t *path = h2o_config_register_path(host, "/", 0);
    LoopHandler *handler = (LoopHandler *)h2o_create_handler(path, sizeof *handler);
    handler->h2o.on_req = on_request;
    handler->loop = loop;
    LoopFilter *filter = (LoopFilter *)h2o_create_filter(&host->fallback_path, sizeof *filter);
    filter->h2o.on_setup_ostream = on_library_error;
    filter->loop = loop;
    h2o_linklist_init_anchor(&loop->silent);
    h2o_linklist_init_anchor(&loop->served);
    h2o_linklist_init_anchor(&loop->deferred);
    loop->evloop = h2o_evloop_create();
    h2o_context_init(&loop->context, loop->evloop, &loop->config);
    loop->accept_context.ctx = &loop->context;
    loop->accept_context.hosts = loop->config.hosts;
    h2o_multithread_register_receiver(loop->context.queue, &loop->receiver, on_library_messages);
    for (size_t i = 0; i < loop->listener.count; i++) {
        loop->listeners[i] = h2o_evloop_socket_create(loop->evloop, loop->listener.fds[i], H2O_SOCKET_FLAG_DONT_READ);
        loop->listeners[i]->data = loop;
    }
    loop->listener_count = loop->listener.count;
    accept_again(loop);
}

static void close_listeners(HttpLoop *loop) {
    for (size_t i = 0; i < loop->listener_count; i++) h2o_socket_close(loop->listeners[i]);
    loop->listener_count = 0;
}

static void take_messages(HttpLoop *loop) {
    Message *message = mailbox_take(loop->mailbox);
    if (message) loop->answered = true;
    while (message) {
        Message *next = message->next;
        message->next = NULL;
        loop->handler.on_message(loop->handler.context, message);
        message = next;
    }
}

static void begin_drain(HttpLoop *loop) {
    /* Who came before the stop is still taken. */
    for (size_t i = 0; i < loop->listener_count; i++) (void)http_loop_accept(loop, h2o_socket_get_fd(loop->listeners[i]), SOMAXCONN);
    loop->draining = true;
    loop->context.shutdown_requested =
        1; /* answers say Connection: close; h2o_context_request_shutdown would also start timers of HTTP/2 */
    http_loop_sweep(loop, clock_system()->boot(clock_system())); /* who was taken just now is younger than `now` */
}

/* Bytes that the kernel holds for an idle connection are a request, too. */
static bool in_flight(const HttpConnection *connection) {
    if (connection->doomed) return false;
    return http_connection_state(connection) != CONNECTION_IDLE || http_connection_unread(connection);
}

static void look_if_drained(HttpLoop *loop) {
    for (HttpConnection *connection = NULL; (connection = http_connection_next(loop, connection));)
        if (in_flight(connection)) return;
    loop->drained_told = true;
    if (loop->drained) loop->drained(loop->drained_context);
}

static void turn(HttpLoop *loop) {
    const HttpHandler *handler = &loop->handler;
    loop->answered = resume_deferred(loop);
    if (handler->on_turn) handler->on_turn(handler->context);
    take_messages(loop);
    if (handler->on_work && handler->on_work(handler->context)) loop->answered = true;
    if (handler->on_turn) handler->on_turn(handler->context);
    usec_t now = clock_system()->boot(clock_system());
    loop->now = now;
    if (http_loop_sweep_due(loop, now)) {
        if (loop->listener_paused) accept_again(loop);
        http_loop_sweep(loop, now);
    }
    if (atomic_load_explicit(&loop->usage->connections, memory_order_relaxed) > loop->usage->connections_limit)
        http_loop_make_room(loop, now);
    else
        loop->above_since = 0;
    if (atomic_load(&loop->drain_wanted) && !loop->draining) begin_drain(loop);
    if (loop->draining && !loop->drained_told) look_if_drained(loop);
}

static int end_request(h2o_req_t *request, void *data) {
    HttpLoop *loop = data;
    (void)http_connection_take_deferred(connection_of(request));
    if (http_connection_state(connection_of(request)) == CONNECTION_PARKED)
        reply_error(loop, request, 503, "shutdown", "The gateway is shutting down.", true);
    return 0;
}

/* libh2o keeps some freed blocks for the thread; the thread ends. */
static void release_thread_caches(void) {
    for (size_t left = h2o_socket_buffer_prototype.allocator.cnt; left > 0; left--)
        free(h2o_mem_alloc_recycle(&h2o_socket_buffer_prototype.allocator, 1));
    for (unsigned i = 0; i < 64; i++) { /* its cache of pool chunks is not to be seen from here: take more chunks than it can hold */
        h2o_mem_pool_t pool;
        h2o_mem_init_pool(&pool);
        (void)h2o_mem_alloc_pool(&pool, 1);
        free(pool.chunks);
    }
}

static void tear_down(HttpLoop *loop) {
    /* Who is still in the queue gets its 503. */
    for (size_t i = 0; loop->draining && i < loop->listener_count; i++)
        (void)http_loop_accept(loop, h2o_socket_get_fd(loop->listeners[i]), SOMAXCONN);
    close_listeners(loop);
    loop->context.shutdown_requested = 1;
    (void)loop->config.http1.callbacks.foreach_request(&loop->context, end_request, loop);
    usec_t deadline = clock_system()->boot(clock_system()) + STOP_PATIENCE;
    while (loop->connection_count) {
        for (HttpConnection *connection = NULL; (connection = http_connection_next(loop, connection));)
            if (http_connection_state(connection) != CONNECTION_WRITING || clock_system()->boot(clock_system()) > deadline)
                (void)shutdown(h2o_socket_get_fd(connection->socket), SHUT_RDWR);
        (void)h2o_evloop_run(loop->evloop, 10);
    }
    check(h2o_linklist_is_empty(&loop->silent) && h2o_linklist_is_empty(&loop->served) && h2o_linklist_is_empty(&loop->deferred));
    http_loop_lingers_end(loop);
    atomic_fetch_sub(&loop->usage->unfinished_bytes, loop->unfinished_bytes);
    http_loop_leave_places(loop);
    h2o_multithread_unregister_receiver(loop->context.queue, &loop->receiver);
    h2o_multithread_queue_t *queue = loop->context.queue;
    h2o_context_dispose(&loop->context);
    (void)h2o_evloop_run(loop->evloop, 0); /* frees the sockets that were closed just now */
    free(queue);                           /* the library takes it apart and leaves it */
    h2o_evloop_destroy(loop->evloop);
    h2o_config_dispose(&loop->config);
    release_thread_caches();
}

static void *run(void *context) {
    HttpLoop *loop = context;
    thread_owner_bind(&loop->owner);
    loop->now = clock_system()->boot(clock_system());
    set_up(loop);
    (void)sem_post(&loop->started);
    while (!atomic_load(&loop->stop_wanted)) {
        /* Answers that were written outside the library's own turn leave callbacks (the end of a
         * connection) that only its next turn runs. */
        bool at_once = loop->answered || !h2o_linklist_is_empty(&loop->deferred);
        usec_t wait = at_once ? 0 : http_loop_sleep(loop, clock_system()->boot(clock_system()));
        (void)h2o_evloop_run(loop->evloop, (int32_t)((wait + USEC_MS - 1) / USEC_MS)); /* -1 is EINTR: the turn is taken all the same */
        turn(loop);
    }
    while (sem_wait(&loop->released) < 0) check(errno == EINTR);
    tear_down(loop);
    return NULL;
}

int http_loop_start(const char *name, const HttpListener *listener, const HttpLimits *limits, Usage *usage, const HttpHandler *handler,
                    HttpLoop **ret_loop, Error *error) {
    check(listener->count > 0 && handler->on_request && handler->on_message && handler->error_body && usage->connections_limit > 0);
    HttpLoop *loop = calloc(1, sizeof *loop);
    check(loop);
    loop->limits = *limits;
    loop->handler = *handler;
    loop->usage = usage;
    int r = http_listener_listen(listener, &loop->listener, error);
    if (r < 0) {
        free(loop);
        return r;
    }
    http_loop_join_places(loop);
    loop->mailbox = mailbox_new(wake, loop);
    check(sem_init(&loop->started, 0, 0) == 0 && sem_init(&loop->released, 0, 0) == 0);
    *ret_loop = loop; /* before the thread runs: its handlers may look at it from the first request on */
    r = thread_start(&loop->thread, name, run, loop, error);
    if (r < 0) {
        *ret_loop = NULL;
        http_listener_deinit(&loop->listener);
        mailbox_free(loop->mailbox);
        (void)sem_destroy(&loop->started);
        (void)sem_destroy(&loop->released);
        free(loop);
        return r;
    }
    while (sem_wait(&loop->started) < 0) check(errno == EINTR);
    return 0;
}

Mailbox *http_loop_mailbox(HttpLoop *loop) {
    return loop->mailbox;
}

void http_loop_drain(HttpLoop *loop, usec_t until, void (*drained)(void *context), void *context) {
    check(until > 0 && !atomic_load(&loop->drain_wanted));
    loop->drain_until = until;
    loop->drained = drained;
    loop->drained_context = context;
    atomic_store(&loop->drain_wanted, true);
    wake(loop);
}

void http_loop_stop(HttpLoop *loop) {
    if (!loop) return;
    atomic_store(&loop->stop_wanted, true);
    wake(loop);
    (void)sem_post(&loop->released);
    thread_join(&loop->thread);
    mailbox_free(loop->mailbox);
    (void)sem_destroy(&loop->started);
    (void)sem_destroy(&loop->released);
    buffer_deinit(&loop->scratch);
    free(loop);
}

/* ---- for handlers ---------------------------------------------------------------------------- */

bool http_loop_draining(const HttpLoop *loop) {
    check_on_thread(&loop->owner);
    return loop->draining || atomic_load(&loop->drain_wanted);
}

usec_t http_loop_now(const HttpLoop *loop) {
    return (usec_t)h2o_now(loop->evloop) * USEC_MS; /* the library reads the wall clock once after each poll */
}

void http_loop_request_id(HttpLoop *loop, char *out) {
    check_on_thread(&loop->owner);
    http_loop_next_id(loop, out);
}

Span http_request_peer(h2o_req_t *request) {
    const HttpConnection *connection = connection_of(request);
    check_on_thread(&connection->loop->owner);
    return (Span){connection->peer, connection->peer_size};
}

const HttpHead *http_request_head(h2o_req_t *request) {
    const HttpConnection *connection = connection_of(request);
    check_on_thread(&connection->loop->owner);
    return &connection->head;
}

void http_request_parked(h2o_req_t *request) {
    HttpConnection *connection = connection_of(request);
    check_on_thread(&connection->loop->owner);
    /* Without a body the request's own fields point into the input, which reading on may move. */
    if (!connection->head.has_length && !connection->head.chunked) return;
    http_connection_parked(connection);
}
