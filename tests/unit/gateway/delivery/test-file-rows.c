/* The rows of a file with ranges left out, against a model: packs in memory, blocks and single
 * rows, from any place. */
#include "gateway/delivery/file_rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/random.h"
#include "config/definition.h"
#include "storage/pack.h"
#include "tests/support/memory-files.h"

enum { SLICES = 3, ROWS_A_SLICE = 4000, FIRST = 100, ROWS = SLICES * ROWS_A_SLICE };

static const Uuid pack_id = {.bytes = {1}}, instance = {.bytes = {2}};

/* Each row is "NUMBER,text", the text with a newline in quotes now and then; a slice has several
 * blocks. */
static void put_row(Buffer *out, uint64_t row) {
    buffer_printf(out, "%llu,%s%0*d%s\n", (unsigned long long)row, row % 7 == 0 ? "\"\n" : "", (int)(row % 200) + 1, 0,
                  row % 7 == 0 ? "\"" : "");
}

static Files *make_pack(SliceRecord slices[static SLICES]) {
    Files *files = memory_files_new(NULL, NULL);
    Error error = {0};
    PackWriter *writer;
    uint64_t bytes;
    assert_int_equal(files->make_directory(files, "staging", 0700, &error), 0);
    assert_int_equal(pack_create(files, &pack_id, &instance, &writer, &error), 0);
    for (size_t i = 0; i < SLICES; i++) {
        Buffer rows = {0};
        slices[i] = (SliceRecord){.sink = 1, .first_row = FIRST + i * ROWS_A_SLICE, .rows = ROWS_A_SLICE, .file = {.bytes = {3}}};
        for (uint64_t row = 0; row < ROWS_A_SLICE; row++) put_row(&rows, slices[i].first_row + row);
        assert_int_equal(pack_begin_slice(writer, &slices[i], span_of("{}"), &error), 0);
        assert_int_equal(pack_add_rows(writer, buffer_span(&rows), &error), 0);
        assert_int_equal(pack_end_slice(writer, &slices[i], &error), 0);
        buffer_deinit(&rows);
    }
    assert_int_equal(pack_finish(writer, &bytes, &error), 0);
    return files;
}

/* Ranges that do not touch each other; *left_out says which rows they have. */
static size_t make_ranges(Random *random, SinkRange *ranges, bool *left_out) {
    size_t count = 0;
    memset(left_out, 0, ROWS);
    for (uint64_t row = random_below(random, 3) == 0 ? 0 : 1 + random_below(random, 3000); row < ROWS;) {
        uint64_t most = random_below(random, 4) == 0 ? 2 * ROWS_A_SLICE : 50, rows = 1 + random_below(random, most);
        if (random_below(random, 6) == 0) { /* exactly some slices */
            row = (row + ROWS_A_SLICE - 1) / ROWS_A_SLICE * ROWS_A_SLICE;
            rows = ROWS_A_SLICE;
            if (row >= ROWS) break;
        }
        if (row + rows > ROWS) rows = ROWS - row;
        ranges[count++] = (SinkRange){.first_row = FIRST + row, .rows = rows};
        for (uint64_t i = 0; i < rows; i++) left_out[row + i] = true;
        row += rows + 1 + random_below(random, 3000);
    }
    return count;
}

static uint64_t next_given(const bool *left_out, uint64_t row) {
    while (row < ROWS && left_out[row]) row++;
    return row;
}

static void read_blocks(SinkRows *reader, const bool *left_out, uint64_t from) {
    Error error = {0};
    uint64_t row = next_given(left_out, from), first, rows;
    Span csv;
    Buffer wanted = {0};
    int r;
    assert_int_equal(reader->seek(reader, FIRST + from, &error), 0);
    while ((r = reader->block(reader, &csv, &first, &rows, &error)) == 0) {
        assert_int_equal(first, FIRST + row);
        assert_true(rows > 0);
        buffer_clear(&wanted);
        for (uint64_t i = 0; i < rows; i++) {
            assert_true(row + i < ROWS && !left_out[row + i]); /* no hole within a block */
            put_row(&wanted, FIRST + row + i);
        }
        assert_int_equal(csv.size, wanted.size);
        assert_memory_equal(csv.data, wanted.data, wanted.size);
        row = next_given(left_out, row + rows);
    }
    assert_int_equal(r, SINK_ROWS_END);
    assert_int_equal(row, ROWS);
    buffer_deinit(&wanted);
}

