#include "gateway/http/peers.h"

#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/metrics.h"
#include "gateway/http/origin.h"
#include "gateway/http/refuse.h"

HttpConnection *http_connection_of_link(h2o_linklist_t *link) {
    return H2O_STRUCT_FROM_MEMBER(HttpConnection, order_link, link);
}

HttpConnection *http_connection_next(HttpLoop *loop, HttpConnection *connection) {
    h2o_linklist_t *link = connection ? connection->order_link.next : loop->silent.next;
    if (link == &loop->silent) link = loop->served.next; /* the first list ends where the second begins */
    return link == &loop->served ? NULL : http_connection_of_link(link);
}

static void put_last(h2o_linklist_t *list, HttpConnection *connection) {
    if (h2o_linklist_is_linked(&connection->order_link)) h2o_linklist_unlink(&connection->order_link);
    h2o_linklist_insert(list, &connection->order_link);
}

void http_connection_put(HttpConnection *connection) {
    check(!connection->served && !h2o_linklist_is_linked(&connection->order_link));
    put_last(&connection->loop->silent, connection);
}

void http_connection_heard_first(HttpConnection *connection) {
    check(!connection->served && h2o_linklist_is_linked(&connection->order_link));
    usec_t now = clock_system()->boot(clock_system());
    check(now >= connection->heard);
    connection->heard = now;
    put_last(&connection->loop->silent, connection);
}

void http_connection_served(HttpConnection *connection) {
    HttpLoop *loop = connection->loop;
    check(h2o_linklist_is_linked(&connection->order_link));
    connection->served = true;
    connection->heard = loop->now;
    put_last(&loop->served, connection);
}

bool http_connection_unread(const HttpConnection *connection) {
    int unread = 0;
    return ioctl(h2o_socket_get_fd(connection->socket), FIONREAD, &unread) == 0 && unread > 0;
}

ConnectionState http_connection_state(const HttpConnection *connection) {
    h2o_socket_t *socket = connection->socket;
    check(connection->served || (!connection->parked_reads && !connection->answered && !connection->deferred));
    if (h2o_socket_is_writing(socket)) return CONNECTION_WRITING;
    if (!h2o_socket_is_reading(socket) || connection->parked_reads) return CONNECTION_PARKED;
    /* Line ends that some clients send behind a body begin no request. */
    for (size_t i = 0; i < socket->input->size; i++)
        if (i == 4 || (socket->input->bytes[i] != '\r' && socket->input->bytes[i] != '\n')) return CONNECTION_UNFINISHED;
    return CONNECTION_IDLE;
}

h2o_req_t *http_connection_take_deferred(HttpConnection *connection) {
    h2o_req_t *request = steal(connection->deferred);
    check(h2o_linklist_is_linked(&connection->deferred_link) == (request != NULL));
    if (request) h2o_linklist_unlink(&connection->deferred_link);
    return request;
}

void http_connection_end(HttpConnection *connection, const HttpRefusal *refusal) {
    h2o_socket_t *socket = connection->socket;
    int fd = h2o_socket_get_fd(socket);
    check_on_thread(&connection->loop->owner);
    check(fd >= 0 && connection->library_read);
    if (refusal) {
        metrics_add(METRIC_REQUESTS_REFUSED, 1);
        HttpHead head;
        HeadResult result = http_head_check((Span){socket->input->bytes, socket->input->size}, &head);
        http_loop_send_raw(connection->loop, fd, refusal, result == HEAD_OK ? http_head_origin(&head) : (Span){0});
        connection->linger = true;
    }
    connection->doomed = true;
    if (h2o_socket_is_reading(socket) && !h2o_socket_is_writing(socket))
        connection->library_read(socket, h2o_socket_error_closed); /* as if the peer had left: the library frees its own structures */
    else
        (void)shutdown(fd, SHUT_RDWR); /* its write fails */
}
