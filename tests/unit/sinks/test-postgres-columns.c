/* The map of inferred columns in PostgreSQL: the cases of all drivers. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "tests/unit/sinks/columns-cases.h"
#include "tests/unit/sinks/postgres-case.h"

#include <stdio.h>

const char *const map_table = "sluice.columns";

void run_sql(const char *text) {
    test_postgres_sql(server, text);
}

int main(void) {
    server = test_postgres_start();
    if (!server) {
        (void)printf("no PostgreSQL binaries on this machine\n");
        return 77; /* meson: skipped */
    }
    int failed = run_columns_cases(NULL, NULL);
    test_postgres_stop(server);
    return failed;
}
