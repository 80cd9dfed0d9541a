/*
 * A plan: what is compiled once for a source and all its enabled sinks, and run for every event.
 * The paths of all columns of all sinks are one trie; one pass over the JSON text validates all of
 * it (RFC 8259) and fills their slots. Pure: no I/O, no clock.
 *
 * A Plan is immutable and reference counted (any thread). A Mapper is one thread's scratch memory:
 * no allocation per event once warm.
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

/* What the masks of columns need; only read while the plan is made. */
typedef struct PlanMasks {
    const MaskKeys *keys;  /* NULL: none */
    Sink *const *disabled; /* sinks of the source that the plan does not have: what they mask is hidden all the same */
    size_t disabled_count;
    bool in_force; /* the definitions are: what they would hold in the clear is no reason to refuse them */
} PlanMasks;

/* What an event needs so that the plan can map it. */
enum {
    PLAN_NEEDS_JSON = 1, /* a path column or a template that names Body */
    PLAN_NEEDS_HEADERS = 2,
    PLAN_NEEDS_IP = 4,
    PLAN_NEEDS_META = 8, /* a meta column or a template that names Meta */
};

/* -EINVAL names sink, column and place in the path, or the default value that does not fit its dataType. Keeps references on the sinks. */
int plan_compile(const Source *source, Sink *const *sinks, size_t sink_count, Plan **ret_plan, Error *error);
/* The same with what masks need. -EINVAL also where a key is missing or is not shared as it must
 * be, and where a column would hold in the clear what another one masks, unless the source's
 * bodyPolicy is keep. */
int plan_compile_masked(const Source *source, Sink *const *sinks, size_t sink_count, const PlanMasks *masks, Plan **ret_plan, Error *error);
Plan *plan_ref(Plan *plan);
void plan_unref(Plan *plan);
size_t plan_sink_count(const Plan *plan);
const Sink *plan_sink(const Plan *plan, size_t index);
unsigned plan_needs(const Plan *plan);    /* PLAN_NEEDS_… */
bool plan_has_defaults(const Plan *plan); /* of declared columns */
/* Values are masked, and the bodyPolicy is drop: nothing but rows is kept of an event, and failures
 * show nothing of it. */
bool plan_drops_bodies(const Plan *plan);
/* The distinct template texts, by template index: what the template worker evaluates for each
 * event. 0: no template. */
size_t plan_template_count(const Plan *plan);
const char *plan_template(const Plan *plan, size_t index);

typedef enum BodyKind {
    BODY_JSON,  /* application/json, text/json, anything/…+json, no content type, text/plain */
    BODY_FORM,  /* application/x-www-form-urlencoded; framing.h finds the events that are JSON all the same */
    BODY_OTHER, /* path columns cannot be mapped */
} BodyKind;
/* From the Content-Type (empty: none); parameters and case do not matter. */
BodyKind body_kind(Span content_type);

typedef struct EventHeader {
    Span name; /* any case */
    Span value;
} EventHeader;

/* What the template worker gave for one template of one event. */
typedef struct TemplateResult {
    bool failed;
    Span text; /* compact JSON; the reason when failed */
} TemplateResult;

/* What the record that an event was read from has besides its value; meta.h makes it. */
typedef struct EventMeta {
    unsigned fields; /* META_BIT of those that events of the source have; what they hold is: */
    Span values
        [META_FIELD_COUNT_]; /* without data: NULL. Numbers as digits, the time as RFC 3339; the key may be any bytes, or none at all */
} EventMeta;

typedef struct Event {
    Span body;
    BodyKind kind;
    Uuid id;
    usec_t received;            /* wall time */
    Span ip;                    /* text; may be empty unless PLAN_NEEDS_IP */
    const EventHeader *headers; /* as received, without those of header_is_secret; any order; repeated names allowed */
    size_t header_count;
    bool is_tombstone;               /* a record without a value; the body is empty */
    const EventMeta *meta;           /* NULL: none; may be NULL unless PLAN_NEEDS_META */
    const TemplateResult *templates; /* plan_template_count items, or NULL when there are none */
} Event;

typedef enum MapError {
    MAP_OK,
    MAP_NOT_JSON,      /* the body is needed as JSON and is not, or not as a form */
    MAP_MISSING,       /* no value at the path and no default */
    MAP_WRONG_TYPE,    /* the value does not fit the dataType, or a key is NULL */
    MAP_TEMPLATE,      /* the template failed */
    MAP_ROW_TOO_LARGE, /* 413 */
} MapError;

/* How many rows an event gave a sink, or why it could not take the event. */
typedef struct MapFailure {
    MapError error;
    uint32_t rows;      /* that were appended; 0 also without an error, when the array to be exploded is empty */
    const char *column; /* of the plan; NULL when it is the whole body */
    char message[320];  /* one sentence: place, what is wrong, what would be right; UTF-8, control characters escaped */
} MapFailure;

/* A column that a sink that infers would have to have, so that a value of an event has a place of
 * its own. */
typedef struct MapDiscovery {
    uint32_t sink;   /* index */
    Span path;       /* of the field, as column_name.h writes it */
    DataType type;   /* that the value asks for */
    bool is_variant; /* the field has a column, which does not take such values */
} MapDiscovery;

/* How often an event that lacks the value of a declared column had its default in place of it, in
 * the rows of a sink. */
typedef struct MapDefault {
    uint32_t sink, column; /* indexes */
    uint32_t uses;
} MapDefault;

Mapper *mapper_new(size_t row_bytes_max);
void mapper_free(Mapper *mapper);

/* Of one event, where a sink explodes an array. More is MAP_ROW_TOO_LARGE. The bytes are those of
 * all its rows, which a larger row alone may have. */
#define EXPLODED_ROWS_MAX 10000
#define EXPLODED_BYTES_MAX ((size_t)8 << 20)

/* Appends one row to rows[i], a buffer of its own, for each sink i of the plan, or a row for each
 * element of the array that the sink explodes, and sets failures[i].error and rows. A sink that
 * fails leaves rows[i] as it was. Cells that are equal in several sinks are made once. Returns how
 * many sinks failed. */
size_t mapper_map(Mapper *mapper, const Plan *plan, const Event *event, Buffer *const *rows, MapFailure *failures);
/* Of the last event; those of sinks that failed count for nothing. No column twice. Valid until the
 * next event. */
const MapDefault *mapper_defaults(const Mapper *mapper, size_t *ret_count);
/* Of the last event, for the sinks that did not fail, in their order; no path twice for a sink.
 * Valid until the next event. */
const MapDiscovery *mapper_discoveries(const Mapper *mapper, size_t *ret_count);
