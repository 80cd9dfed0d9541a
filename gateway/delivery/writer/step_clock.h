/* The time of one step of the writer. It is read once a step, so that all that happens in the step
 * happened at one moment. */
#pragma once

#include "base/clock.h"

typedef struct StepClock {
    usec_t boot, wall;
    usec_t running; /* the running time, see storage/totals.h */
    usec_t opened;  /* running time at which this start began */
} StepClock;

/* Reads the clock and adds the time since the last look to the running time. */
void step_clock_look(StepClock *now, Clock *clock);
