/*
 * The frames between the template broker and its worker processes: encoding, and strict decoding.
 * Nothing here does I/O.
 *
 * A frame is u32 size of the rest, u8 kind, and the fields below in order. Integers are
 * little-endian, and texts are u32 size and bytes. Both ends are the same build, so there is no
 * version. The broker does not trust the worker, because the worker runs templates of users.
 *
 * Two sockets connect them. Control socket: LOAD goes to the worker. For each process that it forks
 * to evaluate, it sends CHILD (with the broker's end of that process's data socket as SCM_RIGHTS).
 * It sends DIED when such a process ended without a request; if the broker closed the data socket,
 * the next CHILD follows. It sends REFUSED if the templates cannot be loaded. Data socket: EVENT
 * goes to the evaluating process, and RESULT comes back, one per template, in the order of events
 * and templates.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/span.h"
#include "mapping/plan.h"

enum {
    TEMPLATE_FRAME_HEAD_BYTES = 5,             /* size and kind */
    TEMPLATE_FRAME_BYTES_MAX = 24 << 20,       /* payload of one frame: a body of 16 MB and its headers fit */
    TEMPLATE_TEXT_BYTES_MAX = 1 << 16,         /* of one template: TEMPLATES_MAX of a quarter of it still fit in a frame */
    TEMPLATE_RESULT_BYTES_MAX = 4 << 20,       /* text of one result: more than a row may hold */
    TEMPLATE_REASON_BYTES_MAX = 512,           /* why something failed */
    TEMPLATE_RESULTS_LEFT_BYTES_MAX = 1 << 17, /* RESULT frames inside a DIED frame */
    TEMPLATES_MAX = 4096,                      /* of one source: above 20 sinks of 100 columns */
};

typedef enum TemplateFrameKind {
    TEMPLATE_FRAME_LOAD = 1,
    TEMPLATE_FRAME_EVENT,
    TEMPLATE_FRAME_RESULT,
    TEMPLATE_FRAME_CHILD,
    TEMPLATE_FRAME_DIED,
    TEMPLATE_FRAME_REFUSED,
} TemplateFrameKind;

/* The data with which a worker is started. */
typedef struct TemplateLoad {
    /* Only check: answer CHILD (without a descriptor) if all texts are valid, otherwise REFUSED,
     * with the reason if there is one text. Then end. */
    bool check_only;
    uint32_t stack_frames;
    uint64_t memory_bytes;
    uint32_t count;    /* of texts, 1..TEMPLATES_MAX */
    const Span *texts; /* template texts */
} TemplateLoad;

/* One event, or the remaining templates of one after a process died. */
typedef struct TemplateEventMessage {
    uint64_t number;         /* number given by the broker; returned in the results */
    uint32_t first_template; /* evaluate this and the following ones */
    uint64_t budget_usec;    /* processor time for the event; > 0 */
    BodyKind kind;
    usec_t received;
    Span body;
    Span ip;
    const EventHeader *headers;
    uint32_t header_count;
    const EventMeta *meta; /* NULL: none */
} TemplateEventMessage;

typedef struct TemplateResultMessage {
    uint64_t number;
    uint32_t template_index;
    bool failed;
    Span text; /* compact JSON, or the reason */
} TemplateResultMessage;

/* An evaluating process was started; its data socket is attached. */
typedef struct TemplateChildMessage {
    uint32_t serial; /* number of the process in this worker, from 1 */
} TemplateChildMessage;

typedef enum TemplateDeath {
    TEMPLATE_DEATH_IDLE,   /* no event was being evaluated */
    TEMPLATE_DEATH_ERROR,  /* an error of the template: `reason` is its text */
    TEMPLATE_DEATH_TIME,   /* the event's processor time is used up */
    TEMPLATE_DEATH_CRASH,  /* memory limit or stack overflow: the evaluation is the cause */
    TEMPLATE_DEATH_KILLED, /* SIGKILL or similar from outside: the event may be tried again */
} TemplateDeath;

typedef struct TemplateDiedMessage {
    uint32_t serial;
    TemplateDeath death;
    uint64_t number; /* event and template that were being evaluated, unless IDLE */
    uint32_t template_index;
    uint64_t used_usec; /* processor time the event had by then */
    Span reason;
    Span results; /* complete RESULT frames that were ready; some may have been received over the data socket as well */
} TemplateDiedMessage;

typedef struct TemplateFrame {
    TemplateFrameKind kind;
    Span payload;
    size_t bytes; /* of the whole frame */
} TemplateFrame;

enum { TEMPLATE_FRAME_INCOMPLETE = 1 };
/* Returns the first frame of `bytes`: 0, TEMPLATE_FRAME_INCOMPLETE (then `ret_frame->bytes` is the
 * size that is needed, as far as it is known), or -EBADMSG. */
int template_frame_next(Span bytes, TemplateFrame *ret_frame);

void template_put_load(Buffer *out, const TemplateLoad *load);
void template_put_event(Buffer *out, const TemplateEventMessage *event);
void template_put_result(Buffer *out, const TemplateResultMessage *result);
void template_put_child(Buffer *out, const TemplateChildMessage *child);
void template_put_died(Buffer *out, const TemplateDiedMessage *died);
void template_put_refused(Buffer *out, Span reason);
/* Returns the bytes that template_put_event would add. Above TEMPLATE_FRAME_BYTES_MAX +
 * TEMPLATE_FRAME_HEAD_BYTES it must not be called. */
size_t template_event_bytes(const TemplateEventMessage *event);

/* Decode a payload. Return 0 or -EBADMSG. Spans point into the payload, and arrays are in the
 * arena. The payload must have no further bytes. */
int template_read_load(Span payload, Arena *arena, TemplateLoad *ret_load);
int template_read_event(Span payload, Arena *arena, TemplateEventMessage *ret_event);
int template_read_result(Span payload, TemplateResultMessage *ret_result);
int template_read_child(Span payload, TemplateChildMessage *ret_child);
int template_read_died(Span payload, TemplateDiedMessage *ret_died);
int template_read_refused(Span payload, Span *ret_reason);
