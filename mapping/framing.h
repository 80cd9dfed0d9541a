/*
 * Splits a request's body into events, without copying. ndjson and lines: lines, a trailing newline makes no empty event and empty
 * lines are skipped (a CR before LF is not part of an event); array: the elements of a JSON array (a lone value is an array of one);
 * concatenated: JSON texts after one another, separated by white space or commas. Whether an element is valid JSON is the plan's question;
 * the splitter only has to find its end. Pure; any thread.
 */
#pragma once

#include <stddef.h>

#include "base/error.h"
#include "base/span.h"
#include "config/definition.h"
#include "mapping/plan.h"

typedef struct FrameReader {
    Framing framing;
    Span left;
    const char *begin; /* of the body, for places in errors */
    bool started, ended;
    size_t index; /* of the next event, from 0 */
} FrameReader;

/* `content_type`: application/x-ndjson and application/jsonl always mean ndjson, cloudevents+json single, cloudevents-batch+json array. */
void frames_start(FrameReader *reader, Framing framing, Span content_type, Span body);
/* What the events are: JSON by a framing that splits JSON, else what the Content-Type says. */
BodyKind frames_kind(const FrameReader *reader, Span content_type);
enum { FRAMES_END = 1 };
/* 0 and the next event's bytes, FRAMES_END, or -EBADMSG: the body does not fit the framing (400; says at which byte). */
int frames_next(FrameReader *reader, Span *ret_event, Error *error);
