/*
 * A plan is compiled once for a source and all its enabled sinks, and is run for every event. The
 * paths of all columns of all sinks are one trie. One pass over the JSON text validates all of it
 * (RFC 8259) and finds the values of the paths. Pure: no I/O, no clock.
 *
 * A Plan is immutable and reference counted (any thread). A Mapper is scratch memory of one thread.
 * When it is warm, no memory is allocated for an event.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/span.h"
#include "base/uuid.h"
#include "config/definition.h"
#include "config/mask_keys.h"

typedef struct Plan Plan;
typedef struct Mapper Mapper;

/* What the masks of columns need. It is read only while the plan is made. */
typedef struct PlanMasks {
    const MaskKeys *keys;  /* NULL: none */
    Sink *const *disabled; /* disabled sinks of the source, which are not in the plan: values that they mask are hidden as well */
    size_t disabled_count;
    bool in_force; /* the definitions are already in use: they are not refused for columns that show masked values */
} PlanMasks;

/* Parts of an event that the plan needs. */
enum {
    PLAN_NEEDS_JSON = 1, /* a path column or a template that names Body */
    PLAN_NEEDS_HEADERS = 2,
    PLAN_NEEDS_IP = 4,
    PLAN_NEEDS_META = 8, /* a meta column or a template that names Meta */
};

/* Compiles a plan. -EINVAL names the sink, the column and the place in the path, or the default
 * value that does not fit its dataType. The plan holds references to the sinks. */
int plan_compile(const Source *source, Sink *const *sinks, size_t sink_count, Plan **ret_plan, Error *error);
/* The same with masks. -EINVAL also if a key is missing, if a key has to be shared and is not, and
 * if a column would show a value that another column masks, unless the source's bodyPolicy is
 * keep. */
int plan_compile_masked(const Source *source, Sink *const *sinks, size_t sink_count, const PlanMasks *masks, Plan **ret_plan, Error *error);
Plan *plan_ref(Plan *plan);
void plan_unref(Plan *plan);
size_t plan_sink_count(const Plan *plan);
const Sink *plan_sink(const Plan *plan, size_t index);
unsigned plan_needs(const Plan *plan);    /* PLAN_NEEDS_… */
bool plan_has_defaults(const Plan *plan); /* does a declared column have a default? */
/* Are values masked, with the bodyPolicy drop? Then only rows of an event are kept, and failures do
 * not show its values. */
bool plan_drops_bodies(const Plan *plan);
/* The distinct template texts, by template index. The template worker evaluates them for each
 * event. 0: no template. */
size_t plan_template_count(const Plan *plan);
const char *plan_template(const Plan *plan, size_t index);

typedef enum BodyKind {
    BODY_JSON,  /* application/json, text/json, anything/…+json, no content type, text/plain */
    BODY_FORM,  /* application/x-www-form-urlencoded; framing.h finds the events that are JSON all the same */
    BODY_OTHER, /* path columns cannot be mapped */
} BodyKind;
/* The kind of a body by its Content-Type (empty: none). Parameters and case do not matter. */
BodyKind body_kind(Span content_type);

typedef struct EventHeader {
    Span name; /* any case */
    Span value;
} EventHeader;

/* The result of one template for one event. */
typedef struct TemplateResult {
    bool failed;
    Span text; /* compact JSON; if failed, the reason */
} TemplateResult;

/* The parts of a broker's record other than its value. meta.h makes it. */
typedef struct EventMeta {
    unsigned fields; /* META_BIT of the fields that events of the source have; their values: */
    Span values
        [META_FIELD_COUNT_]; /* without data: NULL. Numbers as digits, the time as RFC 3339; the key may be any bytes, or none at all */
} EventMeta;

typedef struct Event {
    Span body;
    BodyKind kind;
    Uuid id;
    usec_t received;            /* wall time */
    Span ip;                    /* text; may be empty unless PLAN_NEEDS_IP */
    const EventHeader *headers; /* as received, without those of header_is_secret; any order; names may be repeated */
    size_t header_count;
    bool is_tombstone;               /* a record without a value; the body is empty */
    const EventMeta *meta;           /* NULL: none; may be NULL unless PLAN_NEEDS_META */
    const TemplateResult *templates; /* plan_template_count items, or NULL when there are none */
} Event;

typedef enum MapError {
    MAP_OK,
    MAP_NOT_JSON,      /* the body is needed as JSON or as a form, and is not valid */
    MAP_MISSING,       /* no value at the path and no default */
    MAP_WRONG_TYPE,    /* the value does not fit the dataType, or a key is NULL */
    MAP_TEMPLATE,      /* the template failed */
    MAP_ROW_TOO_LARGE, /* 413 */
} MapError;

/* The number of rows of an event in a sink, or the reason why the sink cannot take it. */
typedef struct MapFailure {
    MapError error;
    uint32_t rows;      /* rows that were appended; may be 0 without an error, if the array to be exploded is empty */
    const char *column; /* name of the column, owned by the plan; NULL if the whole body is the cause */
    char message[320];  /* one sentence: the place, what is wrong, and what would be correct; UTF-8, control characters escaped */
} MapFailure;

/* A column that a sink with `infer` needs, so that a value of an event gets its own column. */
typedef struct MapDiscovery {
    uint32_t sink;   /* index */
    Span path;       /* path of the field, as column_name.h writes it */
    DataType type;   /* type for the value */
    bool is_variant; /* the field has a column, which cannot store such values */
} MapDiscovery;

/* The number of times that the default of a declared column was used in the rows of an event in a
 * sink. */
typedef struct MapDefault {
    uint32_t sink, column; /* indexes */
    uint32_t uses;
} MapDefault;

Mapper *mapper_new(size_t row_bytes_max);
void mapper_free(Mapper *mapper);

/* Limits for one event in a sink that explodes an array. Beyond them it is MAP_ROW_TOO_LARGE. The
 * bytes are those of all its rows; a single row may have more if limits.row is higher. */
#define EXPLODED_ROWS_MAX 10000
#define EXPLODED_BYTES_MAX ((size_t)8 << 20)

/* Maps an event. For each sink i of the plan it appends one row to its buffer rows[i], or a row for
 * each element of the array that the sink explodes, and sets failures[i].error and rows. If a sink
 * fails, its rows[i] is unchanged. Cells that are equal in several sinks are made once. Returns the
 * number of sinks that failed. */
size_t mapper_map(Mapper *mapper, const Plan *plan, const Event *event, Buffer *const *rows, MapFailure *failures);
/* The uses of defaults in the last event, without sinks that failed. Each column occurs once. Valid
 * until the next event. */
const MapDefault *mapper_defaults(const Mapper *mapper, size_t *ret_count);
/* The new fields of the last event, in the order of the sinks, without sinks that failed. Each path
 * occurs once for a sink. Valid until the next event. */
const MapDiscovery *mapper_discoveries(const Mapper *mapper, size_t *ret_count);
