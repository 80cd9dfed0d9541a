/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <stdbool.h>
#include <stdio.h>

#include "sinks/csv_record.h"
#include "sinks/skipped_rows.h"
#include "tests/support/sink-case.h"

#define FIRST 100
#define ROWS 12

static bool is_in(const uint64_t *numbers, size_t count, uint64_t number) {
    for (size_t i = 0; i < count; i++)
        if (numbers[i] == number) return true;
    return false;
}

/* Exactly the rows that are not left out are returned, with their numbers and texts, whatever the
 * blocks of the source are and wherever the reading begins. */
static void leaves_out_rows_by_number(void **state) {
    static const uint64_t sets[][4] = {{0}, {100}, {111}, {104, 105, 106}, {100, 102, 110, 111}, {99, 103, 200}};
    static const size_t counts[] = {0, 1, 1, 3, 4, 3};
    for (size_t set = 0; set < sizeof sets / sizeof sets[0]; set++) {
        for (size_t block = 1; block < 120; block += 9) {
            for (uint64_t from = FIRST; from < FIRST + ROWS; from += 3) {
                TextRows source = {0};
                SkippedRows rows;
                Error error = {0};
                text_rows_init(&source, 1, FIRST);
                for (int i = 0; i < ROWS; i++) {
                    char text[32];
                    (void)snprintf(text, sizeof text, "row\n%d", FIRST + i);
                    ADD(&source, text);
                }
                source.block_bytes = block;
                skipped_rows_init(&rows, &source.rows);
                skipped_rows_set(&rows, sets[set], counts[set]);
                assert_int_equal(rows.rows.seek(&rows.rows, from, &error), 0);
                Span csv;
                uint64_t first, count, next = from;
                int r;
                while ((r = rows.rows.block(&rows.rows, &csv, &first, &count, &error)) == 0) {
                    assert_true(count > 0);
                    for (; next < first; next++) assert_true(is_in(sets[set], counts[set], next));
                    for (uint64_t i = 0; i < count; i++, next++) {
                        char text[40];
                        size_t size = csv_record_size(csv);
                        (void)snprintf(text, sizeof text, "\"row\n%d\"\n", (int)next);
                        assert_int_equal(size, strlen(text));
                        assert_memory_equal(csv.data, text, size);
                        assert_false(is_in(sets[set], counts[set], next));
                        csv.data += size;
                        csv.size -= size;
                    }
                    assert_int_equal(csv.size, 0);
                }
                assert_int_equal(r, SINK_ROWS_END);
                for (; next < FIRST + ROWS; next++) assert_true(is_in(sets[set], counts[set], next));
                text_rows_deinit(&source);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(leaves_out_rows_by_number)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
