/*
 * When is which sink looked at again? A heap of timers by boot time: an event touches the sinks it
 * concerns, and nobody ever walks over all of them. One thread.
 */
#pragma once

#include <stddef.h>

#include "base/clock.h"

typedef struct Timer {
    usec_t due;
    size_t place; /* 1 + index in the heap; 0: not in it. All-zero is a timer that is not set */
} Timer;

typedef struct Scheduler {
    Timer **heap; /* owned; the timers are not */
    size_t count, capacity;
} Scheduler;

/* Sets or moves it; USEC_NEVER takes it out. */
void scheduler_set(Scheduler *scheduler, Timer *timer, usec_t due);
/* As scheduler_set, but never later than it is set already. */
void scheduler_hasten(Scheduler *scheduler, Timer *timer, usec_t due);
/* The earliest that is due, taken out; NULL: none is. */
Timer *scheduler_take(Scheduler *scheduler, usec_t now);
/* When the earliest is due; USEC_NEVER: none is set. */
usec_t scheduler_next(const Scheduler *scheduler);
void scheduler_deinit(Scheduler *scheduler);
