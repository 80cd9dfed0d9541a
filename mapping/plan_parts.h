/* What a plan is made of: shared by plan.c, which compiles it, and mapper.c, which runs it. Immutable once compiled. */
#pragma once

#include <stdatomic.h>

#include "mapping/pathset.h"
#include "mapping/plan.h"

typedef struct PlanColumn {
    const Column *column; /* of the sink that the plan holds */
    uint32_t slot;        /* path: of the plan's path set */
    uint32_t template_index;
    bool has_default;
    Span default_cell; /* as it goes into the row; owned by the plan */
} PlanColumn;

typedef struct PlanSink {
    Sink *sink;
    PlanColumn *columns;
    size_t column_count;
    bool has_paths;
} PlanSink;

struct Plan {
    atomic_uint references;
    PlanSink *sinks;
    size_t sink_count;
    PathSet *paths;
    bool has_paths;
    unsigned needs;
    const char **templates; /* texts of the sinks */
    size_t template_count;
};
