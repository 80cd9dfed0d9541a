#include "gateway/http/head.h"

#include <string.h>

#include "base/error.h"
#include "base/text.h"

/* Bytes up to the next LF, which is consumed; data NULL when there is none. `ret_crlf`: a CR stood
 * before it and is not part of the line. */
static Span take_line(Span *left, bool *ret_crlf) {
    const char *end = left->size ? memchr(left->data, '\n', left->size) : NULL;
    if (!end) return (Span){0};
    Span line = {left->data, (size_t)(end - left->data)};
    left->size -= line.size + 1;
    left->data = end + 1;
    *ret_crlf = line.size > 0 && line.data[line.size - 1] == '\r';
    if (*ret_crlf) line.size--;
    return line;
}

static HeadResult bad(HttpHead *head, const char *reason) {
    head->reason = reason;
    return HEAD_BAD;
}

/* METHOD SP TARGET SP HTTP/1.x */
static const char *request_line(Span line, HttpHead *head) {
    const char *space = memchr(line.data, ' ', line.size);
    if (!space || space == line.data) return "The request line has no method.";
    head->method = (Span){line.data, (size_t)(space - line.data)};
    const char *target = space + 1, *end = line.data + line.size;
    const char *after = memchr(target, ' ', (size_t)(end - target));
    if (!after || after == target) return "The request line has no target.";
    head->target = (Span){target, (size_t)(after - target)};
    Span version = {after + 1, (size_t)(end - after - 1)};
    if (version.size != 8 || memcmp(version.data, "HTTP/1.", 7) != 0 || version.data[7] < '0' || version.data[7] > '9')
        return "The request line does not end with HTTP/1.0 or HTTP/1.1.";
    head->minor = (unsigned)(version.data[7] - '0');
    return NULL;
}

static bool length_of(Span value, uint64_t *ret_length) {
    if (value.size == 0 || value.size > 19) return false;
    uint64_t length = 0;
    for (size_t i = 0; i < value.size; i++) {
        if (value.data[i] < '0' || value.data[i] > '9') return false;
        length = length * 10 + (uint64_t)(value.data[i] - '0');
    }
    *ret_length = length;
    return true;
}

/* Bits in which 8 bytes differ from letters in lower case and hyphens; letters may be in any
 * case. */
static inline uint64_t differ(const char *bytes, const char *lower) {
    uint64_t word, wanted;
    memcpy(&word, bytes, sizeof word);
    memcpy(&wanted, lower, sizeof wanted);
    uint64_t letters = wanted & 0x4040404040404040; /* a hyphen has that bit not */
    return (word | letters >> 1) ^ wanted;
}

/* `lower` is a constant of 8 to 16 letters and hyphens; the words may overlap. Every request has
 * some of these: no branch for each byte. */
static inline bool named(Span name, Span lower) {
    size_t last = lower.size - 8;
    return (differ(name.data, lower.data) | differ(name.data + last, lower.data + last)) == 0;
}

/* What no host name or address holds: controls, space, what is not ASCII, and what could be read as
 * two hosts, a path or a user. */
static const bool host_forbids[256] = {
    [0 ... ' '] = true, [0x7f ... 0xff] = true, ['"'] = true,  ['#'] = true, [','] = true, ['/'] = true, ['<'] = true, ['>'] = true,
    ['?'] = true,       ['@'] = true,           ['\\'] = true, ['^'] = true, ['`'] = true, ['{'] = true, ['|'] = true, ['}'] = true,
};

/* A name or address with an optional port: nothing that could be read as two hosts, a path or a
 * user. */
static bool host_sound(Span value) {
    for (size_t i = 0; i < value.size; i++)
        if (host_forbids[(unsigned char)value.data[i]]) return false;
    return true;
}

typedef struct Seen {
    unsigned hosts, lengths, encodings;
} Seen;

