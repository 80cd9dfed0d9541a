/* Cases of the mapping as data: the files of tests/mapping, whose README.md says what each field
 * means. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/span.h"

typedef struct MappingCase {
    const char *file; /* its name, without the folder */
    const char *name;
    Buffer body;
    Span content_type;     /* empty: none is sent */
    const json_t *headers; /* object of strings, or NULL */
    const json_t *meta;    /* object of strings, nulls and {"hex"}, or NULL */
    const json_t *columns; /* array; NULL: the case is only about whether the body is JSON */
    const json_t *cells;   /* of the row; NULL: there is none, or it does not matter, or there are: */
    const json_t *rows;    /* of cells; NULL: there is one row, or none */
    const char *explode;   /* of the mapping; NULL: it has none */
    int status;            /* 0: the event is mapped */
    const char *error;     /* what the reason must hold, or NULL */
    bool placed;           /* stays what it is, JSON or not, inside another document */
} MappingCase;

typedef struct MappingCases {
    MappingCase *items;
    size_t count;
    json_t **files; /* what the items point into */
    size_t file_count;
} MappingCases;

/* Every *.json of the folder but event.json and masks.json. -EINVAL: a file is not as README.md
 * says; the text names file, case and what is wrong. */
int mapping_cases_load(const char *folder, MappingCases *ret_cases, Error *error);
void mapping_cases_deinit(MappingCases *cases);
/* A copy of the columns: what a sink is made of. For a case without, one column at a path that no
 * body has, with a default. */
json_t *mapping_case_columns(const MappingCase *item);
/* The sink's `mapping`: the columns, and what the case says besides. */
json_t *mapping_case_mapping(const MappingCase *item);
/* The bytes of a value of `meta`; false: it is null. */
bool mapping_case_meta(const json_t *value, Buffer *out);
bool mapping_case_has_template(const MappingCase *item);
