/*
 * Splits the body of a request into events, without copying. The framings:
 *
 * - ndjson and lines: each line is an event. A trailing newline gives no empty event, and empty
 * lines are skipped (ndjson: also lines with only white space). A CR before LF is not part of an
 * event.
 * - array: each element of a JSON array is an event; another single value is an array of one.
 * - concatenated: JSON texts one after another, with nothing, white space or commas between them.
 *
 * The splitter only finds the end of an element. Whether an element is valid JSON is checked by the
 * plan. A body does not fit the framing if it begins with a byte with which no JSON value begins
 * (array, concatenated), if a single value of an array is cut off or something follows it, or if
 * the end of an element or of the array cannot be found.
 *
 * A byte order mark at the very beginning belongs to the body, not to its first event. It is
 * skipped in every framing and for every type, with one exception: a whole body (single) of a type
 * that is neither JSON nor a form is not changed, because its bytes may be anything. Pure; any
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
    BodyKind kind; /* JSON if the framing splits JSON, otherwise as the Content-Type says */
    Span left;
    const char *begin; /* start of the body, for places in errors */
    bool started, ended;
    size_t index; /* index of the next event, from 0 */
} FrameReader;

typedef struct Frame {
    Span body;
    BodyKind kind; /* also JSON if the Content-Type says form, but the event begins with { or [ and is valid JSON */
    size_t large;  /* 0; callers that keep only the beginning of an event that is too large store its original size here */
} Frame;

/* Begins to read a body. Some values of `content_type` replace the framing: application/x-ndjson
 * and application/jsonl mean ndjson, cloudevents+json means single, cloudevents-batch+json means
 * array. */
void frames_start(FrameReader *reader, Framing framing, Span content_type, Span body);
/* The same for a later part of a text that is read in parts of whole lines: a byte order mark is
 * not skipped there. */
void frames_resume(FrameReader *reader, Framing framing, Span content_type, Span body);
enum { FRAMES_END = 1 };
/* Returns 0 and the next event, FRAMES_END, or -EBADMSG: the body does not fit the framing (400;
 * the text has the byte). */
int frames_next(FrameReader *reader, Frame *ret_frame, Error *error);
