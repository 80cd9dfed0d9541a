/*
 * The processes of a template worker. The worker loads its templates and becomes a zygote: it forks
 * a process that evaluates, and waits for its end. When that process dies, the zygote tells the
 * broker the event and the reason, passes on the results that were ready, and forks the next
 * process. It begins with loaded templates, which takes about a millisecond instead of a new start.
 * The two processes share one range of pages: the event that is being evaluated, the reason why the
 * process ended itself, and results that are not sent yet. One thread. An error of a socket ends
 * the process, because then the broker has ended.
 */
#pragma once

#include "base/span.h"
#include "mapping/template_message.h"

typedef struct Zygote Zygote;

enum { ZYGOTE_CONTROL_FD = 3 }; /* descriptor of the control socket, with which the broker starts the worker */

Zygote *zygote_new(void);

/* Forks evaluating processes for ever. It returns in each of them, and never in the zygote. */
void zygote_run(Zygote *zygote);

/* In the evaluating process: returns the next event, valid until the next call, and starts its
 * clock. Ends the process if the broker closes the socket. */
const TemplateEventMessage *zygote_next_event(Zygote *zygote);
/* Sets the template that is evaluated from now on. */
void zygote_begin_template(Zygote *zygote, uint32_t template_index);
/* Stores the result of that template. */
void zygote_put_result(Zygote *zygote, bool failed, Span text);
/* Reports that the evaluation of that template cannot continue. */
_Noreturn void zygote_give_up(Zygote *zygote, Span reason);

/* Sends or receives a whole frame over the control socket. */
void zygote_send(const Buffer *frame);
/* Returns false if the broker has ended or sent no LOAD. The load points into `input` and
 * `arena`. */
bool zygote_receive_load(Buffer *input, Arena *arena, TemplateLoad *ret_load);
