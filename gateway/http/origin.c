#include "gateway/http/origin.h"

#include <h2o.h>
#include <string.h>

/* Without anything that could end a header line or begin another part of it: the text is repeated
 * in answers. */
static Span origin_of(Span value) {
    if (value.size == 0 || value.size > HTTP_ORIGIN_BYTES_MAX) return (Span){0};
    for (size_t i = 0; i < value.size; i++)
        if (value.data[i] <= ' ' || value.data[i] > '~' || value.data[i] == ',') return (Span){0};
    return value;
}

Span http_request_origin(h2o_req_t *request) {
    static const char name[] = "origin"; /* the library has all names in small letters */
    for (size_t i = 0; i < request->headers.size; i++) {
        const h2o_header_t *header = &request->headers.entries[i];
        if (header->name->len == sizeof name - 1 && memcmp(header->name->base, name, sizeof name - 1) == 0)
            return origin_of((Span){header->value.base, header->value.len});
    }
    return (Span){0};
}

Span http_head_origin(const HttpHead *head) {
    return origin_of(http_head_find(head, SPAN("origin")));
}

bool http_are_header_names(Span text) {
    static const char others[] = "!#$%&'*+-.^_`|~, ";
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && (c == '\0' || !strchr(others, c))) return false;
    }
    return text.size > 0;
}
