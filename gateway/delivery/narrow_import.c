#include "gateway/delivery/narrow_import.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/array.h"
#include "base/buffer.h"
#include "base/log.h"
#include "base/metrics.h"
#include "mapping/row.h"
#include "sinks/csv_record.h"

enum { NAMED_BYTES = 600 }; /* of columns, in a line of the log */

typedef struct NarrowRows {
    SinkRows reader; /* first */
    NarrowImport *import;
    SinkRows *whole;
    RowReader text;
    Buffer csv;          /* the block that the driver has */
    RowCell *read;       /* cells of a row of `text` */
    SinkCell *cells;     /* cells of a row of `whole` */
    uint64_t counted;    /* rows below this number are in `values` */
    uint64_t next_whole; /* where `whole` stands for narrow_import_widen; 0: the driver has read since */
    uint64_t *values;    /* by column: left out; not NULL */
    uint64_t *refused;   /* of those, in rows that are refused */
} NarrowRows;

struct NarrowImport {
    const SinkTarget *whole;
    SinkTarget target; /* its array of columns is owned, all else is that of `whole` */
    bool *lacks;
    size_t cells;
    NarrowRows **rows; /* by file */
    size_t count, capacity;
    Arena memory; /* of widened rejects */
    SinkReject *rejects;
};

/* Does the row leave its values in the table? */
static bool keeps_values(const NarrowImport *import, bool last_is_null) {
    return !sink_target_deletes(import->whole) || last_is_null;
}

static void count_row(NarrowRows *rows, uint64_t row, const RowCell *cells) {
    const NarrowImport *import = rows->import;
    if (row < rows->counted) return;
    rows->counted = row + 1;
    if (!keeps_values(import, cells[import->cells - 1].is_null)) return;
    for (size_t i = 0; i < import->whole->column_count; i++) rows->values[i] += import->lacks[i] && !cells[i].is_null;
}

static bool is_kept(const NarrowImport *import, size_t cell) {
    return cell >= import->whole->column_count || !import->lacks[cell];
}

static int seek(SinkRows *reader, uint64_t row, Error *error) {
    NarrowRows *rows = (NarrowRows *)reader;
    rows->next_whole = 0;
    return rows->whole->seek(rows->whole, row, error);
}

static int block(SinkRows *reader, Span *ret_csv, uint64_t *ret_first_row, uint64_t *ret_rows, Error *error) {
    NarrowRows *rows = (NarrowRows *)reader;
    const NarrowImport *import = rows->import;
    rows->next_whole = 0;
    int r = rows->whole->block(rows->whole, &rows->text.text, ret_first_row, ret_rows, error);
    if (r != 0) return r;
    buffer_clear(&rows->csv);
    for (uint64_t i = 0; i < *ret_rows; i++) {
        if (row_read(&rows->text, rows->read, import->cells) != 0)
            return error_set(error, -EBADMSG, "row %" PRIu64 " does not have %zu columns", *ret_first_row + i, import->cells);
        count_row(rows, *ret_first_row + i, rows->read);
        bool is_first = true;
        for (size_t cell = 0; cell < import->cells; cell++) {
            if (!is_kept(import, cell)) continue;
            if (!is_first) row_next_cell(&rows->csv);
            is_first = false;
            const RowCell *read = &rows->read[cell];
            if (!read->is_null) row_put(&rows->csv, (Span){.data = read->data, .size = read->size});
        }
        row_end(&rows->csv);
    }
    *ret_csv = buffer_span(&rows->csv);
    return 0;
}

static int next(SinkRows *reader, SinkCell *cells, uint64_t *ret_row, Error *error) {
    NarrowRows *rows = (NarrowRows *)reader;
    const NarrowImport *import = rows->import;
    rows->next_whole = 0;
    int r = rows->whole->next(rows->whole, rows->cells, ret_row, error);
    if (r != 0) return r;
    for (size_t i = 0; i < import->cells; i++) {
        rows->read[i] = (RowCell){.is_null = rows->cells[i].is_null};
        if (is_kept(import, i)) *cells++ = rows->cells[i];
    }
    count_row(rows, *ret_row, rows->read);
    return 0;
}

/* The driver begins anew: rows that it has read may not be of the import any more. */
static void leave_out(SinkRows *reader, const SinkRange *ranges, size_t count) {
    NarrowRows *rows = (NarrowRows *)reader;
    rows->next_whole = rows->counted = 0;
    memset(rows->values, 0, rows->import->whole->column_count * sizeof *rows->values);
    memset(rows->refused, 0, rows->import->whole->column_count * sizeof *rows->refused);
    rows->whole->leave_out(rows->whole, ranges, count);
}

NarrowImport *narrow_import_new(const SinkTarget *whole, const bool *lacks) {
    size_t count = 0;
    for (size_t i = 0; lacks && i < whole->column_count; i++) count += lacks[i];
    if (count == 0) return NULL;
    check(count < whole->column_count);
    NarrowImport *import = calloc(1, sizeof *import);
    check(import);
    import->whole = whole;
    import->cells = sink_target_cells(whole);
    import->target = *whole;
    import->target.columns = calloc(whole->column_count - count, sizeof *whole->columns);
    import->target.column_count = 0;
    import->lacks = calloc(whole->column_count, sizeof *lacks);
    check(import->target.columns && import->lacks);
    for (size_t i = 0; i < whole->column_count; i++) {
        import->lacks[i] = lacks[i];
        if (!lacks[i]) import->target.columns[import->target.column_count++] = whole->columns[i];
    }
    return import;
}

