#include "gateway/http/origin.h"

#include <h2o.h>

/* Without anything that could end a header line or begin another part of it: the text is repeated in answers. */
static Span origin_of(Span value) {
    if (value.size == 0 || value.size > HTTP_ORIGIN_BYTES_MOST) return (Span){0};
    for (size_t i = 0; i < value.size; i++)
        if (value.data[i] <= ' ' || value.data[i] > '~' || value.data[i] == ',') return (Span){0};
    return value;
}

Span http_request_origin(h2o_req_t *request) {
    ssize_t at = h2o_find_header_by_str(&request->headers, H2O_STRLIT("origin"), -1);
    if (at < 0) return (Span){0};
    const h2o_header_t *header = &request->headers.entries[at];
    return origin_of((Span){header->value.base, header->value.len});
}

Span http_head_origin(const HttpHead *head) {
    return origin_of(http_head_find(head, SPAN("origin")));
}
