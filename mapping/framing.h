/*
 * Splits a request's body into events, without copying. ndjson and lines: lines, a trailing newline
 * makes no empty event and empty lines are skipped (a CR before LF is not part of an event); array:
 * the elements of a JSON array (a lone value is an array of one); concatenated: JSON texts after
 * one another, separated by white space or commas.
 *
 * Whether an element is valid JSON is the plan's question; the splitter only has to find its end. A
 * body does not fit the framing when it begins with what no JSON value begins with (array,
 * concatenated), when a lone value of an array is cut off or followed by something, or when the end
 * of an element or of the array is not to be found.
 *
 * A byte order mark at the very beginning belongs to the text, not to its first event: it is
 * skipped in every framing and for every type. One body alone is kept as it is: a whole one
 * (single) of a type that is neither JSON nor a form, since its bytes may be anything. Pure; any
 * thread.
 */
#pragma once

#include <stddef.h>

#include "base/error.h"
#include "base/span.h"
#include "config/definition.h"
#include "mapping/plan.h"

typedef struct FrameReader {
    Framing framing;
    BodyKind kind; /* JSON by a framing that splits JSON, else what the Content-Type says */
    Span left;
    const char *begin; /* of the body, for places in errors */
    bool started, ended;
    size_t index; /* of the next event, from 0 */
} FrameReader;

typedef struct Frame {
    Span body;
    BodyKind kind; /* JSON also where the Content-Type says form, but the event begins with { or [ and is valid JSON */
    size_t large;  /* 0; for callers that keep only the beginning of an event that is too large: the bytes that it had */
} Frame;

/* `content_type`: application/x-ndjson and application/jsonl always mean ndjson, cloudevents+json
 * single, cloudevents-batch+json array. */
void frames_start(FrameReader *reader, Framing framing, Span content_type, Span body);
/* The same for a later part of a text that is read in parts, each of whole lines: a byte order mark
 * is no beginning there. */
void frames_resume(FrameReader *reader, Framing framing, Span content_type, Span body);
enum { FRAMES_END = 1 };
/* 0 and the next event, FRAMES_END, or -EBADMSG: the body does not fit the framing (400; says at
 * which byte). */
int frames_next(FrameReader *reader, Frame *ret_frame, Error *error);
