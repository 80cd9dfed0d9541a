/*
 * The end of a loop's work. A stop must not wait for peers that owe us nothing, nor for ones that
 * stall:
 *
 * - Idle connections are closed at once. Who never sent a request is answered first: it may be just
 *   about to send one.
 * - A head that is not whole is answered with 503 and closed at once.
 * - A body goes on while it arrives at the least rate and without a long pause, until the time that
 *   the stop gives it.
 * - A parked request is answered when the commit is done.
 * - An answer that is being written goes on while the peer takes it, until the same time.
 * - New connections are answered with 503 and Retry-After. They are accepted, since one that is
 *   left in the queue is reset when the process ends, and its sender cannot know whether its
 *   request was taken.
 */
#include "gateway/http/shutdown.h"

#include "gateway/http/incoming.h"
#include "gateway/http/peers.h"
#include "gateway/http/refuse.h"

/* A body that brings nothing for so long does not come any more; the rate is looked at after
 * this time, too. */
#define SILENCE_MAX (2 * USEC_SECOND)

static const HttpRefusal going = {503, "shutdown", "The gateway is shutting down.", NULL};

usec_t http_drain_patience(const HttpLoop *loop) {
    return SILENCE_MAX < loop->limits.write_timeout ? SILENCE_MAX : loop->limits.write_timeout;
}

/* Does the body come as fast as a stop wants it to? */
static bool comes(HttpConnection *connection, usec_t now) {
    const HttpLoop *loop = connection->loop;
    size_t bytes = http_connection_arrived(connection);
    if (connection->drain_heard == 0) {
        connection->drain_begin = connection->drain_heard = now;
        connection->drain_first = connection->drain_last = bytes;
    }
    if (connection->drain_last != bytes) {
        connection->drain_last = bytes;
        connection->drain_heard = now;
    }
    usec_t taken = now - connection->drain_begin;
    uint64_t wanted = taken < SILENCE_MAX ? 0 : loop->limits.body_rate_min * (uint64_t)(taken / USEC_SECOND);
    return now < loop->drain_until && now - connection->drain_heard < SILENCE_MAX && bytes >= connection->drain_first + wanted;
}

bool http_connection_drain(HttpConnection *connection, ConnectionState state, usec_t now) {
    const h2o_buffer_t *input = connection->socket->input;
    check(connection->loop->draining && !connection->doomed);
    HttpHead head;
    switch (state) {
    case CONNECTION_IDLE:
        if (http_connection_unread(connection)) return false; /* that is a request */
        if (!connection->served) http_loop_send_raw(connection->loop, h2o_socket_get_fd(connection->socket), &going, (Span){0});
        http_connection_end(connection, NULL);
        return true;
    case CONNECTION_UNFINISHED:
        if (connection->head_size == 0 && http_head_check((Span){input->bytes, input->size}, &head) == HEAD_INCOMPLETE) break;
        if (comes(connection, now)) return false;
        break;
    case CONNECTION_WRITING:
        if (now < connection->loop->drain_until) return false;
        http_connection_end(connection, NULL);
        return true;
    case CONNECTION_PARKED: return false;
    }
    http_connection_end(connection, &going);
    return true;
}