static void read_rows(SinkRows *reader, const bool *left_out, uint64_t from) {
    Error error = {0};
    SinkCell cells[2];
    uint64_t row = next_given(left_out, from), number;
    int r;
    assert_int_equal(reader->seek(reader, FIRST + from, &error), 0);
    while ((r = reader->next(reader, cells, &number, &error)) == 0) {
        assert_int_equal(number, FIRST + row);
        char text[24];
        (void)snprintf(text, sizeof text, "%llu", (unsigned long long)number);
        assert_int_equal(cells[0].size, strlen(text));
        assert_memory_equal(cells[0].data, text, cells[0].size);
        row = next_given(left_out, row + 1);
    }
    assert_int_equal(r, SINK_ROWS_END);
    assert_int_equal(row, ROWS);
}

static void ranges_are_left_out(void **state) {
    SliceRecord slices[SLICES];
    Files *files = make_pack(slices);
    static bool left_out[ROWS];
    static SinkRange ranges[ROWS];
    FileRows *rows = file_rows_new(files, slices, SLICES, 2);
    SinkRows *reader = file_rows_reader(rows);
    read_blocks(reader, left_out, 0); /* nothing is */
    for (uint64_t seed = 1; seed <= 40; seed++) {
        Random random = {.state = seed};
        size_t count = make_ranges(&random, ranges, left_out);
        reader->leave_out(reader, ranges, count);
        memset(ranges, 0xff, sizeof ranges); /* it has a copy */
        read_blocks(reader, left_out, 0);
        read_blocks(reader, left_out, random_below(&random, ROWS));
        read_rows(reader, left_out, random_below(&random, ROWS));
    }
    /* An empty list gives all of them back. */
    reader->leave_out(reader, ranges, 0);
    memset(left_out, 0, sizeof left_out);
    read_blocks(reader, left_out, 0);
    read_rows(reader, left_out, 17);
    ranges[0] = (SinkRange){.first_row = FIRST, .rows = ROWS};
    reader->leave_out(reader, ranges, 1);
    memset(left_out, 1, sizeof left_out);
    read_blocks(reader, left_out, 0);
    file_rows_free(rows);
    files_free(files);
}

/* A slice of which no row is given may be damaged; one of which some are may not. */
static void a_damaged_slice_that_nobody_needs(void **state) {
    SliceRecord slices[SLICES];
    Files *files = make_pack(slices);
    static bool left_out[ROWS];
    slices[1].checksum ^= 1;
    FileRows *rows = file_rows_new(files, slices, SLICES, 2);
    SinkRows *reader = file_rows_reader(rows);
    for (uint64_t i = 0; i < ROWS; i++) left_out[i] = i >= ROWS_A_SLICE - 10 && i < 2 * ROWS_A_SLICE;
    SinkRange range = {.first_row = FIRST + ROWS_A_SLICE - 10, .rows = ROWS_A_SLICE + 10};
    reader->leave_out(reader, &range, 1);
    read_blocks(reader, left_out, 0);
    assert_int_equal(file_rows_damaged(rows), -1);
    range.rows--;
    reader->leave_out(reader, &range, 1);
    Error error = {0};
    Span csv;
    uint64_t first, count;
    int r;
    assert_int_equal(reader->seek(reader, FIRST, &error), 0);
    while ((r = reader->block(reader, &csv, &first, &count, &error)) == 0) continue;
    assert_true(r < 0);
    assert_int_equal(file_rows_damaged(rows), 1);
    file_rows_free(rows);
    files_free(files);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_are_left_out),
        cmocka_unit_test(a_damaged_slice_that_nobody_needs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
