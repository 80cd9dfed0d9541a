/*
 * The check of templates' texts (TemplateCheck of batch.h) as a state machine. A short-lived worker
 * process checks many texts at once, and only reports that all of them are valid. If it does not
 * report this, or crashes, the next process gets fewer texts, in the end a single one; the result
 * of a single one counts. A check ends after its time limit. If it takes long and others wait, it
 * pauses between two processes. Nothing here waits. Broker thread only.
 */
#pragma once

#include <poll.h>

#include "gateway/templates/batch.h"
#include "gateway/templates/process.h"
#include "gateway/templates/template_limits.h"

typedef struct Checker Checker;

/* `worker_path` and `limits` are borrowed. A check that has paused continues. */
Checker *checker_new(TemplateCheck *take_check, const char *worker_path, const TemplateLimits *limits, usec_t now);
/* Returns what to poll for. False: nothing; call checker_step after a moment. */
bool checker_poll(const Checker *checker, struct pollfd *ret_entry);
typedef enum CheckerState {
    CHECKER_WORKS,
    CHECKER_ENDED,  /* the check has its result */
    CHECKER_YIELDS, /* it has used its turn and others wait: call checker_free; a new checker continues the check later */
} CheckerState;

/* Does the work that is possible without waiting. `others`: other checks are waiting. */
CheckerState checker_step(Checker *checker, Reaper *reaper, bool others, usec_t now);
/* Ends the process, if there is one. The caller owns the check again. */
TemplateCheck *checker_free(Checker *checker, Reaper *reaper, usec_t now);
/* Does the template read a meta field that the source does not have? A TemplateCheck does not
 * answer this, because its results hold for all sources. -EINVAL with line and column if it does,
 * as far as its text shows. Pure; any thread. */
int template_check_meta(const char *text, const Source *source, Error *error);
/* Sets the result of a check whose time limit has passed. */
void checker_time_over(TemplateCheck *asked);
