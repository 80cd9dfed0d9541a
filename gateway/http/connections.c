/*
 * Connections from accept to close: who gets a place, and who goes when there is none. Two lists,
 * each with the longest silent first: those that never sent a whole request, and those that did.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>

#include "base/log.h"
#include "base/metrics.h"
#include "gateway/http/parts.h"

/* Connections taken in one turn: several loops share the listening socket, and each should get
 * its part. */
#define ACCEPTS_A_TURN 8
/* Within this time each loop had a turn and a sweep, even if nothing happens to it. */
#define EVERY_LOOP_TURNS (250 * USEC_MS)

/* ---- the lists --------------------------------------------------------------------------------------------------------------------- */

static HttpConnection *of_link(h2o_linklist_t *link) {
    return H2O_STRUCT_FROM_MEMBER(HttpConnection, order_link, link);
}

HttpConnection *http_connection_next(HttpLoop *loop, HttpConnection *connection) {
    h2o_linklist_t *link = connection ? connection->order_link.next : loop->silent.next;
    if (link == &loop->silent) link = loop->served.next; /* the first list ends where the second begins */
    return link == &loop->served ? NULL : of_link(link);
}

static void put_last(h2o_linklist_t *list, HttpConnection *connection) {
    if (h2o_linklist_is_linked(&connection->order_link)) h2o_linklist_unlink(&connection->order_link);
    h2o_linklist_insert(list, &connection->order_link);
}

static void count_silent(HttpLoop *loop, int by) {
    loop->silent_count = (unsigned)((int)loop->silent_count + by);
    atomic_fetch_add(&loop->usage->silent, (unsigned)by);
}

void http_connection_heard(HttpConnection *connection) {
    if (!connection->served) put_last(&connection->loop->silent, connection);
}

void http_connection_served(HttpConnection *connection) {
    HttpLoop *loop = connection->loop;
    if (!connection->served) {
        connection->served = true;
        count_silent(loop, -1);
    }
    put_last(&loop->served, connection);
}

bool http_connection_unread(const HttpConnection *connection) {
    int unread = 0;
    return ioctl(h2o_socket_get_fd(connection->socket), FIONREAD, &unread) == 0 && unread > 0;
}

/* ---- making room ------------------------------------------------------------------------------------------------------------------- */

/* Nothing that was asked for is lost with it. A request that the kernel still holds for it is
 * one, too. */
static bool may_go(const HttpConnection *connection, unsigned slot) {
    if (connection->doomed || (slot < USAGE_ADDRESS_SLOTS && connection->address_slot != slot)) return false;
    ConnectionState state = http_connection_state(connection);
    bool idle = state == CONNECTION_IDLE || (state == CONNECTION_UNFINISHED && !connection->served);
    return idle && !http_connection_unread(connection);
}

static void give_up(HttpConnection *connection) {
    static const HttpRefusal refusal = {503, "overloaded",
                                        "Others needed the place before the request was whole (option limits.connections).", NULL};
    metrics_add(METRIC_CONNECTIONS_EVICTED, 1);
    if (http_connection_state(connection) == CONNECTION_UNFINISHED) {
        http_connection_end(connection, &refusal);
    } else { /* an idle one knows that it may be closed at any moment; a new one may just be about to send */
        if (!connection->served) http_loop_send_raw(connection->loop, h2o_socket_get_fd(connection->socket), &refusal);
        http_connection_end(connection, NULL);
    }
}

#define ANY_ADDRESS USAGE_ADDRESS_SLOTS

/* Ends the longest silent connection of a list, of one address or of any, but none that is
 * spared after `now`; false: none. */
static bool end_one(h2o_linklist_t *list, unsigned slot, usec_t now) {
    for (h2o_linklist_t *link = list->next; link != list; link = link->next) {
        HttpConnection *connection = of_link(link);
        if (connection->spared_until > now || !may_go(connection, slot)) continue;
        give_up(connection);
        return true;
    }
    return false;
}

/*
 * Room for one more connection, which is counted already. Only a connection's own loop can end it:
 * where another loop has the one that must go, the new one is taken above the cap, and that loop
 * ends its own in its next turn (http_loop_make_room).
 */
static bool has_room(HttpLoop *loop, bool *ret_above) {
    Usage *usage = loop->usage;
    unsigned open = atomic_load(&usage->connections);
    *ret_above = false;
    if (open <= usage->connections_limit) return true;
    bool may_exceed = open <= usage->connections_limit + HTTP_CONNECTIONS_ABOVE;
    if (!loop->nobody_may_go && end_one(&loop->silent, ANY_ADDRESS, USEC_NEVER)) return true;
    *ret_above = true;
    if (may_exceed && atomic_load(&usage->silent) > loop->silent_count) return true;
    if (!loop->nobody_may_go && end_one(&loop->served, ANY_ADDRESS, USEC_NEVER)) {
        *ret_above = false;
        return true;
    }
    if (may_exceed && atomic_load(&usage->idle) > loop->idle_count) return true;
    loop->nobody_may_go = true;
    return false;
}

void http_loop_make_room(HttpLoop *loop, usec_t now) {
    Usage *usage = loop->usage;
    if (loop->above_since == 0) loop->above_since = now;
    /* Silent ones that were new when the excess began are so no more, and had their loop's turn. */
    bool all_looked = now >= loop->above_since + 2 * EVERY_LOOP_TURNS;
    while (!loop->nobody_old && atomic_load(&usage->connections) > usage->connections_limit)
        loop->nobody_old = !end_one(&loop->silent, ANY_ADDRESS, now) && !(all_looked && end_one(&loop->served, ANY_ADDRESS, now));
}

/* ---- accept and close -------------------------------------------------------------------------------------------------------------- */

