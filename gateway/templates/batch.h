/*
 * What the template broker is asked for: batches of events to evaluate, and checks of templates'
 * texts. They belong to the broker until they come back.
 */
#pragma once

#include "base/arena.h"
#include "base/mailbox.h"
#include "gateway/flow/request.h"
#include "mapping/plan.h"

/* One event of a batch; the spans point into the batch's arena (or memory that lives as long). */
typedef struct TemplateEvent {
    Event event;             /* in: body, kind, received, ip, headers, meta */
    TemplateResult *results; /* out: plan_template_count(plan) items, in the batch's arena */
    bool unavailable; /* out: it could not be evaluated and is not to blame for it: to be sent again; `results` are failed and say why */
    void *cookie;     /* of the sender */
    size_t large;     /* of the sender: as in Frame */
} TemplateEvent;

typedef struct TemplateBatch {
    Request request; /* with kind `reply_kind` when done; the results are the events' */
    int reply_kind;
    Plan *plan; /* a reference of the batch */
    /* Set it after template_batch_new: plans of one source with equal template texts share a worker
     * process then. 0: only batches of the very same plan do. */
    uint32_t source_number;
    Arena arena; /* owns the events and results */
    TemplateEvent *events;
    size_t count;

    /* broker */
    size_t left;         /* events without all their results */
    size_t result_bytes; /* of all texts */
} TemplateBatch;

/* Takes the caller's reference of the plan. `count` events, all-zero but for their results:
 * unavailable until the broker has them. */
TemplateBatch *template_batch_new(Plan *take_plan, size_t count, Mailbox *reply, int reply_kind);
void template_batch_free(TemplateBatch *batch); /* NULL-safe; drops the plan */

/*
 * Are these templates well-formed, with known names and without import, importstr, std.extVar,
 * std.native and std.trace? They are looked at in order, in short-lived processes (about 50 ms
 * each, for up to 100 of them), until one is not, or until the time of a check is over
 * (TemplateLimits.check_usec, from when it is posted): then `passed` says how far it came.
 */
typedef struct TemplateCheck {
    /* With kind `reply_kind` when done. Result: of texts[passed]: -EINVAL with line and column in
     * the template's own text; -ETIME: the check's time is over; else the machine's fault (-EIO,
     * -ECANCELED …); 0: all have passed. */
    Request request;
    int reply_kind;
    char **texts; /* owned, as the array */
    size_t count;
    size_t passed; /* out: texts before this one are well-formed */
    /* broker */
    usec_t until; /* boot time */
} TemplateCheck;

TemplateCheck *template_check_new(Mailbox *reply, int reply_kind);
void template_check_add(TemplateCheck *asked, const char *text); /* copies it; nothing when it is there already */
void template_check_free(TemplateCheck *asked);                  /* NULL-safe */
