/*
 * The check of templates' texts (TemplateCheck of broker.h) as a state machine: one short-lived worker process a text, one text after another,
 * until one is not well-formed. Nothing here waits. Broker thread only.
 */
#pragma once

#include <poll.h>

#include "gateway/templates/broker.h"
#include "gateway/templates/process.h"

typedef struct Checker Checker;

/* `worker_path` and `limits` are borrowed. */
Checker *checker_new(TemplateCheck *take_check, const char *worker_path, const TemplateLimits *limits);
/* What to poll for; false: nothing, step it after a moment. */
bool checker_poll(const Checker *checker, struct pollfd *ret_entry);
/* Does what is possible without waiting. true: the check has its result. */
bool checker_step(Checker *checker, Reaper *reaper, usec_t now);
/* Ends the process if there is one; the check is the caller's again. A check without a result has -ECANCELED. */
TemplateCheck *checker_free(Checker *checker, Reaper *reaper, usec_t now);
