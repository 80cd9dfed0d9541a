/* Tables that are replaced, in SQLite: the cases of all drivers, and what only it has. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "tests/unit/sinks/replace-cases.h"
#include "tests/unit/sinks/sqlite-case.h"

const char positions_table[] = "_sluice_positions", ledger_table[] = "_sluice_files";

void run_sql(const char *text) {
    sql(text);
}

int main(void) {
    return run_replace_cases(make_directory, remove_directory);
}