const SinkTarget *narrow_import_target(const NarrowImport *narrow) {
    return &narrow->target;
}

SinkRows *narrow_import_add(NarrowImport *narrow, SinkRows *whole) {
    NarrowRows *rows = calloc(1, sizeof *rows);
    check(rows);
    *rows = (NarrowRows){.reader = {.seek = seek, .block = block, .next = next, .leave_out = leave_out},
                         .import = narrow,
                         .whole = whole,
                         .read = calloc(narrow->cells, sizeof *rows->read),
                         .cells = calloc(narrow->cells, sizeof *rows->cells),
                         .values = calloc(narrow->whole->column_count, sizeof *rows->values),
                         .refused = calloc(narrow->whole->column_count, sizeof *rows->refused)};
    check(rows->read && rows->cells && rows->values && rows->refused);
    array_reserve(narrow->rows, narrow->count, narrow->capacity);
    narrow->rows[narrow->count++] = rows;
    return &rows->reader;
}

/* The row, of which the cells are in rows->cells then. The rejects of a file are in row order, so
 * it is read once for all of them. */
static int read_whole(NarrowRows *rows, uint64_t row, Error *error) {
    uint64_t found = 0;
    int r = rows->next_whole == 0 || row < rows->next_whole ? rows->whole->seek(rows->whole, row, error) : 0;
    do {
        if (r == 0) r = rows->whole->next(rows->whole, rows->cells, &found, error);
    } while (r == 0 && found < row);
    rows->next_whole = r == 0 ? found + 1 : 0;
    if (r < 0) return r;
    return r == 0 && found == row ? 0 : error_set(error, -EBADMSG, "row %" PRIu64 ", which is refused, is not in its file", row);
}

int narrow_import_widen(NarrowImport *narrow, const ImportFile *files, const SinkReject *rejects, size_t count,
                        const SinkReject **ret_rejects, Error *error) {
    const size_t columns = narrow->whole->column_count;
    Buffer csv = {0};
    int r = 0;
    arena_reset(&narrow->memory);
    free(narrow->rejects);
    narrow->rejects = calloc(count + 1, sizeof *narrow->rejects);
    check(narrow->rejects);
    for (size_t i = 0; i < narrow->count; i++) memset(narrow->rows[i]->refused, 0, columns * sizeof *narrow->rows[i]->refused);
    for (size_t i = 0; i < count && r == 0; i++) {
        size_t file = 0;
        while (file < narrow->count && !uuid_equal(&files[file].id, rejects[i].file)) file++;
        check(file < narrow->count);
        NarrowRows *rows = narrow->rows[file];
        r = read_whole(rows, rejects[i].row, error);
        if (r != 0) break;
        buffer_clear(&csv);
        csv_record_put(&csv, rows->cells, narrow->cells);
        narrow->rejects[i] = rejects[i];
        narrow->rejects[i].csv = (Span){.data = arena_copy(&narrow->memory, buffer_span(&csv)), .size = csv.size};
        if (!keeps_values(narrow, rows->cells[narrow->cells - 1].is_null)) continue;
        for (size_t k = 0; k < columns; k++) rows->refused[k] += narrow->lacks[k] && !rows->cells[k].is_null;
    }
    buffer_deinit(&csv);
    *ret_rejects = narrow->rejects;
    return r;
}

uint64_t narrow_import_left_out(const NarrowImport *narrow, size_t column) {
    uint64_t values = 0;
    for (size_t i = 0; i < narrow->count; i++) {
        const NarrowRows *rows = narrow->rows[i];
        values += rows->values[column] > rows->refused[column] ? rows->values[column] - rows->refused[column] : 0;
    }
    return values;
}

void narrow_import_note(const NarrowImport *narrow, const char *label) {
    Buffer columns = {0};
    uint64_t all = 0;
    size_t unnamed = 0;
    for (size_t i = 0; i < narrow->whole->column_count; i++) {
        uint64_t values = narrow_import_left_out(narrow, i);
        all += values;
        if (values > 0 && columns.size < NAMED_BYTES)
            buffer_printf(&columns, "%s\"%s\" (%" PRIu64 ")", columns.size > 0 ? ", " : "", narrow->whole->columns[i].name, values);
        else
            unnamed += values > 0;
    }
    if (unnamed > 0) buffer_printf(&columns, " and %zu more", unnamed);
    if (all > 0) {
        metrics_add(METRIC_VALUES_LEFT_OUT, all);
        log_warning("%" PRIu64 " values of %s were left out because the table %s lacks their columns: %s", all, label,
                    narrow->whole->table.table_id, buffer_text(&columns));
    }
    buffer_deinit(&columns);
}

void narrow_import_free(NarrowImport *narrow) {
    if (!narrow) return;
    for (size_t i = 0; i < narrow->count; i++) {
        NarrowRows *rows = narrow->rows[i];
        row_reader_deinit(&rows->text);
        buffer_deinit(&rows->csv);
        free(rows->read);
        free(rows->cells);
        free(rows->values);
        free(rows->refused);
        free(rows);
    }
    free(narrow->rows);
    free(narrow->rejects);
    arena_deinit(&narrow->memory);
    free(narrow->target.columns);
    free(narrow->lacks);
    free(narrow);
}
