/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "sinks/ledger_entry.h"
#include "tests/support/sink-case.h"

static void only_rows_may_be_more(void **state) {
    SinkCase box;
    sink_case_init(&box, "shop.t", "a:text", 1);
    ADD(&box.rows[0], "x");
    ADD(&box.rows[0], "y");
    ImportJob *job = sink_case_job(&box);
    ImportFile *file = &job->files[0];
    LedgerEntry entry;
    ledger_entry_init(&entry, job, file);
    assert_string_equal(entry.values[1], "11111111-1111-1111-1111-111111111111");
    assert_string_equal(entry.values[2], "shop/orders");
    assert_string_equal(entry.values[3], "shop.t");
    assert_string_equal(entry.values[7], "fedcba9876543210");
    for (size_t i = 0; i < LEDGER_COLUMN_COUNT; i++) {
        Error error = {0};
        assert_int_equal(ledger_entry_compare(&entry, file, i, entry.values[i], &error), SINK_DONE);
        assert_int_equal(ledger_entry_compare(&entry, file, i, NULL, &error), SINK_REFUSED);
        assert_non_null(strstr(error.text, "ledgerConflict"));
        assert_int_equal(ledger_entry_compare(&entry, file, i, "1", &error), i == 4 ? SINK_DONE : SINK_REFUSED);
    }
    assert_int_equal(ledger_entry_compare(&entry, file, 5, "3", NULL), SINK_REFUSED);
    assert_int_equal(file->rows, 2);
    /* It has 5 rows, of which 3 cannot be read any more. */
    file->damaged_rows = 3;
    assert_int_equal(ledger_entry_compare(&entry, file, 5, "1", NULL), SINK_REFUSED);
    assert_int_equal(ledger_entry_compare(&entry, file, 5, "6", NULL), SINK_REFUSED);
    assert_int_equal(ledger_entry_compare(&entry, file, 5, "nonsense", NULL), SINK_REFUSED);
    assert_int_equal(file->rows, 2);
    assert_int_equal(ledger_entry_compare(&entry, file, 5, "5", NULL), SINK_DONE);
    assert_int_equal(file->rows, 5);
    sink_case_deinit(&box);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(only_rows_may_be_more)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
