/* Where reading of a broker begins, of a sink that has no position of the topic or stream yet. */
#pragma once

#include <stdint.h>

#include "base/clock.h"

typedef enum BridgeStartKind { BRIDGE_START_EARLIEST, BRIDGE_START_LATEST, BRIDGE_START_TIME, BRIDGE_START_SEQUENCE } BridgeStartKind;

typedef struct BridgeStart {
    BridgeStartKind kind;
    usec_t time;       /* BRIDGE_START_TIME: since 1970, not below 0 */
    uint64_t sequence; /* BRIDGE_START_SEQUENCE, of NATS only: from 1 */
} BridgeStart;
