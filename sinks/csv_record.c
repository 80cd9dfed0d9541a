#include "sinks/csv_record.h"

#include <errno.h>
#include <string.h>

size_t csv_record_size(Span csv) {
    const char *at = csv.data, *end = csv.data + csv.size;
    bool quoted = false;
    while (at < end) {
        if (quoted) {
            /* A doubled quote inside leaves and enters again at once, which comes to the same. */
            at = memchr(at, '"', (size_t)(end - at));
            if (!at) return 0;
            quoted = false;
        } else if (*at == '"') {
            quoted = true;
        } else if (*at == '\n') {
            return (size_t)(at - csv.data) + 1;
        }
        at++;
    }
    return 0;
}

size_t csv_record_sizes(Span csv, uint64_t count) {
    size_t size = 0;
    for (uint64_t i = 0; i < count; i++) {
        size_t one = csv_record_size((Span){.data = csv.data + size, .size = csv.size - size});
        if (one == 0) return 0;
        size += one;
    }
    return size;
}

size_t csv_cell_size(Span csv) {
    const char *at = csv.data, *end = csv.data + csv.size;
    while (at < end && *at == '"') { /* a doubled quote begins the next part */
        at = memchr(at + 1, '"', (size_t)(end - at - 1));
        if (!at) return csv.size;
        at++;
    }
    while (at < end && *at != ',' && *at != '\n') at++;
    return (size_t)(at - csv.data);
}

Span csv_cell_text(Span cell, Buffer *unquoted) {
    if (cell.size < 2 || cell.data[0] != '"') return cell;
    cell.data++;
    cell.size -= 2;
    if (!memchr(cell.data, '"', cell.size)) return cell;
    buffer_clear(unquoted);
    for (size_t i = 0; i < cell.size; i++) {
        if (cell.data[i] == '"') i++;
        if (i < cell.size) buffer_append_byte(unquoted, cell.data[i]);
    }
    return buffer_span(unquoted);
}

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool needs_quotes(const SinkCell *cell) {
    if (cell->size == 0 || is_space(cell->data[0]) || is_space(cell->data[cell->size - 1])) return true;
    for (size_t i = 0; i < cell->size; i++) {
        char c = cell->data[i];
        if (c == ',' || c == '"' || c == '\r' || c == '\n' || c == '\\') return true;
    }
    return false;
}

void csv_record_put_cell(Buffer *out, const SinkCell *cell) {
    if (cell->is_null) return;
    if (!needs_quotes(cell)) {
        buffer_append(out, cell->data, cell->size);
        return;
    }
    buffer_append_byte(out, '"');
    for (size_t i = 0; i < cell->size; i++) {
        if (cell->data[i] == '"') buffer_append_byte(out, '"');
        buffer_append_byte(out, cell->data[i]);
    }
    buffer_append_byte(out, '"');
}

void csv_record_put(Buffer *out, const SinkCell *cells, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (i > 0) buffer_append_byte(out, ',');
        csv_record_put_cell(out, &cells[i]);
    }
    buffer_append_byte(out, '\n');
}

int csv_walk_start(CsvWalk *walk, SinkRows *reader, uint64_t row, Error *error) {
    *walk = (CsvWalk){.reader = reader};
    return reader->seek(reader, row, error);
}

int csv_walk_next(CsvWalk *walk, Span *ret_csv, uint64_t *ret_row, Error *error) {
    while (walk->rows_left == 0) {
        int r = walk->reader->block(walk->reader, &walk->left, &walk->row, &walk->rows_left, error);
        if (r != 0) return r;
    }
    size_t size = csv_record_size(walk->left);
    if (size == 0) return error_set(error, -EBADMSG, "A block of rows ends before its last row (row %llu).", (unsigned long long)walk->row);
    *ret_csv = (Span){.data = walk->left.data, .size = size};
    *ret_row = walk->row;
    walk->left.data += size;
    walk->left.size -= size;
    walk->row++;
    walk->rows_left--;
    return 0;
}
