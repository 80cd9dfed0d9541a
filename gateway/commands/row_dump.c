#include "gateway/commands/row_dump.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "mapping/json_text.h"

#define DELETED "_deleted" /* in CSV: `d` where the row of the key is deleted */

static void forget_target(RowDump *dump) {
    if (dump->has_target) sink_target_deinit(&dump->target);
    dump->has_target = false;
    free(dump->label);
    dump->label = NULL;
    free(dump->cells);
    dump->cells = NULL;
}

static int write_line(RowDump *dump, const Buffer *line, Error *error) {
    if (fwrite(line->data, 1, line->size, dump->out) == line->size) return 0;
    return error_set(error, -EIO, "cannot write the rows: %s", strerrordesc_np(errno));
}

static int put_header(RowDump *dump, Error *error) {
    _cleanup_(buffer_deinit) Buffer header = {0};
    row_put(&header, SPAN("_sink"));
    row_next_cell(&header);
    row_put(&header, SPAN("_row"));
    for (size_t i = 0; i < dump->cell_count; i++) {
        row_next_cell(&header);
        row_put(&header, span_of(i < dump->target.column_count ? dump->target.columns[i].name : DELETED));
    }
    row_end(&header);
    if (span_equal(buffer_span(&header), buffer_span(&dump->header))) return 0;
    buffer_clear(&dump->header);
    buffer_append(&dump->header, header.data, header.size);
    return write_line(dump, &header, error);
}

int row_dump_target(RowDump *dump, const char *label, Span json, Error *error) {
    forget_target(dump);
    json_error_t fault;
    json_t *stored = json_loadb(json.data, json.size, 0, &fault);
    if (!stored) return error_set(error, -EBADMSG, "the table of the rows of %s is not JSON: %s", label, fault.text);
    int r = sink_target_load(stored, &dump->target, error);
    json_decref(stored);
    if (r < 0) return r;
    dump->has_target = true;
    dump->label = text_copy(label);
    dump->cell_count = sink_target_cells(&dump->target);
    dump->cells = calloc(dump->cell_count, sizeof *dump->cells);
    check(dump->cells);
    return dump->csv ? put_header(dump, error) : 0;
}

/* Is the cell the JSON text of a value of its type? A mask may have made another text of it. */
static bool is_json(const Column *column, Span cell) {
    switch (column->data_type) {
    case DATA_INTEGER:
    case DATA_NUMBER:
    case DATA_DECIMAL:
    case DATA_BOOLEAN:
    case DATA_JSON:
    case DATA_JSON_TEXT: {
        json_t *value = json_loadb(cell.data, cell.size, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, NULL);
        json_decref(value);
        return value != NULL && !memchr(cell.data, '\n', cell.size);
    }
    default: return false;
    }
}

static void put_value(Buffer *out, const Column *column, const RowCell *cell) {
    Span text = {.data = cell->data, .size = cell->size};
    if (cell->is_null)
        buffer_append_text(out, "null");
    else if (is_json(column, text))
        buffer_append(out, text.data, text.size);
    else
        json_quote(out, text);
}

static void put_object(RowDump *dump, uint64_t row) {
    Buffer *line = &dump->line;
    buffer_append_text(line, "{\"sink\":");
    json_quote(line, span_of(dump->label));
    buffer_printf(line, ",\"row\":%" PRIu64, row);
    if (dump->cell_count > dump->target.column_count && !dump->cells[dump->target.column_count].is_null)
        buffer_append_text(line, ",\"deleted\":true");
    buffer_append_text(line, ",\"values\":{");
    for (size_t i = 0; i < dump->target.column_count; i++) {
        if (i > 0) buffer_append_byte(line, ',');
        json_quote(line, span_of(dump->target.columns[i].name));
        buffer_append_byte(line, ':');
        put_value(line, &dump->target.columns[i], &dump->cells[i]);
    }
    buffer_append_text(line, "}}\n");
}

static void put_record(RowDump *dump, uint64_t row, Span text) {
    row_put(&dump->line, span_of(dump->label));
    buffer_printf(&dump->line, ",%" PRIu64 ",", row);
    buffer_append(&dump->line, text.data, text.size); /* as it is stored: CSV with its newline */
}

int row_dump_rows(RowDump *dump, uint64_t first_row, Span rows, Error *error) {
    check(dump->has_target);
    RowReader reader = {.text = rows};
    int r;
    do {
        Span before = reader.text;
        r = row_read(&reader, dump->cells, dump->cell_count);
        if (r != 0) break;
        buffer_clear(&dump->line);
        if (dump->csv)
            put_record(dump, first_row, (Span){.data = before.data, .size = before.size - reader.text.size});
        else
            put_object(dump, first_row);
        r = write_line(dump, &dump->line, error);
        first_row++;
        dump->rows++;
    } while (r == 0);
    row_reader_deinit(&reader);
    if (r == -EBADMSG)
        return error_set(error, -EBADMSG, "row %" PRIu64 " of %s does not have the %zu cells of its columns", first_row, dump->label,
                         dump->cell_count);
    return r < 0 ? r : 0;
}

void row_dump_deinit(RowDump *dump) {
    forget_target(dump);
    buffer_deinit(&dump->header);
    buffer_deinit(&dump->line);
}
