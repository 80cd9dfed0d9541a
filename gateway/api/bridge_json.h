/* The status of a source that reads a broker, as JSON and as numbers. It is made from the last
 * status (flow/bridge_status.h). Control thread. */
#pragma once

#include <jansson.h>

#include "gateway/api/router.h"
#include "gateway/flow/bridge_status.h"

/* The lag: records that are not imported yet. */
typedef struct BridgeLag {
    int64_t records; /* -1: not known */
    double seconds;  /* < 0: not known */
} BridgeLag;

/* The lag of all partitions that this gateway reads. `status` NULL: not known. */
BridgeLag bridge_lag(const BridgeStatus *status);
/* The same for one sink. `waiting`: time in seconds that its oldest row has waited here. Such rows
 * are read but not imported, so they count as well. */
BridgeLag bridge_lag_of_sink(const BridgeStatus *status, uint32_t sink, double waiting);
/* {"records","seconds"}; null if not known. */
json_t *bridge_lag_json(const BridgeLag *lag);

/* If `status` is NULL, the result follows from the definition. */
BridgeState bridge_state_of(const Source *source, const BridgeStatus *status);
/* {"state","stopped","reason","error","lag","partitionsCount"} */
json_t *bridge_summary_json(const Source *source, const BridgeStatus *status);
/* The whole status with a page of its partitions, by topic and number. The id of an item is
 * "TOPIC:PARTITION". */
json_t *bridge_to_json(const Source *source, const BridgeStatus *status, const ApiPage *page);
