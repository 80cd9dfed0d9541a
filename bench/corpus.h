/* The events that bench/mapping runs on: of several shapes, so that a figure is not that of one event which the processor learned by heart. */
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

/* The shapes by number: 0 is `event` (tests/mapping/event.json, given in `event`) again and again. False: no such shape. The same seed
 * gives the same bytes. All events have the paths issue.id, issue.key, issue.fields.summary, user.name and amount. */
bool corpus_make(Corpus *corpus, size_t shape, Span event);
/* Lines of a file; empty ones are left out. */
int corpus_read(Corpus *corpus, const char *path, Error *error);
void corpus_deinit(Corpus *corpus);
