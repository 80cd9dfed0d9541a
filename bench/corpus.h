/* The events that bench/mapping runs on: of several shapes, so that a figure is not that of one
 * event which the processor learned by heart. */
#pragma once

#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/span.h"

typedef struct Corpus {
    const char *name;
    const char *what; /* a phrase */
    Buffer text;      /* ndjson, with SIMDJSON_PEER_PADDING zeros behind its size */
    Span *events;     /* its lines */
    size_t count;
    size_t bytes;   /* of the events, newlines not counted */
    size_t longest; /* of one event */
} Corpus;

/* Of the shape with this number; NULL: there are no more. */
const char *corpus_name(size_t shape);
/* Shape 0 is `event` (tests/mapping/event.json) again and again. The same bytes each time. All
 * events have the paths issue.id, issue.key, issue.fields.summary, user.name and amount. */
void corpus_make(Corpus *corpus, size_t shape, Span event);
/* Lines of a file; empty ones are left out. */
int corpus_read(Corpus *corpus, const char *path, Error *error);
void corpus_deinit(Corpus *corpus);
