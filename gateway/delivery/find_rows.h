/* Finds the rows of an event in row text, by the column that has its id. The finder's thread. */
#pragma once

#include "base/files.h"
#include "base/span.h"
#include "base/uuid.h"
#include "config/definition.h"
#include "storage/ledger.h"

/* What the search needs to know of a target. */
typedef struct IdColumn {
    size_t column; /* index of the cell */
    size_t cells;  /* of a row */
    /* A row without its id in that cell may still be of the event, because rows that delete have
     * only their key. */
    bool may_be_empty;
} IdColumn;

/* The first column of type `id` that has no mask. false: there is none. */
bool id_column_find(const SinkTarget *target, IdColumn *ret_column);

/* Rows of the event follow each other. */
typedef struct FoundRows {
    uint64_t first_row, rows; /* rows 0: none */
} FoundRows;

/* Looks through row text whose first row has the number `row`, and adds to `found`. Returns 0, or
 * -EBADMSG if the text is not rows of so many cells. `ret_rows`: how many rows it has. */
int find_rows_in_text(const IdColumn *column, const Uuid *id, uint64_t row, Span text, FoundRows *found, uint64_t *ret_rows);
/* The same for a slice. `goes_on` is asked after each block, about 256 KB; false ends the search
 * with -ECANCELED. Returns 0, SLICE_READ_DAMAGED or < 0 (-ENOENT: there is no such pack any
 * more). */
int find_rows_in_slice(Files *files, const SliceRecord *slice, const IdColumn *column, const Uuid *id, bool (*goes_on)(void *context),
                       void *context, FoundRows *found, Error *error);
