/*
 * Templates: the broker thread T that owns the template worker processes. Loops post batches of
 * events; each batch comes back to the loop's mailbox with one result per event and template. A
 * worker process serves one source's templates at a time (no events of two sources in one process),
 * holds no more than its limits of memory and time, and costs only the event that broke it.
 *
 * Any thread may post; a batch or a check belongs to the broker until it comes back; every one
 * comes back, also at shutdown (unavailable).
 */
#pragma once

#include "base/error.h"
#include "gateway/templates/batch.h"
#include "gateway/templates/template_limits.h"

typedef struct Templates Templates;

/* `worker_path`: NULL: `sluice-template-worker` beside the running program. Starts the thread;
 * processes start when needed. */
int templates_start(const TemplateLimits *limits, const char *worker_path, Templates **ret_templates, Error *error);
void templates_post(Templates *templates, TemplateBatch *take_batch);
void templates_post_check(Templates *templates, TemplateCheck *take_check);
/* Ends the processes and the thread. What waits, and what is posted from now on, comes back
 * unavailable. NULL-safe. */
void templates_stop(Templates *templates);
void templates_free(Templates *templates); /* stops them first; nobody posts any more. NULL-safe */
