#include "gateway/intake/route.h"

#include <string.h>

#include "base/text.h"

/* Decodes what is escaped; an escape that is none makes it no route. */
static bool unescape(Span *path, char *scratch) {
    if (!path->size || !memchr(path->data, '%', path->size)) return true;
    if (path->size > ROUTE_BYTES_MAX) return false;
    ptrdiff_t size = text_path_decode(*path, scratch);
    if (size < 0) return false;
    *path = (Span){scratch, (size_t)size};
    return true;
}

/* The text up to the next slash; both are taken off `path`. */
static Span segment(Span *path) {
    const char *slash = path->size ? memchr(path->data, '/', path->size) : NULL;
    Span found = {path->data, slash ? (size_t)(slash - path->data) : path->size};
    *path = slash ? (Span){slash + 1, path->size - found.size - 1} : (Span){0};
    return found;
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

Route route_of(Span target, char scratch[static ROUTE_BYTES_MAX]) {
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
    size_t scheme = text_begins(target, SPAN("http://")) ? 7 : text_begins(target, SPAN("https://")) ? 8 : 0;
    if (scheme) { /* absolute form: what follows the authority */
        const char *slash = memchr(target.data + scheme, '/', target.size - scheme);
        target = slash ? (Span){slash, target.size - (size_t)(slash - target.data)} : (Span){0};
    }
    if (!unescape(&target, scratch)) return route;
    if (text_begins(target, SPAN("/stream/"))) {
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
