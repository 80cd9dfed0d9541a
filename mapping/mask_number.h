/* Numbers of masks, in decimal arithmetic: multiples of a step, and noise. The texts are JSON
 * numbers. Pure; any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/span.h"

/* `size` x 10^-places: what `10` or `0.25` says. */
typedef struct MaskStep {
    uint64_t size;
    unsigned places;
} MaskStep;

MaskStep mask_step_of(Span text); /* as config/mask_table.h checked it */

typedef enum MaskMultiple {
    MASK_MULTIPLE_NEAREST, /* of two that are equally near the one that is further from 0 */
    MASK_MULTIPLE_BELOW,   /* the greatest that is not above the number */
} MaskMultiple;

enum { MASK_NUMBER_TOO_LARGE = 1 };
/* Appends the multiple with the places of the step. `is_integer`: it stays in 64 bits. 0, or
 * MASK_NUMBER_TOO_LARGE: over about 35 digits. */
int mask_multiple(Buffer *out, Span number, MaskStep step, MaskMultiple which, bool is_integer);
/* The same of the range that begins there: LOW-HIGH. */
int mask_range(Buffer *out, Span number, MaskStep step);
/* Appends number + number x share x (2 x random / 2^64 - 1), with as many places as the number has,
 * 15 at most. */
int mask_noise(Buffer *out, Span number, double share, uint64_t random, bool is_integer);
