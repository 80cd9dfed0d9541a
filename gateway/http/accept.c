#include "gateway/http/accept.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "base/keyed_hash.h"
#include "base/log.h"
#include "base/metrics.h"
#include "gateway/http/input.h"
#include "gateway/http/linger.h"
#include "gateway/http/peers.h"
#include "gateway/http/places.h"
#include "gateway/http/refuse.h"

/* Connections taken in one turn: several loops share the listening socket, and each should get
 * its part. */
#define ACCEPTS_A_TURN 8

/* The hash has the process's key, so that nobody can aim at another address's slot. */
static unsigned address_slot(const char *peer) {
    return (unsigned)(keyed_hash(hash_key_of_process(), peer, strlen(peer)) % USAGE_ADDRESS_SLOTS);
}

static void give_back_address(HttpLoop *loop, unsigned slot) {
    if (slot == USAGE_ADDRESS_SLOTS) return;
    check(slot < USAGE_ADDRESS_SLOTS);
    check(atomic_fetch_sub(&loop->usage->connections_of[slot], 1) > 0);
}

static void on_close(void *data) {
    HttpConnection *connection = data;
    HttpLoop *loop = connection->loop;
    check_on_thread(&loop->owner);
    check(loop->connection_count > 0 && h2o_linklist_is_linked(&connection->order_link));
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
    give_back_address(loop, connection->address_slot);
    check(!connection->deferred);
    check(atomic_fetch_sub(&loop->usage->connections, 1) > 0);
    free(connection);
}

static void refuse(HttpLoop *loop, int take_fd, const char *name, const char *message) {
    metrics_add(METRIC_CONNECTIONS_REFUSED, 1);
    http_loop_send_raw(loop, take_fd, &(HttpRefusal){503, name, message, NULL}, (Span){0});
    http_loop_linger(loop, take_fd);
}

/* Room among those of its address; false: there is none, and nothing was counted. */
static bool has_room_of_address(HttpLoop *loop, const struct sockaddr *address, Span peer, usec_t now, unsigned *ret_slot) {
    *ret_slot = USAGE_ADDRESS_SLOTS;
    if (loop->limits.connections_an_address == 0 || address_is_loopback(address)) return true;
    if (loop->handler.unlimited && loop->handler.unlimited(loop->handler.context, peer)) return true;
    unsigned slot = address_slot(peer.data);
    check(slot < USAGE_ADDRESS_SLOTS);
    if (atomic_fetch_add(&loop->usage->connections_of[slot], 1) >= loop->limits.connections_an_address &&
        !http_loop_has_room_of_address(loop, slot, now)) {
        give_back_address(loop, slot);
        return false;
    }
    *ret_slot = slot;
    return true;
}

static void admit(HttpLoop *loop, int take_fd, const struct sockaddr *address) {
    check(take_fd >= 0);
    metrics_add(METRIC_CONNECTIONS_ACCEPTED, 1);
    if (loop->draining) {
        refuse(loop, take_fd, "shutdown", "The gateway is shutting down.");
        return;
    }
    char peer[ADDRESS_TEXT_BYTES];
    size_t peer_size = address_format(address, peer);
    usec_t now = clock_system()->boot(clock_system());
    unsigned slot;
    if (!has_room_of_address(loop, address, (Span){peer, peer_size}, now, &slot)) {
        refuse(loop, take_fd, "overloaded", "There are too many connections from this address (option limits.connections-an-address).");
        return;
    }
    atomic_fetch_add(&loop->usage->connections, 1);
    bool above;
    if (!http_loop_has_room(loop, &above, now)) {
        check(atomic_fetch_sub(&loop->usage->connections, 1) > 0);
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
    connection->opened = connection->heard = connection->since = now;
    connection->spared_until = http_connection_spare(above, now);
    http_connection_put(connection);
    http_loop_publish_new(loop, connection);
    loop->connection_count++;
    socket->on_close.cb = on_close;
    socket->on_close.data = connection;
    h2o_accept(&loop->accept_context, socket);
    check(h2o_socket_is_reading(socket) && socket->on_close.data == connection);
    connection->library_read = socket->_cb.read;
    socket->_cb.read = http_loop_on_read;
}

bool http_loop_accept(HttpLoop *loop, int fd, unsigned most) {
    check_on_thread(&loop->owner);
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
