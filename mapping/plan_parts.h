/* What a plan is made of: shared by plan.c, which compiles it, and mapper.c, which runs it.
 * Immutable once compiled. */
#pragma once

#include <stdatomic.h>

#include "mapping/mask.h"
#include "mapping/pathset.h"
#include "mapping/plan.h"
#include "mapping/time_format.h"

/* How a cell is made, decided once from type, dataType and rawString. */
typedef enum PlanOp {
    PLAN_PUT_TEXT,  /* path: a string unquoted and unescaped, the rest as it stands */
    PLAN_PUT_JSON,  /* path: as it stands */
    PLAN_PUT_ID,    /* as text */
    PLAN_PUT_TIME,  /* the first `size` bytes of the receive time's text */
    PLAN_PUT_TYPED, /* path: of a dataType that is checked */
    PLAN_PUT_OTHER, /* by column->type */
    /* Columns of a sink that infers; a value that fits none of its field's columns goes to the
     * rest. */
    PLAN_FIELD_TEXT,    /* the one column of its field: what is not such a value is left to put_column */
    PLAN_FIELD_INTEGER, /* the same */
    PLAN_FIELD_DECIMAL, /* the same */
    PLAN_FIELD_BOOLEAN, /* the same */
    PLAN_FIELD_JSON,    /* the same */
    PLAN_FIELD_OTHER,   /* of a time, or one of several columns */
    PLAN_PUT_REST,      /* an object of what no column has */
} PlanOp;

typedef struct PlanColumn {
    const Column *column; /* of the sink that the plan holds */
    PlanOp op;
    uint32_t slot; /* path: of the plan's path set */
    uint32_t template_index;
    uint32_t size;     /* PLAN_PUT_TIME */
    uint32_t field;    /* PLAN_FIELD_…: of the sink's PlanFields */
    DataType put_type; /* the column's, but what is inferred as JSON keeps the text of any JSON */
    bool of_element;   /* path: the slot is of the sink's elements */
    bool has_default;
    bool counts_default;               /* each time that it is used */
    uint32_t sink, number, place;      /* of the plan; of the sink; among the cells of all sinks, from PlanSink.ends_at on */
    bool empty_is_missing;             /* path: an empty field of a form is no value of its data type */
    bool keeps_json, is_json, is_date; /* of its data type's traits: where each event asks */
    bool hides;                        /* failures show nothing of its value */
    Span default_cell;                 /* as it goes into the row; owned by the plan */
    CompiledMask *mask;                /* owned; NULL: none */
    TimeFormat *format;                /* owned; NULL: none */
    bool is_converted;                 /* it has one of the two */
} PlanColumn;

/*
 * Columns of a sink that follow one another and have the cells of as many columns of an earlier
 * sink (or of this one, earlier): these are made once an event, then copied. A sink is run after
 * run.
 */
typedef struct PlanRun {
    uint32_t first, count; /* of the sink's columns */
    uint32_t from;         /* sink that has them; PLAN_OWN: they are made here */
    uint32_t from_first;   /* of its columns */
} PlanRun;

#define PLAN_OWN UINT32_MAX

/* A field that a path names, as a sink that infers sees it. */
typedef struct PlanField {
    uint32_t slot;                       /* its path has only quoted steps: it is a key of an object, never an item of an array */
    uint32_t parent;                     /* place of the object that it is a member of */
    uint32_t place;                      /* members of an object there are fields themselves; PATH_NONE: it is a value, whatever it is */
    uint32_t column_first, column_count; /* of PlanFields.columns: those that may take its value, first of all its own, then variants */
    bool has_own;                        /* the first of them is no variant */
    bool is_declared, is_excluded;       /* of these there is nothing more to do */
    bool is_hinted;
    DataType hint;
} PlanField;

/* An object whose members are fields. The scanner notes those that no path names. */
typedef struct PlanPlace {
    uint32_t node;  /* of the path set */
    uint32_t field; /* that it is; PATH_NONE: the body */
    uint32_t parent;
    uint32_t level; /* of the body: 0 */
} PlanPlace;

/* What a sink that infers knows of the fields of events. */
typedef struct PlanFields {
    uint32_t root_slot; /* of the whole body */
    uint32_t depth;
    size_t room; /* columns that it may still get */
    PlanField *fields;
    PlanPlace *places;       /* the body first, each before those inside */
    uint32_t *places_sorted; /* by node */
    uint32_t *columns;       /* of the sink, by field */
    uint32_t *loose;         /* fields that no column looks at */
    uint32_t field_count, place_count, column_count, loose_count;
} PlanFields;

/* An array of which each element gives a row. */
typedef struct PlanExplode {
    uint32_t slot;     /* of the array, of the plan's path set */
    PathSet *elements; /* paths within an element */
} PlanExplode;

/* Of the receive time as text, and of the date that it begins with. */
enum { TIME_SIZE = 24, DATE_SIZE = 10 };

/* Which events give a row that deletes: the cells of the key, and of the column that tells which
 * row is newer. */
typedef struct PlanDelete {
    bool by_path, of_element; /* the slot is of the sink's elements */
    uint32_t slot;
    Span equals;
} PlanDelete;

typedef struct PlanSink {
    Sink *sink;
    PlanColumn *columns;
    PlanRun *runs;
    PlanExplode *explode;  /* NULL: an event is one row. Else no run is copied from or to it */
    bool is_special;       /* one of the two is there */
    PlanDelete *delete_on; /* NULL: its rows have no mark. Else each has one more cell */
    uint32_t column_count, run_count;
    size_t fixed_bytes; /* room for all of a row but its texts of any size */
    size_t ends_at;     /* of the mapper's notes of where cells end, one for each column */
    PlanFields *fields; /* NULL: it does not infer */
    bool is_copied;     /* a run is from it: the notes are wanted */
    bool has_paths;
} PlanSink;

struct Plan {
    atomic_uint references;
    PlanSink *sinks;
    size_t sink_count;
    PathSet *paths;
    bool has_paths;
    bool drops_bodies, has_defaults;
    unsigned needs;
    size_t ends_count;
    const char **templates; /* texts of the sinks */
    size_t template_count;
};

/* -- plan_fields.c -- */

/* Once the paths of all columns are in the set: adds those of fields, and says what is watched.
 * -EINVAL names sink and path. */
int plan_fields_add(Plan *plan, Error *error);
/* Once the set is sealed. */
void plan_fields_finish(Plan *plan);
void plan_fields_free(PlanFields *fields); /* NULL-safe */

/* -- plan_clear.c -- */

/* -EINVAL names a column that would hold in the clear what another one masks. Their paths are valid. */
int plan_refuse_clear(Sink *const *sinks, size_t count, const PlanMasks *masks, Error *error);
