#include "gateway/delivery/file_rows.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "config/definition.h"
#include "mapping/row.h"
#include "storage/pack.h"

struct FileRows {
    SinkRows reader; /* first */
    Files *files;
    const SliceRecord *slices;
    bool *skipped; /* by slice */
    size_t count;
    size_t columns;
    ptrdiff_t damaged;
    SinkRange *left_out; /* rows that are not given */
    size_t left_out_count;

    size_t at;         /* slice that is read */
    SliceReader *open; /* on slices[at]; NULL: not opened yet */
    Span left;         /* of the last block: rows that were not given yet */
    uint64_t next_row; /* number of the first row of `left`, or of the next block */
    RowReader cells;
    RowCell *read; /* of the row at hand */
};

static void close_slice(FileRows *rows) {
    slice_close(rows->open);
    rows->open = NULL;
    rows->left = (Span){0};
}

/* The first range that ends behind the row; NULL: none. */
static const SinkRange *range_at(const FileRows *rows, uint64_t row) {
    size_t from = 0, to = rows->left_out_count;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (rows->left_out[middle].first_row + rows->left_out[middle].rows <= row)
            from = middle + 1;
        else
            to = middle;
    }
    return from < rows->left_out_count ? &rows->left_out[from] : NULL;
}

/* Is no row of the slice to be given? Then it need not be readable either. */
static bool is_left_out(const FileRows *rows, size_t slice) {
    const SliceRecord *record = &rows->slices[slice];
    const SinkRange *range = range_at(rows, record->first_row);
    return range && range->first_row <= record->first_row && range->first_row + range->rows >= record->first_row + record->rows;
}

/* The bytes may be there at the next try: a folder that is not mounted, a disk that comes back.
 * Never damage. */
static int unread(const FileRows *rows, int code, Error *error) {
    const SliceRecord *slice = &rows->slices[rows->at];
    error_prefix(error, "Rows %" PRIu64 " to %" PRIu64 " cannot be read from their staging file", slice->first_row,
                 slice->first_row + slice->rows - 1);
    return code;
}

static size_t next_row_size(FileRows *rows) {
    size_t size = row_size(rows->left);
    return size ? size : rows->left.size; /* the checksum holds, so this does not happen; and no loop if it does */
}

static void drop_row(FileRows *rows) {
    size_t size = next_row_size(rows);
    rows->left.data += size;
    rows->left.size -= size;
    rows->next_row++;
}

/* From `left`, up to the first row that is given. */
static void drop_left_out(FileRows *rows) {
    const SinkRange *range = rows->left_out_count > 0 && rows->left.size > 0 ? range_at(rows, rows->next_row) : NULL;
    if (!range || range->first_row > rows->next_row) return;
    while (rows->left.size > 0 && rows->next_row < range->first_row + range->rows) drop_row(rows);
}

/* Fills `left`; its first row is to be given. 0 or SINK_ROWS_END. */
static int refill(FileRows *rows, Error *error) {
    drop_left_out(rows);
    while (rows->left.size == 0) {
        if (!rows->open) {
            while (rows->at < rows->count && (rows->skipped[rows->at] || is_left_out(rows, rows->at))) rows->at++;
            if (rows->at == rows->count) return SINK_ROWS_END;
            int r = slice_open(rows->files, &rows->slices[rows->at], &rows->open, error);
            if (r < 0) return unread(rows, r, error);
            rows->next_row = rows->slices[rows->at].first_row;
        }
        int r = slice_read(rows->open, &rows->left, error);
        if (r < 0) return unread(rows, r, error);
        if (r == SLICE_READ_DAMAGED) {
            rows->damaged = (ptrdiff_t)rows->at;
            close_slice(rows);
            return error_set(error, -EBADMSG, "rows %" PRIu64 " and later are damaged in their staging file", rows->next_row);
        }
        if (r == SLICE_READ_END) {
            close_slice(rows);
            rows->at++;
        }
        drop_left_out(rows);
    }
    return 0;
}

