/*
 * The check of templates' texts (TemplateCheck of batch.h) as a state machine. A short-lived worker
 * process says of many texts at once that all are well-formed. When it does not say so, or breaks,
 * fewer are given to the next one, at last one alone: what is said of that one counts. A check ends
 * with its time; one that works for long makes room for others between two processes. Nothing here
 * waits. Broker thread only.
 */
#pragma once

#include <poll.h>

#include "gateway/templates/batch.h"
#include "gateway/templates/process.h"
#include "gateway/templates/template_limits.h"

typedef struct Checker Checker;

/* `worker_path` and `limits` are borrowed. The check goes on where it was. */
Checker *checker_new(TemplateCheck *take_check, const char *worker_path, const TemplateLimits *limits, usec_t now);
/* What to poll for; false: nothing, step it after a moment. */
bool checker_poll(const Checker *checker, struct pollfd *ret_entry);
typedef enum CheckerState {
    CHECKER_WORKS,
    CHECKER_ENDED,  /* the check has its result */
    CHECKER_YIELDS, /* it has worked for its turn and others wait: checker_free, and a new checker goes on with the check later */
} CheckerState;

/* Does what is possible without waiting. `others`: checks wait for a place. */
CheckerState checker_step(Checker *checker, Reaper *reaper, bool others, usec_t now);
/* Ends the process if there is one; the check is the caller's again. */
TemplateCheck *checker_free(Checker *checker, Reaper *reaper, usec_t now);
/* Does the template ask for a meta field that the source lacks? That is another question than the
 * ones of a TemplateCheck, whose answers hold for any source. -EINVAL with line and column: it
 * does, as far as its text tells. Pure; any thread. */
int template_check_meta(const char *text, const Source *source, Error *error);
/* The result of a check whose time is over. */
void checker_time_over(TemplateCheck *asked);
