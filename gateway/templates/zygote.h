/*
 * The process life of a template worker. The worker loads its templates, then becomes a zygote: it
 * forks the process that evaluates and waits for its end. When that process dies, the zygote tells
 * the broker on which event and why, hands over the results that were ready, and forks the next
 * one, which starts where the loaded templates were: about a millisecond instead of a new start.
 *
 * What the two processes share is one page range: which event is being evaluated, why the process
 * ended itself, results not yet sent. One thread. Errors of the sockets end the process: the broker
 * is gone.
 */
#pragma once

#include "base/span.h"
#include "mapping/template_message.h"

typedef struct Zygote Zygote;

enum { ZYGOTE_CONTROL_FD = 3 }; /* the control socket, as the broker starts the worker */

Zygote *zygote_new(void);

/* Forks evaluating processes for ever; returns in each of them, never in the zygote. */
void zygote_run(Zygote *zygote);

/* In the evaluating process: the next event, valid until the next call. Starts its clock. Ends the
 * process when the broker closes. */
const TemplateEventMessage *zygote_next_event(Zygote *zygote);
/* The template that is evaluated from here on. */
void zygote_begin_template(Zygote *zygote, uint32_t template_index);
/* The result of that template. */
void zygote_put_result(Zygote *zygote, bool failed, Span text);
/* The evaluation of that template cannot go on. */
_Noreturn void zygote_give_up(Zygote *zygote, Span reason);

/* A whole frame to or from the broker over the control socket. */
void zygote_send(const Buffer *frame);
/* False: the broker is gone or sent no LOAD. The load points into `input` and `arena`. */
bool zygote_receive_load(Buffer *input, Arena *arena, TemplateLoad *ret_load);
