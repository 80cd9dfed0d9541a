/* Definitions that tests need and do not care about. */
#pragma once

#include <jansson.h>

#include "config/definition.h"

/* With its defaults; source_unref. */
static inline Source *test_source(const char *id) {
    Source *source;
    Error error = {0};
    json_t *body = json_pack("{s:s}", "sourceId", id);
    check(body && source_from_request(body, &source, &error) == 0);
    json_decref(body);
    return source;
}
