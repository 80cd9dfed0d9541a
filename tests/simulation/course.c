#include "tests/simulation/course.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

Course course;

static usec_t sim_wall(Clock *clock) {
    return ((SimClock *)clock)->wall_now;
}

static usec_t sim_boot(Clock *clock) {
    return ((SimClock *)clock)->boot_now;
}

void course_begin(const char *program, uint64_t seed) {
    course = (Course){
        .program = program,
        .seed = seed,
        .random.state = seed * 0x9E3779B97F4A7C15u + 1,
        .clock = {.clock = {.wall = sim_wall, .boot = sim_boot}, .wall_now = 1700000000 * USEC_SECOND, .boot_now = 1000 * USEC_SECOND},
        .verbose = getenv("SLUICE_SIMULATION_VERBOSE") != NULL,
    };
}

void course_pass_time(usec_t time) {
    course.clock.boot_now += time;
    course.clock.wall_now += time;
}

void fail_at(const char *file, int line, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)fprintf(stderr, "\n%s:%d: seed %llu: ", file, line, (unsigned long long)course.seed);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void)fprintf(stderr, "\nagain: SLUICE_SIMULATION_VERBOSE=1 %s %llu 1\n", course.program, (unsigned long long)course.seed);
    abort();
}

void say(const char *format, ...) {
    if (!course.verbose) return;
    va_list arguments;
    va_start(arguments, format);
    (void)fprintf(stderr, "[%lld] ", (long long)(course.clock.boot_now / 1000));
    (void)vfprintf(stderr, format, arguments);
    (void)fputc('\n', stderr);
    va_end(arguments);
}

uint64_t below(uint64_t limit) {
    return random_below(&course.random, limit);
}

bool chance(unsigned percent) {
    return below(100) < percent;
}
