/*
 * The rest of an event for a sink that infers: all values that no column has taken, as one JSON
 * object with the nesting of the event, and the columns that are needed for them (discoveries). Of
 * equal keys the first one counts. Scratch memory of a mapper: one thread.
 *
 *     rest_begin_event         once per event
 *       rest_begin_row         for each sink that infers
 *         rest_column          the column that takes the value of a field
 *         rest_misfit          a value that no column took
 *       rest_is_empty, rest_make   after all columns
 */
#pragma once

#include "base/arena.h"
#include "base/buffer.h"
#include "mapping/plan_parts.h"
#include "mapping/scanner.h"

/* A value of the rest, or an object that holds some. */
typedef struct RestItem {
    Span key;   /* as it stands in the event, without its quotes; of a path's step: what it means */
    Span meant; /* of those in the event: unescaped; of half a surrogate pair: as it stands there */
    Span value; /* NULL: an object of the items inside */
    uint32_t parent;
    uint32_t first, last, next; /* items inside; the next one in the same object. REST_NONE */
    uint32_t field;             /* PATH_NONE: no path names it */
    uint8_t level;              /* of the body's members: 1 */
    bool is_step;               /* `key` is of a path */
    bool is_odd;                /* no path can name it */
    bool is_linked;             /* its object has it */
    bool is_repeated;           /* its object had one with that key before: it is left out, with all inside of it */
} RestItem;

/* To find equal keys of one object in a time that no choice of keys makes long: sorted, not
 * hashed. */
typedef struct RestOrder {
    uint64_t hash;
    uint32_t item;
} RestOrder;

#define REST_NONE UINT32_MAX

typedef struct Rest {
    RestItem *items;
    size_t item_count, item_room;
    RestOrder *order;
    size_t order_room;
    Arena arena; /* unescaped keys; paths of discoveries */
    Buffer json, path, scratch;
    uint32_t *misfits; /* fields */
    size_t misfit_count, misfit_room;
    MapDiscovery *found;
    size_t found_count, found_room;
    size_t found_before; /* of them, those of the rows before this one */
    uint64_t row;        /* counts rows */
    uint64_t *chosen_in; /* by field: the row that `chosen` is of */
    uint32_t *chosen;    /* by field: the column that takes its value; REST_NONE */
    size_t chosen_room;
} Rest;

void rest_deinit(Rest *rest);
/* Releases memory that a rare large event needed, also that of scanner->notes. */
void rest_trim(Rest *rest, Scanner *scanner, size_t bytes);

void rest_begin_event(Rest *rest);
void rest_begin_row(Rest *rest, const PlanFields *fields);
/* Returns the column of `sink` that takes the value of the field, which is neither null nor an
 * object with a place, or REST_NONE. The first time in a row that there is none, the value is a
 * misfit. */
uint32_t rest_column(Rest *rest, const PlanSink *sink, uint32_t field, const ScanValue *value);
void rest_misfit(Rest *rest, uint32_t field);

/* Are all fields without a column missing in the event? */
bool rest_loose_is_empty(const Scanner *scanner, const PlanFields *fields);
static inline bool rest_is_empty(const Rest *rest, const Scanner *scanner, const PlanFields *fields) {
    return scanner->note_count == 0 && rest->misfit_count == 0 && (fields->loose_count == 0 || rest_loose_is_empty(scanner, fields));
}
/* Returns the object, valid until the next row, or an empty span. Adds the discoveries of the sink
 * with this index. `end`: end of the scanned text. */
Span rest_make(Rest *rest, const Scanner *scanner, const Plan *plan, uint32_t sink, const char *end);
