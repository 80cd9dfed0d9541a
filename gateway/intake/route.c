#include "gateway/intake/route.h"

#include <string.h>

static int hex_digit(char byte) {
    if (byte >= '0' && byte <= '9') return byte - '0';
    if (byte >= 'a' && byte <= 'f') return byte - 'a' + 10;
    if (byte >= 'A' && byte <= 'F') return byte - 'A' + 10;
    return -1;
}

/* Decodes what is escaped; an escape that is none makes it no route. */
static bool unescape(Span *path, char *scratch) {
    if (!path->size || !memchr(path->data, '%', path->size)) return true;
    size_t size = 0;
    if (path->size > ROUTE_BYTES_MOST) return false;
    for (size_t i = 0; i < path->size; i++) {
        char byte = path->data[i];
        if (byte == '%') {
            int high = i + 2 < path->size ? hex_digit(path->data[i + 1]) : -1;
            int low = i + 2 < path->size ? hex_digit(path->data[i + 2]) : -1;
            if (high < 0 || low < 0) return false;
            byte = (char)(high << 4 | low);
            if (byte == '/' || byte == 0) return false; /* never a separator */
            i += 2;
        }
        scratch[size++] = byte;
    }
    *path = (Span){scratch, size};
    return true;
}

/* The text up to the next slash; both are taken off `path`. */
static Span segment(Span *path) {
    const char *slash = path->size ? memchr(path->data, '/', path->size) : NULL;
    Span found = {path->data, slash ? (size_t)(slash - path->data) : path->size};
    *path = slash ? (Span){slash + 1, path->size - found.size - 1} : (Span){0};
    return found;
}

static bool begins(Span span, Span with) {
    return span.size >= with.size && memcmp(span.data, with.data, with.size) == 0;
}

static bool is_verbose(Span query) {
    while (query.size) {
        const char *and = memchr(query.data, '&', query.size);
        Span part = {query.data, and? (size_t)(and-query.data) : query.size};
        query = and? (Span){and+1, query.size - part.size - 1} : (Span){0};
        if (span_equal(part, SPAN("verbose=true"))) return true;
    }
    return false;
}

Route route_of(Span target, char scratch[static ROUTE_BYTES_MOST]) {
    Route route = {.kind = ROUTE_NONE};
    if (span_equal(target, SPAN("*"))) {
        route.kind = ROUTE_SERVER;
        return route;
    }
    const char *question = target.size ? memchr(target.data, '?', target.size) : NULL;
    if (question) {
        size_t size = (size_t)(question - target.data);
        route.verbose = is_verbose((Span){question + 1, target.size - size - 1});
        target.size = size;
    }
    size_t scheme = begins(target, SPAN("http://")) ? 7 : begins(target, SPAN("https://")) ? 8 : 0;
    if (scheme) { /* absolute form: what follows the authority */
        const char *slash = memchr(target.data + scheme, '/', target.size - scheme);
        target = slash ? (Span){slash, target.size - (size_t)(slash - target.data)} : (Span){0};
    }
    if (!unescape(&target, scratch)) return route;
    if (begins(target, SPAN("/stream/"))) {
        Span rest = {target.data + 8, target.size - 8};
        route.project = segment(&rest);
        bool more = rest.data != NULL;
        route.source = segment(&rest);
        route.secret_in_url = rest.data != NULL;
        route.secret = rest;
        bool deeper = rest.size && memchr(rest.data, '/', rest.size);
        if (more && route.source.size && route.project.size && !deeper) route.kind = ROUTE_STREAM;
    } else if (span_equal(target, SPAN("/health-check")) || span_equal(target, SPAN("/health"))) {
        route.kind = ROUTE_HEALTH;
    } else if (span_equal(target, SPAN("/ready"))) {
        route.kind = ROUTE_READY;
    }
    return route;
}
