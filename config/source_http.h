/* Sources of type http: events are POSTed to a URL that holds a secret. */
#pragma once

#include "config/source_kind.h"

typedef struct HttpSource {
    char *secret; /* [0-9A-Za-z_-]{32,256} */
    Framing framing;
    ErrorDetail error_detail;
    uint32_t rate_events, rate_burst; /* events a second and burst; 0: no limit */
    char **cors_origins;              /* of the pages that may send to it, as browsers write an origin; none: all may */
    size_t cors_origin_count;
    bool discard; /* without an enabled sink its events are taken and thrown away; else they are refused */
} HttpSource;

/* NULL: it is of another kind. */
static inline const HttpSource *source_http(const Source *source) {
    return source->kind == &source_kind_http ? source->part : NULL;
}
