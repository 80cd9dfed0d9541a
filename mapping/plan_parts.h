/* What a plan is made of: shared by plan.c, which compiles it, and mapper.c, which runs it. Immutable once compiled. */
#pragma once

#include <stdatomic.h>

#include "mapping/pathset.h"
#include "mapping/plan.h"

/* How a cell is made, decided once from type, dataType and rawString. */
typedef enum PlanOp {
    PLAN_PUT_TEXT,  /* path: a string unquoted and unescaped, the rest as it stands */
    PLAN_PUT_JSON,  /* path: as it stands */
    PLAN_PUT_ID,    /* as text */
    PLAN_PUT_TIME,  /* the first `size` bytes of the receive time's text */
    PLAN_PUT_TYPED, /* path: of a dataType that is checked */
    PLAN_PUT_OTHER, /* by column->type */
} PlanOp;

typedef struct PlanColumn {
    const Column *column; /* of the sink that the plan holds */
    PlanOp op;
    uint32_t slot; /* path: of the plan's path set */
    uint32_t template_index;
    uint32_t size; /* PLAN_PUT_TIME */
    bool has_default;
    bool keeps_json, is_date; /* of its data type's traits: where each event asks */
    Span default_cell;        /* as it goes into the row; owned by the plan */
} PlanColumn;

/*
 * Columns of a sink that follow one another and have the cells of as many columns of an earlier sink (or of this one, earlier): these are
 * made once an event, then copied. A sink is run after run.
 */
typedef struct PlanRun {
    uint32_t first, count; /* of the sink's columns */
    uint32_t from;         /* sink that has them; PLAN_OWN: they are made here */
    uint32_t from_first;   /* of its columns */
} PlanRun;

#define PLAN_OWN UINT32_MAX

/* Of the receive time as text, and of the date that it begins with. */
enum { TIME_SIZE = 24, DATE_SIZE = 10 };

typedef struct PlanSink {
    Sink *sink;
    PlanColumn *columns;
    PlanRun *runs;
    uint32_t column_count, run_count;
    size_t fixed_bytes; /* room for all of a row but its texts of any size */
    size_t ends_at;     /* of the mapper's notes of where cells end, one for each column */
    bool is_copied;     /* a run is from it: the notes are wanted */
    bool has_paths;
} PlanSink;

struct Plan {
    atomic_uint references;
    PlanSink *sinks;
    size_t sink_count;
    PathSet *paths;
    bool has_paths;
    unsigned needs;
    size_t ends_count;
    const char **templates; /* texts of the sinks */
    size_t template_count;
};
