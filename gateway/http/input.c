/*
 * What comes on a connection, before the library sees it. The library's own callbacks of a socket
 * are kept and called from ours, so that each byte is looked at as it came: libh2o decodes chunks
 * in place, in the same callback in which it reads them, and has no hook before that. Each way in
 * which the library takes bytes leads through here: what was read, what waits behind an answer that
 * has been written, and what waits behind a "100 Continue". A chunked request whose bytes came
 * another way is refused (http_connection_body_is_sound).
 */
#include "gateway/http/input.h"

#include "base/error.h"
#include "gateway/http/incoming.h"
#include "gateway/http/peers.h"
#include "gateway/http/sweep.h"

/* The sweep is run at once when more than one part in so many of the budget came since the last
 * one. */
#define FRESH_SHARE 16
#define STRING_OF_(text) #text
#define STRING_OF(text) STRING_OF_(text)

static const HttpRefusal many_headers = {
    413, "headerTooLarge", "The request has more than " STRING_OF(H2O_MAX_HEADERS) " header lines; no option raises this limit.", NULL};

static void refuse_chunks(HttpConnection *connection) {
    http_connection_end(connection, &(HttpRefusal){400, "badRequest", connection->chunked.reason, NULL});
}

static void on_written(h2o_socket_t *socket, const char *err);

/* The library has put callbacks of its own where ours stood: when it begins with the next request,
 * and for what it writes by itself. */
static void stay_in_front(HttpConnection *connection) {
    h2o_socket_t *socket = connection->socket;
    if (socket->_cb.read == connection->library_read) socket->_cb.read = http_loop_on_read;
    if (socket->_cb.write && socket->_cb.write != on_written) {
        connection->library_write = socket->_cb.write;
        socket->_cb.write = on_written;
    }
}

/* Large input is counted, and held against the budget; false: the connection has been ended. */
static bool look_at_large(HttpConnection *connection, size_t size, bool framing) {
    HttpLoop *loop = connection->loop;
    usec_t now = clock_system()->boot(clock_system());
    loop->fresh_bytes += connection->counted < size ? size - connection->counted : size;
    connection->counted = size;
    loop->reading = connection;
    if (loop->fresh_bytes >= loop->usage->unfinished_limit / FRESH_SHARE)
        http_loop_sweep(loop, now);
    else if (!connection->may_send || framing || connection->requests != connection->seen_requests)
        (void)http_connection_look_at(connection, now);
    return loop->reading != NULL;
}

void http_loop_on_read(h2o_socket_t *socket, const char *err) {
    HttpConnection *connection = socket->on_close.data;
    HttpLoop *loop = connection->loop;
    check_on_thread(&loop->owner);
    if (connection->doomed) err = h2o_socket_error_closed; /* what was there before it was shut down */
    if (!err) {
        size_t size = socket->input->size;
        check(socket->bytes_read <= size && !connection->parked_reads && !connection->deferred);
        http_connection_heard(connection);
        if (http_connection_has_many_headers(connection)) {
            http_connection_end(connection, &many_headers);
            return;
        }
        if (!http_connection_examine(connection, 0, size - socket->bytes_read)) {
            refuse_chunks(connection);
            return;
        }
        bool framing = connection->head_at && connection->chunked.framing > HTTP_QUESTION_BYTES;
        if ((size >= HTTP_QUESTION_BYTES || framing) && !look_at_large(connection, size, framing)) return;
    }
    loop->reading = connection;
    connection->library_read(socket, err);
    if (!loop->reading) return;
    loop->reading = NULL;
    stay_in_front(connection);
}

static void on_parked_read(h2o_socket_t *socket, const char *err) {
    /* Pipelined bytes, or the end: either is seen again when the answer has been written. */
    HttpConnection *connection = socket->on_close.data;
    check_on_thread(&connection->loop->owner);
    check(connection->parked_reads || connection->answered); /* the answer may be on its way */
    if (!err) http_connection_cut_next_head(connection);
    h2o_socket_read_stop(socket);
}

/* An answer, or what the library writes by itself. */
static void on_written(h2o_socket_t *socket, const char *err) {
    HttpConnection *connection = socket->on_close.data;
    HttpLoop *loop = connection->loop;
    check_on_thread(&loop->owner);
    check(connection->library_write && connection->library_write != on_written && !connection->deferred);
    bool sound = true;
    if (connection->answered) {
        size_t begin = connection->request_size; /* 0: chunked, no request follows */
        connection->answered = false;
        connection->head_at = NULL;
        if (begin > 0 && begin < socket->input->size) sound = http_connection_examine(connection, begin, begin);
    }
    loop->writing = connection;
    connection->library_write(socket, err); /* takes the next request, if it is there already */
    if (!loop->writing) return;
    loop->writing = NULL;
    stay_in_front(connection);
    if (!sound && !connection->doomed && http_connection_state(connection) == CONNECTION_UNFINISHED) refuse_chunks(connection);
}

void http_connection_answered(h2o_req_t *request) {
    h2o_socket_t *socket = request->conn->callbacks->get_socket(request->conn);
    HttpConnection *connection = socket->on_close.data;
    check_on_thread(&connection->loop->owner);
    check(!connection->answered && socket->_cb.write && socket->_cb.write != on_written);
    connection->answered = true;
    connection->parked_reads = false;
    connection->library_write = socket->_cb.write;
    socket->_cb.write = on_written;
}

void http_connection_parked(HttpConnection *connection) {
    check(connection->served && !connection->answered && !connection->deferred);
    connection->parked_reads = true;
    h2o_socket_read_start(connection->socket, on_parked_read);
}
