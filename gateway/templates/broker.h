/*
 * Templates: the broker thread T that owns the template worker processes. Loops post batches of events; each batch comes back to the
 * loop's mailbox with one result per event and template. A worker process serves one source's templates at a time (no events of two
 * sources in one process), holds no more than its limits of memory and time, and costs only the event that broke it.
 *
 * Any thread may post; a batch or a check belongs to the broker until it comes back; every one comes back, also at shutdown (unavailable).
 */
#pragma once

#include "base/clock.h"
#include "base/error.h"
#include "config/options.h"
#include "gateway/templates/batch.h"

typedef struct Templates Templates;

#define TEMPLATE_CHECK_USEC (30 * USEC_SECOND)

typedef struct TemplateLimits {
    uint32_t stack_frames; /* Jsonnet stack, 500 */
    uint64_t memory_bytes; /* of one evaluation process, 256 MB */
    usec_t wall_usec;      /* of one event, 1 s: processor time, and a tenth of the wait for an answer */
    uint32_t workers;      /* evaluating at once; 0: cores */
    uint32_t zygotes;      /* ready evaluators kept, least recently used go first; 64 */
    usec_t check_usec;     /* of the check of all new templates of a call, waiting for others included; 0: TEMPLATE_CHECK_USEC */
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

/* `worker_path`: NULL: `sluice-template-worker` beside the running program. Starts the thread; processes start when needed. */
int templates_start(const TemplateLimits *limits, const char *worker_path, Templates **ret_templates, Error *error);
void templates_post(Templates *templates, TemplateBatch *take_batch);
void templates_post_check(Templates *templates, TemplateCheck *take_check);
/* Ends the processes and the thread. What waits, and what is posted from now on, comes back unavailable. NULL-safe. */
void templates_stop(Templates *templates);
void templates_free(Templates *templates); /* stops them first; nobody posts any more. NULL-safe */
