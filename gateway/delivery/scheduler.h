/*
 * Decides when which sink is looked at again: a heap of timers by boot time. An event schedules the
 * sinks that it concerns, so nothing ever walks over all sinks. One thread.
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

/* Sets or moves the timer; USEC_NEVER removes it. */
void scheduler_set(Scheduler *scheduler, Timer *timer, usec_t due);
/* Like scheduler_set, but never makes the timer later. */
void scheduler_hasten(Scheduler *scheduler, Timer *timer, usec_t due);
/* Removes and returns the earliest timer that is due; NULL if none is due. */
Timer *scheduler_take(Scheduler *scheduler, usec_t now);
/* Returns the time of the earliest timer; USEC_NEVER if none is set. */
usec_t scheduler_next(const Scheduler *scheduler);
void scheduler_deinit(Scheduler *scheduler);
