/*
 * The sweep over a loop's connections: libh2o has one silent deadline for everything and buffers a
 * whole body before anybody may look at it, so slow and hostile peers are found here, by what the
 * library's sockets show: how much input waits, and whether it reads or writes.
 */
#include "gateway/http/sweep.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "base/metrics.h"
#include "gateway/http/incoming.h"
#include "gateway/http/linger.h"
#include "gateway/http/peers.h"
#include "gateway/http/places.h"
#include "gateway/http/shutdown.h"

#define SWEEP_MIN (4 * USEC_MS)
#define SWEEP_MAX (100 * USEC_MS)
#define SWEEP_SHARE 100 /* a sweep may cost one part in so many of the loop's time, unless memory is short */
/* An unfinished request is held against may_send once it is this old, or HTTP_QUESTION_BYTES large:
 * small ones arrive whole a moment later and get a better answer. */
#define QUESTION_AGE (200 * USEC_MS)
#define SCARCE_SLEEP (10 * USEC_MS)

static void time_out(HttpConnection *connection, const char *message) {
    metrics_add(METRIC_CONNECTIONS_TIMED_OUT, 1);
    http_connection_end(connection, message ? &(HttpRefusal){408, "requestTimeout", message, NULL} : NULL);
}

static uint64_t acked_bytes(const HttpConnection *connection) {
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    if (getsockopt(h2o_socket_get_fd(connection->socket), IPPROTO_TCP, TCP_INFO, &info, &size) < 0) return 0;
    return info.tcpi_bytes_acked;
}

static const HttpRefusal framed_too_much = {413, "headerTooLarge", HTTP_FRAMED_TOO_MUCH, NULL};

/* The head of the unfinished request, as soon as it is whole; true: the connection was ended. */
static bool look_at_head(HttpConnection *connection, usec_t age) {
    const HttpLoop *loop = connection->loop;
    const h2o_buffer_t *input = connection->socket->input;
    Span bytes = {input->bytes, input->size};
    if (connection->head_size == 0) {
        HttpHead head;
        HeadResult result = http_head_check(bytes, &head);
        if (result == HEAD_BAD) {
            http_connection_end(connection, &(HttpRefusal){400, "badRequest", head.reason, NULL});
            return true;
        }
        if ((result == HEAD_INCOMPLETE && bytes.size > loop->limits.header_bytes) ||
            (result == HEAD_OK && head.size > loop->limits.header_bytes)) {
            http_connection_end(
                connection, &(HttpRefusal){413, "headerTooLarge", "The head of the request is too large (option limits.headers).", NULL});
            return true;
        }
        if (result == HEAD_INCOMPLETE) {
            if (age <= loop->limits.head_timeout) return false;
            time_out(connection, "The head of the request did not arrive in time (option timeouts.head).");
            return true;
        }
        connection->head_size = head.size;
        connection->whole_size = head.chunked ? SIZE_MAX : head.size + (size_t)head.length;
    }
    if (bytes.size >= connection->whole_size) return false; /* the handler has it in a moment */
    if (connection->whole_size == SIZE_MAX && http_connection_framed_too_much(connection)) {
        http_connection_end(connection, &framed_too_much);
        return true;
    }
    if (connection->may_send || !loop->handler.may_send || (bytes.size < HTTP_QUESTION_BYTES && age < QUESTION_AGE)) return false;
    const HttpRefusal *refusal = loop->handler.may_send(loop->handler.context, (Span){bytes.data, connection->head_size});
    connection->may_send = !refusal;
    if (connection->may_send) return false;
    http_connection_end(connection, refusal);
    return true;
}

static bool look_at_body(HttpConnection *connection, usec_t age) {
    const HttpLimits *limits = &connection->loop->limits;
    if (age <= limits->body_timeout) return false;
    check(http_connection_arrived(connection) >= connection->head_size);
    uint64_t arrived = http_connection_arrived(connection) - connection->head_size;
    uint64_t wanted = limits->body_rate_min * (uint64_t)(age / USEC_SECOND);
    if (arrived >= wanted && age <= limits->body_longest) return false;
    time_out(connection, "The body of the request did not arrive in time (options timeouts.body, limits.body-rate).");
    return true;
}

uint64_t http_connection_look_at(HttpConnection *connection, usec_t now) {
    const HttpLimits *limits = &connection->loop->limits;
    ConnectionState state = http_connection_state(connection);
    if (state != connection->state || connection->requests != connection->seen_requests) {
        connection->state = state;
        connection->seen_requests = connection->requests;
        connection->since = now;
        connection->head_size = 0;
        connection->may_send = false;
        connection->acked = 0;
        connection->counted = 0;
    }
    check(now >= connection->since);
    usec_t age = now - connection->since;
    bool draining = connection->loop->draining;
    if (draining && http_connection_drain(connection, state, now)) return 0;
    switch (state) {
    case CONNECTION_IDLE:
        if (age > limits->keep_alive_idle) time_out(connection, NULL);
        return 0;
    case CONNECTION_UNFINISHED:
        if (look_at_head(connection, age)) return 0;
        if (connection->head_size && look_at_body(connection, age)) return 0;
        return connection->socket->input->capacity;
    case CONNECTION_WRITING:
        if (age > (draining ? http_drain_patience(connection->loop) : limits->write_timeout)) {
            uint64_t acked = acked_bytes(connection);
            if (acked == connection->acked) {
                time_out(connection, NULL);
            } else {
                connection->acked = acked;
                connection->since = now;
            }
        } else if (connection->acked == 0) {
            connection->acked = age > 0 ? acked_bytes(connection) : 0;
        }
        return 0;
    case CONNECTION_PARKED: return 0;
    }
    unreachable();
}

