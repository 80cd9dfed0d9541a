/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "sinks/ledger_entry.h"
#include "tests/support/sink-case.h"

static SinkResult compare_with(const LedgerEntry *entry, ImportFile *file, size_t column, const char *value, Error *error) {
    const char *there[LEDGER_COLUMNS_OF_RUNS_COUNT];
    memcpy(there, entry->values, sizeof there);
    there[column] = value;
    return ledger_entry_compare(entry, file, there, error);
}

static void only_rows_may_be_more(void **state) {
    SinkCase box;
    sink_case_init(&box, "shop.t", "a:text", 1);
    ADD(&box.rows[0], "x");
    ADD(&box.rows[0], "y");
    ImportJob *job = sink_case_job(&box);
    ImportFile *file = &job->files[0];
    LedgerEntry entry;
    ledger_entry_init(&entry, job, file);
    assert_int_equal(entry.count, LEDGER_COLUMN_COUNT);
    assert_string_equal(entry.values[1], "11111111-1111-1111-1111-111111111111");
    assert_string_equal(entry.values[2], "shop/orders");
    assert_string_equal(entry.values[3], "shop.t");
    assert_string_equal(entry.values[7], "fedcba9876543210");
    for (size_t i = 0; i < LEDGER_COLUMN_COUNT; i++) {
        Error error = {0};
        assert_int_equal(compare_with(&entry, file, i, entry.values[i], &error), SINK_DONE);
        assert_int_equal(compare_with(&entry, file, i, NULL, &error), SINK_REFUSED);
        assert_non_null(strstr(error.text, "ledgerConflict"));
        assert_int_equal(compare_with(&entry, file, i, "1", &error), i == 4 ? SINK_DONE : SINK_REFUSED);
    }
    assert_int_equal(compare_with(&entry, file, 5, "3", NULL), SINK_REFUSED);
    assert_int_equal(file->rows, 2);
    /* It has 5 rows, of which 3 cannot be read any more. */
    file->damaged_rows = 3;
    assert_int_equal(compare_with(&entry, file, 5, "1", NULL), SINK_REFUSED);
    assert_int_equal(compare_with(&entry, file, 5, "6", NULL), SINK_REFUSED);
    assert_int_equal(compare_with(&entry, file, 5, "nonsense", NULL), SINK_REFUSED);
    assert_int_equal(compare_with(&entry, file, 5, "-1", NULL), SINK_REFUSED);
    assert_int_equal(compare_with(&entry, file, 5, "5x", NULL), SINK_REFUSED);
    assert_int_equal(file->rows, 2);
    assert_int_equal(compare_with(&entry, file, 5, "5", NULL), SINK_DONE);
    assert_int_equal(file->rows, 5);
    ledger_entry_deinit(&entry);
    sink_case_deinit(&box);
}

/* What the import that was left out is found, whatever this one would leave out. */
static void what_was_left_out_is_found(void **state) {
    SinkCase box;
    sink_case_init(&box, "shop.t", "a:text", 1);
    for (int i = 0; i < 6; i++) ADD(&box.rows[0], "x");
    ImportJob *job = sink_case_job(&box);
    ImportFile *file = &job->files[0];
    ImportRun runs[] = {{.first = 0, .next = 1, .first_row = 1, .rows = 2, .outcome = RUN_OVERTAKEN},
                        {.first = 1, .next = 2, .first_row = 3, .rows = 2, .outcome = RUN_OVERTAKEN},
                        {.first = 2, .next = 3, .first_row = 5, .rows = 2, .outcome = RUN_TAKEN}};
    file->runs = runs;
    file->run_count = 3;
    file->left_out = 4;
    LedgerEntry entry;
    ledger_entry_init(&entry, job, file);
    assert_int_equal(entry.count, LEDGER_COLUMNS_OF_RUNS_COUNT);
    assert_string_equal(entry.values[5], "2");
    assert_string_equal(entry.values[8], "4");
    assert_string_equal(entry.values[9], "o2t1");
    const char *there[LEDGER_COLUMNS_OF_RUNS_COUNT];
    memcpy(there, entry.values, sizeof there);
    there[5] = "4";
    there[8] = "2";
    there[9] = "t2r1";
    assert_int_equal(ledger_entry_compare(&entry, file, there, NULL), SINK_DONE);
    assert_int_equal(file->rows, 6);
    assert_int_equal(file->left_out, 2);
    assert_int_equal(runs[0].outcome, RUN_TAKEN);
    assert_int_equal(runs[2].outcome, RUN_RETURNED);
    there[5] = "6";
    there[8] = "0";
    there[9] = NULL; /* all taken */
    assert_int_equal(ledger_entry_compare(&entry, file, there, NULL), SINK_DONE);
    assert_int_equal(file->left_out, 0);
    assert_int_equal(runs[2].outcome, RUN_TAKEN);
    there[8] = "1"; /* one too many */
    assert_int_equal(ledger_entry_compare(&entry, file, there, NULL), SINK_REFUSED);
    there[8] = NULL;
    assert_int_equal(ledger_entry_compare(&entry, file, there, NULL), SINK_REFUSED);
    there[8] = "0";
    there[9] = "t2"; /* of another number of runs */
    assert_int_equal(ledger_entry_compare(&entry, file, there, NULL), SINK_REFUSED);
    ledger_entry_deinit(&entry);
    /* All taken is nothing to write. */
    for (int i = 0; i < 3; i++) runs[i].outcome = RUN_TAKEN;
    file->left_out = 0;
    ledger_entry_init(&entry, job, file);
    assert_null(entry.values[9]);
    ledger_entry_deinit(&entry);
    sink_case_deinit(&box);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(only_rows_may_be_more), cmocka_unit_test(what_was_left_out_is_found)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
