/* A sink's place in the group commit in progress. */
#pragma once

#include "gateway/delivery/writer/state.h"

/* A sink's place in the transaction in the making. */
typedef struct GroupPlan {
    uint64_t transaction; /* that next_row belongs to: a number of the builder */
    uint64_t next_row;
    uint64_t group; /* that `segment` belongs to: a number of the builder */
    size_t segment;
    uint64_t rejected_events; /* of it, not in the totals before the commit */
} GroupPlan;
