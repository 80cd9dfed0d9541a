/*
 * Templates: the broker thread T that owns the template worker processes. Loops post batches of events; each batch comes back to the
 * loop's mailbox with one result per event and template. A worker process serves one source's templates at a time (no events of two
 * sources in one process), holds no more than its limits of memory and time, and costs only the event that broke it.
 *
 * Any thread may post; a batch or a check belongs to the broker until it comes back; every one comes back, also at shutdown (unavailable).
 */
#pragma once

#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/mailbox.h"
#include "config/options.h"
#include "mapping/plan.h"

typedef struct Templates Templates;

typedef struct TemplateLimits {
    uint32_t stack_frames; /* Jsonnet stack, 500 */
    uint64_t memory_bytes; /* of one evaluation process, 256 MB */
    usec_t wall_usec;      /* of one event, 1 s: processor time, and a tenth of the wait for an answer */
    uint32_t workers;      /* evaluating at once; 0: cores */
    uint32_t zygotes;      /* ready evaluators kept, least recently used go first; 64 */
} TemplateLimits;

/* As the options say. */
static inline TemplateLimits template_limits_of(const Options *options) {
    return (TemplateLimits){
        .stack_frames = options->template_stack,
        .memory_bytes = options->template_memory,
        .wall_usec = options->template_wall,
        .workers = options->template_workers,
        .zygotes = options->template_zygotes,
    };
}

/* One event of a batch; the spans point into the batch's arena (or memory that lives as long). */
typedef struct TemplateEvent {
    Event event;             /* in: body, kind, received, ip, headers */
    TemplateResult *results; /* out: plan_template_count(plan) items, in the batch's arena */
    bool unavailable; /* out: it could not be evaluated and is not to blame for it: to be sent again; `results` are failed and say why */
    void *cookie;     /* of the sender */
} TemplateEvent;

typedef struct TemplateBatch {
    Message message; /* posted to `reply` with kind `reply_kind` when done */
    int reply_kind;
    Mailbox *reply;
    Plan *plan; /* a reference of the batch */
    /* Set it after template_batch_new: plans of one source with equal template texts share a worker process then. 0: only batches of the very
     * same plan do. */
    uint32_t source_number;
    Arena arena; /* owns the events and results */
    TemplateEvent *events;
    size_t count;

    /* broker */
    size_t left;         /* events without all their results */
    size_t result_bytes; /* of all texts */
} TemplateBatch;

/* Takes the caller's reference of the plan. `count` events, all-zero but for their results: unavailable until the broker has them. */
TemplateBatch *template_batch_new(Plan *take_plan, size_t count, Mailbox *reply, int reply_kind);
void template_batch_free(TemplateBatch *batch); /* NULL-safe; drops the plan */

/* Are these templates well-formed, with known names and without import, importstr, std.extVar, std.native and std.trace? They are looked at one
 * after another, each in a short-lived process (about 50 ms, at most 30 s), until one is not. */
typedef struct TemplateCheck {
    Message message; /* posted to `reply` with kind `reply_kind` when done */
    int reply_kind;
    Mailbox *reply;
    char **texts; /* owned, as the array */
    size_t count;
    void *context; /* of the sender */
    /* out */
    size_t passed; /* texts before this one are well-formed */
    int result;    /* of texts[passed]: -EINVAL with line and column in the template's own text, else the machine's fault (-EIO, -ETIMEDOUT,
                    * -ECANCELED …); 0: all have passed */
    Error error;
} TemplateCheck;

TemplateCheck *template_check_new(Mailbox *reply, int reply_kind);
void template_check_add(TemplateCheck *asked, const char *text); /* copies it */
void template_check_free(TemplateCheck *asked);                  /* NULL-safe */

/* `worker_path`: NULL: `sluice-template-worker` beside the running program. Starts the thread; processes start when needed. */
int templates_start(const TemplateLimits *limits, const char *worker_path, Templates **ret_templates, Error *error);
void templates_post(Templates *templates, TemplateBatch *take_batch);
void templates_post_check(Templates *templates, TemplateCheck *take_check);
/* Ends the processes and the thread. What waits, and what is posted from now on, comes back unavailable. NULL-safe. */
void templates_stop(Templates *templates);
void templates_free(Templates *templates); /* stops them first; nobody posts any more. NULL-safe */
