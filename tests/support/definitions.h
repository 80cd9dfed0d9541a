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

/* The sink's columns are inferred besides: base columns come before those that it has, and _rest
 * behind them. */
static inline void test_infer(const Source *source, Sink *sink, uint32_t depth, uint32_t max_columns) {
    sink->target.infer = calloc(1, sizeof *sink->target.infer);
    check(sink->target.infer);
    *sink->target.infer = (Inference){.depth = depth, .max_columns = max_columns};
    sink_complete(source, sink);
}
