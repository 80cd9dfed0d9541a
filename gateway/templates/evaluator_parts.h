/* What the files evaluator*.c share; nobody else includes it. Broker thread only. */
#pragma once

#include "gateway/templates/evaluator.h"

enum {
    INPUT_KEPT_BYTES = 1 << 20, /* a larger buffer goes when it is empty */
    TRIES_MAX = 3,
};

static inline uint32_t evaluator_template_count(const Evaluator *evaluator) {
    return (uint32_t)plan_template_count(evaluator->plan);
}

static inline WindowEvent *evaluator_window_at(Evaluator *evaluator, size_t i) {
    return &evaluator->window[(evaluator->window_head + i) % WINDOW_MAX];
}

/* ---- evaluator_results.c: every event gets exactly one result per template ------------------- */

/* How an event ends without the results of all its templates. */
typedef enum Ending { ENDING_FAILED, ENDING_UNAVAILABLE } Ending;

/* The templates from the first one on fail for `reason`. With its last event the batch is answered
 * and gone. */
void evaluator_end_event(TemplateBatch *batch, size_t index, uint32_t first_template, size_t count, Ending ending, Span reason);
/* The next result of the window's head. */
void evaluator_put_head_result(Evaluator *evaluator, bool failed, Span text);
/* Results for the rest of the head's templates: all failed. */
void evaluator_fail_head(Evaluator *evaluator, Span reason);
void evaluator_give_back_head(Evaluator *evaluator, Span reason);
/* All that waits, in the window and behind it. */
void evaluator_end_all(Evaluator *evaluator, Ending ending, const char *reason);

/* ---- evaluator_send.c ------------------------------------------------------------------------ */

/* Puts what may go to the process into its buffer. */
void evaluator_put_window(Evaluator *evaluator, usec_t now);
/* Write what the socket takes. */
void evaluator_send_data(Evaluator *evaluator);
void evaluator_send_control(Evaluator *evaluator);

/* ---- evaluator_receive.c --------------------------------------------------------------------- */

/* What the data socket has, all of it when `drain`. -EBADMSG: not to be trusted. */
int evaluator_read_data(Evaluator *evaluator, bool drain);
/* 0, -EBADMSG, -ECANCELED when the worker has refused the templates, or -ECONNRESET at the end. */
int evaluator_read_control(Evaluator *evaluator, usec_t now);
/* So many events have been answered since the last time. */
void evaluator_measure(Evaluator *evaluator, size_t events, usec_t now);

/* ---- evaluator.c ----------------------------------------------------------------------------- */

/* At each entry, and where one ends that has changed the evaluator: it is on its thread, and its
 * parts agree. */
void evaluator_check(const Evaluator *evaluator);
void evaluator_close_fd(int *fd);
/* The data socket and what is on its way there. */
void evaluator_close_data(Evaluator *evaluator);
