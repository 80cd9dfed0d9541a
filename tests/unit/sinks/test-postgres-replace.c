/* Tables that are replaced, in PostgreSQL: the cases of all drivers, and what only it has. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "tests/unit/sinks/postgres-case.h"
#include "tests/unit/sinks/replace-cases.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char positions_table[] = "sluice.positions", ledger_table[] = "sluice.files";

void run_sql(const char *text) {
    test_postgres_sql(server, text);
}

static int run_all(void) {
    return run_replace_cases(NULL, NULL);
}

int main(void) {
    server = test_postgres_start();
    if (!server) {
        (void)printf("no PostgreSQL binaries on this machine\n");
        return 77; /* meson: skipped */
    }
    int failed = run_all();
    test_postgres_stop(server);
    return failed;
}
