/* The series of sources that read a broker. Control thread. */
#pragma once

#include "gateway/api/router.h"

#define METRICS_OTHER "(other)" /* ids cannot have parentheses */

/*
 * Writes all families of SCOPE_BRIDGE. The `limits.metrics-sinks` oldest sources that read a broker
 * have their own series. The others are summed in one series: its lag in seconds is the maximum,
 * and its states are numbers of sources.
 */
void bridge_metrics_put(const Control *control, Buffer *out);
