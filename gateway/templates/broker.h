/*
 * The template broker: a thread T that owns the template worker processes. Loops post batches of
 * events. Each batch comes back to the mailbox of the loop with one result per event and template.
 * A worker process serves the templates of one source at a time (a process never has events of two
 * sources). It cannot use more than its limits of memory and time. If it breaks, only the event
 * that broke it fails. Any thread may post. A batch or a check belongs to the broker until it comes
 * back. Every one comes back, also at shutdown (unavailable).
 */
#pragma once

#include "base/error.h"
#include "gateway/templates/batch.h"
#include "gateway/templates/template_limits.h"

typedef struct Templates Templates;

/* Starts the thread. Processes start when they are needed. `worker_path` NULL:
 * `sluice-template-worker` in the directory of the running program. */
int templates_start(const TemplateLimits *limits, const char *worker_path, Templates **ret_templates, Error *error);
void templates_post(Templates *templates, TemplateBatch *take_batch);
void templates_post_check(Templates *templates, TemplateCheck *take_check);
/* Ends the processes and the thread. Waiting batches, and those that are posted later, come back as
 * unavailable. NULL-safe. */
void templates_stop(Templates *templates);
void templates_free(Templates *templates); /* stops them first; no thread may post any more. NULL-safe */
