/* The strategy merge in SQLite: the cases of all drivers, and tables that swallow rows. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "tests/unit/sinks/merge-cases.h"
#include "tests/unit/sinks/sqlite-case.h"

const char hold_keys[] = "CREATE TRIGGER hold BEFORE DELETE ON owners WHEN OLD.k IN ('kc', 'kq') BEGIN SELECT RAISE(ABORT, 'held'); END";
const char refuse_bad[] = "CREATE TRIGGER refuse BEFORE INSERT ON merged WHEN NEW.v = 'bad' BEGIN SELECT RAISE(ABORT, 'bad'); END";

void run_sql(const char *text) {
    sql(text);
}

/* A row that is older is imported; one that a trigger ignores is not there, and is named. */
static void an_older_row_is_not_a_swallowed_one(void **state) {
    SESSION;
    sql("CREATE TABLE picky (k TEXT PRIMARY KEY, v TEXT, n INTEGER) STRICT;"
        "CREATE TRIGGER t BEFORE INSERT ON picky WHEN NEW.v = 'bad' BEGIN SELECT RAISE(IGNORE); END");
    CASE("picky", "k:text:key v:text n:integer", 1);
    box.target.table.newer_by = (char *)(uintptr_t) "n";
    prepare(session, &box);
    ADD(&box.rows[0], "a", "1", "5");
    ADD(&box.rows[0], "b", "1", "5");
    ADD(&box.rows[0], "a", "2", "4");
    ADD(&box.rows[0], "b", "bad", "6");
    ADD(&box.rows[0], "c", "bad", NULL);
    import(session, &box);
    assert_int_equal(box.job.rejected_rows, 2);
    assert_string_equal(box.rejects[0].csv.data, "b,bad,6\n");
    assert_rows("SELECT k, v FROM picky ORDER BY k", "a|1\nb|1");
}

static void a_deletion_that_a_trigger_ignores_is_named(void **state) {
    SESSION;
    sql("CREATE TABLE picky (k TEXT NOT NULL PRIMARY KEY, v TEXT) STRICT;"
        "CREATE TRIGGER t BEFORE DELETE ON picky WHEN OLD.v = 'keep' BEGIN SELECT RAISE(IGNORE); END");
    CASE("picky", "k:text:key v:text deletes", 1);
    prepare(session, &box);
    ADD(&box.rows[0], "a", "keep", NULL);
    ADD(&box.rows[0], "b", "1", NULL);
    ADD(&box.rows[0], "a", NULL, "d");
    ADD(&box.rows[0], "b", NULL, "d");
    ADD(&box.rows[0], "c", NULL, "d");
    import(session, &box);
    assert_int_equal(box.job.rejected_rows, 1);
    assert_string_equal(box.rejects[0].csv.data, "a,,d\n");
    assert_rows("SELECT k FROM picky", "a");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_deletion_that_a_trigger_ignores_is_named, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(an_older_row_is_not_a_swallowed_one, make_directory, remove_directory),
    };
    return run_merge_cases(make_directory, remove_directory) + cmocka_run_group_tests(tests, NULL, NULL);
}
