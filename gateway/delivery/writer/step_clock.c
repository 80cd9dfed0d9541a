#include "gateway/delivery/writer/step_clock.h"

/* The writer wakes at least this often. A longer step is a machine that slept, or a clock that
 * jumped: nobody tried anything meanwhile. */
#define RUNNING_STEP_MAX USEC_HOUR

void step_clock_look(StepClock *now, Clock *clock) {
    usec_t boot = clock->boot(clock);
    usec_t passed = now->boot > 0 && boot > now->boot ? boot - now->boot : 0;
    now->running += passed < RUNNING_STEP_MAX ? passed : RUNNING_STEP_MAX;
    now->boot = boot;
    now->wall = clock->wall(clock);
}
