/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <errno.h>

#include "sinks/csv_record.h"
#include "tests/support/sink-case.h"

static void assert_record(const char *cell, const char *wanted) {
    Buffer out = {0};
    SinkCell cells[2] = {{.is_null = true}, {.data = cell, .size = strlen(cell)}};
    csv_record_put(&out, cells, 2);
    assert_string_equal(buffer_text(&out), wanted);
    assert_int_equal(csv_record_size(buffer_span(&out)), out.size);
    buffer_deinit(&out);
}

static void quotes_what_needs_it(void **state) {
    assert_record("plain", ",plain\n");
    assert_record("", ",\"\"\n");
    assert_record("a,b", ",\"a,b\"\n");
    assert_record("a\"b", ",\"a\"\"b\"\n");
    assert_record("a\r\nb", ",\"a\r\nb\"\n");
    assert_record("\\.", ",\"\\.\"\n");
    assert_record(" a", ",\" a\"\n");
    assert_record("a\t", ",\"a\t\"\n");
    assert_record("\xf0\x9f\x98\x80", ",\xf0\x9f\x98\x80\n");
}

static void assert_cell(const char *csv, size_t size, const char *text) {
    Buffer unquoted = {0};
    assert_int_equal(csv_cell_size(span_of(csv)), size);
    Span found = csv_cell_text((Span){.data = csv, .size = size}, &unquoted);
    assert_true(span_equal(found, span_of(text)));
    buffer_deinit(&unquoted);
}

static void reads_cells(void **state) {
    assert_cell("plain,next\n", 5, "plain");
    assert_cell("last\n", 4, "last");
    assert_cell(",\n", 0, "");
    assert_cell("\n", 0, "");
    assert_cell("\"\",x\n", 2, "");
    assert_cell("\"a,b\"\n", 5, "a,b");
    assert_cell("\"a\"\"b\",x\n", 6, "a\"b");
    assert_cell("\"\"\"\",x\n", 4, "\"");
    assert_cell("\"a\nb\"\n", 5, "a\nb");
    /* It does not end. */
    assert_int_equal(csv_cell_size(SPAN("abc")), 3);
    assert_int_equal(csv_cell_size(SPAN("\"abc,\n")), 6);
    assert_int_equal(csv_cell_size(SPAN("\"")), 1);
    assert_int_equal(csv_cell_size(SPAN("")), 0);
}

static void finds_the_end_of_records(void **state) {
    Span text = SPAN("a,b\n\"x\ny\",\"\"\"\n\"\n,\nlast");
    assert_int_equal(csv_record_size(text), 4);
    assert_int_equal(csv_record_sizes(text, 0), 0);
    assert_int_equal(csv_record_sizes(text, 2), 4 + 12);
    assert_int_equal(csv_record_sizes(text, 3), 4 + 12 + 2);
    assert_int_equal(csv_record_sizes(text, 4), 0);
    assert_int_equal(csv_record_size(SPAN("")), 0);
    assert_int_equal(csv_record_size(SPAN("\"open\n")), 0);
}

static void walks_over_blocks_and_holes(void **state) {
    TextRows rows;
    text_rows_init(&rows, 1, 10);
    rows.block_bytes = 1;
    ADD(&rows, "a");
    rows.next_number = 20;
    ADD(&rows, "b\nb");
    ADD(&rows, "c");
    CsvWalk walk;
    Span csv;
    uint64_t row;
    assert_int_equal(csv_walk_start(&walk, &rows.rows, 11, NULL), 0);
    assert_int_equal(csv_walk_next(&walk, &csv, &row, NULL), 0);
    assert_int_equal(row, 20);
    assert_true(span_equal(csv, SPAN("\"b\nb\"\n")));
    assert_int_equal(csv_walk_next(&walk, &csv, &row, NULL), 0);
    assert_int_equal(row, 21);
    assert_int_equal(csv_walk_next(&walk, &csv, &row, NULL), SINK_ROWS_END);
    text_rows_deinit(&rows);
}

static int claims_too_much(SinkRows *rows, Span *ret_csv, uint64_t *ret_first_row, uint64_t *ret_rows, Error *error) {
    *ret_csv = SPAN("a\n");
    *ret_first_row = 1;
    *ret_rows = 2;
    return 0;
}

static void names_a_block_that_is_cut(void **state) {
    TextRows rows;
    text_rows_init(&rows, 1, 1);
    rows.rows.block = claims_too_much;
    CsvWalk walk;
    Span csv;
    uint64_t row;
    Error error = {0};
    assert_int_equal(csv_walk_start(&walk, &rows.rows, 1, NULL), 0);
    assert_int_equal(csv_walk_next(&walk, &csv, &row, &error), 0);
    assert_int_equal(csv_walk_next(&walk, &csv, &row, &error), -EBADMSG);
    assert_non_null(strstr(error.text, "row 2"));
    text_rows_deinit(&rows);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quotes_what_needs_it),      cmocka_unit_test(reads_cells),
        cmocka_unit_test(finds_the_end_of_records),  cmocka_unit_test(walks_over_blocks_and_holes),
        cmocka_unit_test(names_a_block_that_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
