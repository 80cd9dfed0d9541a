#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>

#include "guard.h"
#include "mapping/row.h"

static const char pieces[] = "\"\"\"\",,\n\r\\ \tabcdefghijklmnopq\xc3\xa9\xff\x01";

static uint64_t random_state = 1181783497276652981;
static uint32_t random_below(uint32_t limit) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 33) % limit;
}

static void text_of_one(const char *text, size_t size, const char *expected) {
    Buffer row = {0};
    row_put(&row, (Span){text, size});
    assert_string_equal(buffer_text(&row), expected);
    buffer_deinit(&row);
}

static void cells_are_quoted_when_they_must(void **state) {
    static const struct {
        const char *text, *expected;
    } rows[] = {
        {"", "\"\""},
        {"a", "a"},
        {"a b", "a b"},
        {" a", "\" a\""},
        {"a ", "\"a \""},
        {"\ta", "\"\ta\""},
        {"a\v", "\"a\v\""},
        {"a,b", "\"a,b\""},
        {"a\"b", "\"a\"\"b\""},
        {"\"", "\"\"\"\""},
        {"\"abcdefghijkl\"", "\"\"\"abcdefghijkl\"\"\""},
        {"\"\"\"\"\"\"\"\"\"\"", "\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\""},
        {"\\.", "\"\\.\""},
        {"a\\", "\"a\\\""},
        {"a\rb", "\"a\rb\""},
        {"a\nb", "\"a\nb\""},
        {"abcdefghijklmnop,", "\"abcdefghijklmnop,\""},
        {"NULL", "NULL"},
        {"'x'", "'x'"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) text_of_one(rows[i].text, strlen(rows[i].text), rows[i].expected);
}

static void random_cells_come_back(void **state) {
    Guard guard = guard_new(1 << 14);
    for (int round = 0; round < 20000; round++) {
        char texts[5][64];
        RowCell cells[5], got[5];
        size_t count = 1 + random_below(5), row_count = 1 + random_below(3);
        Buffer rows = {0};
        for (size_t i = 0; i < count; i++) {
            size_t size = random_below(5) ? random_below(8) : random_below(64);
            for (size_t j = 0; j < size; j++) texts[i][j] = random_below(20) ? pieces[random_below(sizeof pieces - 1)] : 0;
            cells[i] = (RowCell){.data = texts[i], .size = size, .is_null = random_below(6) == 0};
        }
        for (size_t r = 0; r < row_count; r++) {
            for (size_t i = 0; i < count; i++) {
                if (i) row_next_cell(&rows);
                if (cells[i].is_null)
                    row_put_null(&rows);
                else
                    row_put(&rows, guard_place(&guard, cells[i].data, cells[i].size));
            }
            row_end(&rows);
        }
        Span text = guard_place(&guard, rows.data, rows.size);
        assert_int_equal(row_size(text), rows.size / row_count);
        for (size_t cut = 0; cut < rows.size / row_count; cut++) assert_int_equal(row_size(guard_place(&guard, rows.data, cut)), 0);
        RowReader reader = {.text = guard_place(&guard, rows.data, rows.size)};
        for (size_t r = 0; r < row_count; r++) {
            assert_int_equal(row_read(&reader, got, count), 0);
            for (size_t i = 0; i < count; i++) {
                assert_int_equal(got[i].is_null, cells[i].is_null);
                if (cells[i].is_null) continue;
                assert_int_equal(got[i].size, cells[i].size);
                if (got[i].size) assert_memory_equal(got[i].data, cells[i].data, got[i].size);
            }
        }
        assert_int_equal(row_read(&reader, got, count), ROW_READ_END);
        row_reader_deinit(&reader);
        buffer_deinit(&rows);
    }
    guard_free(&guard);
}

static void other_text_is_refused(void **state) {
    static const struct {
        const char *text;
        size_t count;
    } rows[] = {{"a", 1},      {"a,b", 2}, {"a\n", 2},   {"a,b\n", 1}, {"\"a\n", 1},     {"\"a\"b\n", 1}, {"a\"b\n", 1}, {"a\r\n", 1},
                {"a\\b\n", 1}, {"a,", 2},  {"\"a\"", 1}, {",\n", 1},   {"\"a\"\"\n", 1}, {"\n", 2},       {"\"\"x", 1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        RowReader reader = {.text = span_of(rows[i].text)};
        RowCell cells[2];
        assert_int_equal(row_read(&reader, cells, rows[i].count), -EBADMSG);
        row_reader_deinit(&reader);
    }
}

static void damaged_rows_are_never_read_beyond(void **state) {
    Guard guard = guard_new(1 << 12);
    for (int round = 0; round < 50000; round++) {
        char text[40];
        size_t size = random_below(sizeof text);
        for (size_t i = 0; i < size; i++) text[i] = pieces[random_below(12)];
        RowReader reader = {.text = guard_place(&guard, text, size)};
        RowCell cells[3];
        (void)row_size(reader.text);
        while (row_read(&reader, cells, 1 + random_below(3)) == 0) assert_true(reader.text.size < size);
        row_reader_deinit(&reader);
    }
    guard_free(&guard);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells_are_quoted_when_they_must),
        cmocka_unit_test(random_cells_come_back),
        cmocka_unit_test(other_text_is_refused),
        cmocka_unit_test(damaged_rows_are_never_read_beyond),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
