/* The limits of templates, for the broker and its parts. */
#pragma once

#include "base/clock.h"
#include "config/options.h"

#define TEMPLATE_CHECK_USEC (30 * USEC_SECOND)

typedef struct TemplateLimits {
    uint32_t stack_frames; /* Jsonnet stack, 500 */
    uint64_t memory_bytes; /* of one evaluation process, 256 MB */
    usec_t wall_usec;      /* of one event, 1 s: processor time; the wait for an answer may be ten times as long */
    uint32_t workers;      /* that evaluate at the same time; 0: one per core */
    uint32_t zygotes;      /* ready evaluators that are kept; the least recently used one is removed first; 64 */
    usec_t check_usec;     /* of the check of all new templates of a call, including the wait for others; 0: TEMPLATE_CHECK_USEC */
} TemplateLimits;

/* The limits of the options. */
static inline TemplateLimits template_limits_of(const Options *options) {
    return (TemplateLimits){
        .stack_frames = options->template_stack,
        .memory_bytes = options->template_memory,
        .wall_usec = options->template_wall,
        .workers = options->template_workers,
        .zygotes = options->template_zygotes,
    };
}