typedef struct Candidate {
    HttpConnection *connection;
    uint64_t bytes;
    double rate; /* bytes a microsecond */
} Candidate;

static int by_rate(const void *a, const void *b) {
    double x = ((const Candidate *)a)->rate, y = ((const Candidate *)b)->rate;
    return (x > y) - (x < y);
}

/* Ends the slowest unfinished requests until this loop's part of the excess is gone. */
static void shed(HttpLoop *loop, usec_t now, uint64_t own, uint64_t all) {
    check(all > loop->usage->unfinished_limit && own > 0 && own <= all);
    uint64_t excess = all - loop->usage->unfinished_limit;
    uint64_t wanted = (uint64_t)((double)excess * ((double)own / (double)all)) + 1, freed = 0;
    Candidate *candidates = calloc(loop->connection_count, sizeof *candidates);
    size_t count = 0;
    check(candidates);
    for (HttpConnection *c = NULL; (c = http_connection_next(loop, c));) {
        if (c->doomed || c->state != CONNECTION_UNFINISHED) continue;
        check(count < loop->connection_count);
        usec_t age = now - c->since + USEC_MS;
        candidates[count++] = (Candidate){c, c->socket->input->capacity, (double)c->socket->input->size / (double)age};
    }
    qsort(candidates, count, sizeof *candidates, by_rate);
    for (size_t i = 0; i < count && freed < wanted; i++) {
        metrics_add(METRIC_REQUESTS_OVERLOADED, 1);
        http_connection_end(candidates[i].connection,
                            &(HttpRefusal){503, "overloaded", "Too many unfinished requests (option limits.unfinished).", NULL});
        freed += candidates[i].bytes;
    }
    loop->unfinished_bytes = own > freed ? own - freed : 0;
    free(candidates);
}

void http_loop_sweep(HttpLoop *loop, usec_t now) {
    check_on_thread(&loop->owner);
    uint64_t own = 0, before = loop->unfinished_bytes;
    size_t open = loop->connection_count, seen = 0;
    for (HttpConnection *connection = http_connection_next(loop, NULL), *next; connection; connection = next) {
        next = http_connection_next(loop, connection); /* looking may end this one, and no other */
        seen++;
        if (connection->doomed) continue;
        own += http_connection_look_at(connection, now);
    }
    check(seen == open && loop->connection_count <= open);
    http_loop_publish_places(loop, now);
    loop->fresh_bytes = 0;
    loop->unfinished_bytes = own;
    uint64_t all = atomic_fetch_add(&loop->usage->unfinished_bytes, own - before) + own - before;
    check(all >= own); /* ours is a part of it */
    if (all > loop->usage->unfinished_limit && own > 0) {
        shed(loop, now, own, all);
        atomic_fetch_sub(&loop->usage->unfinished_bytes, own - loop->unfinished_bytes);
    }
    http_loop_sweep_lingers(loop, now);
    loop->swept_at = clock_system()->boot(clock_system());
    /* While bodies pile up, or replies linger, every few milliseconds; else as often as costs one
     * part in a hundred. */
    bool soon = all > loop->usage->unfinished_limit / 8 || (loop->draining && !loop->drained_told);
    usec_t interval = soon ? SWEEP_MIN : (loop->swept_at - now) * SWEEP_SHARE;
    loop->sweep_interval = interval < SWEEP_MIN ? SWEEP_MIN : interval > SWEEP_MAX ? SWEEP_MAX : interval;
}

bool http_loop_sweep_due(const HttpLoop *loop, usec_t now) {
    return now >= loop->swept_at + loop->sweep_interval;
}

usec_t http_loop_sleep(const HttpLoop *loop, usec_t now) {
    /* Input wakes the loop by itself, and the sweep follows; only what stands still needs the
     * clock. */
    bool watched = loop->unfinished_bytes > 0 || loop->linger_count > 0 || (loop->draining && !loop->drained_told);
    usec_t due = loop->swept_at + (watched ? loop->sweep_interval : SWEEP_MAX);
    /* Another loop may wait for this one to end a connection. */
    if (http_loop_places_are_scarce(loop) && due > now + SCARCE_SLEEP) due = now + SCARCE_SLEEP;
    return due <= now ? 0 : due - now;
}
