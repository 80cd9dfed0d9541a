/*
 * Named places where a test makes the program fail: SLUICE_FAILPOINTS="name=action,…" or
 * failpoint_set. An action is `off`, `crash` (SIGKILL to itself), `error`, `wait:MS`, each with an
 * optional `@N`: only at the N-th passage. The variable is read by itself at the first use; a
 * mistake in it ends the process with status 2. Compiled in always; one relaxed atomic load when
 * none is set. Any thread.
 */
#pragma once

#include <stdbool.h>

#include "base/error.h"

int failpoint_set(const char *specification, Error *error); /* adds to what is set; unknown action: -EINVAL */
bool failpoint_hit(const char *name);                       /* true: the caller must fail as if the operation had (-EIO); may not return */
void failpoint_clear(void);
