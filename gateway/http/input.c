/*
 * What comes on a connection, before the library sees it. The library's own callbacks of a socket are kept and called from ours, so that each
 * byte is looked at as it came: libh2o decodes chunks in place, in the same callback in which it reads them, and has no hook before that.
 * Each way in which the library takes bytes leads through here: what was read, what waits behind an answer that has been written, and what
 * waits behind a "100 Continue". A chunked request whose bytes came another way is refused (http_connection_body_is_sound).
 */
#include "base/error.h"
#include "gateway/http/parts.h"

/* The sweep is run at once when more than one part in so many of the budget came since the last one. */
#define FRESH_SHARE 16
/* A request with too many header lines has at least so many bytes: the cheapest look of all. */
#define HEADERS_LEAST_BYTES ((size_t)H2O_MAX_HEADERS * 3)
/* Framing that a byte of a chunked body may have, beside limits.headers for all of it: a chunk
 * of one byte has 5. */
#define FRAMING_A_BYTE 8
#define STRING_OF_(text) #text
#define STRING_OF(text) STRING_OF_(text)

static const HttpRefusal many_headers = {
    413, "headerTooLarge", "The request has more than " STRING_OF(H2O_MAX_HEADERS) " header lines; no option raises this limit.", NULL};

ConnectionState http_connection_state(const HttpConnection *connection) {
    h2o_socket_t *socket = connection->socket;
    if (h2o_socket_is_writing(socket)) return CONNECTION_WRITING;
    if (!h2o_socket_is_reading(socket) || socket->_cb.read == http_loop_on_parked_read) return CONNECTION_PARKED;
    /* Line ends that some clients send behind a body begin no request. */
    for (size_t i = 0; i < socket->input->size; i++)
        if (i == 4 || (socket->input->bytes[i] != '\r' && socket->input->bytes[i] != '\n')) return CONNECTION_UNFINISHED;
    return CONNECTION_IDLE;
}

/* ---- heads and chunks ---------------------------------------------------------------------------------------------------------------- */

/* The request that begins at `begin` of the input, where the bytes from `fresh` on are new: its head as soon as it is whole and sound, and then
 * the framing of its body. false: the framing is not sound. */
static bool examine(HttpConnection *connection, size_t begin, size_t fresh) {
    const h2o_buffer_t *input = connection->socket->input;
    check(begin <= fresh && fresh <= input->size);
    if (!connection->head_at) {
        if (fresh > begin && !memchr(input->bytes + fresh, '\n', input->size - fresh)) return true;
        /* A head that is not sound is refused when the library has it whole. */
        if (http_head_check((Span){input->bytes + begin, input->size - begin}, &connection->head) != HEAD_OK) return true;
        connection->head_at = input->bytes + begin;
        connection->chunked = (ChunkedBody){0};
        fresh = begin + connection->head.size;
    }
    if (!connection->head.chunked) return true;
    return http_chunked_take(&connection->chunked, (Span){input->bytes + fresh, input->size - fresh}) != CHUNKED_BAD;
}

bool http_connection_body_is_sound(const HttpConnection *connection, size_t body_size, const char **ret_reason) {
    if (!connection->head.chunked) return true;
    ChunkedBody chunked = connection->head_at ? connection->chunked : (ChunkedBody){0};
    ChunkedResult result = http_chunked_take(&chunked, (Span){0});
    if (result == CHUNKED_DONE && chunked.data == body_size) return true;
    *ret_reason = result == CHUNKED_BAD ? chunked.reason : "The chunks of the body are not sound.";
    return false;
}

static void refuse_chunks(HttpConnection *connection) {
    http_connection_end(connection, &(HttpRefusal){400, "badRequest", connection->chunked.reason, NULL});
}

bool http_connection_framed_too_much(const HttpConnection *connection) {
    const ChunkedBody *chunked = &connection->chunked;
    size_t limit = connection->loop->limits.header_bytes;
    return connection->head_at && chunked->framing > limit && chunked->framing - limit > FRAMING_A_BYTE * chunked->data;
}

void http_connection_cut_next_head(HttpConnection *connection) {
    h2o_buffer_t *input = connection->socket->input;
    size_t begin = connection->request_size, limit = connection->loop->limits.header_bytes;
    if (begin == 0 || input->size < begin + H2O_MAX_REQLEN) return;
    if (memmem(input->bytes + begin, H2O_MAX_REQLEN, "\r\n\r\n", 4)) return;
    input->size = begin + limit + 1;
}

/* Senders mostly repeat themselves: where the last head of this connection ended, this one ends,
 * too, or earlier. */
static bool has_many_headers(const HttpConnection *connection) {
    const h2o_buffer_t *input = connection->socket->input;
    size_t last = connection->head.size;
    if (input->size < HEADERS_LEAST_BYTES) return false;
    if (last >= 4 && last <= HEADERS_LEAST_BYTES && memcmp(input->bytes + last - 4, "\r\n\r\n", 4) == 0) return false;
    return http_head_longer((Span){input->bytes, input->size}, H2O_MAX_HEADERS);
}

/* ---- the callbacks ------------------------------------------------------------------------------------------------------------------- */

static void on_written(h2o_socket_t *socket, const char *err);

/* The library has put callbacks of its own where ours stood: when it begins with the next request, and for what it writes by itself. */
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
    if (!err) {
        size_t size = socket->input->size;
        check(socket->bytes_read <= size);
        http_connection_heard(connection);
        if (has_many_headers(connection)) {
            http_connection_end(connection, &many_headers);
            return;
        }
        if (!examine(connection, 0, size - socket->bytes_read)) {
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

void http_loop_on_parked_read(h2o_socket_t *socket, const char *err) {
    /* Pipelined bytes, or the end: either is seen again when the answer has been written. */
    HttpConnection *connection = socket->on_close.data;
    check_on_thread(&connection->loop->owner);
    if (!err) http_connection_cut_next_head(connection);
    h2o_socket_read_stop(socket);
}

/* An answer, or what the library writes by itself. */
static void on_written(h2o_socket_t *socket, const char *err) {
    HttpConnection *connection = socket->on_close.data;
    HttpLoop *loop = connection->loop;
    check_on_thread(&loop->owner);
    bool sound = true;
    if (connection->answered) {
        size_t begin = connection->request_size; /* 0: chunked, no request follows */
        connection->answered = false;
        connection->head_at = NULL;
        if (begin > 0 && begin < socket->input->size) sound = examine(connection, begin, begin);
    }
    loop->writing = connection;
    connection->library_write(socket, err); /* takes the next request, if it is there already */
    if (!loop->writing) return;
    loop->writing = NULL;
    stay_in_front(connection);
    if (!sound && http_connection_state(connection) == CONNECTION_UNFINISHED) refuse_chunks(connection);
}

void http_connection_answered(h2o_req_t *request) {
    h2o_socket_t *socket = request->conn->callbacks->get_socket(request->conn);
    HttpConnection *connection = socket->on_close.data;
    check_on_thread(&connection->loop->owner);
    check(!connection->answered && socket->_cb.write && socket->_cb.write != on_written);
    connection->answered = true;
    connection->library_write = socket->_cb.write;
    socket->_cb.write = on_written;
}
