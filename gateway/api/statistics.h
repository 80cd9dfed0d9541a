/* Statistics of sinks as JSON. Control thread. */
#pragma once

#include <jansson.h>

#include "gateway/api/survey.h"
#include "gateway/flow/bridge_status.h"

/* What an answer about a sink says beside the writer's statistics: as it was when it was asked for.
 * All-zero: nothing. */
typedef struct SinkAspects {
    json_t *pause;        /* {"what","at","by"} of what holds back its imports, or null; owned */
    json_t *nameless;     /* fields that get no column; owned; NULL: it infers none */
    uint32_t sink;        /* number */
    json_t *defaults;     /* {column: uses} of the columns that have one; owned */
    bool is_bridge;       /* its source reads a broker */
    BridgeStatus *bridge; /* a reference, NULL: not known */
} SinkAspects;

void statistics_set_aspects(const Control *control, const Source *source, const Sink *sink, SinkAspects *ret_aspects);
void statistics_drop_aspects(SinkAspects *aspects);

/* `now`: wall. */
json_t *statistics_to_json(const SinkStatistics *statistics, const SinkAspects *aspects, usec_t now);
/* {recordsCount, size, firstRecordAt, lastRecordAt} of rows that are somewhere; times: wall, 0: null. */
json_t *statistics_level_json(uint64_t rows, uint64_t bytes, usec_t first, usec_t last);
/* As the list of files says it: "writing", "importing", … */
const char *files_state_name(FileState state);
json_t *statistics_time_json(usec_t wall); /* null for 0 */
/* null for "". */
json_t *statistics_error_json(const char *last_error);
/* How long the oldest row has waited; 0: none waits. */
usec_t statistics_waiting(const SinkStatistics *statistics, usec_t now);