static int seek(SinkRows *reader, uint64_t row, Error *error) {
    FileRows *rows = (FileRows *)reader;
    close_slice(rows);
    rows->at = 0;
    while (rows->at < rows->count) {
        const SliceRecord *slice = &rows->slices[rows->at];
        if (!rows->skipped[rows->at] && row < slice->first_row + slice->rows) break;
        rows->at++;
    }
    if (rows->at == rows->count || row <= rows->slices[rows->at].first_row) return 0;
    for (;;) {
        int r = refill(rows, error);
        if (r != 0) return r < 0 ? r : 0;
        if (rows->next_row >= row) return 0;
        drop_row(rows);
    }
}

static int block(SinkRows *reader, Span *ret_csv, uint64_t *ret_first_row, uint64_t *ret_rows, Error *error) {
    FileRows *rows = (FileRows *)reader;
    int r = refill(rows, error);
    if (r != 0) return r;
    const SinkRange *range = rows->left_out_count > 0 ? range_at(rows, rows->next_row) : NULL;
    uint64_t first = rows->next_row, end = range ? range->first_row : UINT64_MAX;
    const char *start = rows->left.data;
    check(first < end);
    while (rows->left.size > 0 && rows->next_row < end) drop_row(rows);
    *ret_csv = (Span){.data = start, .size = (size_t)(rows->left.data - start)};
    *ret_first_row = first;
    *ret_rows = rows->next_row - first;
    return 0;
}

static void leave_out(SinkRows *reader, const SinkRange *ranges, size_t count) {
    FileRows *rows = (FileRows *)reader;
    free(rows->left_out);
    rows->left_out = calloc(count + 1, sizeof *ranges);
    check(rows->left_out);
    rows->left_out_count = count;
    for (size_t i = 0; i < count; i++) {
        check(ranges[i].rows > 0 && (i == 0 || ranges[i].first_row > ranges[i - 1].first_row + ranges[i - 1].rows));
        rows->left_out[i] = ranges[i];
    }
    close_slice(rows);
    rows->at = 0;
}

static int next(SinkRows *reader, SinkCell *cells, uint64_t *ret_row, Error *error) {
    FileRows *rows = (FileRows *)reader;
    int r = refill(rows, error);
    if (r != 0) return r;
    RowCell *read = rows->read;
    rows->cells.text = rows->left;
    r = row_read(&rows->cells, read, rows->columns);
    if (r != 0) return error_set(error, -EBADMSG, "row %" PRIu64 " does not have %zu columns", rows->next_row, rows->columns);
    for (size_t i = 0; i < rows->columns; i++)
        cells[i] = (SinkCell){.data = read[i].data, .size = read[i].size, .is_null = read[i].is_null};
    rows->left = rows->cells.text;
    *ret_row = rows->next_row++;
    return 0;
}

FileRows *file_rows_new(Files *files, const SliceRecord *slices, size_t count, size_t columns) {
    check(columns > 0);
    FileRows *rows = calloc(1, sizeof *rows);
    check(rows);
    rows->reader = (SinkRows){.seek = seek, .block = block, .next = next, .leave_out = leave_out};
    rows->files = files;
    rows->slices = slices;
    rows->count = count;
    rows->columns = columns;
    rows->read = calloc(columns, sizeof *rows->read);
    check(rows->read);
    rows->damaged = -1;
    rows->skipped = calloc(count + 1, sizeof *rows->skipped);
    check(rows->skipped);
    return rows;
}

SinkRows *file_rows_reader(FileRows *rows) {
    return &rows->reader;
}

ptrdiff_t file_rows_damaged(const FileRows *rows) {
    return rows->damaged;
}

void file_rows_skip(FileRows *rows, size_t slice) {
    close_slice(rows);
    rows->at = 0;
    rows->skipped[slice] = true;
    rows->damaged = -1;
}

void file_rows_size(const FileRows *rows, uint64_t *ret_rows, uint64_t *ret_bytes) {
    uint64_t count = 0, bytes = 0;
    for (size_t i = 0; i < rows->count; i++) {
        if (rows->skipped[i]) continue;
        count += rows->slices[i].rows;
        bytes += rows->slices[i].bytes;
    }
    *ret_rows = count;
    *ret_bytes = bytes;
}

void file_rows_free(FileRows *rows) {
    if (!rows) return;
    close_slice(rows);
    row_reader_deinit(&rows->cells);
    free(rows->skipped);
    free(rows->left_out);
    free(rows->read);
    free(rows);
}
