/*
 * The evaluator of one source: its waiting batches, its worker process, and the events that the
 * process has. The broker (broker.c) decides when it may run. This module implements the protocol,
 * and makes sure that every event gets exactly one result per template.
 *
 * Events are numbered and answered in order, so the window is a queue. An answer belongs to the
 * first event of the window. If not, the worker is not trusted and is ended. When an evaluating
 * process dies, the results that it had ready are taken, the template that killed it fails, and the
 * rest of the window is sent to the next process.
 *
 * An event fails for its own effects: an error of its template, or more memory, stack or processor
 * time than the limits. Effects of the machine (a pause, a kill from outside, a worker that does
 * not start) make the event unavailable. Broker thread only.
 */
#pragma once

#include <poll.h>

#include "base/thread.h"
#include "gateway/templates/batch.h"
#include "gateway/templates/process.h"
#include "gateway/templates/template_limits.h"
#include "mapping/template_message.h"

enum {
    WINDOW_MAX = 64,                   /* events that the process has: enough to keep it busy, and few to send again */
    WINDOW_BYTES_MAX = 1 << 20,        /* or one event */
    SLOW_USEC = 20 * 1000,             /* time of one event from which a source counts as slow */
    BATCH_RESULT_BYTES_MAX = 64 << 20, /* maximum size of the results of one batch */
};

typedef enum EvaluatorState {
    EVALUATOR_STOPPED, /* no process */
    EVALUATOR_LOADING, /* process, but no evaluating one yet */
    EVALUATOR_READY,
    EVALUATOR_BETWEEN, /* the evaluating process died, the next one is being forked */
} EvaluatorState;

typedef struct WindowEvent {
    TemplateBatch *batch;
    size_t index; /* in the batch */
    uint64_t number;
    uint32_t next_template;
    uint32_t tries;   /* processes that died on it without it being to blame for certain */
    usec_t used_usec; /* of its processor time, in processes that died */
    bool alone;       /* it had no answer in time, by no fault that is known of: tried again, with nothing behind it in the process */
    size_t bytes;
} WindowEvent;

typedef struct Evaluator {
    ThreadOwner owner; /* the broker's thread */
    /* identity */
    uint32_t source_number;
    Plan *plan; /* one of those that it serves */
    const char *worker_path;
    const TemplateLimits *limits;

    /* batches that are not wholly in the window yet, oldest first */
    Message *first, **tail;
    size_t next_event; /* of the first batch */

    WindowEvent window[WINDOW_MAX]; /* a ring */
    size_t window_head, window_count, window_bytes;
    size_t window_sent; /* the first ones of the window are with the process */
    uint64_t next_number;

    EvaluatorState state;
    pid_t pid;
    int control, data, arrived; /* sockets; `arrived`: came along with a frame that is not whole yet; -1: none */
    uint32_t serial;
    Buffer control_in, control_out, data_in, data_out;
    size_t control_sent, data_sent;

    /* scheduling */
    bool may_run;                                /* events may be sent */
    bool must_yield;                             /* others wait: send no more */
    usec_t running_since;                        /* boot time */
    usec_t wanted_since;                         /* boot time; 0: it wants nothing */
    usec_t last_used;                            /* boot time */
    usec_t progress_at;                          /* boot time of the last answer, or of the first unanswered event */
    usec_t event_usec;                           /* moving average */
    unsigned failed_starts;                      /* in a row */
    usec_t start_after;                          /* boot time */
    char refusal[TEMPLATE_REASON_BYTES_MAX + 1]; /* the worker cannot load the templates: no use to try again */
} Evaluator;

Evaluator *evaluator_new(Plan *plan, uint32_t source_number, const char *worker_path, const TemplateLimits *limits);
/* The process must have ended and nothing may wait. NULL-safe. */
void evaluator_free(Evaluator *evaluator);

bool evaluator_serves(const Evaluator *evaluator, const Plan *plan, uint32_t source_number);
void evaluator_enqueue(Evaluator *evaluator, TemplateBatch *take_batch, usec_t now);
bool evaluator_has_work(const Evaluator *evaluator);
bool evaluator_is_slow(const Evaluator *evaluator, usec_t now);

/* Starts the process; a failure is counted, and at the third in a row all that waits is given
 * back. */
void evaluator_start(Evaluator *evaluator, usec_t now);
/* Gives up the process; what is in the window stays and is sent to the next one. */
void evaluator_stop(Evaluator *evaluator, Reaper *reaper, usec_t now);
/* Has this one, without work, a zygote that the stopped `evaluator` can go on with? The zygote
 * knows the texts and has seen no event. */
bool evaluator_can_hand_over(const Evaluator *from, const Evaluator *evaluator);
/* Takes it: the evaluating process ends, the zygote forks a new one for the other source (about 1
 * ms instead of a start). */
void evaluator_take_over(Evaluator *evaluator, Evaluator *from, usec_t now);
/* All that waits comes back unavailable. */
void evaluator_give_back_all(Evaluator *evaluator, const char *reason);

/* Sends as much as the window takes. */
void evaluator_feed(Evaluator *evaluator, usec_t now);
/* 0..2 entries for poll. */
size_t evaluator_poll(const Evaluator *evaluator, struct pollfd entries[2]);
/* Reads and writes what is possible on that socket. */
void evaluator_handle(Evaluator *evaluator, const struct pollfd *entry, Reaper *reaper, usec_t now);
/* Ends a worker that does not answer although its own clock should have. */
void evaluator_check_time(Evaluator *evaluator, Reaper *reaper, usec_t now);
