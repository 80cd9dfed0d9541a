/* How a source that reads a broker is, as JSON and as numbers: of its last status
 * (flow/bridge_status.h). Control thread. */
#pragma once

#include <jansson.h>

#include "gateway/api/router.h"
#include "gateway/flow/bridge_status.h"

/* What was not imported yet. */
typedef struct BridgeLag {
    int64_t records; /* -1: not known */
    double seconds;  /* < 0: not known */
} BridgeLag;

/* Of all partitions that this gateway reads. `status` NULL: not known. */
BridgeLag bridge_lag(const BridgeStatus *status);
/* The same of one sink. `waiting`: seconds that the oldest row has waited here, which was read and
 * is not imported either. */
BridgeLag bridge_lag_of_sink(const BridgeStatus *status, uint32_t sink, double waiting);
/* {"records","seconds"}; null what is not known. */
json_t *bridge_lag_json(const BridgeLag *lag);

/* `status` may be NULL: then it says what follows from the definition. */
BridgeState bridge_state_of(const Source *source, const BridgeStatus *status);
/* {"state","stopped","reason","error","lag","partitionsCount"} */
json_t *bridge_summary_json(const Source *source, const BridgeStatus *status);
/* All of it, and a page of its partitions, by topic and number; an item's id is
 * "TOPIC:PARTITION". */
json_t *bridge_to_json(const Source *source, const BridgeStatus *status, const ApiPage *page);
