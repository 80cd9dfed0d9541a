#include "mapping/content_type.h"

#include "mapping/plan.h"
#include "mapping/words.h"

Span content_type_essence(Span content_type) {
    const char *parameters = content_type.size ? memchr(content_type.data, ';', content_type.size) : NULL;
    if (parameters) content_type.size = (size_t)(parameters - content_type.data);
    while (content_type.size && text_is_space(content_type.data[content_type.size - 1])) content_type.size--;
    while (content_type.size && text_is_space(*content_type.data)) {
        content_type.data++;
        content_type.size--;
    }
    return content_type;
}

BodyKind body_kind(Span content_type) {
    static const char *const json[] = {"application/json", "text/json", "text/plain", "application/x-ndjson", "application/jsonl"};
    Span type = content_type_essence(content_type);
    if (type.size == 0 || span_equal(type, SPAN("application/json"))) return BODY_JSON; /* most often, and as it is written most often */
    for (size_t i = 0; i < sizeof json / sizeof *json; i++)
        if (span_equal_nocase(type, span_of(json[i]))) return BODY_JSON;
    if (span_equal_nocase(type, SPAN("application/x-www-form-urlencoded"))) return BODY_FORM;
    Span suffix = SPAN("+json");
    if (type.size > suffix.size && memchr(type.data, '/', type.size) &&
        span_equal_nocase((Span){type.data + type.size - suffix.size, suffix.size}, suffix))
        return BODY_JSON;
    return BODY_OTHER;
}
