/*
 * What a course of things follows from: one seed, with its random numbers and its clock; and how a
 * course tells what is wrong. Shared by the simulations. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/random.h"

typedef struct SimClock {
    Clock clock; /* first */
    usec_t wall_now, boot_now;
} SimClock;

typedef struct Course {
    const char *program; /* for the line that tells how to run it again */
    uint64_t seed;
    Random random;
    SimClock clock;
    bool verbose; /* SLUICE_SIMULATION_VERBOSE is set */
} Course;

extern Course course; /* of the seed that runs */

/* Begins the course of a seed. `program`: borrowed. */
void course_begin(const char *program, uint64_t seed);
/* Both clocks go on. */
void course_pass_time(usec_t time);

/* Ends the program with the seed and the way to run it again. */
_Noreturn void fail_at(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
#define fail(...) fail_at(__FILE__, __LINE__, __VA_ARGS__)
#define expect(condition)                                                                                                                  \
    do {                                                                                                                                   \
        if (!(condition)) fail("does not hold: %s", #condition);                                                                           \
    } while (0)
void say(const char *format, ...) __attribute__((format(printf, 1, 2))); /* when verbose */
uint64_t below(uint64_t limit);
bool chance(unsigned percent);
