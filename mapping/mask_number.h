/* Numbers of masks in decimal arithmetic: multiples of a step, and noise. The texts are JSON
 * numbers. Pure; any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/span.h"

/* A step such as `10` or `0.25`: `size` x 10^-places. */
typedef struct MaskStep {
    uint64_t size;
    unsigned places;
} MaskStep;

MaskStep mask_step_of(Span text); /* `text` was checked by config/mask_table.h */

typedef enum MaskMultiple {
    MASK_MULTIPLE_NEAREST, /* the nearest multiple; if two are equally near, the one that is further from 0 */
    MASK_MULTIPLE_BELOW,   /* the highest multiple that is not above the number */
} MaskMultiple;

enum { MASK_NUMBER_TOO_LARGE = 1 };
/* Appends the multiple with the decimal places of the step. `is_integer`: the result must fit 64
 * bits. Returns 0, or MASK_NUMBER_TOO_LARGE for more than about 35 digits. */
int mask_multiple(Buffer *out, Span number, MaskStep step, MaskMultiple which, bool is_integer);
/* Appends the range that contains the number, as LOW-HIGH. Results as above. */
int mask_range(Buffer *out, Span number, MaskStep step);
/* Appends number + number x share x (2 x random / 2^64 - 1), with as many decimal places as the
 * number has, at most 15. */
int mask_noise(Buffer *out, Span number, double share, uint64_t random, bool is_integer);
