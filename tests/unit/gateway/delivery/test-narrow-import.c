/* Rows without the cells of some columns, against rows in memory: as blocks and one by one, what is
 * counted, and refused rows. */
#include "gateway/delivery/narrow_import.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/sink-case.h"

static const bool lacks[] = {false, true, false, true};

typedef struct Narrow {
    SinkCase box;
    NarrowImport *import;
    SinkRows *reader;
} Narrow;

static void begin(Narrow *narrow, bool deletes) {
    sink_case_init(&narrow->box, "t", deletes ? "k:text:key a:text b:integer c:text deletes" : "k:text:key a:text b:integer c:text", 1);
    TextRows *rows = &narrow->box.rows[0];
    ADD(rows, "1", "x", "5", NULL, NULL);
    ADD(rows, "2", NULL, NULL, "y", deletes ? "d" : NULL);
    ADD(rows, "3", "\"q\",\n", "", "z", NULL);
    ADD(rows, "4", "", NULL, NULL, NULL);
    (void)sink_case_job(&narrow->box);
    narrow->import = narrow_import_new(&narrow->box.target, lacks);
    narrow->reader = narrow_import_add(narrow->import, &rows->rows);
}

static void end(Narrow *narrow) {
    narrow_import_free(narrow->import);
    sink_case_deinit(&narrow->box);
}

static void assert_blocks(Narrow *narrow, const char *wanted) {
    Span csv;
    uint64_t first, rows, next = narrow->box.files[0].first_row;
    Buffer text = {0};
    assert_int_equal(narrow->reader->seek(narrow->reader, 0, NULL), 0);
    while (narrow->reader->block(narrow->reader, &csv, &first, &rows, NULL) == 0) {
        assert_int_equal(first, next);
        next += rows;
        buffer_append(&text, csv.data, csv.size);
    }
    assert_string_equal(buffer_text(&text), wanted);
    buffer_deinit(&text);
}

static void nothing_is_narrowed_without_need(void **state) {
    SinkCase box;
    sink_case_init(&box, "t", "a:text b:text", 1);
    assert_null(narrow_import_new(&box.target, NULL));
    assert_null(narrow_import_new(&box.target, (const bool[]){false, false}));
    sink_case_deinit(&box);
}

static void cells_are_dropped_and_counted_once(void **state) {
    Narrow narrow;
    begin(&narrow, false);
    const SinkTarget *target = narrow_import_target(narrow.import);
    assert_int_equal(target->column_count, 2);
    assert_string_equal(target->columns[1].name, "b");
    narrow.box.rows[0].block_bytes = 16; /* several blocks */
    for (int i = 0; i < 2; i++) assert_blocks(&narrow, "1,5\n2,\n3,\"\"\n4,\n");
    SinkCell cells[2];
    uint64_t row, first = narrow.box.files[0].first_row;
    assert_int_equal(narrow.reader->seek(narrow.reader, first + 2, NULL), 0);
    assert_int_equal(narrow.reader->next(narrow.reader, cells, &row, NULL), 0);
    assert_int_equal(row, first + 2);
    assert_true(cells[0].size == 1 && cells[0].data[0] == '3' && cells[1].size == 0 && !cells[1].is_null);
    assert_int_equal(narrow_import_left_out(narrow.import, 1), 3);
    assert_int_equal(narrow_import_left_out(narrow.import, 3), 2);
    assert_int_equal(narrow_import_left_out(narrow.import, 0), 0);
    end(&narrow);
}

static void rows_that_delete_do_not_count(void **state) {
    Narrow narrow;
    begin(&narrow, true);
    assert_blocks(&narrow, "1,5,\n2,,d\n3,\"\",\n4,,\n");
    assert_int_equal(narrow_import_left_out(narrow.import, 1), 3);
    assert_int_equal(narrow_import_left_out(narrow.import, 3), 1);
    end(&narrow);
}

static void rows_that_are_left_out_do_not_count(void **state) {
    Narrow narrow;
    begin(&narrow, false);
    assert_blocks(&narrow, "1,5\n2,\n3,\"\"\n4,\n");
    narrow.reader->leave_out(narrow.reader, &(SinkRange){.first_row = narrow.box.files[0].first_row, .rows = 2}, 1);
    SinkCell cells[2];
    uint64_t row;
    assert_int_equal(narrow.reader->seek(narrow.reader, 0, NULL), 0);
    while (narrow.reader->next(narrow.reader, cells, &row, NULL) == 0) continue;
    assert_int_equal(narrow_import_left_out(narrow.import, 1), 2);
    assert_int_equal(narrow_import_left_out(narrow.import, 3), 1);
    end(&narrow);
}

static void refused_rows_have_all_cells_and_do_not_count(void **state) {
    Narrow narrow;
    begin(&narrow, false);
    assert_blocks(&narrow, "1,5\n2,\n3,\"\"\n4,\n");
    const ImportFile *file = &narrow.box.files[0];
    const SinkReject refused[] = {{.row = file->first_row, .file = &file->id, .reason = "r", .csv = span_of("1,5\n")},
                                  {.row = file->first_row + 2, .file = &file->id, .reason = "s", .csv = span_of("3,\"\"\n")}};
    const SinkReject *whole;
    Error error = {0};
    for (int i = 0; i < 2; i++) { /* a later call replaces what an earlier one said */
        assert_int_equal(narrow_import_widen(narrow.import, file, refused, 2, &whole, &error), 0);
        assert_true(span_equal(whole[0].csv, span_of("1,x,5,\n")) && whole[0].row == file->first_row);
        assert_true(span_equal(whole[1].csv, span_of("3,\"\"\"q\"\",\n\",\"\",z\n")));
        assert_string_equal(whole[1].reason, "s");
        assert_int_equal(narrow_import_left_out(narrow.import, 1), 1);
        assert_int_equal(narrow_import_left_out(narrow.import, 3), 1);
    }
    assert_int_equal(narrow_import_widen(narrow.import, file, NULL, 0, &whole, &error), 0);
    assert_int_equal(narrow_import_left_out(narrow.import, 1), 3);
    const SinkReject elsewhere = {.row = file->first_row + 9, .file = &file->id, .reason = "r"};
    assert_true(narrow_import_widen(narrow.import, file, &elsewhere, 1, &whole, &error) < 0);
    end(&narrow);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_narrowed_without_need),
        cmocka_unit_test(cells_are_dropped_and_counted_once),
        cmocka_unit_test(rows_that_delete_do_not_count),
        cmocka_unit_test(rows_that_are_left_out_do_not_count),
        cmocka_unit_test(refused_rows_have_all_cells_and_do_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
