#include "gateway/intake/cors.h"

#include <string.h>

#include "gateway/http/origin.h"

/* Chromium keeps an answer to a preflight no longer than that. */
#define MAX_AGE "7200"
#define METHODS "Access-Control-Allow-Methods: OPTIONS, POST\r\n"
#define OF_ALL METHODS "Access-Control-Expose-Headers: X-Request-Id, Sluice-Event-Id, Sluice-Events, Retry-After\r\n"
#define ANY                                                                                                                                \
    "Access-Control-Allow-Origin: *\r\n"                                                                                                   \
    "Access-Control-Allow-Headers: *, Authorization\r\n" OF_ALL
#define ONE_BEGIN "Access-Control-Allow-Origin: "
#define ONE_END                                                                                                                            \
    "\r\nVary: Origin\r\n"                                                                                                                 \
    "Access-Control-Allow-Credentials: true\r\n"                                                                                           \
    "Access-Control-Max-Age: " MAX_AGE "\r\n" OF_ALL
_Static_assert(sizeof ONE_BEGIN ONE_END + HTTP_ORIGIN_BYTES_MAX <= CORS_BYTES_MAX, "an answer to any origin fits");
_Static_assert(sizeof ANY <= CORS_BYTES_MAX, "an answer to no origin fits");

size_t cors_put(char out[static CORS_BYTES_MAX], Span origin) {
    if (!origin.data) {
        memcpy(out, ANY, sizeof ANY - 1);
        return sizeof ANY - 1;
    }
    check(origin.size <= HTTP_ORIGIN_BYTES_MAX);
    size_t size = sizeof ONE_BEGIN - 1;
    memcpy(out, ONE_BEGIN, size);
    memcpy(out + size, origin.data, origin.size);
    size += origin.size;
    memcpy(out + size, ONE_END, sizeof ONE_END - 1);
    return size + sizeof ONE_END - 1;
}

void cors_put_preflight(Buffer *out, Span origin, Span wanted) {
    char lines[CORS_BYTES_MAX];
    buffer_append(out, lines, cors_put(lines, origin));
    if (!origin.data || !http_are_header_names(wanted)) return;
    buffer_append_text(out, "Access-Control-Allow-Headers: ");
    buffer_append_span(out, wanted);
    buffer_append_text(out, "\r\n");
}

bool cors_allows(const HttpSource *source, Span origin) {
    if (!source->cors_origin_count || !origin.data) return true;
    for (size_t i = 0; i < source->cors_origin_count; i++)
        if (span_equal(origin, span_of(source->cors_origins[i]))) return true;
    return false;
}
