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

#include <stdio.h>

const char positions_table[] = "_sluice_positions", ledger_table[] = "_sluice_files";

void run_sql(const char *text) {
    sql(text);
}

const char true_word[] = "1";

void make_trigger(const char *table, TriggerKind kind) {
    static const char *const bodies[] = {
        [TRIGGER_REFUSES] = "BEFORE INSERT ON %s WHEN NEW.v = 'bad' BEGIN SELECT RAISE(ABORT, 'not this one'); END",
        [TRIGGER_SWALLOWS] = "BEFORE INSERT ON %s WHEN NEW.v = 'gone' BEGIN SELECT RAISE(IGNORE); END",
        [TRIGGER_KEEPS] = "BEFORE DELETE ON %s BEGIN SELECT RAISE(IGNORE); END",
    };
    char text[300];
    int size = snprintf(text, sizeof text, "CREATE TRIGGER of_%s ", table);
    (void)snprintf(text + size, sizeof text - (size_t)size, bodies[kind], table);
    sql(text);
}

void drop_trigger(const char *table) {
    char text[100];
    (void)snprintf(text, sizeof text, "DROP TRIGGER of_%s", table);
    sql(text);
}

int main(void) {
    return run_replace_cases(make_directory, remove_directory);
}
