#include "sinks/skipped_rows.h"

#include <errno.h>

#include "sinks/csv_record.h"

static int seek(SinkRows *sink_rows, uint64_t row, Error *error) {
    SkippedRows *rows = (SkippedRows *)(void *)sink_rows;
    rows->rows_left = 0;
    return rows->source->seek(rows->source, row, error);
}

static void leave_out(SinkRows *sink_rows, const SinkRange *ranges, size_t count) {
    SkippedRows *rows = (SkippedRows *)(void *)sink_rows;
    rows->source->leave_out(rows->source, ranges, count);
}

/* The first number that is not below `row`; `count`: there is none. */
static size_t find(const SkippedRows *rows, uint64_t row) {
    size_t low = 0, high = rows->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (rows->numbers[middle] < row)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Takes the first `count` records of what is left. */
static int take(SkippedRows *rows, uint64_t count, Span *ret_csv, Error *error) {
    size_t size = count == rows->rows_left ? rows->left.size : csv_record_sizes(rows->left, count);
    if (size == 0 && count > 0)
        return error_set(error, -EBADMSG, "A block of rows ends before its last row (row %llu).", (unsigned long long)rows->row);
    *ret_csv = (Span){.data = rows->left.data, .size = size};
    rows->left.data += size;
    rows->left.size -= size;
    rows->row += count;
    rows->rows_left -= count;
    return 0;
}

static int block(SinkRows *sink_rows, Span *ret_csv, uint64_t *ret_first_row, uint64_t *ret_rows, Error *error) {
    SkippedRows *rows = (SkippedRows *)(void *)sink_rows;
    for (;;) {
        while (rows->rows_left == 0) {
            int r = rows->source->block(rows->source, &rows->left, &rows->row, &rows->rows_left, error);
            if (r != 0) return r;
        }
        size_t next = find(rows, rows->row);
        if (next < rows->count && rows->numbers[next] == rows->row) {
            Span skipped;
            int r = take(rows, 1, &skipped, error);
            if (r < 0) return r;
            continue;
        }
        uint64_t count = rows->rows_left;
        if (next < rows->count && rows->numbers[next] - rows->row < count) count = rows->numbers[next] - rows->row;
        *ret_first_row = rows->row;
        *ret_rows = count;
        return take(rows, count, ret_csv, error);
    }
}

void skipped_rows_init(SkippedRows *rows, SinkRows *source) {
    *rows = (SkippedRows){.rows = {.seek = seek, .block = block, .leave_out = leave_out}, .source = source};
}

void skipped_rows_set(SkippedRows *rows, const uint64_t *numbers, size_t count) {
    for (size_t i = 1; i < count; i++) check(numbers[i - 1] < numbers[i]);
    rows->numbers = numbers;
    rows->count = count;
    rows->rows_left = 0;
}
