/* The series of sources that read a broker. Control thread. */
#pragma once

#include "gateway/api/router.h"

#define METRICS_OTHER "(other)" /* no id has parentheses */

/*
 * All families of SCOPE_BRIDGE. The `limits.metrics-sinks` oldest such sources have series of their
 * own. The others are summed in one: its lag in seconds is the largest, its states say how many.
 */
void bridge_metrics_put(const Control *control, Buffer *out);
