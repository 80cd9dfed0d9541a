/*
 * The work of `sluice map`: events from a file or a pipe through the plans of sources, rows to
 * standard output, what could not be mapped to standard error with file and line. One thread; the
 * memory that it takes does not grow with the number of lines.
 */
#pragma once

#include "base/error.h"
#include "config/options.h"
#include "mapping/plan.h"

/* A source with those of its sinks that are asked for. */
typedef struct MapTarget {
    Source *source;
    Sink **sinks;
    size_t sink_count;
    Plan *plan;
} MapTarget;

/* A meta value that each event shall have. */
typedef struct MapMeta {
    Span field, value;
} MapMeta;

typedef struct MapInput {
    int fd;
    const char *name; /* for messages */
    bool lines;       /* each line is an event, however many; else all of it is the body of one request, read by the source's framing */
    Span content_type;
    const EventHeader *headers;
    size_t header_count;
    const MapMeta *meta;
    size_t meta_count;
} MapInput;

typedef struct MapCounts {
    size_t events, refused; /* refused: events that some sink could not take */
} MapCounts;

/* `csv`: the row text as it is staged, of the only sink; else a JSON object a row. 0 also when
 * events were refused. -EINVAL: a template is wrong, or the input cannot be one request; else
 * reading, writing or a template worker failed. */
int map_events(const MapTarget *targets, size_t target_count, const MapInput *input, bool csv, const Options *options,
               MapCounts *ret_counts, Error *error);
