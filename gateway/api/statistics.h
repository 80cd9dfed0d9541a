/* Statistics of sinks as JSON. Control thread. */
#pragma once

#include <jansson.h>

#include "gateway/api/survey.h"

/* `take_pause`: of statistics_pause_json. `now`: wall. */
json_t *statistics_to_json(const SinkStatistics *statistics, json_t *take_pause, usec_t now);
/* {"what","at","by"} of what holds back the imports of a sink, or null. */
json_t *statistics_pause_json(const ControlView *view, const Source *source, const Sink *sink);
/* null for "". */
json_t *statistics_error_json(const char *last_error);
/* How long the oldest row has waited; 0: none waits. */
usec_t statistics_waiting(const SinkStatistics *statistics, usec_t now);
