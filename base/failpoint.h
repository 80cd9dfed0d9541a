/*
 * Named places where a test makes the program fail. They are set by
 * SLUICE_FAILPOINTS="name=action,…" or failpoint_set. An action is `off`, `crash` (the process
 * sends SIGKILL to itself), `error` or `wait:MS`. An optional `@N` limits it to the N-th passage.
 * The variable is read at the first use. A mistake in it ends the process with exit code 2.
 * Failpoints are always compiled in; if none is set, a passage costs one relaxed atomic load and a
 * branch that is always predicted. Any thread.
 */
#pragma once

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/error.h"

int failpoint_set(const char *specification, Error *error); /* adds to the failpoints that are set; -EINVAL if an action is unknown */
/* Number of failpoints that are not off; -1: SLUICE_FAILPOINTS was not read yet. Only for
 * failpoint_hit. */
extern atomic_int failpoints_armed;
bool failpoint_hit_armed(const char *name);
/* true: the caller must fail as if the operation had failed (-EIO). With `crash` it does not
 * return */
static inline bool failpoint_hit(const char *name) {
    return __builtin_expect(atomic_load_explicit(&failpoints_armed, memory_order_relaxed) != 0, 0) && failpoint_hit_armed(name);
}
/* The same, as a result: 0, or -EIO with a text. */
static inline int failpoint_error(const char *name, Error *error) {
    return failpoint_hit(name) ? error_set(error, -EIO, "failpoint %s", name) : 0;
}
void failpoint_clear(void);
