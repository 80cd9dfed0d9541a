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

const char true_word[] = "t";

void make_trigger(const char *table, TriggerKind kind) {
    static const char *const bodies[] = {
        [TRIGGER_REFUSES] = "IF NEW.v = ''bad'' THEN RAISE ''not this one''; END IF; RETURN NEW;",
        [TRIGGER_SWALLOWS] = "IF NEW.v = ''gone'' THEN RETURN NULL; END IF; RETURN NEW;",
        [TRIGGER_KEEPS] = "RETURN NULL;",
    };
    char text[600];
    (void)snprintf(text, sizeof text,
                   "CREATE FUNCTION of_%s() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN %s END';"
                   "CREATE TRIGGER of_%s BEFORE %s ON %s FOR EACH ROW EXECUTE FUNCTION of_%s()",
                   table, bodies[kind], table, kind == TRIGGER_KEEPS ? "DELETE" : "INSERT", table, table);
    run_sql(text);
}

void drop_trigger(const char *table) {
    char text[100];
    (void)snprintf(text, sizeof text, "DROP TRIGGER of_%s ON %s", table, table);
    run_sql(text);
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