/* The hash is seeded with the process's own random bytes, so that nobody can aim at another
 * address's slot. */
static unsigned address_slot(const char *peer) {
    uint64_t hash;
    memcpy(&hash, (const void *)getauxval(AT_RANDOM), sizeof hash);
    for (; *peer; peer++) hash = (hash ^ (unsigned char)*peer) * 0x100000001b3;
    return (unsigned)((hash ^ hash >> 32) % USAGE_ADDRESS_SLOTS);
}

static void give_back_address(HttpLoop *loop, unsigned slot) {
    if (slot < USAGE_ADDRESS_SLOTS) atomic_fetch_sub(&loop->usage->connections_of[slot], 1);
}

static void on_close(void *data) {
    HttpConnection *connection = data;
    HttpLoop *loop = connection->loop;
    check_on_thread(&loop->owner);
    bool unread = !connection->linger && !connection->doomed && http_connection_unread(connection);
    if (connection->linger || unread) {
        int copy = fcntl(h2o_socket_get_fd(connection->socket), F_DUPFD_CLOEXEC, 0);
        if (copy >= 0) http_loop_linger(loop, copy);
    }
    if (loop->reading == connection) loop->reading = NULL;
    if (loop->writing == connection) loop->writing = NULL;
    (void)http_connection_take_deferred(connection);
    h2o_linklist_unlink(&connection->order_link);
    loop->connection_count--;
    if (!connection->served) count_silent(loop, -1);
    give_back_address(loop, connection->address_slot);
    atomic_fetch_sub(&loop->usage->connections, 1);
    free(connection);
}

static void refuse(HttpLoop *loop, int take_fd, const char *name, const char *message) {
    metrics_add(METRIC_CONNECTIONS_REFUSED, 1);
    http_loop_send_raw(loop, take_fd, &(HttpRefusal){503, name, message, NULL});
    http_loop_linger(loop, take_fd);
}

/* Room among those of its address; false: there is none, and nothing was counted. */
static bool has_room_of_address(HttpLoop *loop, const struct sockaddr *address, Span peer, unsigned *ret_slot) {
    *ret_slot = USAGE_ADDRESS_SLOTS;
    if (loop->limits.connections_an_address == 0 || address_is_loopback(address)) return true;
    if (loop->handler.unlimited && loop->handler.unlimited(loop->handler.context, peer)) return true;
    unsigned slot = address_slot(peer.data);
    if (atomic_fetch_add(&loop->usage->connections_of[slot], 1) >= loop->limits.connections_an_address &&
        !end_one(&loop->silent, slot, USEC_NEVER) && !end_one(&loop->served, slot, USEC_NEVER)) {
        give_back_address(loop, slot);
        return false;
    }
    *ret_slot = slot;
    return true;
}

static void admit(HttpLoop *loop, int take_fd, const struct sockaddr *address) {
    metrics_add(METRIC_CONNECTIONS_ACCEPTED, 1);
    if (loop->draining) {
        refuse(loop, take_fd, "shutdown", "The gateway is shutting down.");
        return;
    }
    char peer[ADDRESS_TEXT_BYTES];
    size_t peer_size = address_format(address, peer);
    unsigned slot;
    if (!has_room_of_address(loop, address, (Span){peer, peer_size}, &slot)) {
        refuse(loop, take_fd, "overloaded", "There are too many connections from this address (option limits.connections-an-address).");
        return;
    }
    atomic_fetch_add(&loop->usage->connections, 1);
    bool above;
    if (!has_room(loop, &above)) {
        atomic_fetch_sub(&loop->usage->connections, 1);
        give_back_address(loop, slot);
        refuse(loop, take_fd, "overloaded", "There are too many connections (option limits.connections).");
        return;
    }
    int one = 1;
    (void)setsockopt(take_fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    h2o_socket_t *socket = h2o_evloop_socket_create(loop->evloop, take_fd, H2O_SOCKET_FLAG_IS_ACCEPTED_CONNECTION);
    HttpConnection *connection = calloc(1, sizeof *connection);
    check(connection);
    connection->loop = loop;
    connection->socket = socket;
    connection->address_slot = slot;
    connection->peer_size = (unsigned)peer_size;
    memcpy(connection->peer, peer, sizeof peer);
    connection->since = clock_system()->boot(clock_system());
    connection->spared_until = connection->since + (above ? 3 * EVERY_LOOP_TURNS : EVERY_LOOP_TURNS);
    put_last(&loop->silent, connection);
    count_silent(loop, 1);
    loop->connection_count++;
    socket->on_close.cb = on_close;
    socket->on_close.data = connection;
    h2o_accept(&loop->accept_context, socket);
    connection->library_read = socket->_cb.read;
    socket->_cb.read = http_loop_on_read;
}

bool http_loop_accept(HttpLoop *loop, int fd, unsigned most) {
    while (most-- > 0) {
        struct sockaddr_storage address;
        socklen_t size = sizeof address;
        int taken = accept4(fd, (struct sockaddr *)&address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (taken >= 0) {
            admit(loop, taken, (struct sockaddr *)&address);
            continue;
        }
        if (errno == ECONNABORTED || errno == EINTR) continue;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            log_warning("cannot accept connections: %s", strerror(errno));
            for (size_t i = 0; i < loop->listener_count; i++) h2o_socket_read_stop(loop->listeners[i]);
            loop->listener_paused = true;
        }
        return false;
    }
    return true;
}

void http_loop_on_accept(h2o_socket_t *listener, const char *err) {
    HttpLoop *loop = listener->data;
    check_on_thread(&loop->owner);
    if (!err) (void)http_loop_accept(loop, h2o_socket_get_fd(listener), ACCEPTS_A_TURN);
}
