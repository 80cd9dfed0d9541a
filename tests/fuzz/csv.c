/*
 * Rows. The input is read twice. As cells: the first byte says how many a row has; 1E ends a cell,
 * 1D makes it NULL, 1A doubles what it holds, 1F takes the next byte as it is. What row_put writes,
 * row_read must give back, and a row must end where docs/formats.md says. As row text: whatever it
 * is, row_read and row_size must agree, and what is accepted must survive being written and read.
 */
#include <errno.h>

#include "base/buffer.h"
#include "mapping/row.h"
#include "mapping/words.h"
#include "sinks/csv_record.h"
#include "tests/fuzz/fuzz.h"

enum { CELLS_MAX = 8, ROWS_MAX = 16 };

static Guard guard, cell_guard;

static void put_cells(Buffer *out, const RowCell *cells, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (i) row_next_cell(out);
        if (cells[i].is_null)
            row_put_null(out);
        else
            row_put(out, (Span){cells[i].data, cells[i].size});
    }
    row_end(out);
}

/* The sinks' floor has its own. */
static void check_sinks_put(const RowCell *cells, size_t count, Span row) {
    SinkCell same[CELLS_MAX];
    Buffer out = {0};
    for (size_t i = 0; i < count; i++) same[i] = (SinkCell){.data = cells[i].data, .size = cells[i].size, .is_null = cells[i].is_null};
    csv_record_put(&out, same, count);
    check(span_equal(buffer_span(&out), row));
    check(csv_record_size(row) == row.size);
    buffer_deinit(&out);
}

static void check_equal(const RowCell *a, const RowCell *b, size_t count) {
    for (size_t i = 0; i < count; i++) {
        check(a[i].is_null == b[i].is_null);
        check(a[i].is_null || span_equal((Span){a[i].data, a[i].size}, (Span){b[i].data, b[i].size}));
    }
}

/* A newline ends a row when the number of quotes before it in the row is even. */
static size_t size_by_parity(Span text) {
    bool inside = false;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '"') inside = !inside;
        if (text.data[i] == '\n' && !inside) return i + 1;
    }
    return 0;
}

static void check_quotes(Span text, size_t written) {
    bool needs = text.size == 0;
    size_t quotes = 0;
    for (size_t i = 0; i < text.size; i++) {
        char c = text.data[i];
        if (c == '"') quotes++;
        if (c == ',' || c == '"' || c == '\r' || c == '\n' || c == '\\') needs = true;
        if ((i == 0 || i == text.size - 1) && (c == ' ' || (c >= '\t' && c <= '\r'))) needs = true;
    }
    check(written == (needs ? text.size + quotes + 2 : text.size));
}

static void check_quoted(Span text, Span cell) {
    size_t at = 0;
    check(cell.size >= 2 && cell.data[at++] == '"');
    for (size_t i = 0; i < text.size; i++) {
        check(cell.size - at >= 2 && cell.data[at++] == text.data[i]);
        if (text.data[i] == '"') check(cell.size - at >= 2 && cell.data[at++] == '"');
    }
    check(cell.size == at + 1 && cell.data[at] == '"');
}

/* The text stands where nothing behind it can be read, and goes to memory of its own, which is not
 * larger than was asked for. */
static void check_put(Span text) {
    Buffer plain = {0}, quoted = {0};
    text = fuzz_guarded(&cell_guard, text);
    row_put(&plain, text);
    check_quotes(text, plain.size);
    row_put_quoted(&quoted, text);
    check_quoted(text, buffer_span(&quoted));
    buffer_deinit(&plain);
    buffer_deinit(&quoted);
}

/* The cell that begins at `left`; its bytes go to `out`. */
static RowCell take_cell(Span *left, char *out, const char *out_end) {
    RowCell cell = {.data = out};
    while (left->size && out + cell.size < out_end) {
        unsigned byte = fuzz_byte(left);
        if (byte == 0x1e) break;
        if (byte == 0x1d) cell.is_null = true;
        if (byte == 0x1a && cell.size <= (size_t)(out_end - out) / 4) {
            memcpy(out + cell.size, out, cell.size);
            cell.size *= 2;
            continue;
        }
        if (byte == 0x1f) byte = fuzz_byte(left);
        out[cell.size++] = (char)byte;
    }
    if (cell.is_null) cell.size = 0;
    return cell;
}

static void as_cells(Span left) {
    size_t count = 1 + fuzz_byte(&left) % CELLS_MAX, rows = 0, used = 0;
    RowCell cells[ROWS_MAX][CELLS_MAX], got[CELLS_MAX];
    Buffer out = {0};
    size_t room = left.size + (18 << 10);
    char *bytes = malloc(room);
    check(bytes);
    while (rows < ROWS_MAX && (left.size || rows == 0)) {
        size_t start = out.size;
        for (size_t i = 0; i < count; i++) {
            cells[rows][i] = take_cell(&left, bytes + used, bytes + room);
            used += cells[rows][i].size;
            if (!cells[rows][i].is_null) check_put((Span){cells[rows][i].data, cells[rows][i].size});
        }
        put_cells(&out, cells[rows], count);
        Span row = {out.data + start, out.size - start};
        check(size_by_parity(row) == row.size);
        check_sinks_put(cells[rows], count, row);
        rows++;
    }
    Span text = fuzz_guarded(&guard, buffer_span(&out));
    RowReader reader = {.text = text};
    for (size_t i = 0; i < rows; i++) {
        size_t size = row_size(reader.text), before = reader.text.size;
        check(row_read(&reader, got, count) == 0);
        check(before - reader.text.size == size);
        check_equal(cells[i], got, count);
    }
    check(row_read(&reader, got, count) == ROW_READ_END);
    /* No prefix is a row, unless whole ones. */
    size_t whole = size_by_parity(text);
    for (size_t size = 0; size < text.size && size < 64; size++) check(row_size((Span){text.data, size}) == (size >= whole ? whole : 0));
    row_reader_deinit(&reader);
    buffer_deinit(&out);
    free(bytes);
}

static void as_row_text(Span input) {
    RowCell cells[CELLS_MAX], again[CELLS_MAX];
    Span text = fuzz_guarded(&guard, input);
    Buffer out = {0};
    for (size_t count = 1; count <= CELLS_MAX; count++) {
        RowReader reader = {.text = text}, second = {0};
        int r;
        for (;;) {
            Span before = reader.text;
            size_t size = row_size(before);
            r = row_read(&reader, cells, count);
            if (r) break;
            check(size > 0 && before.size - reader.text.size == size && reader.text.data == before.data + size);
            buffer_clear(&out);
            put_cells(&out, cells, count);
            second.text = buffer_span(&out);
            check(row_read(&second, again, count) == 0);
            check(second.text.size == 0);
            check_equal(cells, again, count);
        }
        check(r == ROW_READ_END ? reader.text.size == 0 : r == -EBADMSG);
        row_reader_deinit(&reader);
        row_reader_deinit(&second);
    }
    buffer_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    as_cells(fuzz_input(data, size));
    as_row_text(fuzz_input(data, size));
    return 0;
}
