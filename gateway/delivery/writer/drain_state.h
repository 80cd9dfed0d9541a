/* How far the end of the writer is. */
#pragma once

#include "gateway/delivery/writer/state.h"

typedef struct DrainState {
    bool begun, done;
    usec_t until; /* boot: running imports hold it up no longer */
} DrainState;
