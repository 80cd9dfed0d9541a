/* Positions in SQLite: the cases of all drivers, and what only it has. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "tests/unit/sinks/positions-cases.h"
#include "tests/unit/sinks/sqlite-case.h"

const char positions_table[] = "_sluice_positions", ledger_table[] = "_sluice_files";

void run_sql(const char *text) {
    sql(text);
}

/* A table is one in any case of letters; a row that rolls the transaction back makes the import
 * begin again with the same positions. */
static void the_import_begins_again_after_a_rollback(void **state) {
    sql("CREATE TABLE rolled (p INTEGER, o INTEGER, v TEXT) STRICT;"
        "CREATE TRIGGER t BEFORE INSERT ON rolled WHEN NEW.v = 'bad' BEGIN SELECT RAISE(ROLLBACK, 'no'); END");
    SESSION;
    BRIDGE("rolled", false, 1, 1);
    bridge_claim(session, &bridge, 5);
    bridge_add(&bridge, 0, 0, 0, 5);
    bridge_add(&bridge, 0, 0, 5, 8);
    bridge_add_text(&bridge, 0, 0, 8, "bad");
    bridge_add(&bridge, 0, 0, 9, 12);
    must(bridge_import(session, &bridge, &error), &error);
    assert_int_equal(bridge.box.job.rejected_rows, 1);
    assert_int_equal(bridge.box.files[0].left_out, 5);
    assert_rows("SELECT count(*) FROM rolled", "6");
    bridge.box.target.table.table_id = (char *)(uintptr_t) "ROLLED";
    assert_int_equal(bridge_position(session, &bridge, 0), 12);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_import_begins_again_after_a_rollback, make_directory, remove_directory),
    };
    return run_positions_cases(make_directory, remove_directory) + cmocka_run_group_tests(tests, NULL, NULL);
}
