/* The map of inferred columns in SQLite: the cases of all drivers. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "tests/unit/sinks/columns-cases.h"
#include "tests/unit/sinks/sqlite-case.h"

const char *const map_table = "_sluice_columns";

void run_sql(const char *text) {
    sql(text);
}

int main(void) {
    return run_columns_cases(make_directory, remove_directory);
}
