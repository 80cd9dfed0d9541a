/*
 * Fields of a sink that get no column, for one of the reasons of NamelessWhy. They stay in _rest. A
 * column for them is requested again after NAMELESS_FOR, or after the sink is changed. Control
 * thread.
 *
 * At most NAMELESS_MAX fields are kept. A further field replaces the oldest one.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "config/inference.h"

#define NAMELESS_MAX 2000
#define NAMELESS_FOR (600 * USEC_SECOND)
#define NAMELESS_SHOWN 20

typedef enum NamelessWhy {
    NAMELESS_NO_ROOM, /* the map, or the table, has as many columns as it may */
    NAMELESS_TAKEN,   /* its name in the map is that of another column of the sink */
    NAMELESS_MASKED,  /* its column would hold a masked value */
} NamelessWhy;

typedef struct NamelessField {
    char *path;
    uint64_t hash; /* of the path */
    bool is_variant;
    DataType type; /* of a variant; of the others, as it was seen last */
    NamelessWhy why;
    usec_t asked; /* boot time */
} NamelessField;

/* All-zero: none. */
typedef struct Nameless {
    NamelessField *fields; /* owned */
    size_t count, room;
    size_t oldest; /* index, when it is full */
} Nameless;

void nameless_deinit(Nameless *nameless); /* empty afterwards */
/* true: the field is known to get no column at `now` (boot time). */
bool nameless_has(const Nameless *nameless, const InferredColumn *column, usec_t now);
/* Adds a field that got no column. true: this is new; false: the last request had the same
 * result. */
bool nameless_add(Nameless *nameless, const InferredColumn *column, NamelessWhy why, usec_t now);
/* Removes a field, because it has a column now. */
void nameless_remove(Nameless *nameless, const InferredColumn *column);
/* Words for a log line, behind "field "a" gets no column: ". */
const char *nameless_words(NamelessWhy why);
/* {"count":2,"first":[{"path":"a","why":"noRoom"},{"path":"b","variant":"text","why":"taken"}]}: at
 * most NAMELESS_SHOWN of them. */
json_t *nameless_json(const Nameless *nameless);
