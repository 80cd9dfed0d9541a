/* Is a data directory older than its destination? */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <errno.h>
#include <string.h>

#include "sinks/ledger_history.h"

#define BEFORE (USEC_DAY * 365 * 50) /* when the oldest row that waits came */

static const Uuid *id_of(usec_t made, uint8_t number) {
    static Uuid ids[5];
    Uuid *id = &ids[number];
    uint64_t ms = (uint64_t)(made / USEC_MS);
    for (size_t i = 0; i < 6; i++) id->bytes[i] = (uint8_t)(ms >> (40 - 8 * i));
    id->bytes[15] = number;
    return id;
}

#define FIRST id_of(BEFORE + USEC_SECOND, 1)
#define SECOND id_of(BEFORE + USEC_SECOND, 2)
#define LATER id_of(BEFORE + USEC_MINUTE, 3)
#define OLD id_of(BEFORE - USEC_MINUTE, 4)

/* Files with the rows 101 to 200 and 201 to 300 (open), 301 to 350 in the log. */
static LedgerHistory *history_new(void) {
    LedgerHistory *history = ledger_history_new(351);
    ledger_history_add(history, FIRST, false, 101, 100, BEFORE);
    ledger_history_add(history, SECOND, false, 201, 100, BEFORE + USEC_SECOND);
    ledger_history_add(history, NULL, false, 301, 60, BEFORE + 2 * USEC_SECOND); /* ten came after the start */
    ledger_history_begin(history);
    return history;
}

static void assert_judged(LedgerHistory *history, const char *wanted) {
    Error error = {0};
    int r = ledger_history_judge(history, &error);
    assert_int_equal(r, wanted ? -EUCLEAN : 0);
    if (wanted) {
        assert_non_null(strstr(error.text, "directoryOutdated"));
        assert_non_null(strstr(error.text, wanted));
    }
    ledger_history_free(history);
}

static void what_the_directory_knows(void **state) {
    LedgerHistory *history = history_new();
    assert_judged(history, NULL); /* an empty ledger */
    history = history_new();
    ledger_history_note(history, LATER, 1, 100); /* done, and its record is forgotten */
    ledger_history_note(history, FIRST, 101, 100);
    assert_judged(history, NULL); /* committed, and nobody heard of it */
    history = history_new();
    ledger_history_know(history, LATER, 351);
    ledger_history_note(history, LATER, 301, 50); /* made of rows of the log after the start; an earlier try committed */
    assert_judged(history, NULL);
    history = history_new();
    ledger_history_note(history, OLD, 1, 5000); /* of a deleted sink with the same name */
    assert_judged(history, NULL);
}

static void rows_that_are_there_in_another_file(void **state) {
    LedgerHistory *history = history_new();
    ledger_history_note(history, LATER, 150, 10);
    assert_judged(history, "rows 150 to 159");
    history = history_new();
    ledger_history_note(history, LATER, 340, 100); /* in no file here */
    assert_judged(history, "rows 340 to 439");
    history = history_new();
    ledger_history_know(history, SECOND, 301);
    ledger_history_note(history, SECOND, 201, 120); /* took rows of the log before it was closed */
    assert_judged(history, "rows 201 to 320");
}

static void later_rows_and_rows_that_are_missing(void **state) {
    LedgerHistory *history = history_new();
    ledger_history_note(history, LATER, 900, 100);
    assert_judged(history, "rows 900 to 999");
    /* Rows of a gateway that took the place of this one, and imported all that waits here. */
    history = ledger_history_new(201);
    ledger_history_add(history, FIRST, false, 101, 100, BEFORE);
    ledger_history_begin(history);
    ledger_history_note(history, LATER, 900, 100);
    ledger_history_note(history, FIRST, 101, 100);
    assert_judged(history, NULL);
    /* It did not import what waits in the backup that was restored here. */
    history = ledger_history_new(201);
    ledger_history_add(history, FIRST, true, 101, 100, BEFORE);
    ledger_history_begin(history);
    ledger_history_note(history, LATER, 900, 100);
    assert_judged(history, NULL);
    history = history_new();
    ledger_history_note(history, LATER, 900, 100);
    ledger_history_begin(history); /* the next try */
    assert_judged(history, NULL);
}

static void rows_after_the_start(void **state) {
    LedgerHistory *history = ledger_history_new(351);
    ledger_history_add(history, FIRST, false, 351, 100, BEFORE);
    assert_int_equal(history->count, 0);
    ledger_history_begin(history);
    ledger_history_note(history, LATER, 351, 100);
    assert_judged(history, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_directory_knows),
        cmocka_unit_test(rows_that_are_there_in_another_file),
        cmocka_unit_test(later_rows_and_rows_that_are_missing),
        cmocka_unit_test(rows_after_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
