/* How much of the machine templates may take: what the broker is started with, and its parts keep
 * to. */
#pragma once

#include "base/clock.h"
#include "config/options.h"

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