/* The three headers that say where a request ends and for whom it is. */
static const char *look_at(Span name, Span value, HttpHead *head, Seen *seen) {
    switch (name.size) {
    case 4:
        if (!span_equal(name, SPAN("Host")) && !span_equal_nocase(name, SPAN("host"))) return NULL;
        if (seen->hosts++) return "The request has two Host headers.";
        return host_sound(value) ? NULL : "The Host header is not a host name.";
    case 14:
        if (!named(name, SPAN("content-length"))) return NULL;
        if (seen->lengths++) return "The request has two Content-Length headers.";
        head->has_length = true;
        return length_of(value, &head->length) ? NULL : "The Content-Length header is not a number of bytes.";
    case 17:
        if (!named(name, SPAN("transfer-encodin")) || (name.data[16] | 0x20) != 'g') return NULL;
        if (seen->encodings++) return "The request has two Transfer-Encoding headers.";
        head->chunked = true;
        return span_equal_nocase(value, SPAN("chunked")) ? NULL : "The only supported Transfer-Encoding is chunked.";
    default: return NULL;
    }
}

static const char *split(Span line, Span *ret_name, Span *ret_value) {
    if (line.data[0] == ' ' || line.data[0] == '\t') return "A header is folded over two lines.";
    const char *colon = memchr(line.data, ':', line.size);
    if (!colon || colon == line.data) return "A header line has no name.";
    *ret_name = (Span){line.data, (size_t)(colon - line.data)};
    if (colon[-1] == ' ' || colon[-1] == '\t') return "A header name is followed by white space.";
    *ret_value = text_trim((Span){colon + 1, line.size - ret_name->size - 1});
    if (ret_value->size && memchr(ret_value->data, '\r', ret_value->size)) return "A header line contains a lone CR.";
    return NULL;
}

HeadResult http_head_check(Span bytes, HttpHead *ret_head) {
    HttpHead head = {0};
    Seen seen = {0};
    Span left = bytes;
    bool crlf;
    *ret_head = head;
    if (left.size >= 2 && left.data[0] == '\r' && left.data[1] == '\n') left = (Span){left.data + 2, left.size - 2};
    Span line = take_line(&left, &crlf);
    if (!line.data) return HEAD_INCOMPLETE;
    if (!crlf) return bad(ret_head, "A line of the head does not end with CR LF.");
    const char *reason = line.size ? request_line(line, &head) : "The request line is empty.";
    if (reason) return bad(ret_head, reason);
    head.lines.data = left.data;
    for (;;) {
        const char *start = left.data;
        line = take_line(&left, &crlf);
        if (!line.data) return HEAD_INCOMPLETE;
        if (!crlf) return bad(ret_head, "A line of the head does not end with CR LF.");
        if (line.size == 0) {
            head.lines.size = (size_t)(start - head.lines.data);
            break;
        }
        Span name = {0}, value = {0};
        reason = split(line, &name, &value);
        if (!reason) reason = look_at(name, value, &head, &seen);
        if (reason) return bad(ret_head, reason);
    }
    if (head.chunked && head.has_length) return bad(ret_head, "The request has both a Content-Length and a Transfer-Encoding header.");
    if (head.chunked && head.minor == 0) return bad(ret_head, "HTTP/1.0 has no Transfer-Encoding.");
    if (seen.hosts == 0 && head.minor > 0) return bad(ret_head, "The request has no Host header.");
    head.size = (size_t)(left.data - bytes.data);
    check(head.size <= bytes.size && head.method.size > 0 && head.target.size > 0);
    *ret_head = head;
    return HEAD_OK;
}

bool http_head_longer(Span bytes, unsigned most) {
    const char *at = bytes.data, *end = bytes.data + bytes.size;
    if (bytes.size >= 2 && at[0] == '\r' && at[1] == '\n') at += 2;
    for (unsigned lines = 0; lines <= most; lines++) { /* the first is the request line */
        at = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;
        if (!at || ++at == end || *at == '\r' || *at == '\n') return false;
    }
    return true;
}

bool http_head_next(Span *lines, Span *ret_name, Span *ret_value) {
    bool crlf;
    Span line = take_line(lines, &crlf);
    if (!line.data) return false;
    const char *colon = memchr(line.data, ':', line.size);
    size_t name_size = colon ? (size_t)(colon - line.data) : line.size;
    *ret_name = (Span){line.data, name_size};
    *ret_value = colon ? text_trim((Span){colon + 1, line.size - name_size - 1}) : (Span){line.data, 0};
    return true;
}

Span http_head_find(const HttpHead *head, Span name) {
    Span lines = head->lines, found, value;
    while (http_head_next(&lines, &found, &value))
        if (found.size == name.size && span_equal_nocase(found, name)) return value;
    return (Span){0};
}
