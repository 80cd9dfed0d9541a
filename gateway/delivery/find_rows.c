#include "gateway/delivery/find_rows.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mapping/row.h"
#include "storage/pack.h"

bool id_column_find(const SinkTarget *target, IdColumn *ret_column) {
    for (size_t i = 0; i < target->column_count; i++) {
        if (target->columns[i].type != COLUMN_ID || target->columns[i].mask) continue;
        *ret_column = (IdColumn){.column = i,
                                 .cells = sink_target_cells(target),
                                 .may_be_empty = sink_target_deletes(target) && !target->columns[i].primary_key};
        return true;
    }
    return false;
}

static bool is_of_event(const RowCell *cell, const char *id) {
    return !cell->is_null && cell->size == UUID_TEXT_SIZE && memcmp(cell->data, id, UUID_TEXT_SIZE) == 0;
}

int find_rows_in_text(const IdColumn *column, const Uuid *id, uint64_t row, Span text, FoundRows *found, uint64_t *ret_rows) {
    char wanted[UUID_TEXT_SIZE];
    RowReader reader = {0};
    uint64_t rows = 0;
    int r = 0;
    uuid_format(id, wanted);
    RowCell *cells = calloc(column->cells, sizeof *cells);
    check(cells);
    /* Rows are taken apart only where the text of the id is; the others are counted. */
    const char *hit = memmem(text.data, text.size, wanted, sizeof wanted);
    while (text.size > 0 && r == 0) {
        size_t size = row_size(text);
        if (size == 0) r = -EBADMSG;
        if (r == 0 && hit && hit < text.data + size) {
            reader.text = (Span){.data = text.data, .size = size};
            if (row_read(&reader, cells, column->cells) != 0) r = -EBADMSG;
            if (r == 0 && is_of_event(&cells[column->column], wanted)) {
                if (found->rows == 0) found->first_row = row + rows;
                found->rows = row + rows - found->first_row + 1;
            }
            hit = memmem(text.data + size, text.size - size, wanted, sizeof wanted);
        }
        text.data += size;
        text.size -= size;
        rows++;
    }
    row_reader_deinit(&reader);
    free(cells);
    *ret_rows = rows;
    return r;
}

int find_rows_in_slice(Files *files, const SliceRecord *slice, const IdColumn *column, const Uuid *id, bool (*goes_on)(void *context),
                       void *context, FoundRows *found, Error *error) {
    SliceReader *reader;
    uint64_t row = slice->first_row, rows;
    Span text;
    int r = slice_open(files, slice, &reader, error);
    if (r < 0) return r;
    while (r == 0 && (r = slice_read(reader, &text, error)) == 0) {
        r = find_rows_in_text(column, id, row, text, found, &rows);
        if (r == -EBADMSG) (void)error_set(error, r, "a slice has rows that do not have the cells of its columns");
        row += rows;
        if (r == 0 && !goes_on(context)) r = error_set(error, -ECANCELED, "the search takes too long");
    }
    slice_close(reader);
    return r == SLICE_READ_END ? 0 : r;
}
