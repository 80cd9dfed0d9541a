/*
 * The work of `sluice map`: maps events from a file or a pipe by the plans of sources. It writes
 * rows to standard output, and events that could not be mapped to standard error, with file and
 * line. One thread. Its memory does not grow with the number of lines.
 */
#pragma once

#include "base/error.h"
#include "config/options.h"
#include "mapping/plan.h"

/* A source with its selected sinks. */
typedef struct MapTarget {
    Source *source;
    Sink **sinks;
    size_t sink_count;
    Plan *plan;
} MapTarget;

/* A meta value that each event gets. */
typedef struct MapMeta {
    Span field, value;
} MapMeta;

typedef struct MapInput {
    int fd;
    const char *name; /* for messages */
    /* each line is an event, without a limit of their number; otherwise the input is the body of
     * one request, read by the source's framing */
    bool lines;
    Span content_type;
    const EventHeader *headers;
    size_t header_count;
    const MapMeta *meta;
    size_t meta_count;
} MapInput;

typedef struct MapCounts {
    size_t events, refused; /* refused: events that at least one sink could not take */
} MapCounts;

/* Maps all events. `csv`: writes the row text of the only sink, as it is staged; otherwise a JSON
 * object per row. Also returns 0 if events were refused. -EINVAL: a template is wrong, or the input
 * cannot be one request. Other errors: reading, writing or a template worker failed. */
int map_events(const MapTarget *targets, size_t target_count, const MapInput *input, bool csv, const Options *options,
               MapCounts *ret_counts, Error *error);
