/* What the control thread said of one sink. */
#pragma once

#include "gateway/flow/messages.h"
#include "storage/conditions.h"

typedef struct SinkRules {
    bool known; /* nothing is imported before: it may be paused */
    bool deleted;
    bool paused;         /* it or its source */
    usec_t paused_since; /* running */
    Conditions conditions;
    SinkGate *gate; /* a reference; NULL: none */
} SinkRules;
