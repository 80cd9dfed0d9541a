/*
 * Named places where a test makes the program fail. They are set by
 * SLUICE_FAILPOINTS="name=action,…" or failpoint_set. An action is `off`, `crash` (the process
 * sends SIGKILL to itself), `error` or `wait:MS`. An optional `@N` limits it to the N-th passage.
 * The variable is read at the first use. A mistake in it ends the process with exit code 2.
 * Failpoints are always compiled in; if none is set, a passage costs one relaxed atomic load. Any
 * thread.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"

int failpoint_set(const char *specification, Error *error); /* adds to the failpoints that are set; -EINVAL if an action is unknown */
/* true: the caller must fail as if the operation had failed (-EIO). With `crash` it does not
 * return */
bool failpoint_hit(const char *name);
void failpoint_clear(void);
