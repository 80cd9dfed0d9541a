#include "gateway/http/incoming.h"

#include "base/error.h"

/* Framing that a byte of a chunked body may have, beside limits.headers for all of it: a chunk
 * of one byte has 5. */
#define FRAMING_A_BYTE 8

bool http_connection_examine(HttpConnection *connection, size_t begin, size_t fresh) {
    const h2o_buffer_t *input = connection->socket->input;
    check(begin <= fresh && fresh <= input->size);
    if (!connection->head_at) {
        if (fresh > begin && !memchr(input->bytes + fresh, '\n', input->size - fresh)) return true;
        /* A head that is not sound is refused when the library has it whole. */
        if (http_head_check((Span){input->bytes + begin, input->size - begin}, &connection->head) != HEAD_OK) return true;
        connection->head_at = input->bytes + begin;
        connection->chunked = (ChunkedBody){0};
        fresh = begin + connection->head.size;
        check(fresh <= input->size && !(connection->head.chunked && connection->head.has_length));
    }
    if (!connection->head.chunked) return true;
    return http_chunked_take(&connection->chunked, (Span){input->bytes + fresh, input->size - fresh}) != CHUNKED_BAD;
}

bool http_connection_chunks_are_sound(const HttpConnection *connection, size_t body_size, const char **ret_reason) {
    ChunkedBody chunked = connection->head_at ? connection->chunked : (ChunkedBody){0};
    ChunkedResult result = http_chunked_take(&chunked, (Span){0});
    if (result == CHUNKED_DONE && chunked.data == body_size) return true;
    check(result != CHUNKED_BAD || chunked.reason);
    if (result == CHUNKED_BAD) *ret_reason = chunked.reason;
    return false;
}

bool http_connection_framed_too_much(const HttpConnection *connection) {
    const ChunkedBody *chunked = &connection->chunked;
    size_t limit = connection->loop->limits.header_bytes;
    return connection->head_at && chunked->framing > limit && chunked->framing - limit > FRAMING_A_BYTE * chunked->data;
}

size_t http_connection_arrived(const HttpConnection *connection) {
    bool chunked = connection->head_at && connection->head.chunked; /* then input has the data without the framing */
    return chunked ? (size_t)(connection->head.size + connection->chunked.data + connection->chunked.framing)
                   : connection->socket->input->size;
}

void http_connection_cut_long_head(HttpConnection *connection) {
    h2o_buffer_t *input = connection->socket->input;
    size_t begin = connection->request_size, limit = connection->loop->limits.header_bytes;
    check(begin > 0 && input->size >= begin + H2O_MAX_REQLEN);
    if (memmem(input->bytes + begin, H2O_MAX_REQLEN, "\r\n\r\n", 4)) return;
    check(limit + 1 < H2O_MAX_REQLEN);
    input->size = begin + limit + 1;
}

/* Senders mostly repeat themselves: where the last head of this connection ended, this one ends,
 * too, or earlier. */
bool http_connection_counts_headers(const HttpConnection *connection) {
    const h2o_buffer_t *input = connection->socket->input;
    size_t last = connection->head.size;
    if (last >= 4 && last <= HTTP_HEADERS_MIN_BYTES && memcmp(input->bytes + last - 4, "\r\n\r\n", 4) == 0) return false;
    return http_head_longer((Span){input->bytes, input->size}, H2O_MAX_HEADERS);
}
